"""Fashion-MNIST to the end: the same CNN, trained by Keras and by Brisk, compared by test accuracy.

    python bench/peers/fashion_mnist_accuracy.py target/data/fashion-mnist --brisk target/release/brisk

The folder holds the four IDX files (gz). Both sides: Conv 3x3x32 relu, MaxPool 2, Conv 3x3x64 relu, MaxPool 2, Dense 10;
Glorot uniform kernels and zero biases; images scaled to 0..1; 10 % of the training images held out for validation;
Adam with learning rate 0.001, batch 32, 10 epochs, no early stopping; the weights after the last epoch are tested.
Results on the way go to stderr, the summary to stdout as JSON.
"""

import argparse
import gzip
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

CONFIG = """\
inputs:  {{image: {{type: image, size: [28, 28], channels: 1}}}}
outputs: {{label: {{type: category}}}}
data:    {{source: {data}, validation_split: 0.1}}
model:
  layers:
    - Conv2D: {{filters: 32, kernel_size: 3, activation: relu}}
    - MaxPooling2D: {{pool_size: 2}}
    - Conv2D: {{filters: 64, kernel_size: 3, activation: relu}}
    - MaxPooling2D: {{pool_size: 2}}
    - Flatten
    - Dense: {{units: 10}}
train:   {{optimizer: {{adam: {{learning_rate: 1e-3}}}}, batch_size: {batch_size}, epochs: {epochs}}}
"""


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data", type=pathlib.Path, help="folder of train-images-idx3-ubyte.gz and its three companions")
    p.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    p.add_argument("--epochs", type=int, default=10)
    p.add_argument("--batch-size", type=int, default=32)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--brisk", type=pathlib.Path, help="the Brisk binary; without it only Keras runs")
    p.add_argument("--brisk-config", type=pathlib.Path, help="a YAML file to use in place of the built-in one")
    p.add_argument("--skip-keras", action="store_true", help="only run Brisk")
    return p.parse_args()


def read_idx(path):
    """An IDX file of bytes as an array: 0, 0, type 8, rank, then the sizes as big-endian u32."""
    import numpy as np

    raw = gzip.decompress(path.read_bytes())
    assert raw[:3] == b"\0\0\x08", f"{path}: not an IDX file of bytes"
    sizes = np.frombuffer(raw, ">u4", count=raw[3], offset=4)
    return np.frombuffer(raw, np.uint8, offset=4 + 4 * raw[3]).reshape(sizes)


def run_keras(args, seed, data):
    import keras
    from keras import layers as L

    keras.utils.set_random_seed(seed)
    model = keras.Sequential([
        keras.Input((28, 28, 1)),
        L.Conv2D(32, 3, activation="relu"),
        L.MaxPooling2D(2),
        L.Conv2D(64, 3, activation="relu"),
        L.MaxPooling2D(2),
        L.Flatten(),
        L.Dense(10),
    ])  # fmt: skip
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
    (x, y), (test_x, test_y) = data
    # Keras holds out the last tenth, so shuffle first: the held-out part then depends on the seed, as in Brisk.
    import numpy as np

    order = np.random.default_rng(seed).permutation(len(x))
    history = model.fit(
        x[order], y[order], args.batch_size, args.epochs, validation_split=0.1, verbose=0,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=lambda e, logs: log(f"keras seed {seed} epoch {e + 1}: {logs}"))],
    )  # fmt: skip
    test_loss, accuracy = model.evaluate(test_x, test_y, batch_size=500, verbose=0)
    return {
        "seed": seed,
        "test_accuracy": round(float(accuracy), 4),
        "test_loss": round(float(test_loss), 4),
        "val_accuracy": round(float(history.history["val_accuracy"][-1]), 4),
    }


def run_brisk(args, seed, folder):
    config = folder / "fashion.yaml"
    if args.brisk_config:
        config = args.brisk_config
    else:
        config.write_text(CONFIG.format(data=args.data.resolve(), batch_size=args.batch_size, epochs=args.epochs))
    run = folder / f"run-{seed}"
    train = [args.brisk, "train", config, "--out", run, "--seed", str(seed), "--threads", str(args.threads)]
    subprocess.run(train, check=True, stdout=sys.stderr)
    answer = subprocess.run([args.brisk, "evaluate", run, "--json"], check=True, capture_output=True, text=True).stdout
    report = json.loads(answer)
    return {"seed": seed, "test_accuracy": round(report["accuracy"], 4), "test_loss": round(report["loss"], 4)}


def side(name, seeds, run):
    results = []
    for seed in seeds:
        start = time.time()
        results.append({**run(seed), "seconds": round(time.time() - start, 1)})
        log(f"{name}: {results[-1]}")
    return {"mean_test_accuracy": round(statistics.mean(r["test_accuracy"] for r in results), 4), "runs": results}


def log(text):
    print(text, file=sys.stderr, flush=True)


def main():
    args = arguments()
    summary = {}
    if not args.skip_keras:
        os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(args.threads)
        tf.config.threading.set_inter_op_parallelism_threads(args.threads)

        def part(name):
            images = read_idx(args.data / f"{name}-images-idx3-ubyte.gz")[..., None].astype("float32") / 255
            return images, read_idx(args.data / f"{name}-labels-idx1-ubyte.gz").astype("int32")

        data = part("train"), part("t10k")
        summary["keras"] = side("keras", args.seeds, lambda seed: run_keras(args, seed, data))
    if args.brisk:
        with tempfile.TemporaryDirectory() as folder:
            summary["brisk"] = side("brisk", args.seeds, lambda seed: run_brisk(args, seed, pathlib.Path(folder)))
    if len(summary) == 2:
        difference = summary["brisk"]["mean_test_accuracy"] - summary["keras"]["mean_test_accuracy"]
        summary["brisk_minus_keras_points"] = round(100 * difference, 2)
    print(json.dumps(summary, indent=2))


main()
