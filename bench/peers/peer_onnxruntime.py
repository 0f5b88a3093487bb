"""Answers of a preset in ONNX Runtime, as `brisk bench infer` measures them. The network is PyTorch's, exported."""

from common import ENCODERS, arguments, batches, measure, texts

args = arguments(__doc__, dtypes=("f32", "int8"), work=("infer",))

import pathlib  # noqa: E402
import subprocess  # noqa: E402
import sys  # noqa: E402
import tempfile  # noqa: E402

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402

with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "model.onnx"
    export = [sys.executable, pathlib.Path(__file__).with_name("export_onnx.py"), args.preset, str(args.batch_size), path]
    export += ["--int8"] if args.dtype == "int8" else []
    done = subprocess.run(export, capture_output=True, text=True, cwd=folder)  # quantization leaves files where it runs
    if done.returncode != 0:
        raise SystemExit(f"{args.preset} could not be exported: {done.stderr.strip().splitlines()[-1]}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
if args.preset in ENCODERS:
    stock = texts(args)
else:
    stock = [(np.ascontiguousarray(images.transpose(0, 3, 1, 2)),) for images in batches(args)[0]]
names = [i.name for i in session.get_inputs()]


def step(i):
    inputs = {name: x.copy() for name, x in zip(names, stock[i % len(stock)])}
    return float(session.run(None, inputs)[0].flat[0])


variant = "all optimizations" + (", dynamic quantization by channel" if args.dtype == "int8" else "")
measure(args, step, "ONNX Runtime", onnxruntime.__version__, variant)
