"""Answers of an encoder of texts in ONNX Runtime, as `brisk bench infer` measures them."""

from common import ENCODERS, PRESETS, VOCABULARY, arguments, batches, measure

args = arguments(__doc__)
if args.preset not in ENCODERS:
    raise SystemExit(f"ONNX Runtime is measured on {', '.join(ENCODERS)}, not on {args.preset}")

import pathlib  # noqa: E402
import tempfile  # noqa: E402

import onnxruntime  # noqa: E402
import torch  # noqa: E402
from transformers import BertConfig, BertForSequenceClassification  # noqa: E402

hidden, layers, heads, inner = ENCODERS[args.preset]
config = BertConfig(
    vocab_size=VOCABULARY, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
    intermediate_size=inner, num_labels=PRESETS[args.preset][1],
)  # fmt: skip
net = BertForSequenceClassification(config).eval()
words, _ = batches(args)
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "model.onnx"
    torch.onnx.export(
        net, (torch.from_numpy(words[0]).long(),), path, input_names=["input_ids"], output_names=["logits"],
        dynamo=True, verbose=False,
    )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
del net
words = [w.astype("int64") for w in words]


def step(i):
    return float(session.run(None, {"input_ids": words[i % len(words)]})[0][0, 0])


measure(args, step, "ONNX Runtime", onnxruntime.__version__, "fp32, all optimizations, static shapes")
