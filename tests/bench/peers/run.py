"""The same federation in Muster, pfl-research and Flower, one process or client at a time, in one session:

    run.py MUSTER WORKLOAD.yaml [--set path=value]... [--runs N] [--peers pfl flower]

Prints a table and JSON. The fastest of N runs counts, of each.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent


def run_muster(muster, workload, settings, out):
    start = time.monotonic()
    settings = [f"--set={setting}" for setting in ["record.pins=true", "training.shuffle=false", *settings]]
    process = subprocess.Popen([muster, "simulate", workload, "--workers", "1", "--quiet", "--out", out, *settings])
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"run.py: {muster} failed")
    seconds = [json.loads(line)["seconds"] for line in (pathlib.Path(out) / "rounds.jsonl").read_text().splitlines()]
    rounds = sum(times["total"] + times["commit"] - times["evaluate"] for times in seconds[1:])
    summary = json.loads((pathlib.Path(out) / "summary.json").read_text())
    return {
        "framework": "Muster",
        "version": summary["muster_version"],
        "rounds_per_second": (len(seconds) - 1) / rounds,
        "seconds_of_process": time.monotonic() - start,
        "peak_bytes": 1024 * usage.ru_maxrss,
        "difference_of_models": 0.0
    }


def run_peer(script, out):
    environment = os.environ | {"FLWR_TELEMETRY_ENABLED": "0", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, HERE / script, out], env=environment, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"framework"')]
    if not lines:
        sys.exit(f"run.py: {script} failed\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return json.loads(lines[-1])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("muster")
    parser.add_argument("workload")
    parser.add_argument("--set", action="append", default=[], metavar="path=value")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=["pfl", "flower"], default=["pfl", "flower"])
    arguments = parser.parse_args()
    best = {}

    def take(result):
        known = best.setdefault(result["framework"], result)
        if result["rounds_per_second"] > known["rounds_per_second"]:
            best[result["framework"]] = result

    with tempfile.TemporaryDirectory() as folder:
        for i in range(arguments.runs):
            out = f"{folder}/run-{i}"
            take(run_muster(arguments.muster, arguments.workload, arguments.set, out))
            for peer in arguments.peers:
                take(run_peer(f"{peer}_peer.py", out))
    ours = best["Muster"]["rounds_per_second"]
    print(f"{'':24} {'rounds/s':>10} {'Muster is':>10} {'process s':>10} {'peak MB':>9} {'model differs':>14}")
    for result in best.values():
        result["muster_is_faster_by"] = ours / result["rounds_per_second"]
        name = f"{result['framework']} {result['version']}"
        print(f"{name:24} {result['rounds_per_second']:10.2f} {result['muster_is_faster_by']:9.1f}x"
              f" {result['seconds_of_process']:10.1f} {result['peak_bytes'] / 1e6:9.0f}"
              f" {result['difference_of_models']:14.1e}")
    print(json.dumps(list(best.values())))


main()
