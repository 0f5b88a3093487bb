"""Measures `brisk serve` against a model behind FastAPI and ONNX Runtime; prints a table of medians and ratios.

    serve_compare.py --kinds cifar-json,cifar-binary --brisk target/release/brisk --cifar MODEL
    serve_compare.py --kinds embed --brisk target/release/brisk --minilm MODEL
    serve_compare.py --minilm MODEL --overload --json                 without Brisk: the peers alone

In each round every server is started, waited for, asked by bench/peers/load.py (wrk, closed loop) and ended, one after the other, so
that a change in the machine's mood meets all of them alike. Load and server share the machine: wrk takes part of a core.
A side that fails is left out, and the exit status is 1.
--overload asks once more, with five times the connections, and counts statuses. Run it with a Python that has
bench/peers/requirements.txt; wrk is a package of Debian.
"""

import argparse
import json
import pathlib
import shlex
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

PEERS = pathlib.Path(__file__).parent / "peers"
# kind of request: (model of the peers, path)
KINDS = {
    "cifar-json": ("cifar10-cnn", "/v2/models/{name}/infer"),
    "cifar-binary": ("cifar10-cnn", "/v2/models/{name}/infer"),
    "embed": ("minilm", "/v1/embeddings"),
}

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("--kinds", default=",".join(KINDS), help="of requests (default: %(default)s)")
p.add_argument("--brisk", help="the binary; without it the peers run alone")
p.add_argument(
    "--brisk-command", default="{brisk} serve {model} --port {port} --threads {threads}", help="default: %(default)s"
)
p.add_argument("--brisk-name", help="the model's name in URLs (default: the name of its folder)")
p.add_argument("--cifar", type=pathlib.Path, help="Brisk's model for cifar-json and cifar-binary")
p.add_argument("--minilm", type=pathlib.Path, help="the Hugging Face folder of all-MiniLM-L6-v2, for embed")
p.add_argument("--input", default="image", help="name of Brisk's tensor of pixels")
p.add_argument("--rounds", type=int, default=3)
p.add_argument("--threads", type=int, default=2, help="threads of a server that compute")
p.add_argument("--connections", type=int, default=64)
p.add_argument("--seconds", type=int, default=10)
p.add_argument("--warmup", type=int, default=3)
p.add_argument("--overload", action="store_true", help="also with five times the connections")
p.add_argument("--json", action="store_true", help="all runs and medians as one JSON object on stdout")


def sides(args, kind, port, work):
    """name: (command, the model's name in URLs)"""
    model = KINDS[kind][0]
    peer = [sys.executable, PEERS / "serve_onnxruntime.py", model, "--onnx", work / f"{model}.onnx"]
    peer += ["--port", port, "--threads", args.threads]
    if model == "minilm":
        peer += ["--folder", args.minilm]
    commands = {}
    if args.brisk:
        folder = (args.minilm if model == "minilm" else args.cifar).resolve()
        values = {"brisk": args.brisk, "model": folder, "port": port, "threads": args.threads}
        words = [word.format(**values) for word in shlex.split(args.brisk_command)]
        commands["Brisk"] = (words, args.brisk_name or folder.name)
    commands["FastAPI + ONNX Runtime"] = (peer, model)
    commands["the same, batching"] = ([*peer, "--batching"], model)
    return {name: ([str(word) for word in command], model) for name, (command, model) in commands.items()}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait(server, base, seconds=180):
    """Until the server answers that it is ready."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        try:
            with urllib.request.urlopen(f"{base}/v2/health/ready", timeout=5):
                return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"it ended with {server.returncode}" if server.poll() is not None else "it did not get ready")


def load(args, url, kind, pid, *more):
    command = [sys.executable, PEERS / "load.py", url, kind, "--pid", pid, "--seconds", args.seconds, *more]
    limit = 2 * (args.seconds + args.warmup) + 120
    run = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=limit)
    if run.returncode:
        raise RuntimeError(run.stderr.strip().splitlines()[-1])
    return json.loads(run.stdout)


def measure(args, kind, name, work):
    """One run of a side."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    command, model = sides(args, kind, port, work)[name]
    with open(work / "server.log", "w+") as log:
        start = time.monotonic()
        server = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait(server, base)
            ready = time.monotonic() - start
            url = base + KINDS[kind][1].format(name=model)
            more = ["--input", args.input if name == "Brisk" else "image", "--warmup", args.warmup]
            run = load(args, url, kind, server.pid, *more, "--connections", args.connections)
            run["ready_seconds"] = round(ready, 2)
            if args.overload:
                over = load(args, url, kind, server.pid, *more, "--connections", 5 * args.connections, "--statuses")
                run["overload_good_per_second"] = over["good_per_second"]
                run["overload_share_429"] = over.get("share_429", 0.0)
                run["overload_p99_ms"] = over["p99_ms"]
                run["rss_peak_mb"] = over["rss_peak_mb"]
            return run
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            log.seek(0)
            last = log.read().strip().splitlines()[-1:]
            raise RuntimeError(f"{error}; the server's last line: {''.join(last) or 'none'}") from error
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def median(runs):
    keys = [key for key, value in runs[0].items() if isinstance(value, (int, float)) and key != "connections"]
    middle = {key: round(statistics.median(run[key] for run in runs), 3) for key in keys}
    rates = [run["good_per_second"] for run in runs]
    return middle | {"slowest": min(rates), "fastest": max(rates)}


# heading: (key, digits)
COLUMNS = {
    "good/s": ("good_per_second", 0), "p50, ms": ("p50_ms", 1), "p90, ms": ("p90_ms", 1), "p99, ms": ("p99_ms", 1),
    "server's CPU, ms/request": ("server_cpu_ms_per_request", 3), "memory ready, MB": ("rss_before_mb", 0),
    "memory peak, MB": ("rss_peak_mb", 0), "ready after, s": ("ready_seconds", 1), "non-2xx": ("non_2xx", 0), "errors": ("errors", 0),
}  # fmt: skip
OVERLOAD = {
    "overload: good/s": ("overload_good_per_second", 0), "overload: 429": ("overload_share_429", 3),
    "overload: p99, ms": ("overload_p99_ms", 0),
}  # fmt: skip


def table(medians, columns):
    """Of a kind of requests. Only answers of status 2xx count; the ratio is to the fastest peer."""
    peers = [m["good_per_second"] for name, m in medians.items() if name != "Brisk"]
    best = max(peers, default=0)
    print("| | " + " | ".join(columns) + " | spread of good/s | to the best peer |")
    print("|---" * (len(columns) + 3) + "|")
    for name, m in medians.items():
        cells = [f"{m[key]:.{digits}f}" for key, digits in columns.values()]
        ratio = f"{m['good_per_second'] / best:.2f}" if best else "-"
        print("| " + " | ".join([name, *cells, f"{m['slowest']:.0f} to {m['fastest']:.0f}", ratio]) + " |")


def main():
    args = p.parse_args()
    kinds = args.kinds.split(",")
    for kind in kinds:
        if kind not in KINDS:
            p.error(f"there is no kind {kind}; there are {', '.join(KINDS)}")
        needed = "minilm" if kind == "embed" else "cifar"
        if getattr(args, needed) is None and (args.brisk or kind == "embed"):
            p.error(f"{kind} needs --{needed}")
    report, failed = {}, False
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        for kind in kinds:
            runs = {name: [] for name in sides(args, kind, 0, work)}
            for round_ in range(1, args.rounds + 1):
                for name in list(runs):
                    label = f"{kind}, {name}, round {round_}/{args.rounds}"
                    try:
                        run = measure(args, kind, name, work)
                        runs[name].append(run)
                        print(f"{label}: {run['good_per_second']} good answers/s", file=sys.stderr)
                    except RuntimeError as error:
                        print(f"{label}: left out of {kind}: {error}", file=sys.stderr)
                        del runs[name]
                        failed = True
            medians = {name: median(r) for name, r in runs.items()}
            report[kind] = {"medians": medians, "runs": runs}
            if not args.json:
                print(f"\n## {kind}, {args.connections} connections, {args.threads} threads, {args.rounds} rounds\n")
                table(medians, COLUMNS | (OVERLOAD if args.overload else {}))
    if args.json:
        print(json.dumps(report))
    return failed


if __name__ == "__main__":
    sys.exit(main())
