"""One training step of a preset in Keras on TensorFlow, as `model.fit` runs it: one traced function."""

from common import ADAM, EMBEDDING, PRESETS, SGD, UNITS, WORDS, arguments, batches, measure

args = arguments(
    __doc__,
    [
        ("--jit", {"action": "store_true", "help": "compile with XLA (jit_compile=True)"}),
        ("--inter-op", {"type": int, "help": "inter-op threads (default: as many as --threads, the faster)"}),
    ],
)

import os  # noqa: E402

os.environ["KERAS_BACKEND"] = "tensorflow"
import tensorflow as tf  # noqa: E402

tf.config.threading.set_intra_op_parallelism_threads(args.threads)
tf.config.threading.set_inter_op_parallelism_threads(args.inter_op or args.threads)
import keras  # noqa: E402
from keras import layers as L  # noqa: E402

keras.utils.set_random_seed(0)


def convolution(x, filters, size, stride):
    x = L.Conv2D(filters, size, strides=stride, padding="same", use_bias=False)(x)
    return L.BatchNormalization()(x)


def model(preset):
    if preset == "lstm-imdb":
        inputs = keras.Input(PRESETS[preset][0], dtype="int32")
        x = L.LSTM(UNITS)(L.Embedding(WORDS, EMBEDDING)(inputs))
        return keras.Model(inputs, L.Dense(1)(x))
    inputs = x = keras.Input(PRESETS[preset][0])
    if preset == "cifar10-cnn":
        x = L.MaxPooling2D(2)(L.Conv2D(32, 3, activation="relu")(x))
        x = L.MaxPooling2D(2)(L.Conv2D(64, 3, activation="relu")(x))
        x = L.Flatten()(x)
    elif preset == "resnet18-cifar":
        x = L.ReLU()(convolution(x, 64, 3, 1))
        for stage, filters in enumerate([64, 128, 256, 512]):
            for block in range(2):
                stride = 2 if stage > 0 and block == 0 else 1
                shortcut = convolution(x, filters, 1, 2) if stride == 2 else x
                y = L.ReLU()(convolution(x, filters, 3, stride))
                x = L.ReLU()(L.Add()([convolution(y, filters, 3, 1), shortcut]))
        x = L.GlobalAveragePooling2D()(x)
    elif preset == "mlp":
        x = L.Dense(128, activation="relu")(L.Flatten()(x))
    else:
        x = L.MaxPooling2D(2)(L.Conv2D(6, 5, padding="same", activation="relu")(x))
        x = L.MaxPooling2D(2)(L.Conv2D(16, 5, activation="relu")(x))
        x = L.Dense(120, activation="relu")(L.Flatten()(x))
        x = L.Dense(84, activation="relu")(x)
    return keras.Model(inputs, L.Dense(10)(x))


net = model(args.preset)
optimizer = keras.optimizers.Adam(**ADAM) if PRESETS[args.preset][2] == "adam" else keras.optimizers.SGD(**SGD)
optimizer.build(net.trainable_variables)
binary = PRESETS[args.preset][1] == 1
losses = keras.losses.BinaryCrossentropy if binary else keras.losses.SparseCategoricalCrossentropy
loss_function = losses(from_logits=True)


@tf.function(jit_compile=args.jit)
def train_step(x, y):
    with tf.GradientTape() as tape:
        loss = loss_function(y, net(x, training=True))
    optimizer.apply(tape.gradient(loss, net.trainable_variables), net.trainable_variables)
    return loss


images, labels = batches(args)


def step(i):
    x = tf.constant(images[i % len(images)])  # takes a copy
    y = tf.constant(labels[i % len(labels)])[:, None] if binary else tf.constant(labels[i % len(labels)])
    return float(train_step(x, y))


variant = "XLA" if args.jit else "tf.function"
measure(args, step, "Keras/TensorFlow", f"{keras.__version__}/{tf.__version__}", variant)
