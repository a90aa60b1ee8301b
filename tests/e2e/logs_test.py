#!/usr/bin/env python3
"""Logs of a real run as JSON: every line of standard error is an event with its fields, and none holds a secret. The
page's token steers the run, and nothing else does.

    logs_test.py MUSTER
"""
import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

MUSTER = pathlib.Path(sys.argv[1]).resolve()
TOKEN = "f00dfeed" * 4
CONFIG = """
name: logged
data: {dataset: fashion_mnist, train_limit: 1000, pool: 4, clients: 8}
model: softmax
training: {epochs: 1, optimizer: {name: sgd, learning_rate: 0.05}}
simulation: {lose_updates: 0.2}
federation: {rounds: 1000000, participation: {name: fixed, clients: 4}}
"""


def post(url, token, command):
    request = urllib.request.Request(url + "control", data=json.dumps(command).encode(), method="POST",
                                     headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def main():
    if not pathlib.Path("/usr/share/datasets/fashion-mnist").exists():
        print("skipped: no dataset-fashion-mnist")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        (work / "config.yaml").write_text(CONFIG)
        (work / "token").write_text(TOKEN + "\n")
        run = subprocess.Popen(
            [MUSTER, "simulate", "config.yaml", "--out", "run", "--page", "127.0.0.1:0", "--page-token-file", "token",
             "--log-format", "json", "--log-level", "debug"],
            cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        lines, events, url = [], {}, ""
        try:
            for line in run.stderr:
                lines.append(line)
                event = json.loads(line)
                for field in ("time", "level", "event", "federation", "message"):
                    assert field in event, f"no {field}: {line}"
                assert event["federation"] == "logged", line
                events.setdefault(event["event"], event)
                if event["event"] == "serving_page":
                    url = event["message"].split(": ")[1]
                if event["event"] == "round_committed" and event["round"] == 0:
                    assert post(url, "", {"action": "stop"}) == 401
                    assert post(url, TOKEN[:-1] + "0", {"action": "stop"}) == 401
                    assert post(url, TOKEN, {"action": "set", "set": {"data.clients": "3"}}) == 400
                    change = {"training.learning_rate_factor": "0.5"}
                    assert post(url, TOKEN, {"action": "set", "set": change}) == 200
                if event["event"] == "settings_changed":
                    assert post(url, TOKEN, {"action": "stop"}) == 200
            assert run.wait(timeout=60) == 0
        finally:
            run.kill()
            run.wait()
        wanted = {"run_started", "round_started", "client_finished", "client_failed", "round_committed", "run_finished",
                  "run_summary", "settings_changed", "steered"}
        assert wanted <= set(events), wanted - set(events)
        failed = events["client_failed"]
        assert failed["level"] == "warning" and failed["client"] in range(8) and "lost on its way" in failed["message"]
        assert not any(TOKEN in line for line in lines), "the token is in the log"

        wrong = subprocess.run([MUSTER, "simulate", "none.yaml", "--log-format", "json"], cwd=work, capture_output=True,
                               text=True, timeout=60)
        assert wrong.returncode == 2, wrong
        (line,) = wrong.stderr.splitlines()
        assert json.loads(line)["level"] == "error", line
        print(f"passed: {len(lines)} lines")


main()
