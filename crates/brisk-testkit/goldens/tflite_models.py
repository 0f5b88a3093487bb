"""Models of TensorFlow Lite, with what its interpreter answers.

`tflite_models/NAME.zip` holds `model.tflite` and `values.safetensors`: `input.NAME` and `output.NAME` of the signature
`serving_default`. Whole numbers are i64, truth values u8.
"""

import os
import pathlib
import sys
import zipfile

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from safetensors.numpy import save

HERE = pathlib.Path(__file__).parent / "tflite_models"
MODELS = {}


def model(f):
    MODELS[f.__name__] = f
    return f


def net(inputs, outputs):
    net = keras.Model(inputs, outputs)
    # Zeros and ones hide mistakes: of biases, of running statistics.
    rng = np.random.default_rng(2)
    for v in net.weights:
        if v.dtype.startswith("float"):
            v.assign(rng.uniform(0.2, 1.0, v.shape) if "variance" in v.path else rng.normal(size=v.shape) * 0.3)
    return net


def converter(model):
    return tf.lite.TFLiteConverter.from_keras_model(model)


def samples(*shape):
    def draw():
        rng = np.random.default_rng(7)
        for _ in range(40):
            yield [rng.normal(size=(1, *shape)).astype("f4")]

    return draw


def quantized(c, *shape, whole=True):
    c.optimizations = [tf.lite.Optimize.DEFAULT]
    c.representative_dataset = samples(*shape)
    if whole:
        c.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        c.inference_input_type = c.inference_output_type = tf.int8
    return c


def layers():
    x = inputs = keras.Input((11, 9, 3), name="pixels")
    x = L.Conv2D(4, 3, strides=2, padding="same", activation="relu")(x)
    x = L.BatchNormalization()(x)
    x = L.MaxPooling2D(2, padding="same")(x)
    x = L.Conv2D(6, (2, 1), dilation_rate=(1, 2), use_bias=False)(L.ZeroPadding2D(1)(x))
    x = L.AveragePooling2D(3, strides=1, padding="same")(x)
    x = L.Flatten()(L.LeakyReLU(negative_slope=0.1)(x))
    return net(inputs, L.Dense(5, activation="softmax")(L.Dropout(0.5)(x)))


@model
def cnn():
    return converter(layers())


@model
def one_row():
    """Made for one row, as many published models are."""
    x = inputs = keras.Input((4, 5, 2), batch_size=1)
    x = L.Reshape((2, 40))(L.Conv2D(4, 3, padding="same")(x))
    return converter(net(inputs, L.Dense(3)(L.Flatten()(x))))


@model
def float16():
    c = converter(mobile())
    c.optimizations = [tf.lite.Optimize.DEFAULT]
    c.target_spec.supported_types = [tf.float16]
    return c


def mobile():
    x = inputs = keras.Input((8, 8, 4))
    for stride in (1, 2):
        y = L.DepthwiseConv2D(3, strides=stride, padding="same", depth_multiplier=2, use_bias=False)(x)
        y = L.ReLU(max_value=6.0)(L.BatchNormalization()(y))
        y = L.BatchNormalization(epsilon=1e-5)(L.Conv2D(4, 1, use_bias=False)(y))
        x = L.Add()([y, x]) if stride == 1 else L.Activation("hard_swish")(y)
    return net(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(x)))


@model
def depthwise():
    return converter(mobile())


@model
def whole_numbers():
    return quantized(converter(mobile()), 8, 8, 4)


@model
def whole_weights():
    return quantized(converter(layers()), 11, 9, 3, whole=False)


@model
def dynamic_range():
    x = inputs = keras.Input((40,))
    x = L.Dense(64, activation="relu")(x)
    c = converter(net(inputs, L.Dense(3)(x)))
    c.optimizations = [tf.lite.Optimize.DEFAULT]
    return c


@model
def dense():
    a, b = keras.Input((4,), name="a"), keras.Input((6, 3), name="b")
    x = L.Dense(7, activation="tanh")(a)
    y = L.Dense(7, activation="gelu")(b)
    y = L.PReLU(shared_axes=[1])(L.Permute((2, 1))(y))
    y = L.GlobalMaxPooling1D()(L.LayerNormalization()(L.UnitNormalization()(y)))
    x = L.Concatenate()([x, y])
    return converter(net([a, b], [L.Dense(3, activation="softmax")(x), L.Dense(2, activation="sigmoid")(x)]))


@model
def steps():
    """Keras 3 leaves the steps of an LSTM as a loop."""
    x = inputs = keras.Input((7, 5), batch_size=2)
    x = L.LSTM(6, return_sequences=True)(x)
    return converter(net(inputs, L.Dense(2)(L.GRU(4, go_backwards=True)(x))))


def one_operator(kernel, recurrent, bias):
    """An LSTM that the converter knows to be one, by the attributes that Keras 2 gave it."""

    @tf.function(experimental_attributes={"api_implements": "lstm_1", "time_major": False, "go_backwards": False})
    def lstm(x, h, c, kernel, recurrent, bias):
        rows = []
        for t in range(x.shape[1]):
            i, f, g, o = tf.split(x[:, t] @ kernel + h @ recurrent + bias, 4, axis=1)
            c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(g)
            h = tf.sigmoid(o) * tf.tanh(c)
            rows.append(h)
        return h, tf.stack(rows, 1), h, c, tf.constant(1.0)

    def f(x):
        zeros = tf.zeros([x.shape[0], recurrent.shape[0]])
        return {"output_0": lstm(x, zeros, zeros, tf.constant(kernel), tf.constant(recurrent), tf.constant(bias))[1]}

    return f


@model
def lstm():
    rng = np.random.default_rng(4)
    kernel, recurrent, bias = (rng.normal(size=s).astype("f4") * 0.5 for s in ((5, 24), (6, 24), (24,)))
    return function(one_operator(kernel, recurrent, bias), ("x", tf.float32, (2, 7, 5)))


@model
def long_lstm():
    """Cells that grow beyond the number at which the operator cuts them off, and then shrink."""
    rng = np.random.default_rng(5)
    kernel, recurrent = (rng.normal(size=s).astype("f4") * 0.1 for s in ((2, 12), (3, 12)))
    kernel[:, 6:9] = 1.0
    bias = np.repeat(np.array([4, 5, 0, 1], "f4"), 3)
    drift = np.where(np.arange(30) < 17, 3.0, -3.0).astype("f4")[None, :, None]
    f = one_operator(kernel, recurrent, bias)
    return function(lambda x: f(x + drift), ("x", tf.float32, (1, 30, 2)))


@model
def pictures():
    x = inputs = keras.Input((2, 4, 4))
    x = L.Conv2DTranspose(4, 3, strides=2, padding="same", activation="elu")(x)
    x = L.Conv2DTranspose(4, 2, strides=3, activation="relu")(x)
    x = L.UpSampling2D(2, interpolation="bilinear")(L.UpSampling2D((1, 2))(x))
    y = L.Lambda(lambda t: tf.nn.space_to_depth(tf.nn.depth_to_space(t, 2), 4))(inputs[:, :, :])
    z = L.Lambda(lambda t: tf.nn.local_response_normalization(tf.pad(t, [[0, 0], [1, 0], [0, 2], [0, 0]], "REFLECT"), 2))(inputs)
    return converter(net(inputs, [L.Cropping2D(((1, 2), (0, 1)))(x), y, z]))


def function(f, *specs):
    f = tf.function(f, input_signature=[tf.TensorSpec(shape, dtype, name) for name, dtype, shape in specs])
    module = tf.Module()
    module.f = f
    return tf.lite.TFLiteConverter.from_concrete_functions([f.get_concrete_function()], module)


@model
def zoo():
    def f(x, i):
        p = tf.abs(x) + 0.5
        a = tf.exp(x) - tf.math.log(p) * tf.sqrt(p) + tf.math.rsqrt(p) / tf.pow(p, 1.5)
        b = tf.floor(x * 3) + tf.math.ceil(x) + tf.round(x * 5) - tf.square(x) + tf.math.squared_difference(x, p) - (-x)
        c = tf.maximum(x, tf.minimum(p, 0.7)) + tf.sin(x) * tf.cos(x) + tf.math.floormod(x * 4, 0.75) + tf.nn.elu(x)
        d = tf.where(tf.logical_and(x > 0, tf.logical_not(p < 1)), a, b) + tf.cast(tf.logical_or(x <= -1, x >= 1), tf.float32)
        e = tf.clip_by_value(x, -1.0, 1.0) + tf.nn.relu(x) + tf.nn.relu6(x * 9) + tf.nn.leaky_relu(x, 0.3) + tf.sigmoid(x)
        g = tf.concat([a, b, c, d, e], 1)
        h = tf.stack(tf.unstack(g, axis=2), axis=1)
        s = tf.split(h, [3, 5, 7], axis=2)
        top, where = tf.math.top_k(x, 2)
        r = {
            "many": g,
            "split": s[0] * s[1][:, :, 1:4] - s[2][:, ::-1, ::2][:, :, :3],
            "sums": tf.reduce_sum(x, 1) + tf.reduce_mean(x, [1], keepdims=True)[:, 0] + tf.reduce_max(x, 1) * tf.reduce_min(x, 1) - tf.reduce_prod(x, 1),
            "rows": tf.gather(x, i, axis=1) + tf.gather_nd(x, tf.constant([[0, 1], [1, 0]]))[:, None],
            "top": top,
            "places": where,
            "most": tf.argmax(x, -1) - tf.cast(tf.argmin(x, 1, output_type=tf.int32)[:, :1], tf.int64),
            "product": tf.matmul(x, x, transpose_b=True) @ tf.tile(x[:, :, :1], [1, 1, 3]),
            "running": tf.cumsum(x, 1, exclusive=True, reverse=True) + tf.reverse(x, [2]),
            "shape": tf.broadcast_to(tf.range(4), tf.shape(x)[-1:]) + tf.fill([4], 2),
            "padded": tf.pad(tf.transpose(x, [0, 2, 1]), [[0, 0], [1, 0], [0, 2]], constant_values=1.5),
            "hot": tf.one_hot(i, 3) + tf.expand_dims(tf.cast(tf.not_equal(i, 1), tf.float32), 1),
            "log": tf.nn.log_softmax(x) + tf.slice(x, [0, 1, 0], [-1, 1, -1]) + tf.zeros_like(x) - tf.reduce_mean(x, [2], keepdims=True),
            "length": tf.linalg.l2_normalize(x, -1),
        }
        return r

    return function(f, ("x", tf.float32, (2, 3, 4)), ("i", tf.int32, (2,)))


@model
def more():
    rng = np.random.default_rng(6)
    draw = lambda *shape: tf.constant(rng.normal(size=shape).astype("f4"))
    grouped, volume, slope = draw(2, 3, 2, 6), draw(2, 2, 1, 2, 3), draw(1, 1, 4)

    def f(x, i):
        r = {
            "groups": tf.nn.conv2d(x, grouped, [1, 2], "SAME"),
            "volumes": tf.nn.conv3d(tf.reshape(x, [2, 4, 5, 2, 2]), volume, [1, 1, 2, 1, 1], "VALID"),
            "slopes": tf.nn.relu(x) + tf.nn.relu(-x) * -slope,
            "nearest": tf.image.resize(x, [7, 3], "nearest"),
            "corners": tf.compat.v1.image.resize_nearest_neighbor(x, [7, 3], align_corners=True),
            "between": tf.compat.v1.image.resize_bilinear(x, [6, 9], align_corners=True),
            "parts": tf.math.subtract(*tf.split(x, 2, axis=3)),
            "squeezed": tf.squeeze(x[:, 1:2], [1]),
            "scattered": tf.scatter_nd(tf.expand_dims(i, 1), x[0, :3, 0], [5, 4]),
            "all": tf.reduce_all(x > -2, [1, 2]),
            "any": tf.reduce_any(x > 1.5, 3),
            "quotient": (i * 7 - 5) // 3 + tf.truncatediv(i * 7 - 5, 3),
            "sign": tf.sign(x[0, 0]) + tf.add_n([x[0, 0], x[1, 1], x[0, 2]]),
            "clipped": tf.clip_by_value(x, 0.0, 1.0),
            "mirrored": tf.pad(x, [[0, 0], [2, 1], [0, 5], [1, 0]], "SYMMETRIC"),
            "size": tf.rank(x) + tf.shape(x)[2],
        }
        return r

    return function(f, ("x", tf.float32, (2, 4, 5, 4)), ("i", tf.int32, (3,)))


@model
def control():
    def f(x, n):
        y = tf.while_loop(lambda i, v: i < 5, lambda i, v: (i + 1, v * 0.5 + x), (tf.constant(0), x))[1]
        return {"turns": y, "branch": tf.cond(n[0] > 2, lambda: y + 1, lambda: y * 2)}

    return function(f, ("x", tf.float32, (2, 3)), ("n", tf.int32, (1,)))


def hostile():
    """Files that no converter writes, in `hostile.zip`."""
    from tensorflow.lite.python import schema_py_generated as schema
    import flatbuffers

    def changed(name, change):
        with zipfile.ZipFile(HERE / f"{name}.zip") as archive:
            m = schema.ModelT.InitFromPackedBuf(archive.read("model.tflite"), 0)
        change(m)
        builder = flatbuffers.Builder(1024)
        builder.Finish(m.Pack(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def constant(m):
        tensors = [t for t in m.subgraphs[0].tensors if m.buffers[t.buffer].data is not None]
        return max(tensors, key=lambda t: len(m.buffers[t.buffer].data))

    def circle(m):
        """A loop whose body is that loop."""
        turns = next(o for o in m.subgraphs[0].operators if isinstance(o.builtinOptions, schema.WhileOptionsT))
        body = m.subgraphs[turns.builtinOptions.bodySubgraphIndex]
        again = schema.OperatorT()
        again.opcodeIndex, again.inputs, again.outputs = turns.opcodeIndex, body.inputs, body.outputs
        again.builtinOptionsType, again.builtinOptions = turns.builtinOptionsType, turns.builtinOptions
        body.operators = [again]

    def huge(m):
        constant(m).shape = [1000, 1000, 1000]

    def empty(m):
        """More than there can be, times nothing."""
        t = constant(m)
        t.shape, m.buffers[t.buffer].data = [2**31 - 1, 0, 2**31 - 1, 2**31 - 1], None

    def unknown(m):
        m.operatorCodes[0].deprecatedBuiltinCode = m.operatorCodes[0].builtinCode = 32
        m.operatorCodes[0].customCode = "Frobnicate"
        m.operatorCodes[1].deprecatedBuiltinCode, m.operatorCodes[1].builtinCode = 127, 300

    def shared(m):
        """Many tensors of the same bytes, all of which are read."""
        graph, t = m.subgraphs[0], constant(m)
        m.buffers[t.buffer].data = np.zeros(40000, np.uint8)
        t.shape, t.type, t.quantization = [10000], 0, None
        code = next(i for i, c in enumerate(m.operatorCodes) if c.builtinCode == 0)
        add = next(o for o in graph.operators if o.opcodeIndex == code)
        first = len(graph.tensors)
        graph.tensors += [t] * 1000
        for i in range(500):
            o = schema.OperatorT()
            o.opcodeIndex, o.inputs, o.outputs = code, [first + i, first + 999 - i], add.outputs
            graph.operators.insert(0, o)

    def late(m):
        m.subgraphs[0].operators.reverse()

    def nowhere(m):
        m.subgraphs[0].operators[0].inputs = [10**9]

    def behind(m):
        b = m.buffers[constant(m).buffer]
        b.data, b.offset, b.size = None, 2**63, 2**63

    def scales(m):
        constant(m).quantization.scale = [1.0] * 7

    made = {
        "circle": changed("control", circle),
        "huge": changed("cnn", huge),
        "empty": changed("cnn", empty),
        "unknown": changed("cnn", unknown),
        "shared": changed("cnn", shared),
        "late": changed("cnn", late),
        "nowhere": changed("cnn", nowhere),
        "behind": changed("cnn", behind),
        "scales": changed("whole_numbers", scales),
    }
    archived("hostile", {f"{name}.tflite": data for name, data in made.items()})


def archived(name, files):
    HERE.mkdir(exist_ok=True)
    with zipfile.ZipFile(HERE / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file, content in files.items():
            info = zipfile.ZipInfo(file)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)


def write(name):
    data = MODELS[name]().convert()
    plainly = tf.lite.experimental.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = tf.lite.Interpreter(model_content=data, experimental_op_resolver_type=plainly)
    signature = interpreter.get_signature_list()["serving_default"]
    runner = interpreter.get_signature_runner("serving_default")
    rng = np.random.default_rng(3)
    given, values = {}, {}
    plain = lambda v: v.astype("u1") if v.dtype == bool else v.astype("i8") if v.dtype.kind in "iu" else v.astype("f4")
    for key, detail in runner.get_input_details().items():
        shape = [3 if d == -1 else d for d in detail["shape_signature"]]
        if detail["dtype"] == np.float32:
            given[key] = rng.normal(size=shape).astype("f4")
        elif detail["dtype"] == np.int8:
            given[key] = rng.integers(-128, 128, shape, dtype="i1")
        else:
            given[key] = rng.integers(0, 3, shape).astype(detail["dtype"])
        values[f"input.{key}"] = plain(given[key])
    for key, value in runner(**given).items():
        values[f"output.{key}"] = plain(np.asarray(value))
    ops = sorted({d["op_name"] for d in interpreter._get_ops_details()})
    print(name, len(data), ops, {k: v.shape for k, v in values.items()}, file=sys.stderr)
    archived(name, {"model.tflite": data, "values.safetensors": save(values)})


for name in sys.argv[1:] or [*MODELS, "hostile"]:
    hostile() if name == "hostile" else write(name)
