#!/usr/bin/env python3
"""The live page in a real browser: it loads, follows a federation without being loaded again, shows a client that was
killed and survives the restart of its coordinator, without a word on the console.

    live_page_test.py MUSTER [PICTURES]

PICTURES: a folder for pictures of the page at round 0, at round 5, with the killed client, and on a phone in the dark.
"""
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile

from browser import Browser

MUSTER = pathlib.Path(sys.argv[1]).resolve()
PICTURES = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
CONFIG = """
name: hospitals
data: {dataset: fashion_mnist, train_limit: 6000, pool: 2, clients: 5, partition: {name: dirichlet, alpha: 0.5}}
model: {name: mlp, hidden: [64]}
training: {epochs: 3, batch_size: 10, optimizer: {name: sgd, learning_rate: 0.02}}
federation: {rounds: 1000, participation: {name: fraction, fraction: 1.0}}
service: {min_clients: 2, heartbeat_seconds: 1, grace_seconds: 2}
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def main():
    if not shutil.which("chromium"):
        print("skipped: no chromium")
        sys.exit(77)
    if not pathlib.Path("/usr/share/datasets/fashion-mnist").exists():
        print("skipped: no dataset-fashion-mnist")
        sys.exit(77)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        work, processes = pathlib.Path(folder), []
        (work / "config.yaml").write_text(CONFIG)
        page_at, grpc_at = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"

        def muster(log, *arguments):
            process = subprocess.Popen([MUSTER, *arguments], cwd=work, stdout=subprocess.DEVNULL,
                                       stderr=(work / log).open("a"))
            processes.append(process)
            return process

        def coordinator():
            return muster("coordinator.log", "coordinator", "config.yaml", "--insecure", "--listen", grpc_at,
                          "--out", "run", "--page", page_at)

        def picture(name):
            if PICTURES:
                browser.picture(PICTURES / f"{name}.png")

        first = coordinator()
        browser = Browser(work / "profile")
        try:
            address = f"http://{page_at}/"
            while b"live page" not in (work / "coordinator.log").read_bytes():
                assert first.poll() is None, (work / "coordinator.log").read_text()
            browser.open(address)
            browser.wait("document.querySelector('#headline').innerText.includes('waiting for clients')")
            browser.evaluate("window.loadedOnce = true")
            picture("round-0")

            clients = [muster(f"client-{k}.log", "client", "config.yaml", "--insecure", "--coordinator", grpc_at,
                              "--client", str(k)) for k in range(5)]
            browser.wait("parseInt(document.title) >= 5")
            browser.wait("document.querySelectorAll('#chips li').length === 5")
            browser.wait("document.querySelector('#connected').innerText.startsWith('5 connected')")
            assert browser.evaluate("Chart.getChart('accuracy-chart').data.datasets[0].data.length") >= 5
            picture("round-5")

            clients[2].kill()
            browser.wait("document.querySelector('#failures-table').innerText.includes('gone')")
            row = browser.text("#failures-table tbody tr:last-child")
            assert row.split("\t")[1] == "2", row
            browser.wait("document.querySelector('#log').innerText.includes('client 2: gone')")
            picture("client-killed")
            assert not browser.errors, browser.errors

            browser.resize(320, 640, mobile=True)
            browser.dark(True)
            browser.wait("document.documentElement.scrollWidth <= 320")
            browser.wait("getComputedStyle(document.body).backgroundColor === 'rgb(16, 21, 28)'")
            picture("phone")

            first.kill()
            browser.wait("document.querySelector('#link').className.includes('lost')")
            committed = int(browser.evaluate("parseInt(document.title)"))
            coordinator()
            browser.wait("document.querySelector('#link').className.includes('good')")
            browser.wait("document.querySelector('#facts').innerText.includes('resumed after round')")
            browser.wait(f"parseInt(document.title) > {committed}")
            first_round = browser.evaluate("Chart.getChart('accuracy-chart').data.datasets[0].data[0].x")
            assert first_round == 1, f"the curve begins with round {first_round}"
            assert browser.evaluate("window.loadedOnce"), "the page was loaded again"
            # While nobody listens the browser itself says so; nothing else may be wrong.
            others = [error for error in browser.errors if "net::ERR_" not in error or "/events" not in error]
            assert not others, others
            elsewhere = [url for url in browser.requests if not url.startswith((address, "data:"))]
            assert not elsewhere, elsewhere

            browser.open(address + "report")
            browser.wait("document.querySelector('#tiles').innerText.includes('not finished')")
            print("passed")
        except Exception:
            for log in sorted(work.glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-1500:]}", file=sys.stderr)
            raise
        finally:
            browser.close()
            for process in processes:
                process.kill()
                process.wait()


main()
