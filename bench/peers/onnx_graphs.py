"""Answers of the nine real graphs of ONNX's suite in ONNX Runtime, and of `brisk bench infer` on the same files, in turns.

    python onnx_graphs.py SUITE BRISK [--batch 1 8] [--rounds 5] [--threads 2] [--only resnet] [--docs docs/benchmarks.md]

SUITE is what crates/brisk-onnx/suite/make.py wrote; BRISK the program. The graphs come without weights: they get random ones, and a
batch of any size. Prints a line of JSON for each graph and batch, and the geometric mean of the ratios; --docs puts the table into
docs/benchmarks.md.
"""

import argparse
import json
import math
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

parser = argparse.ArgumentParser()
parser.add_argument("suite")
parser.add_argument("brisk")
parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--only", default="")
parser.add_argument("--docs", type=pathlib.Path)
args = parser.parse_args()


def with_weights(model):
    """Constants of one number become initializers of random ones; the batch is free."""
    random = np.random.default_rng(0)
    graph = model.graph
    shapes = {i.name: numpy_helper.to_array(i) for i in graph.initializer}
    variances = {n.input[4] for n in graph.node if n.op_type == "BatchNormalization"}
    kept = []
    for node in graph.node:
        if node.op_type != "ConstantOfShape":
            kept.append(node)
            continue
        shape = [int(d) for d in shapes[node.input[0]]]
        value = [a for a in node.attribute if a.name == "value"]
        filler = numpy_helper.to_array(value[0].t) if value else np.zeros(1, np.float32)
        if filler.dtype != np.float32:
            tensor = np.full(shape, filler.flat[0], filler.dtype)
        elif node.output[0] in variances:
            tensor = random.uniform(0.5, 1.5, shape).astype(np.float32)
        else:
            fan = max(1, int(np.prod(shape[1:])))
            tensor = (random.standard_normal(shape) / math.sqrt(fan)).astype(np.float32)
        graph.initializer.append(numpy_helper.from_array(tensor, node.output[0]))
    del graph.node[:]
    graph.node.extend(kept)
    for node in graph.node:
        if node.op_type == "Reshape" and len(node.input) > 1 and node.input[1] in shapes:
            shape = shapes[node.input[1]].copy()
            if shape[0] == 1 and -1 not in shape:
                shape[0] = -1
                name = f"{node.input[1]}_{node.output[0]}"
                graph.initializer.append(numpy_helper.from_array(shape, name))
                node.input[1] = name
    initializers = {i.name for i in graph.initializer}
    inputs = [i for i in graph.input if i.name not in initializers]
    del graph.input[:]
    graph.input.extend(inputs)
    for port in list(graph.input) + list(graph.output):
        port.type.tensor_type.shape.dim[0].dim_param = "n"
    del graph.value_info[:]
    model.ir_version = max(model.ir_version, 4)
    return model


def onnx_runtime(path, batch):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    port = session.get_inputs()[0]
    x = np.random.default_rng(0).standard_normal([batch, *port.shape[1:]]).astype(np.float32)
    return lambda: session.run(None, {port.name: x})


def measured(step, seconds=1.5):
    times = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times) < 3:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e3, len(times)


rows = []
for folder in sorted(pathlib.Path(args.suite, "real").iterdir()):
    if args.only not in folder.name:
        continue
    with tempfile.TemporaryDirectory() as temporary:
        path = str(pathlib.Path(temporary) / "model.onnx")
        onnx.save(with_weights(onnx.load(folder / "model.onnx")), path)
        for batch in args.batch:
            step = onnx_runtime(path, batch)
            step()
            theirs, ours = [], []
            for _ in range(args.rounds):
                peer, steps = measured(step)
                theirs.append(peer)
                command = [args.brisk, "bench", "infer", path, "--batch-size", str(batch), "--threads", str(args.threads)]
                done = subprocess.run([*command, "--steps", str(max(3, steps)), "--json"], capture_output=True, text=True)
                if done.returncode != 0:
                    raise SystemExit(done.stderr)
                ours.append(json.loads(done.stdout)["step_ms_median"])
            peer, own = statistics.median(theirs), statistics.median(ours)
            rows.append({"graph": folder.name.removeprefix("test_"), "batch": batch, "brisk_ms": round(own, 2),
                         "onnxruntime_ms": round(peer, 2), "ratio": round(peer / own, 2)})
            print(json.dumps(rows[-1]), flush=True)


def mean(of):
    return math.exp(statistics.mean(math.log(row["onnxruntime_ms"] / row["brisk_ms"]) for row in of))


means = {batch: round(mean([row for row in rows if row["batch"] == batch]), 2) for batch in args.batch}
print(json.dumps({"onnxruntime": onnxruntime.__version__, "threads": args.threads, "geometric_mean": round(mean(rows), 3),
                  "by_batch": means}))
if args.docs:
    table = ["| graph | " + " | ".join(f"batch {b}: Brisk, ms | ONNX Runtime, ms | ratio" for b in args.batch) + " |",
             "|---|" + "---|---|---|" * len(args.batch)]
    for graph in dict.fromkeys(row["graph"] for row in rows):
        own = [row for row in rows if row["graph"] == graph]
        table.append(f"| {graph} | " + " | ".join(f"{r['brisk_ms']} | {r['onnxruntime_ms']} | {r['ratio']}" for r in own) + " |")
    table.append("| geometric mean | " + " | ".join(f"| | {means[b]}" for b in args.batch) + " |")
    table.append("")
    table.append(f"Medians of {args.rounds} runs of each side in turns, {args.threads} threads, ONNX Runtime {onnxruntime.__version__}; over all "
                 f"{len(rows)} the geometric mean is **{mean(rows):.2f}**.")
    text = args.docs.read_text()
    start, end = "<!-- graphs -->", "<!-- /graphs -->"
    before, after = text.split(start)[0], text.split(end)[1]
    args.docs.write_text(before + start + "\n\n" + "\n".join(table) + "\n\n" + end + after)
