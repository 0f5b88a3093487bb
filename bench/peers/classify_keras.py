"""Trains a text classifier of characters in Keras, as `brisk train` does with the same table and recipe.

The folder holds train.csv, validation.csv and test.csv with the columns text and label. Prints one JSON object: seconds of
training, accuracy on the test rows after the last epoch.
"""

import argparse
import collections
import csv
import json
import os
import pathlib
import time

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("model", choices=["lstm", "transformer"])
p.add_argument("data", type=pathlib.Path)
p.add_argument("--seed", type=int, default=1)
p.add_argument("--epochs", type=int, default=3)
p.add_argument("--batch-size", type=int, default=32)
p.add_argument("--words", type=int, default=6_000)
p.add_argument("--length", type=int, default=80)
p.add_argument("--threads", type=int, default=2)
args = p.parse_args()
os.environ.update(KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="", TF_CPP_MIN_LOG_LEVEL="3")

import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(args.threads)
tf.config.threading.set_inter_op_parallelism_threads(args.threads)
import keras  # noqa: E402
from keras import layers as L  # noqa: E402

keras.utils.set_random_seed(args.seed)
parts = ("train", "validation", "test")
rows = {part: list(csv.DictReader((args.data / f"{part}.csv").open(encoding="utf-8"))) for part in parts}
labels = sorted({row["label"] for row in rows["train"]})
counts = collections.Counter(c for row in rows["train"] for c in row["text"] if not c.isspace())
# 0 pads, 1 stands for what was never seen.
words = {c: i + 2 for i, (c, _) in enumerate(counts.most_common(args.words - 2))}


def encode(rows):
    x = np.zeros((len(rows), args.length), np.int32)
    for i, row in enumerate(rows):
        tokens = [words.get(c, 1) for c in row["text"] if not c.isspace()][: args.length]
        x[i, : len(tokens)] = tokens
    return x, np.array([labels.index(row["label"]) for row in rows])


class Positions(L.Layer):
    """A vector for each place, learned."""

    def build(self, shape):
        self.table = self.add_weight(shape=(args.length, shape[-1]), initializer="glorot_uniform")
        self.supports_masking = True

    def call(self, x):
        return x + self.table


def encoder(x, mask):
    """Post-norm, as the first Transformers."""
    y = L.MultiHeadAttention(4, 32, dropout=0.1)(x, x, attention_mask=mask)
    x = L.LayerNormalization(epsilon=1e-5)(x + L.Dropout(0.1)(y))
    y = L.Dense(128)(L.Dense(256, activation="relu")(x))
    return L.LayerNormalization(epsilon=1e-5)(x + L.Dropout(0.1)(y))


inputs = keras.Input((args.length,), dtype="int32")
x = L.Embedding(len(words) + 2, 128, mask_zero=True)(inputs)
if args.model == "lstm":
    x = L.LSTM(128)(x)
else:
    seen = L.Lambda(lambda t: tf.not_equal(t, 0))(inputs)
    across = L.Lambda(lambda m: m[:, None, :])(seen)
    x = Positions()(x)
    for _ in range(2):
        x = encoder(x, across)
    x = L.GlobalAveragePooling1D()(x, mask=seen)
net = keras.Model(inputs, L.Dense(2)(L.Dropout(0.3)(x)))
rate = 1e-3 if args.model == "lstm" else 5e-4
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
net.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
train, validation, test = (encode(rows[part]) for part in parts)
start = time.time()
net.fit(*train, batch_size=args.batch_size, epochs=args.epochs, validation_data=validation, verbose=0)
seconds = time.time() - start
accuracy = float(net.evaluate(*test, verbose=0)[1])
print(json.dumps({"seed": args.seed, "seconds": round(seconds, 1), "accuracy": accuracy}))
