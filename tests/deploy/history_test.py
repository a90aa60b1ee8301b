#!/usr/bin/env python3
"""A run's history as Prometheus takes it in afterwards, and what it sees of a run that is killed and resumed.

    history_test.py MUSTER
"""
import json
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

MUSTER = pathlib.Path(sys.argv[1]).resolve()
CONFIG = """
name: history
data: {dataset: fashion_mnist, train_limit: 2000, pool: 4, clients: 8}
model: softmax
training: {epochs: 1, optimizer: {name: sgd, learning_rate: 0.05}}
federation: {rounds: 1000000, participation: {name: fixed, clients: 4}}
"""
PROMETHEUS = """
global: {{scrape_interval: 100ms}}
scrape_configs:
  - job_name: muster
    static_configs: [{{targets: ["{target}"]}}]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def records(run):
    return [json.loads(line) for line in (run / "rounds.jsonl").read_text().splitlines()]


def check_history(work):
    run = [MUSTER, "simulate", "config.yaml", "--set", "federation.rounds=12", "--out", "done", "--quiet"]
    subprocess.run(run, cwd=work, check=True, capture_output=True)
    subprocess.run([MUSTER, "report", "done", "--openmetrics", "done.om"], cwd=work, check=True, capture_output=True)
    subprocess.run(["promtool", "tsdb", "create-blocks-from", "openmetrics", "done.om", "blocks"], cwd=work, check=True,
                   capture_output=True)
    (work / "blocks/wal").mkdir()  # the dump looks there, too
    dumped = subprocess.run(["promtool", "tsdb", "dump", "blocks"], cwd=work, check=True,
                            capture_output=True, text=True)
    series = {}
    for line in dumped.stdout.splitlines():
        labels, value, _ = re.fullmatch(r"(\{.*\}) (\S+) (\d+)", line).groups()
        series.setdefault(re.search(r'__name__="(\w+)"', labels).group(1), []).append(float(value))
    last = records(work / "done")[-1]
    assert series["muster_committed_rounds"] == list(range(1, 13)), series["muster_committed_rounds"]
    assert series["muster_upload_bytes_total"][-1] == last["totals"]["upload_bytes"]
    assert series["muster_test_accuracy_ratio"][-1] == last["test"]["accuracy"]


def check_restart(work, processes):
    """Counters begin anew with the process, so that rates count every round once; gauges go on."""
    target = f"127.0.0.1:{free_port()}"
    (work / "prometheus.yml").write_text(PROMETHEUS.format(target=target))
    prometheus = subprocess.Popen(
        ["prometheus", f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data",
         "--web.listen-address=127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
    processes.append(prometheus)
    found = None
    for line in prometheus.stderr:
        found = re.search(r'Listening on" address=(127\.0\.0\.1:\d+)', line) or found
        if "Server is ready" in line:
            break
    api = f"http://{found.group(1)}/api/v1/query?query="

    def query(text):
        with urllib.request.urlopen(api + urllib.parse.quote(text), timeout=10) as answer:
            return json.load(answer)["data"]["result"]

    def wait(text):
        deadline = time.monotonic() + 60
        while not query(text):
            assert time.monotonic() < deadline, f"never: {text}"
            time.sleep(0.05)

    def start(*arguments):
        processes.append(subprocess.Popen([MUSTER, *arguments, "--metrics", target, "--quiet"], cwd=work,
                                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return processes[-1]

    first = start("simulate", "config.yaml", "--out", "killed")
    wait("muster_committed_rounds >= 20")
    first.kill()
    first.wait()
    killed_at = len(records(work / "killed"))
    second = start("resume", "killed")
    wait(f"muster_committed_rounds > {killed_at} and on () resets(muster_client_tasks_total[5m]) > 0")
    wait(f"muster_committed_rounds >= {killed_at + 50}")
    second.kill()
    second.wait()
    rounds = len(records(work / "killed"))
    (tasks,) = query("muster_client_tasks_total[10m]")
    values = [float(value) for _, value in tasks["values"]]
    grown = values[0] + sum(b - a if b >= a else b for a, b in zip(values, values[1:]))
    assert any(b < a for a, b in zip(values, values[1:])), "the counter never began anew"
    # Every round asks four clients. None is counted twice; those after a process's last scrape are not seen.
    assert 4 * (killed_at + 50) * 0.5 < grown <= 4 * (rounds + 1), (grown, rounds)
    (total,) = query("muster_committed_rounds[10m]")
    committed = [float(value) for _, value in total["values"]]
    # A new process tells of no rounds until it has read the journal.
    told = [value for value in committed if value > 0]
    assert all(b >= a - 1 for a, b in zip(told, told[1:])), "rounds went back"
    low = query("min_over_time(rate(muster_client_tasks_total[2s])[5m:200ms])")
    assert all(float(result["value"][1]) >= 0 for result in low), low


def main():
    if not shutil.which("promtool") or not shutil.which("prometheus"):
        print("skipped: no prometheus")
        sys.exit(77)
    processes = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work = pathlib.Path(folder)
        (work / "config.yaml").write_text(CONFIG)
        try:
            check_history(work)
            check_restart(work, processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
    print("passed")


main()
