#!/usr/bin/env python3
"""Every query of every dashboard returns data from a real Prometheus that scrapes real federations: a simulated one, and
a coordinator with its clients.

    dashboards_test.py SOURCE MUSTER
"""
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

SOURCE, MUSTER = pathlib.Path(sys.argv[1]), sys.argv[2]

# ISP, so that there are searches; long enough for two scrapes, and stopped when all is seen.
FEDERATION = """
name: dashboards
data: {dataset: fashion_mnist, train_limit: 2000, pool: 4, clients: 8, trust: {samples: 100}}
model: softmax
training: {epochs: 1, optimizer: {name: sgd, learning_rate: 0.05}}
federation:
  rounds: 1000000
  participation: {name: isp, initial_clients: 4, period: 4, warmup_rounds: 1, subsets: 2}
"""
LOOPBACK = """
name: loopback
data: {dataset: fashion_mnist, train_limit: 1000, pool: 4, clients: 2}
model: softmax
training: {epochs: 1, optimizer: {name: sgd, learning_rate: 0.05}}
federation: {rounds: 1000000, participation: {name: fraction, fraction: 1.0}}
"""
PROMETHEUS = """
global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}
rule_files: ["{rules}"]
scrape_configs:
  - job_name: muster
    static_configs: [{{targets: {targets}}}]
"""


def get(url):
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def line_with(stream, pattern):
    """The pattern's first group, from the first line of the stream that matches."""
    for line in stream:
        found = re.search(pattern, line)
        if found:
            return found.group(1)
    sys.exit(f"FAILED: no line with {pattern}")


def queries():
    """(dashboard, panel, query), with Grafana's variables filled in."""
    for path in sorted((SOURCE / "deploy/grafana/dashboards").glob("*.json")):
        board = json.loads(path.read_text())
        assert board["uid"] and board["title"], path
        found = [(panel["title"], target["expr"]) for panel in board["panels"] for target in panel.get("targets", [])]
        found += [(note["name"], note["expr"]) for note in board["annotations"]["list"]]
        assert found, f"{path}: no queries"
        for title, expr in found:
            expr = expr.replace("$federation", ".*").replace("$__rate_interval", "1m")
            yield path.stem, title, expr.replace("$__range", "1m").replace("$__interval", "1m")


def serving(work, processes, name, *arguments):
    """Starts a process of ours that serves metrics; where."""
    log = (work / f"{name}.log").open("w+")  # a file: a pipe that nobody reads would fill
    processes.append(subprocess.Popen([MUSTER, *arguments, "--metrics", "127.0.0.1:0", "--log-level", "info"], cwd=work,
                                      stderr=log, stdout=subprocess.DEVNULL))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = re.search(r"metrics: http://(127\.0\.0\.1:\d+)/metrics", (work / f"{name}.log").read_text())
        if found:
            return found.group(1)
        assert processes[-1].poll() is None, f"{name} ended: {(work / f'{name}.log').read_text()}"
        time.sleep(0.05)
    sys.exit(f"FAILED: {name} serves no metrics: {(work / f'{name}.log').read_text()}")


def loopback(work, processes):
    """Starts a coordinator and two clients; where they serve their metrics."""
    (work / "loopback.yaml").write_text(LOOPBACK)
    targets = [serving(work, processes, "coordinator", "coordinator", "loopback.yaml", "--insecure",
                       "--listen", "127.0.0.1:0", "--out", "loopback", "--quiet")]
    address = (work / "loopback/address").read_text().strip()
    return targets + [serving(work, processes, f"client-{k}", "client", "loopback.yaml", "--insecure",
                              "--coordinator", address, "--client", str(k)) for k in range(2)]


def main():
    if not shutil.which("prometheus"):
        print("skipped: no prometheus")
        sys.exit(77)
    processes = []
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        (work / "federation.yaml").write_text(FEDERATION)
        try:
            target = serving(work, processes, "simulation", "simulate", "federation.yaml", "--out", "run", "--quiet")
            federation = processes[0]
            targets = [target] + loopback(work, processes)
            for target in targets:
                linted = subprocess.run(["promtool", "check", "metrics"], input=get(f"http://{target}/metrics"),
                                        text=True, capture_output=True)
                assert linted.returncode == 0, f"promtool check metrics: {linted.stdout}{linted.stderr}"

            (work / "prometheus.yml").write_text(
                PROMETHEUS.format(rules=SOURCE / "deploy/prometheus/rules/*.yml", targets=json.dumps(targets)))
            prometheus = subprocess.Popen(
                ["prometheus", f"--config.file={work}/prometheus.yml", f"--storage.tsdb.path={work}/data",
                 "--web.listen-address=127.0.0.1:0"], stderr=subprocess.PIPE, text=True)
            processes.append(prometheus)
            address = line_with(prometheus.stderr, r'Listening on" address=(127\.0\.0\.1:\d+)')
            line_with(prometheus.stderr, r'(Server is ready)')
            empty, deadline = list(queries()), time.monotonic() + 90
            count = len(empty)
            while empty and time.monotonic() < deadline:
                still = []
                for query in empty:
                    url = f"http://{address}/api/v1/query?query={urllib.parse.quote(query[2])}"
                    result = json.loads(get(url))["data"]["result"]
                    # An annotation marks something that may not have happened: it only has to be a valid query.
                    happened = any(sample["value"][1] != "NaN" for sample in result)
                    if not happened and "changes(" not in query[2]:
                        still.append(query)
                empty = still
                assert federation.poll() is None, "the federation ended"
            for board, title, expr in empty:
                print(f"FAILED: {board}, \"{title}\": no data: {expr}")
            sys.exit(1 if empty else print(f"{count} queries, all with data"))
        finally:
            for process in processes:
                process.kill()
                process.wait()


main()
