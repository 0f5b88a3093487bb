"""Models of Keras in `keras_models/`: `NAME.keras`, for some `NAME.h5`, and `NAME.safetensors` with what Keras makes of them.

Roles: `input_I` and `target_I` by the order of the model's inputs and outputs (targets of class numbers are i32), `output_I`, the
prediction, `grad/PARAMETER` under Brisk's names, of the loss on that batch, and `losses`, before each of 5 steps of the model's own
optimizer on it. Models without `losses` have layers that work in training alone.

`packed.h5` is `mlp.h5` with weights packed by gzip and its lists of names cut in two, as Keras cuts long ones. `hostile/` has HDF5 files that
no program should follow to their end.

Archives are packed anew with deflate, but for that of `mlp`; nothing else is changed.
"""

import os
import pathlib
import re
import shutil
import tempfile
import zipfile
import zlib

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import h5py
import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent / "keras_models"
HERE.mkdir(exist_ok=True)


def random(name, *shape):
    return np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape).astype(np.float32)


def numbers(name, bound, *shape):
    return np.random.default_rng(zlib.crc32(name.encode())).integers(0, bound, shape).astype(np.int32)


def leaves(model, prefix=""):
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from leaves(layer, f"{prefix}{layer.name}_")
        else:
            yield prefix + layer.name, layer


def brisk_names(model):
    """Brisk's name of each variable, by its identity."""
    names = {}
    for name, layer in leaves(model):
        for weight in layer.weights:
            parts = weight.path.split("/")
            inner = parts[parts.index(layer.name) + 1 :]
            inner = [p for p in inner if not p.endswith("_cell") and not (isinstance(layer, L.TimeDistributed) and p != inner[-1])]
            inner = [re.sub(r"_\d+$", "", p) for p in inner]
            inner = ["output" if p == "attention_output" else p for p in inner]
            names[id(weight)] = ".".join([name, *inner])
    return names


def save(name, model, inputs, targets, train=True, h5=False, stored=False, before=0):
    model.name = name
    for i, weight in enumerate(model.weights):
        if weight.path.endswith("count"):
            continue
        noise = random(f"{name}/{i}", *weight.shape)
        positive = any(part in weight.path for part in ("variance", "gamma"))
        weight.assign(np.exp(0.3 * noise) if positive else 0.4 * noise)
    for _, layer in leaves(model):
        if isinstance(layer, L.Normalization):
            layer.finalize_state()
    x = inputs[0] if len(inputs) == 1 else inputs
    y = targets[0] if len(targets) == 1 else targets
    if isinstance(getattr(model, "_outputs_struct", None), dict):
        y = dict(zip(model._outputs_struct, targets))

    def step(update):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(x, y, model(x, training=True))
        gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
        gradients = [tf.convert_to_tensor(g) for g in gradients]
        if update:
            model.optimizer.apply(gradients, model.trainable_variables)
        return float(loss), gradients

    for _ in range(before):
        step(True)
    path = HERE / f"{name}.keras"
    with tempfile.TemporaryDirectory() as folder:
        plain = pathlib.Path(folder) / "model.keras"
        model.save(plain)
        if stored:
            shutil.copy(plain, path)
        else:
            with zipfile.ZipFile(plain) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
                for part in source.namelist():
                    packed.writestr(zipfile.ZipInfo(part), source.read(part), zipfile.ZIP_DEFLATED, 9)
    if h5:
        model.save(HERE / f"{name}.h5")
    tensors = {f"input_{i}": v for i, v in enumerate(inputs)} | {f"target_{i}": v for i, v in enumerate(targets)}
    predicted = model(x, training=False)
    outputs = predicted.values() if isinstance(predicted, dict) else predicted if isinstance(predicted, list) else [predicted]
    tensors |= {f"output_{i}": np.asarray(v) for i, v in enumerate(outputs)}
    if train:
        # Moving statistics change with every pass, and are those of the file again for the first step.
        kept = [w.numpy() for w in model.non_trainable_weights]
        names = brisk_names(model)
        _, gradients = step(False)
        for variable, gradient in zip(model.trainable_variables, gradients):
            tensors[f"grad/{names[id(variable)]}"] = np.asarray(gradient)
        for weight, value in zip(model.non_trainable_weights, kept):
            weight.assign(value)
        tensors["losses"] = np.float32([step(True)[0] for _ in range(5)])
    save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, HERE / f"{name}.safetensors")
    print(name, path.stat().st_size)


def compiled(model, optimizer, loss, **settings):
    model.compile(optimizer=optimizer, loss=loss, **settings)
    return model


def mlp():
    return keras.Sequential([keras.Input((6,)), L.Dense(8, "relu"), L.Dense(7, "gelu"), L.Dense(5, "selu", use_bias=False), L.Dense(3, "softmax")])


sparse = "sparse_categorical_crossentropy"
save("mlp", compiled(mlp(), keras.optimizers.Adam(0.01), sparse, metrics=["accuracy"]), [random("a", 4, 6)], [numbers("b", 3, 4)], h5=True, stored=True)
save("trained", compiled(mlp(), keras.optimizers.Adam(0.02, beta_1=0.8), sparse), [random("a", 4, 6)], [numbers("b", 3, 4)], h5=True, before=3)
save(
    "cnn",
    compiled(
        keras.Sequential([
            keras.Input((8, 7, 2)),
            L.Conv2D(4, 3, padding="same", activation="relu"),
            L.MaxPooling2D(2),
            L.Conv2D(6, (2, 3), strides=(1, 2), groups=2, activation="hard_silu"),
            L.AveragePooling2D(2, strides=1, padding="same"),
            L.Flatten(),
            L.Dense(3),
            L.Softmax(),
        ]),
        keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        sparse,
        metrics=["accuracy", keras.metrics.SparseTopKCategoricalAccuracy(2)],
    ),
    [random("cnn", 3, 8, 7, 2)],
    [numbers("cnn/y", 3, 3)],
    h5=True,
)

x = i = keras.Input((6, 6, 3))
x = L.Conv2D(4, 3, padding="same", use_bias=False)(x)
s = x = L.ReLU()(L.BatchNormalization()(x))
x = L.BatchNormalization(momentum=0.9, epsilon=1e-4)(L.Conv2D(4, 3, padding="same")(x))
g = L.GlobalAveragePooling2D(keepdims=True)(x)
x = L.Multiply()([x, L.Conv2D(4, 1, activation="sigmoid")(g)])
x = L.Activation("relu")(L.Add()([x, s]))
x = L.Dense(3, name="kinds")(L.GlobalMaxPooling2D()(x))
resnet = compiled(keras.Model(i, x), keras.optimizers.AdamW(0.01, weight_decay=0.02), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
save("resnet", resnet, [random("resnet", 4, 6, 6, 3)], [numbers("resnet/y", 3, 4)])

words = np.array([[3, 5, 2, 0, 0], [1, 4, 0, 0, 0], [2, 2, 6, 5, 1]], np.int32)
save(
    "lstm",
    compiled(
        keras.Sequential([keras.Input((None,)), L.Embedding(8, 4, mask_zero=True), L.LSTM(5, return_sequences=True), L.LSTM(3), L.Dense(1, "sigmoid")]),
        keras.optimizers.RMSprop(0.01, momentum=0.5, centered=True),
        "binary_crossentropy",
        metrics=["accuracy"],
    ),
    [words],
    [np.array([1, 0, 1], np.int32)],
    h5=True,
)
save(
    "gru",
    compiled(
        keras.Sequential([
            keras.Input((5, 3)),
            L.GRU(4, return_sequences=True, go_backwards=True),
            L.GRU(3, reset_after=False, return_sequences=True),
            L.SimpleRNN(4, return_sequences=True),
            L.RNN(L.LSTMCell(3)),
            L.Dense(2),
        ]),
        keras.optimizers.Adam(0.01),
        keras.losses.Huber(),
        metrics=["mae"],
    ),
    [random("gru", 3, 5, 3)],
    [random("gru/y", 3, 2)],
)
save(
    "bidirectional",
    compiled(
        keras.Sequential([
            keras.Input((5, 3)),
            L.Masking(0.0),
            L.Bidirectional(L.LSTM(3, return_sequences=True)),
            L.Bidirectional(L.GRU(2, return_sequences=True), merge_mode="sum"),
            L.TimeDistributed(L.Dense(3, activation="softmax")),
        ]),
        "adam",
        sparse,
    ),
    [random("bidirectional", 2, 5, 3)],
    [numbers("bidirectional/y", 3, 2, 5)],
    h5=True,
)

i = keras.Input((5, 6))
x = L.LayerNormalization()(L.Add()([i, L.MultiHeadAttention(2, 3)(i, i)]))
x = L.MultiHeadAttention(3, 2, value_dim=4, use_bias=False)(x, x, use_causal_mask=True)
x = L.MultiHeadAttention(2, 4)(query=x, value=i, key=i)
x = L.Dense(2, "softmax")(L.GlobalAveragePooling1D()(x))
attention = compiled(keras.Model(i, x), keras.optimizers.Adam(0.01, clipnorm=0.5), "categorical_crossentropy")
save("attention", attention, [random("attention", 3, 5, 6)], [np.eye(2, dtype=np.float32)[[0, 1, 1]]])

save(
    "separable",
    compiled(
        keras.Sequential([
            keras.Input((7, 6, 3)),
            L.ZeroPadding2D(((1, 0), (2, 1))),
            L.SeparableConv2D(4, 3, padding="same", depth_multiplier=2, activation="relu6"),
            L.PReLU(shared_axes=[1, 2]),
            L.DepthwiseConv2D(3, strides=2, padding="same", depth_multiplier=2),
            L.Cropping2D(((1, 0), (0, 1))),
            L.Permute((3, 1, 2)),
            L.Reshape((-1, 6)),
            L.LeakyReLU(0.3),
            L.Dense(2),
            L.ELU(0.7),
            L.Flatten(),
            L.Dense(2),
        ]),
        keras.optimizers.SGD(0.01),
        "mse",
    ),
    [random("separable", 2, 7, 6, 3)],
    [random("separable/y", 2, 2)],
)
save(
    "transpose",
    compiled(
        keras.Sequential([
            keras.Input((3, 4, 2)),
            L.Conv2DTranspose(3, 3, strides=2, padding="same", activation="tanh"),
            L.UpSampling2D(2, interpolation="bilinear"),
            L.Conv2DTranspose(2, (2, 3), strides=(1, 2)),
            L.UpSampling2D((1, 2)),
        ]),
        keras.optimizers.SGD(0.5),
        "mae",
    ),
    [random("transpose", 2, 3, 4, 2)],
    [random("transpose/y", 2, 13, 66, 2)],
)
save(
    "steps",
    compiled(
        keras.Sequential([
            keras.Input((9, 3)),
            L.Conv1D(4, 3, padding="causal", dilation_rate=2, activation="silu"),
            L.MaxPooling1D(2),
            L.ZeroPadding1D((1, 2)),
            L.DepthwiseConv1D(3, padding="same"),
            L.UpSampling1D(2),
            L.Cropping1D((1, 1)),
            L.SeparableConv1D(5, 3, activation="softplus"),
            L.AveragePooling1D(2, padding="same"),
            L.Conv1DTranspose(3, 3, strides=2),
            L.GlobalMaxPooling1D(),
            L.RepeatVector(2),
            L.Flatten(),
            L.Dense(2, "mish"),
        ]),
        keras.optimizers.SGD(0.01),
        "mse",
    ),
    [random("steps", 2, 9, 3)],
    [random("steps/y", 2, 2)],
)
learned = L.Normalization()
learned.adapt(2 * random("norms", 20, 5, 4, 6) + 1)
save(
    "norms",
    compiled(
        keras.Sequential([
            keras.Input((5, 4, 6)),
            learned,
            L.Normalization(mean=[0.1] * 6, variance=[0.5] * 6),
            L.Rescaling(0.5, offset=0.1),
            L.GroupNormalization(3),
            L.Conv2D(4, 2),
            L.LayerNormalization(epsilon=1e-5),
            L.RMSNormalization(),
            L.Flatten(),
            L.UnitNormalization(),
            L.Dense(2),
        ]),
        keras.optimizers.SGD(0.1),
        "mse",
    ),
    [random("norms/x", 3, 5, 4, 6)],
    [random("norms/y", 3, 2)],
    h5=True,
)

a, b = keras.Input((4,), name="size"), keras.Input((5, 3), name="steps")
both = L.Concatenate()([L.Dense(3, "tanh")(a), L.GlobalAveragePooling1D()(b), a * 2.0 + 1.0])
kind = L.Dense(3, "softmax", name="kind_layer")(both)
price = L.Dense(1, name="price_layer")(L.Concatenate(axis=-1)([both, kind]))
several = compiled(
    keras.Model([a, b], {"kind": kind, "price": price}),
    keras.optimizers.Adam(0.01),
    {"kind": sparse, "price": "mse"},
    loss_weights={"kind": 1.0, "price": 0.5},
    metrics={"kind": ["accuracy"]},
)
save("several", several, [random("several/a", 3, 4), random("several/b", 3, 5, 3)], [numbers("several/y", 3, 3), random("several/z", 3, 1)], h5=True)

a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
tower = keras.Sequential([L.Dense(5, "relu"), L.BatchNormalization(), L.Dense(3)], name="tower")
head = L.Dense(3, name="again")
u, v = tower(a), tower(b)
u = head(head(u))
joined = [L.Subtract()([u, v]), L.Multiply()([u, v]), L.Maximum()([u, v]), L.Minimum()([u, v]), L.Average()([u, v, u]), L.Dot(axes=1, normalize=True)([u, v])]
shared = compiled(keras.Model([a, b], L.Dense(1)(L.Concatenate()(joined))), keras.optimizers.Adam(0.01), "mse")
tower.layers[0].trainable = False
save("shared", shared, [random("shared/a", 4, 4), random("shared/b", 4, 4)], [random("shared/y", 4, 1)], train=False, h5=True)

a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
tower = keras.Sequential([L.Dense(5, "relu"), L.Dense(3)], name="tower")
head = L.Dense(3, name="again")
u, v = head(head(tower(a))), tower(b)
twice = compiled(keras.Model([a, b], L.Dense(1)(L.Dot(axes=1)([u, v]))), keras.optimizers.Adam(0.01), "mse")
save("twice", twice, [random("twice/a", 4, 4), random("twice/b", 4, 4)], [random("twice/y", 4, 1)])

i = keras.Input((None,), dtype="int32")
e = L.Embedding(8, 4, mask_zero=True)(i)
x = L.Bidirectional(L.LSTM(3, return_sequences=True))(e)
x = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 3)(x, x)]))
x = L.Add()([x, L.Dense(6)(e)])
pooled, last = L.GlobalAveragePooling1D()(x), L.GRU(3)(x)
masked = compiled(keras.Model(i, [L.Dense(2)(pooled), L.Dense(2)(keras.ops.tanh(last))]), keras.optimizers.SGD(0.1), ["mse", "mae"])
save("masked", masked, [words], [random("masked/y", 3, 2), random("masked/z", 3, 2)])

i = keras.Input((4, 3), name="source")
j = keras.Input((3, 2), name="target")
_, h, c = L.LSTM(4, return_state=True)(i)
d = L.LSTM(4, return_sequences=True)(j, initial_state=[h, c])
_, g = L.GRU(3, return_state=True)(i)
e = L.GRU(3)(d, initial_state=g)
states = compiled(keras.Model([i, j], L.Dense(2)(e)), keras.optimizers.SGD(0.1), "mse")
save("states", states, [random("states/a", 3, 4, 3), random("states/b", 3, 3, 2)], [random("states/y", 3, 2)])

passing = keras.Sequential([
    keras.Input((6, 5)),
    L.GaussianNoise(0.1),
    L.SpatialDropout1D(0.2),
    L.Conv1D(4, 2, kernel_regularizer="l2", activation="softsign"),
    L.Dropout(0.3),
    L.GaussianDropout(0.1),
    L.ActivityRegularization(0.1),
    L.LSTM(4, dropout=0.2, recurrent_dropout=0.1),
    L.ReLU(max_value=0.3, negative_slope=0.1, threshold=0.05),
    L.Dense(3, "log_softmax"),
])
save("passing", passing, [random("passing", 2, 6, 5)], [], train=False)

with h5py.File(HERE / "mlp.h5") as source, h5py.File(HERE / "packed.h5", "w") as packed:

    def attributes(a, b):
        for key, value in a.attrs.items():
            if isinstance(value, np.ndarray) and len(value) > 1:
                b.attrs[key + "0"], b.attrs[key + "1"] = value[:1], value[1:]
            else:
                b.attrs[key] = value

    def visit(name, a):
        if isinstance(a, h5py.Group):
            b = packed.require_group(name)
        else:
            chunks = None if a.ndim == 0 else tuple(max(1, d - 1) for d in a.shape)
            b = packed.create_dataset(name, data=a[()], **({} if chunks is None else {"chunks": chunks, "compression": "gzip", "shuffle": True}))
        attributes(a, b)

    attributes(source, packed)
    source.visititems(visit)
shutil.copy(HERE / "mlp.safetensors", HERE / "packed.safetensors")

HOSTILE = HERE / "hostile"
HOSTILE.mkdir(exist_ok=True)
with h5py.File(HOSTILE / "circle.h5", "w") as file:
    file.create_group("a/b")
    file["a/b/c"] = file["a"]
with h5py.File(HOSTILE / "branches.h5", "w") as file:
    group = file
    for _ in range(28):
        inner = group.create_group("l")
        group["r"] = inner
        group = inner
with h5py.File(HOSTILE / "huge.h5", "w") as file, h5py.File(HERE / "mlp.h5") as source:
    for key, value in source.attrs.items():
        file.attrs[key] = value
    source.copy("model_weights", file)
    weight = file["model_weights"].visititems(lambda n, o: n if n.endswith("kernel") else None)
    del file["model_weights"][weight]
    file["model_weights"].create_dataset(weight, shape=(10**5, 10**5), dtype="f4", chunks=(1000, 1000), compression="gzip")
with h5py.File(HOSTILE / "chunks.h5", "w") as file:
    file.create_dataset("w", data=np.zeros(400 * 4096, np.float32), chunks=(4096,), compression="gzip")
# It says that it is as long as one of its chunks.
whole = (HOSTILE / "chunks.h5").read_bytes()
assert whole.count((400 * 4096).to_bytes(8, "little")) == 2
(HOSTILE / "chunks.h5").write_bytes(whole.replace((400 * 4096).to_bytes(8, "little"), (4096).to_bytes(8, "little")))
with h5py.File(HOSTILE / "half.h5", "w") as file, h5py.File(HERE / "mlp.h5") as source:
    for key, value in source.attrs.items():
        file.attrs[key] = value
    source.copy("model_weights", file)
    weights, names = file["model_weights"], []
    weights.visititems(lambda n, o: names.append(n) if isinstance(o, h5py.Dataset) else None)
    for name in names:
        values = weights[name][()].astype(np.float16)
        del weights[name]
        weights[name] = values

i = keras.Input((5, 3))
x = L.Concatenate()([L.Masking()(i)] * 2)
keras.Model(i, L.GRU(2)(x)).save(HOSTILE / "lost_mask.keras")
x = L.GRU(2)(i, mask=keras.ops.any(keras.ops.not_equal(i, 2.0), axis=-1))
keras.Model(i, x).save(HOSTILE / "own_mask.keras")
x = L.Masking()(i)
keras.Model(i, L.GRU(2)(x + x)).save(HOSTILE / "operation.keras")
