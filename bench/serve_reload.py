"""Swaps versions under load, or watches memory for long; prints one JSON object.

    serve_reload.py --brisk target/release/brisk --run runs/a --run runs/b --swaps 200
    serve_reload.py --brisk target/release/brisk --run runs/a --soak 3600

Publishes the runs (models that take cifar-json's pictures) as versions of one model, serves the repository, and measures with load.py:
first quietly, then while an alias moves from version to version as often as asked for, evenly over the time. Reported are
answers that were not 2xx, p50 and p99 of both, and the server's memory before, at its peak, and five seconds after the load.
A soak writes down memory every ten seconds.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--brisk", required=True)
p.add_argument("--run", action="append", required=True, help="a run or model; several for versions")
p.add_argument("--swaps", type=int, default=200)
p.add_argument("--seconds", type=int, default=40)
p.add_argument("--connections", type=int, default=64)
p.add_argument("--rate", type=float, help="requests a second in an open loop, rather than as many as there can be")
p.add_argument("--soak", type=int, help="seconds of load with memory written down")
p.add_argument("--port", type=int, default=8701)
a = p.parse_args()

HERE = pathlib.Path(__file__).parent
BASE = f"http://127.0.0.1:{a.port}"


def rss(pid):
    """Megabytes in memory."""
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return round(int(line.split()[1]) / 1024, 1)


def move(version, key):
    """Lets another version answer."""
    url = f"{BASE}/admin/models/swapped/aliases/production"
    request = urllib.request.Request(url, method="PUT", data=json.dumps({"version": version}).encode())
    request.add_header("Authorization", f"Bearer {key}")
    urllib.request.urlopen(request, timeout=60).read()


def load(seconds, connections, rate=None):
    command = [sys.executable, str(HERE / "peers/load.py"), f"{BASE}/v2/models/swapped/infer", "cifar-json"]
    command += ["--seconds", str(seconds), "--connections", str(connections), "--warmup", "2", "--key", key]
    command += ["--rate", str(rate)] if rate else []
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


with tempfile.TemporaryDirectory() as folder:
    models = f"{folder}/models"
    for run in a.run:
        subprocess.run([a.brisk, "publish", run, "--name", "swapped", "--to", models], check=True, stdout=subprocess.DEVNULL)
    keys = f"{folder}/keys.json"
    made = subprocess.run([a.brisk, "key", "bench", "--file", keys, "--scopes", "infer,admin"], check=True, capture_output=True)
    key = made.stdout.decode().strip()
    server = [a.brisk, "serve", models, "--port", str(a.port), "--api-key-file", keys, "--watch", "0", "--log", "error"]
    server = subprocess.Popen(server, stderr=subprocess.DEVNULL)
    try:
        for _ in range(1000):
            try:
                urllib.request.urlopen(BASE + "/v2/health/ready", timeout=1)
                break
            except OSError:
                time.sleep(0.01)
        move(1, key)
        if a.soak:
            samples, end = [], time.time() + a.soak
            done = threading.Thread(target=load, args=(a.soak, a.connections, a.rate))
            done.start()
            while time.time() < end:
                samples.append(rss(server.pid))
                time.sleep(10)
            done.join()
            fifth = max(1, len(samples) // 5)
            report = {"soak_seconds": a.soak, "rss_mb": samples, "first_fifth": max(samples[1:fifth + 1]), "last_fifth": max(samples[-fifth:])}
        else:
            quiet = load(a.seconds, a.connections, a.rate)
            before, peak = rss(server.pid), [0]

            def swap():
                time.sleep(2)
                for i in range(a.swaps):
                    began = time.time()
                    move(1 + (i + 1) % len(a.run), key)
                    peak[0] = max(peak[0], rss(server.pid))
                    time.sleep(max(0.0, a.seconds / a.swaps - (time.time() - began)))

            swapping = threading.Thread(target=swap)
            swapping.start()
            swapped = load(a.seconds + 4, a.connections, a.rate)
            swapping.join()
            time.sleep(5)
            report = {
                "swaps": a.swaps,
                "failed": swapped["non_2xx"] + swapped["errors"],
                "quiet": quiet,
                "swapped": swapped,
                "p99_ratio": round(swapped["p99_ms"] / quiet["p99_ms"], 3),
                "rss_mb": {"before": before, "peak": peak[0], "after_5_s": rss(server.pid)},
            }
        print(json.dumps(report, indent=1))
    finally:
        server.terminate()
        server.wait()
