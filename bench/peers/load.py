"""Asks a server for answers as fast as it gives them and prints one JSON object: rate, latencies, errors, memory.

    load.py http://127.0.0.1:8001/v2/models/cifar10-cnn/infer cifar-json --pid PID
    load.py http://127.0.0.1:8001/v1/embeddings embed --connections 320 --statuses
    load.py http://127.0.0.1:8001/v2/models/cifar10-cnn/infer cifar-binary --rate 2000

Closed loop (the default): every connection of `wrk` asks again as soon as it is answered, so that latency is also that of waiting
for the other connections. Open loop (--rate): requests come at random times, whether answers come or not, from an asyncio loop
that makes about fifteen thousand a second at most; latency counts from the time a request should have been sent.

Overload is either with five times the connections or the rate of saturation, and --statuses, which counts each status
(wrk is slower with it): what matters is `good_per_second`, answers of status 2xx, and `share_429`. Quantiles of a closed loop are of
answers of any status, those of an open loop of 2xx. With --pid, on the server's machine, memory and processor time are read
from /proc, and the clock starts when the server has finished what the warm-up left.
"""

import argparse
import collections
import json
import math
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import urllib.parse

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("url")
p.add_argument("body", choices=["cifar-json", "cifar-binary", "embed"])
p.add_argument("--input", default="image", help="name of the tensor of pixels")
p.add_argument("--connections", type=int, default=64, help="of an open loop: the most that are opened")
p.add_argument("--threads", type=int, default=1, help="threads of wrk")
p.add_argument("--seconds", type=int, default=10)
p.add_argument("--warmup", type=int, default=3, help="seconds before the clock starts")
p.add_argument("--rate", type=float, help="requests a second, in an open loop")
p.add_argument("--key", help="sent as a bearer token")
p.add_argument("--statuses", action="store_true", help="count each status")
p.add_argument("--pid", type=int, help="the server's process; its children count too")

# Sentences are made of these, in a fixed order.
CLAUSES = """
the committee postponed its decision until the end of March
a small bakery on the corner sells bread before dawn
nobody had expected the river to rise so quickly
the new library lends telescopes, tools and musical instruments
her grandfather repaired clocks in a workshop behind the station
most of the passengers slept while the train crossed the mountains
researchers measured the temperature of the lake every morning
the recipe asks for two onions and a spoonful of vinegar
several shareholders questioned the cost of the acquisition
the software update fixed the problem but slowed the machine down
children painted the old wall with fish, boats and lighthouses
the court ruled that the contract had never been valid
a strong wind from the west kept the ferries in the harbour
the orchestra rehearsed the second movement three times
farmers in the valley switched to crops that need less water
the museum returned four statues to the village they came from
""".split("\n")[1:-1]


def sentences():
    """64 English sentences of 8 to 40 words."""
    rng = random.Random(0)
    for i in range(64):
        first = CLAUSES[i // 4]
        more = rng.sample([c for c in CLAUSES if c != first], (0, 1, 2, 1)[i % 4])
        text = ", and ".join([first, *more])
        yield text[0].upper() + text[1:] + "."


def bodies(kind, tensor):
    """(headers, body) of the requests that are sent in turn."""
    headers = {"Content-Type": "application/json"}
    if kind == "embed":
        for text in sentences():
            yield headers, json.dumps({"model": "minilm", "input": text}).encode()
        return
    rng = random.Random(0)
    for _ in range(8):
        pixels = rng.randbytes(32 * 32 * 3)
        described = {"name": tensor, "shape": [1, 32, 32, 3], "datatype": "UINT8"}
        if kind == "cifar-json":
            yield headers, json.dumps({"inputs": [described | {"data": list(pixels)}]}).encode()
        else:
            head = json.dumps({"inputs": [described | {"parameters": {"binary_data_size": len(pixels)}}]}).encode()
            binary = {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": str(len(head))}
            yield binary, head + pixels


def quote(data):
    """Bytes as a string of Lua."""
    plain = set(range(32, 127)) - set(b'"\\')
    return '"' + "".join(chr(b) if b in plain else f"\\{b:03}" for b in data) + '"'


SCRIPT = """
local bodies = {{{bodies}}}
local heads = {{{heads}}}
local requests, at = {{}}, 0
function init(args)
  for i, body in ipairs(bodies) do requests[i] = wrk.format("POST", nil, heads[i], body) end
end
function request()
  at = at % #requests + 1
  return requests[at]
end
{statuses}
local threads = {{}}
function setup(thread) table.insert(threads, thread) end
function done(summary, latency)
  local counted = ""
  for _, thread in ipairs(threads) do counted = counted .. (thread:get("counted") or "") end
  local e = summary.errors
  print(string.format(
    '\\n{{"requests": %d, "us": %d, "p50": %d, "p90": %d, "p99": %d, "status": %d, "errors": %d, "counted": "%s"}}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(90), latency:percentile(99), e.status,
    e.connect + e.read + e.write + e.timeout, counted))
end
"""
# What `done` may read of a thread are its globals of simple types.
STATUSES = """
local found = {}
function response(status)
  found[status] = (found[status] or 0) + 1
  counted = ""
  for s, n in pairs(found) do counted = counted .. s .. "=" .. n .. " " end
end
"""


def closed(args, requests, seconds):
    """(answers, those of status 2xx, seconds, quantiles, other statuses, errors, statuses)"""
    tables = [",".join(f"[{quote(k.encode())}]={quote(v.encode())}" for k, v in h.items()) for h, _ in requests]
    script = SCRIPT.format(
        bodies=",\n".join(quote(body) for _, body in requests), heads=",".join(f"{{{t}}}" for t in tables),
        statuses=STATUSES if args.statuses else "",
    )  # fmt: skip
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script)
        file.flush()
        command = ["wrk", "-c", str(args.connections), "-t", str(args.threads), "-d", f"{seconds}s", "--timeout", "30s"]
        run = subprocess.run(
            [*command, "-s", file.name, args.url], capture_output=True, text=True, timeout=seconds + 60
        )  # fmt: skip
    if run.returncode or not run.stdout.strip():
        raise SystemExit(f"wrk failed: {(run.stderr or run.stdout).strip()}")
    report = json.loads(run.stdout.strip().splitlines()[-1])
    counted = collections.Counter()
    for pair in report["counted"].split():
        status, n = pair.split("=")
        counted[int(status)] += int(n)
    quantiles = {f"p{q}_ms": report[f"p{q}"] / 1e3 for q in (50, 90, 99)}
    good = report["requests"] - report["status"]
    return report["requests"], good, report["us"] / 1e6, quantiles, report["status"], report["errors"], counted


def opened(args, requests, seconds):
    """Sends requests at random times (Poisson) over as many connections as it takes, up to --connections. As `closed`.

    Rates are of answers that came in time; quantiles and statuses are of all requests, those answered later too.
    """
    import asyncio

    import uvloop

    url = urllib.parse.urlsplit(args.url)
    messages = []
    for headers, body in requests:
        lines = {"Host": url.netloc, **headers, "Content-Length": len(body)}
        head = f"POST {url.path} HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in lines.items())
        messages.append(head.encode() + b"\r\n" + body)
    latencies, counted, idle, live, waiting = [], collections.Counter(), [], set(), collections.deque()

    class Client(asyncio.Protocol):
        """One request at a time. Answers have a Content-Length."""

        data, due = b"", None

        def connection_made(self, transport):
            self.transport = transport
            live.add(self)

        def send(self, due, message):
            self.due = due
            self.transport.write(message)

        def data_received(self, data):
            self.data += data
            head = self.data.find(b"\r\n\r\n")
            if head < 0:
                return
            lower = self.data[:head].lower()
            at = lower.find(b"content-length:") + 15
            end = lower.find(b"\r\n", at)
            if at < 15 or len(self.data) < head + 4 + int(lower[at : end if end > 0 else None]):
                return
            status, self.data = int(self.data[9:12]), b""
            counted[status] += 1
            if 200 <= status < 300:
                latencies.append(time.perf_counter() - self.due)
            self.due = None
            if waiting:
                self.send(*waiting.popleft())
            else:
                idle.append(self)

        def connection_lost(self, error):
            live.discard(self)
            if self.due is not None:
                counted["lost"] += 1
            if self in idle:
                idle.remove(self)

    async def main():
        loop, rng, sent = asyncio.get_running_loop(), random.Random(0), 0
        start = due = time.perf_counter()
        while (due := due + rng.expovariate(args.rate)) < start + seconds:
            if (left := due - time.perf_counter()) > 0.001:
                await asyncio.sleep(left)
            elif sent % 16 == 0:
                await asyncio.sleep(0)
            message = messages[sent % len(messages)]
            sent += 1
            asked = min(due, time.perf_counter())  # up to a millisecond early, as the timer is no finer
            if idle:
                idle.pop().send(asked, message)
            elif len(live) < args.connections:
                try:
                    _, client = await loop.create_connection(Client, url.hostname, url.port or 80)
                    client.send(asked, message)
                except OSError:
                    counted["lost"] += 1
            else:
                waiting.append((asked, message))
        wall = time.perf_counter() - start
        done = counted.total() - counted["lost"]
        good = sum(n for status, n in counted.items() if status != "lost" and 200 <= status < 300)
        late = time.perf_counter() + 30  # those still in work
        while counted.total() < sent and time.perf_counter() < late:
            await asyncio.sleep(0.05)
        return sent, done, good, wall

    sent, done, good, wall = uvloop.run(main())
    latencies.sort()
    at = lambda q: 1e3 * latencies[min(len(latencies) - 1, math.ceil(len(latencies) * q / 100) - 1)] if latencies else None  # noqa: E731
    quantiles = {f"p{q}_ms": at(q) for q in (50, 90, 99)}
    del counted["lost"]
    bad = sum(n for status, n in counted.items() if not 200 <= status < 300)
    quantiles["sent_per_second"] = sent / wall
    return done, good, wall, quantiles, bad, sent - counted.total(), counted


def family(pid):
    """A process and its descendants."""
    children = pathlib.Path(f"/proc/{pid}/task").glob("*/children")
    return [pid, *(d for c in children for child in c.read_text().split() for d in family(int(child)))]


def memory_mb(pids, key):
    """`VmRSS` (now) or `VmHWM` (peak since the start) in megabytes, summed."""
    lines = [line for pid in pids for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()]
    return round(sum(int(line.split()[1]) for line in lines if line.startswith(key + ":")) / 1024, 1)


def processor_seconds(pids):
    """Time that processes have computed."""
    fields = [pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(f[11]) + int(f[12]) for f in fields) / os.sysconf("SC_CLK_TCK")


def settle(pids, most=60):
    """Waits until the server has finished what the warm-up left, which it may compute though nobody waits for it."""
    end = time.monotonic() + most
    clock = None
    while pids and time.monotonic() < end and clock != (clock := processor_seconds(pids)):
        time.sleep(0.3)


def main():
    args = p.parse_args()
    requests = list(bodies(args.body, args.input))
    if args.key:
        requests = [({**headers, "Authorization": f"Bearer {args.key}"}, body) for headers, body in requests]
    run = closed if args.rate is None else opened
    pids = family(args.pid) if args.pid else []
    before = memory_mb(pids, "VmRSS")
    if args.warmup:
        run(args, requests, args.warmup)
        settle(pids)
    clock = processor_seconds(pids)
    done, good, wall, quantiles, bad, errors, counted = run(args, requests, args.seconds)
    report = {
        "body": args.body,
        "connections": args.connections,
        "rate": args.rate,
        "requests_per_second": round(done / wall, 1),
        "good_per_second": round(good / wall, 1),
        **{key: value and round(value, 2) for key, value in quantiles.items()},
        "non_2xx": bad,
        "errors": errors,
    }
    if counted:
        answered = counted.total()
        report["share_429"] = round(counted[429] / answered, 4)
        report["statuses"] = {str(status): n for status, n in sorted(counted.items())}
    if pids:
        used = processor_seconds(pids) - clock
        report["server_cpu_ms_per_request"] = round(1e3 * used / max(done, 1), 3)
        report["rss_before_mb"] = before
        report["rss_after_mb"] = memory_mb(pids, "VmRSS")
        report["rss_peak_mb"] = memory_mb(pids, "VmHWM")
    print(json.dumps(report))
    sys.stdout.flush()


if __name__ == "__main__":
    main()
