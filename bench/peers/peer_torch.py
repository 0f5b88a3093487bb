"""One training step, or answer, of a preset in PyTorch."""

import contextlib

from common import ADAM, ADAMW, ENCODERS, PRESETS, SGD, arguments, batches, measure, texts

args = arguments(
    __doc__,
    [
        ("--compile", {"action": "store_true", "help": "torch.compile instead of eager"}),
        ("--layout", {"choices": ["nchw", "nhwc"], "help": "memory format (default: the faster one)"}),
    ],
    dtypes=("f32", "bf16"),
    work=("train", "infer"),
)

import torch  # noqa: E402  (threads are limited first)
import torch.nn.functional as F  # noqa: E402
from torch_models import model  # noqa: E402

torch.set_num_threads(args.threads)
torch.set_num_interop_threads(1)
torch.manual_seed(0)

layout = args.layout or "nhwc"
memory_format = torch.channels_last if layout == "nhwc" else torch.contiguous_format
net = model(args.preset).to(memory_format=memory_format).train(not args.infer)
binary = PRESETS[args.preset][1] == 1
variant = ["compile" if args.compile else "eager"]
variant += [layout] if len(PRESETS[args.preset][0]) == 3 else []
variant += ["autocast to bf16"] if args.dtype == "bf16" else []


def precision():
    """Mixed precision, if it is asked for: parameters and their updates stay f32."""
    return torch.autocast("cpu", torch.bfloat16) if args.dtype == "bf16" else contextlib.nullcontext()


def inputs():
    """The batches, prepared in the layout of the model, so that taking a batch is a plain copy; and their labels."""
    images, labels = batches(args)
    labels = [torch.from_numpy(y).float() if binary else torch.from_numpy(y).long() for y in labels]
    if len(PRESETS[args.preset][0]) == 1:
        return [torch.from_numpy(x) for x in images], labels
    return [torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=memory_format) for x in images], labels


def answering():
    """A function of the step's number that answers."""
    compute = torch.compile(net) if args.compile else net
    if args.preset in ENCODERS:
        stock = [tuple(torch.from_numpy(t) for t in batch) for batch in texts(args)]
    else:
        stock = [(x,) for x in inputs()[0]]

    def step(i):
        with torch.inference_mode(), precision():
            batch = [t.clone(memory_format=torch.preserve_format) for t in stock[i % len(stock)]]
            return compute(*batch).flatten()[0].item()

    return step


def training():
    """A function of the step's number that trains."""
    if PRESETS[args.preset][2] == "adamw":
        optimizer = torch.optim.AdamW(
            net.parameters(), lr=ADAMW["learning_rate"], weight_decay=ADAMW["weight_decay"], fused=True
        )
    elif PRESETS[args.preset][2] == "adam":
        optimizer = torch.optim.Adam(
            net.parameters(), lr=ADAM["learning_rate"], betas=(ADAM["beta_1"], ADAM["beta_2"]), eps=ADAM["epsilon"], fused=True
        )
    else:
        optimizer = torch.optim.SGD(net.parameters(), lr=SGD["learning_rate"], momentum=SGD["momentum"], fused=True)
    loss_function = F.binary_cross_entropy_with_logits if binary else F.cross_entropy

    def forward(x, y):
        with precision():
            return loss_function(net(x), y)

    if args.compile:
        forward = torch.compile(forward)
    images, labels = inputs()
    x = torch.empty_like(images[0], memory_format=torch.preserve_format)

    def step(i):
        x.copy_(images[i % len(images)])
        loss = forward(x, labels[i % len(labels)])
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


step = answering() if args.infer else training()
measure(args, step, "PyTorch", torch.__version__.split("+")[0], ", ".join(variant))
