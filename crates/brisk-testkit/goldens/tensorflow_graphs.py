"""SavedModels and frozen graphs of TensorFlow, with what they answer.

`tensorflow_graphs/NAME.zip` holds a SavedModel (or `frozen.pb`) and `values.safetensors`: `input.NAME` and `output.NAME` of its
signature `serving_default`. Whole numbers are i64, truth values u8.
"""

import os
import pathlib
import shutil
import sys
import tempfile
import zipfile

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from safetensors.numpy import save

HERE = pathlib.Path(__file__).parent / "tensorflow_graphs"
MODELS = {}


def model(f):
    MODELS[f.__name__] = f
    return f


def functional(inputs, outputs):
    net = keras.Model(inputs, outputs)
    # Zeros and ones hide mistakes: of biases, of running statistics.
    rng = np.random.default_rng(2)
    for v in net.weights:
        if v.dtype.startswith("float"):
            v.assign(rng.uniform(0.2, 1.0, v.shape) if "variance" in v.path else rng.normal(size=v.shape) * 0.3)
    return net


@model
def cnn():
    x = inputs = keras.Input((11, 9, 3), name="pixels")
    x = L.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    x = L.BatchNormalization()(x)
    x = L.MaxPooling2D(2, padding="same")(x)
    x = L.Conv2D(6, (2, 1), dilation_rate=(1, 2), use_bias=False)(L.ZeroPadding2D(1)(x))
    x = L.AveragePooling2D(3, strides=1, padding="same")(x)
    x = L.Flatten()(L.LeakyReLU(negative_slope=0.1)(x))
    return functional(inputs, L.Dense(5, activation="softmax")(L.Dropout(0.5)(x)))


@model
def resnet():
    x = inputs = keras.Input((8, 8, 4))
    for stride in (1, 2):
        y = L.ReLU()(L.BatchNormalization()(L.Conv2D(8, 3, strides=stride, padding="same", use_bias=False)(x)))
        y = L.BatchNormalization(epsilon=1e-5)(L.Conv2D(8, 3, padding="same", use_bias=False)(y))
        x = L.ReLU(max_value=6.0)(L.Add()([y, L.Conv2D(8, 1, strides=stride)(x)]))
    return functional(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)))


@model
def segment():
    x = inputs = keras.Input((6, 8, 3))
    x = L.SeparableConv2D(6, 3, padding="same", depth_multiplier=2, activation="elu")(x)
    x = L.DepthwiseConv2D(3, strides=2, padding="same", activation="hard_sigmoid")(x)
    x = L.Conv2DTranspose(4, 3, strides=2, padding="same", activation="selu")(x)
    x = L.Conv2DTranspose(3, 2, strides=3, activation="softplus")(x)
    x = L.UpSampling2D(2, interpolation="bilinear")(L.UpSampling2D((1, 2))(x))
    return functional(inputs, [L.Cropping2D(((1, 2), (0, 1)))(x), L.GlobalMaxPooling2D()(x)])


@model
def volumes():
    x = inputs = keras.Input((5, 6, 4, 2))
    x = L.MaxPooling3D(2)(L.Conv3D(3, (2, 3, 2), padding="same", activation="tanh")(x))
    return functional(inputs, L.AveragePooling3D((1, 2, 1))(x))


@model
def sequence():
    x = inputs = keras.Input((12, 4))
    x = L.Conv1D(5, 3, padding="causal", activation="relu")(x)
    x = L.Conv1DTranspose(3, 2, strides=2)(L.MaxPooling1D(2)(x))
    return functional(inputs, L.GlobalAveragePooling1D()(L.UpSampling1D(2)(x)))


@model
def lstm():
    inputs = keras.Input((None, 3))
    x = L.LSTM(4, return_sequences=True)(inputs)
    return functional(inputs, [x, L.Dense(2)(L.LSTM(3, go_backwards=True)(x))])


@model
def gru():
    inputs = keras.Input((6, 3))
    x = L.GRU(4, return_sequences=True)(inputs)
    x = L.GRU(3, reset_after=False, return_sequences=True)(x)
    return functional(inputs, L.SimpleRNN(2)(x))


@model
def bidirectional():
    inputs = keras.Input((7,), dtype="int32", name="words")
    x = L.Embedding(11, 4)(inputs)
    x = L.Bidirectional(L.LSTM(3, return_sequences=True))(x)
    return functional(inputs, L.Dense(2, activation="sigmoid")(L.Bidirectional(L.GRU(2))(x)))


@model
def masked():
    inputs = keras.Input((6,), dtype="int32", name="words")
    x = L.Embedding(11, 4, mask_zero=True)(inputs)
    return functional(inputs, L.Dense(2)(L.LSTM(3)(x)))


@model
def transformer():
    inputs = keras.Input((6,), dtype="int32", name="words")
    x = L.Embedding(11, 8)(inputs)
    y = L.MultiHeadAttention(2, 3)(x, x, use_causal_mask=True)
    x = L.LayerNormalization(epsilon=1e-6)(x + y)
    x = L.LayerNormalization()(x + L.Dense(8)(L.Dense(12, activation="gelu")(x)))
    return functional(inputs, L.Dense(3)(L.Attention()([x, x])))


@model
def norms():
    x = inputs = keras.Input((4, 4, 6))
    x = L.GroupNormalization(3)(x)
    x = L.UnitNormalization()(L.PReLU(shared_axes=(1, 2))(x))
    x = L.RMSNormalization()(L.Conv2D(4, 1, activation="silu")(x))
    return functional(inputs, L.Permute((3, 1, 2))(L.Conv2D(4, 1, activation="mish")(x)))


@model
def several():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    x = L.Concatenate()([L.Dense(5, activation="tanh")(a), L.Dense(5, activation="relu")(b)])
    y = L.Multiply()([L.Dense(5)(a), L.Dense(5)(b)])
    return functional([a, b], {"sum": L.Dense(1)(x), "classes": L.Softmax()(L.Dense(3)(L.Maximum()([y, x[:, :5]])))})


class Zoo(tf.Module):
    """Operators that layers do not call, with attributes that are not their defaults."""

    def __init__(self):
        super().__init__()
        self.w = tf.Variable(np.random.default_rng(4).normal(size=(3, 4)).astype("f"), name="w")
        self.scale = tf.Variable(1.5, name="scale", trainable=False)

    @tf.function(
        input_signature=[tf.TensorSpec([None, 3, 4], tf.float32, name="x"), tf.TensorSpec([None, 3], tf.int32, name="i")]
    )
    def run(self, x, i):
        n = tf.shape(x)[0]
        y = {
            "slices": x[:, ::-1, 1:3] + x[..., tf.newaxis, 1:3][:, 1:2, 0],
            "slice": tf.slice(x, [0, 1, 0], [-1, 2, 3]),
            "shrunk": x[:, -1] * self.scale,
            "wide": tf.tile(x, [1, 2, 1])[:, :, tf.newaxis, ...],
            "taken": tf.gather(self.w, i % 3) + tf.gather(x, [2, 0, 1], axis=1),
            "chosen": tf.where(x > 0.2, tf.exp(x), -x),
            "one_hot": tf.one_hot(i - 1, 4, on_value=2.0, off_value=-1.0),
            "one_hot_axis": tf.one_hot(i, 3, axis=1),
            "arg": tf.argmax(x, axis=2) + tf.argmin(x, axis=-1),
            "reduced": tf.reduce_sum(x, [1, 2]) + tf.reduce_prod(x, [-1, 1]) + tf.reduce_max(x, [1, 2]) - tf.reduce_min(x, [1, 2]),
            "kept": tf.reduce_mean(x, -1, keepdims=True) + tf.math.reduce_variance(x, 1, keepdims=True),
            "any": tf.reduce_any(x > 1.0, 1),
            "all": tf.logical_or(tf.reduce_all(x > -1.0, 2), tf.logical_not(i > 0)),
            "product": tf.matmul(x, self.w, transpose_b=True),
            "batches": tf.matmul(x, tf.nn.softmax(x), transpose_a=True),
            "einsum": tf.einsum("nij,kj->nik", x, self.w),
            "parts": tf.concat(tf.split(x, [1, -1], axis=2)[::-1], 2),
            "stack": tf.stack(tf.unstack(x, axis=1), axis=-1),
            "padded": tf.pad(x, [[0, 0], [1, 2], [0, 1]], constant_values=3.0),
            "mirrored": tf.pad(x, [[0, 0], [1, 2], [0, 0]], mode="REFLECT"),
            "reshaped": tf.reshape(x, tf.stack([n, 12])) + tf.cast(tf.range(0, 12), tf.float32),
            "filled": tf.fill([n, 2], 0.5) + tf.zeros_like(x)[:, 0, :2] + tf.ones([n, 1]),
            "floors": tf.math.floordiv(i - 2, 2) + tf.math.floormod(i - 2, 3),
            "floats": tf.math.floordiv(x, 0.7) + tf.math.floormod(x, 0.7),
            "powers": tf.pow(tf.abs(x) + 0.1, 1.5) * tf.math.rsqrt(tf.square(x) + 1.0) + tf.math.squared_difference(x, 0.3),
            "curves": tf.math.erf(x) + tf.math.log1p(tf.abs(x)) + tf.nn.softsign(x) + tf.math.expm1(x) + tf.nn.leaky_relu(x),
            "logs": tf.nn.log_softmax(x) + tf.sign(x) + tf.round(x * 2.0) + tf.math.ceil(x) + tf.nn.relu6(x * 9.0),
            "running": tf.cumsum(x, axis=1, exclusive=True) + tf.cumsum(x, axis=2, reverse=True),
            "best": tf.nn.top_k(x, k=2).values,
            "places": tf.nn.top_k(x, k=2).indices,
            "added": tf.add_n([x, x * 2.0, tf.clip_by_value(x, -0.5, 0.5)]),
            "limits": tf.minimum(tf.maximum(x, -0.3), 0.4) + tf.cast(tf.equal(i, 1), tf.float32)[:, :, None],
            "turned": tf.transpose(x, [2, 0, 1])[0] + tf.squeeze(tf.expand_dims(x, 2), [2])[:, :, 0],
            "band": tf.linalg.band_part(x, 1, 0) + tf.broadcast_to(self.w, [n, 3, 4]),
            "norm": tf.linalg.l2_normalize(x, axis=-1) + tf.reduce_logsumexp(x, 2, keepdims=True),
            "nd": tf.gather_nd(x, tf.stack([tf.range(n), i[:, 0] % 3], axis=1)),
        }
        return y


class Control(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def run(self, x):
        total = tf.zeros_like(x)
        for step in tf.range(4):
            total = total + x * tf.cast(step, tf.float32)
        power = tf.while_loop(lambda y: tf.reduce_max(y) < 10.0, lambda y: y * 2.0, [tf.abs(x) + 0.1])[0]
        rows = tf.map_fn(lambda row: tf.exp(row) * 2.0, x)
        small = tf.cond(tf.reduce_sum(x) > 100.0, lambda: x, lambda: x - 1.0)
        return {"total": total, "power": power, "rows": rows, "small": small}


class Pictures(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 4, 6, 2], tf.float32, name="x")])
    def run(self, x):
        v1 = tf.compat.v1.image
        return {
            "bilinear": tf.image.resize(x, [7, 9]),
            "corners": v1.resize_bilinear(x, [7, 5], align_corners=True),
            "plain": v1.resize_bilinear(x, [7, 9]),
            "nearest": tf.image.resize(x, [7, 4], method="nearest"),
            "old_nearest": v1.resize_nearest_neighbor(x, [7, 9]),
            "blocks": tf.nn.space_to_depth(tf.nn.depth_to_space(tf.tile(x, [1, 1, 1, 4]), 2), 4),
            "groups": tf.nn.conv2d(tf.tile(x, [1, 1, 1, 2]), np.sin(np.arange(108, dtype="f")).reshape(3, 3, 2, 6), 1, "SAME"),
            "lrn": tf.nn.local_response_normalization(x, depth_radius=1, bias=1.5, alpha=0.3, beta=0.75),
        }


def signature(module):
    def wrapper():
        return module()

    wrapper.__name__ = module.__name__.lower()
    return wrapper


for module in (Zoo, Control, Pictures):
    model(signature(module))


@model
def session():
    """As TensorFlow 1 saves: variables by name, nothing of objects."""
    return None


def save_session(folder):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as s:
        v1.set_random_seed(5)
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        with v1.variable_scope("dense"):
            w = v1.get_variable("kernel", [4, 3], use_resource=True)
            b = v1.get_variable("bias", [3], initializer=v1.ones_initializer(), use_resource=False)
        y = tf.nn.sigmoid(tf.nn.bias_add(x @ w, b))
        s.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(s, str(folder), {"x": x}, {"y": y})


def example(name, shape, dtype, rng):
    shape = [d or {0: 2}.get(i, 5) for i, d in enumerate(shape)]
    if name == "i" or dtype.is_integer:
        return rng.integers(0, 4, shape).astype(dtype.as_numpy_dtype)
    return rng.normal(size=shape).astype("f")


def plain(value):
    value = np.asarray(value)
    return value.astype({"b": np.uint8, "f": np.float32}.get(value.dtype.kind, np.int64)).copy(order="C")


def values(folder):
    ask = tf.saved_model.load(str(folder)).signatures["serving_default"]
    rng = np.random.default_rng(3)
    given = {k: example(k, t.shape, t.dtype, rng) for k, t in sorted(ask.structured_input_signature[1].items())}
    answers = ask(**{k: tf.constant(v) for k, v in given.items()})
    return {f"input.{k}": plain(v) for k, v in given.items()} | {f"output.{k}": plain(v) for k, v in answers.items()}


def pack(name, folder, tensors):
    (folder / "values.safetensors").write_bytes(save(tensors))
    with zipfile.ZipFile(HERE / f"{name}.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.name != "fingerprint.pb":
                file.writestr(zipfile.ZipInfo(str(path.relative_to(folder))), path.read_bytes(), zipfile.ZIP_DEFLATED, 9)


def freeze(name, folder):
    """One graph whose variables are constants."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    tensors = values(folder)
    loaded = tf.saved_model.load(str(folder))
    frozen = convert_variables_to_constants_v2(loaded.signatures["serving_default"])
    outputs = sorted(loaded.signatures["serving_default"].structured_outputs)
    names = [t.name.split(":")[0] for t in frozen.outputs]
    tensors = {k.replace(f"output.{o}", f"output.{n}"): v for k, v in tensors.items() for o, n in zip(outputs, names)}
    with tempfile.TemporaryDirectory() as other:
        (pathlib.Path(other) / "frozen.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString(deterministic=True))
        pack(name, pathlib.Path(other), tensors)


def main():
    chosen = sys.argv[1:] or MODELS
    HERE.mkdir(exist_ok=True)
    for name in chosen:
        keras.utils.set_random_seed(1)
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder) / "model"
            made = MODELS[name]()
            if made is None:
                save_session(folder)
            elif isinstance(made, keras.Model):
                made.export(str(folder), verbose=False)
            else:
                tf.saved_model.save(made, str(folder), signatures={"serving_default": made.run})
            pack(name, folder, values(folder))
            if name == "resnet":
                freeze("frozen", folder)
        print(name, flush=True)


main()
