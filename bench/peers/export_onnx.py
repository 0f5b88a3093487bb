"""Writes a preset of PyTorch as an ONNX file, in a process of its own: its memory is not ONNX Runtime's.

Texts: any batch and length, with an attention mask. Images: the batch size given, so that shapes are known.
"""

import argparse

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("preset")
p.add_argument("batch_size", type=int)
p.add_argument("path")
p.add_argument("--int8", action="store_true", help="quantize weights by channel; activations are quantized as they come")
args = p.parse_args()

import torch  # noqa: E402
from common import ENCODERS  # noqa: E402
from torch_models import model  # noqa: E402

torch.manual_seed(0)
if args.preset in ENCODERS:
    example, names = tuple(torch.ones(2, 16, dtype=torch.int64) for _ in range(2)), ["words", "mask"]
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    shapes = (axes, axes)
else:
    example, names, shapes = (torch.zeros(args.batch_size, 3, 32, 32),), ["image"], None
net = model(args.preset).eval()
torch.onnx.export(
    net, example, args.path, input_names=names, output_names=["logits"], dynamic_shapes=shapes, dynamo=True,
    external_data=False, verbose=False,
)  # fmt: skip
if args.int8:
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.quantization.shape_inference import quant_pre_process

    # Symbolic shape inference does not get through the encoders' masks.
    quant_pre_process(args.path, args.path, skip_symbolic_shape=args.preset in ENCODERS)
    quantize_dynamic(args.path, args.path, per_channel=True, weight_type=QuantType.QInt8)
