"""What the peer scripts share: arguments, data, the timing loop, the report.

Every peer trains the same preset on the same random data, or answers for it, and prints one JSON object shaped like
`brisk bench train --json`. This module must not import a framework: threads are limited before that happens.
"""

import argparse
import json
import os
import statistics
import sys
import time

# name: (image shape as height, width, channels; classes; optimizer)
PRESETS = {
    "cifar10-cnn": ((32, 32, 3), 10, "adam"),
    "resnet18-cifar": ((32, 32, 3), 10, "sgd"),
    "mlp": ((28, 28, 1), 10, "adam"),
    "lenet": ((28, 28, 1), 10, "adam"),
    "lstm-imdb": ((80,), 1, "adam"),
    "minilm": ((None,), 2, "adamw"),
    "bert-base": ((None,), 2, "adamw"),
}
# Encoders of BERT's kind: hidden size, layers, heads, inner size; BERT's vocabulary.
ENCODERS = {"minilm": (384, 6, 12, 1536), "bert-base": (768, 12, 12, 3072)}
VOCABULARY = 30_522
ADAMW = {"learning_rate": 5e-5, "weight_decay": 0.01}
# Texts: words that an embedding knows, its size, units of the LSTM. One logit, binary cross-entropy, as in Keras's example.
WORDS, EMBEDDING, UNITS = 20_000, 128, 128
# The optimizers of the presets: Adam as everyone's default, SGD as the CIFAR ResNet papers use it.
ADAM = {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
SGD = {"learning_rate": 0.1, "momentum": 0.9}


# Different batches that take turns.
BATCHES = 8


def arguments(description, extra=(), dtypes=("f32",), work=("train",)):
    """Parses the command line and limits the threads of whatever is imported after this call.

    `dtypes` and `work` are what the peer can do: `--dtype`, and `train` or `infer`.
    """
    p = argparse.ArgumentParser(description=description)
    p.add_argument("--preset", choices=PRESETS, default="cifar10-cnn")
    p.add_argument("--batch-size", type=int, default=32)
    p.add_argument("--seq-len", type=int, default=128, help="tokens of a text, for encoders")
    p.add_argument("--steps", type=int, default=100, help="timed steps")
    p.add_argument("--warmup", type=int, help="steps before the clock starts (default: 2 of a ResNet, else 20)")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--json", action="store_true", help="one JSON object on stdout")
    p.add_argument("--dtype", choices=dtypes, default="f32")
    p.add_argument("--infer", action="store_true", help="answers instead of training steps")
    p.add_argument("--lengths", help="a file of counts of tokens, one a line, for encoders' texts")
    for flag, options in extra:
        p.add_argument(flag, **options)
    args = p.parse_args()
    if ("infer" if args.infer else "train") not in work:
        p.error(f"this peer is measured on {' and '.join(work)}: " + ("leave --infer out" if args.infer else "add --infer"))
    if args.warmup is None:
        args.warmup = 2 if args.preset.startswith("resnet") or args.preset in ENCODERS else 20
        if args.lengths:  # each batch has a shape of its own
            args.warmup = BATCHES

    # Some runtimes have no setting for threads and count the processors they may run on instead.
    cpus = sorted(os.sched_getaffinity(0))
    if args.threads < len(cpus):
        os.sched_setaffinity(0, cpus[: args.threads])
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NPROC"):
        os.environ[name] = str(args.threads)
    # The PyTorch and JAX of the package index look for accelerators; there is nothing to find.
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["JAX_PLATFORMS"] = "cpu"
    return args


def batches(args, count=BATCHES):
    """`count` different batches of f32 images in 0..1, (batch, height, width, channels), or of i32 words (batch, length), and
    i32 labels.

    Images are f32 already: no peer pays for a conversion, only for taking a copy of the batch.
    """
    import numpy as np

    shape, classes, _ = PRESETS[args.preset]
    rng = np.random.default_rng(0)
    if len(shape) == 1:
        shape = [size or args.seq_len for size in shape]
        words = rng.integers(1, WORDS, (count, args.batch_size, *shape), dtype=np.int32)
        return words, rng.integers(0, 2, (count, args.batch_size), dtype=np.int32)
    images = rng.random((count, args.batch_size, *shape), dtype=np.float32)
    labels = rng.integers(0, classes, (count, args.batch_size), dtype=np.int32)
    return images, labels


def texts(args, count=BATCHES):
    """`count` batches of texts for an encoder: (words, mask), i64 (batch, length), padded to the batch's longest text.

    Their lengths are those of the file `--lengths`, in order; without it all are `--seq-len`.
    """
    import numpy as np

    lengths = [args.seq_len]
    if args.lengths:
        with open(args.lengths) as lines:
            lengths = [int(line) for line in lines if line.strip() and not line.startswith("#")]
    rng = np.random.default_rng(0)
    found = []
    for i in range(count):
        own = np.array([lengths[(i * args.batch_size + j) % len(lengths)] for j in range(args.batch_size)])
        mask = (np.arange(own.max()) < own[:, None]).astype(np.int64)
        found.append((rng.integers(1, WORDS, mask.shape, dtype=np.int64) * mask, mask))
    return found


def memory_mb(key):
    """`VmHWM` (peak) or `VmRSS` (now) of this process in megabytes."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(key + ":"):
                return round(int(line.split()[1]) / 1024, 1)
    return None


def measure(args, step, framework, version, variant):
    """Runs `step(i) -> loss` (which must have finished when it returns) and prints the report."""
    imported = memory_mb("VmRSS")
    loss = None
    for i in range(args.warmup):
        loss = step(i)
    times = []
    start = time.perf_counter()
    for i in range(args.steps):
        t = time.perf_counter()
        loss = step(i)
        times.append(time.perf_counter() - t)
    wall = time.perf_counter() - start
    report = {
        "preset": args.preset,
        "batch_size": args.batch_size,
        "threads": args.threads,
        "dtype": args.dtype,
        "examples_per_second": round(args.batch_size * args.steps / wall, 1),
        "step_ms_median": round(1e3 * statistics.median(times), 4),
        "step_ms_best": round(1e3 * min(times), 4),
        "peak_rss_mb": memory_mb("VmHWM"),
        "framework": framework,
        "version": version,
        "variant": variant,
        "rss_before_training_mb": imported,
        "loss": round(float(loss), 4),
    }
    if args.json:
        print(json.dumps(report))
    else:
        for key, value in report.items():
            print(f"{key:24} {value}")
    sys.stdout.flush()
