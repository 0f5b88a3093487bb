"""Losses, optimizers, and a whole model's first training steps, computed by Keras in f64."""

import os

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from golden import Goldens, random  # noqa: E402

keras.config.set_floatx("float64")
VERSIONS = {"keras": keras.__version__, "tensorflow": tf.__version__, "numpy": np.__version__}

# ---- Losses

losses = Goldens(
    "losses",
    "losses over y_pred (batch, ...) with the gradient with respect to y_pred; sum over the batch of weight * loss, divided by the batch",
    VERSIONS,
)


def loss_case(name, loss, config, function, y_true, y_pred, class_weight=None, target=None):
    """`target` is what Keras gets when it wants another form than `y_true`."""
    weights = None if class_weight is None else class_weight[y_true if y_true.ndim == 1 else y_true.argmax(-1)]
    x = tf.Variable(y_pred)
    with tf.GradientTape() as tape:
        value = function(y_true if target is None else target, x, sample_weight=weights)
    tensors = {"y_true": y_true, "y_pred": y_pred}
    if class_weight is not None:
        tensors["class_weight"] = class_weight
    tensors |= {"loss": value.numpy(), "grad_y_pred": tape.gradient(value, x).numpy()}
    losses.add(name, tensors, loss=loss, config=config)


CLASSES, BATCH = 7, 6
labels = np.array([3, 0, 6, 2, 3, 5], np.int32)
one_hot = np.eye(CLASSES)[labels]
logits = random("logits", BATCH, CLASSES, scale=2.0)
weights = np.float32([0.5, 1.0, 2.0, 0.25, 1.0, 3.0, 1.5]).astype(np.float64)
K = keras.losses
for smoothing in (0.0, 0.1):
    for weighted in (False, True):
        suffix = ("_smoothing" if smoothing else "") + ("_weighted" if weighted else "")
        options = {"label_smoothing": smoothing}
        cw = weights if weighted else None
        # Keras smooths only one-hot labels; smoothed, a target is 1 - s + s / classes for the label and s / classes elsewhere.
        f = K.CategoricalCrossentropy(from_logits=True, **options)
        config = {"from_logits": True, **options}
        loss_case("sparse_categorical_crossentropy" + suffix, "SparseCategoricalCrossentropy", config, f, labels, logits, cw, one_hot)
        loss_case("categorical_crossentropy" + suffix, "CategoricalCrossentropy", config, f, one_hot, logits, cw)
soft = np.exp(random("soft", BATCH, CLASSES))
soft = np.float32(soft / soft.sum(-1, keepdims=True)).astype(np.float64)
loss_case("categorical_crossentropy_soft", "CategoricalCrossentropy", {"from_logits": True, "label_smoothing": 0.0},
          K.CategoricalCrossentropy(from_logits=True), soft, logits)  # fmt: skip
loss_case("sparse_categorical_crossentropy_large_logits", "SparseCategoricalCrossentropy",
          {"from_logits": True, "label_smoothing": 0.0}, K.SparseCategoricalCrossentropy(from_logits=True),
          labels, logits * 64)  # fmt: skip
sequence_labels = np.random.default_rng(5).integers(0, CLASSES, (3, 4)).astype(np.int32)
loss_case("sparse_categorical_crossentropy_sequence", "SparseCategoricalCrossentropy",
          {"from_logits": True, "label_smoothing": 0.0}, K.SparseCategoricalCrossentropy(from_logits=True),
          sequence_labels, random("sequence_logits", 3, 4, CLASSES))  # fmt: skip

flags = (random("flags", 5, 3) > 0).astype(np.float64)
for smoothing in (0.0, 0.1):
    loss_case("binary_crossentropy" + ("_smoothing" if smoothing else ""), "BinaryCrossentropy",
              {"from_logits": True, "label_smoothing": smoothing},
              K.BinaryCrossentropy(from_logits=True, label_smoothing=smoothing),
              flags, random("flag_logits", 5, 3, scale=3.0))  # fmt: skip
truth, guess = random("truth", 4, 5), random("guess", 4, 5, scale=2.0)
loss_case("mean_squared_error", "MeanSquaredError", {}, K.MeanSquaredError(), truth, guess)
loss_case("mean_absolute_error", "MeanAbsoluteError", {}, K.MeanAbsoluteError(), truth, guess)
loss_case("huber", "Huber", {"delta": 1.0}, K.Huber(delta=1.0), truth, guess)
loss_case("huber_delta", "Huber", {"delta": 0.3}, K.Huber(delta=0.3), truth, guess)
losses.write()

# ---- Optimizers

STEPS = 5
SHAPES = {"a": (3, 4), "b": (5,)}
optimizers = Goldens(
    "optimizers",
    f"parameters a and b after each of {STEPS} steps with the given gradients (leading axis: the step)",
    VERSIONS,
)
start = {r: random(f"start/{r}", *s) for r, s in SHAPES.items()}
grads = {r: random(f"gradient/{r}", STEPS, *s) for r, s in SHAPES.items()}
grads["b"][2] = 0  # a parameter that sees no gradient for a step


def optimizer_case(name, optimizer, **config):
    variables = {r: keras.Variable(start[r], name=r) for r in SHAPES}
    o = getattr(keras.optimizers, optimizer)(**config)
    o.build(list(variables.values()))
    after = {r: [] for r in SHAPES}
    for step in range(STEPS):
        o.apply([tf.constant(grads[r][step]) for r in SHAPES])
        for r in SHAPES:
            after[r].append(keras.ops.convert_to_numpy(variables[r]))
    tensors = {r: start[r] for r in SHAPES} | {f"grad_{r}": grads[r] for r in SHAPES}
    optimizers.add(name, tensors | {f"{r}_after": np.stack(after[r]) for r in SHAPES}, optimizer=optimizer, config=config)


optimizer_case("sgd", "SGD", learning_rate=0.1)
optimizer_case("sgd_momentum", "SGD", learning_rate=0.1, momentum=0.9)
optimizer_case("sgd_nesterov", "SGD", learning_rate=0.1, momentum=0.9, nesterov=True)
optimizer_case("sgd_weight_decay", "SGD", learning_rate=0.1, momentum=0.9, weight_decay=0.01)
optimizer_case("sgd_clipnorm_global", "SGD", learning_rate=0.1, global_clipnorm=1.0)
optimizer_case("sgd_clipnorm_global_not_reached", "SGD", learning_rate=0.1, global_clipnorm=100.0)
optimizer_case("sgd_clipnorm_each", "SGD", learning_rate=0.1, clipnorm=1.0)
optimizer_case("sgd_clipvalue", "SGD", learning_rate=0.1, clipvalue=0.25)
ADAM = {"learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7}
optimizer_case("adam", "Adam", **ADAM)
optimizer_case("adam_other_settings", "Adam", learning_rate=0.05, beta_1=0.8, beta_2=0.95, epsilon=1e-3)
optimizer_case("adam_clipnorm_global", "Adam", **ADAM, global_clipnorm=0.5)
optimizer_case("adam_clipvalue", "Adam", **ADAM, clipvalue=0.25)
optimizer_case("adamw", "AdamW", **ADAM, weight_decay=0.1)
RMSPROP = {"learning_rate": 0.01, "rho": 0.9, "momentum": 0.0, "epsilon": 1e-7}
optimizer_case("rmsprop", "RMSprop", **RMSPROP)
optimizer_case("rmsprop_momentum", "RMSprop", **{**RMSPROP, "momentum": 0.9})
optimizer_case("rmsprop_centered", "RMSprop", **RMSPROP, centered=True)
optimizers.write()

# ---- Whole models: loss, every gradient, and the parameters after each of three steps

models = Goldens(
    "models",
    "loss, logits and gradients of one batch, and the parameters after three steps on that batch (leading axis: the step)",
    VERSIONS,
)


def model_case(name, layers, shape, optimizer, config, batch=4, classes=10):
    """`layers` is a list of [class, config]; parameters are named `LAYER_INDEX.WEIGHT`."""
    net = keras.Sequential([keras.Input(shape)] + [getattr(keras.layers, kind)(**c) for kind, c in layers])
    trainable, fixed = {}, {}
    for i, layer in enumerate(net.layers):
        for w in layer.weights:
            (trainable if w.trainable else fixed)[f"{i}.{w.name}"] = w
            if w.name in ("kernel", "bias", "beta"):
                w.assign(random(f"{name}/{i}.{w.name}", *w.shape, scale=0.2))
            elif w.name == "gamma":
                w.assign(np.float32(1 + random(f"{name}/{i}.{w.name}", *w.shape, scale=0.2)))
    x = np.float32(np.abs(random(f"{name}/x", batch, *shape, scale=0.5))).astype(np.float64)
    y = np.random.default_rng(3).integers(0, classes, batch).astype(np.int32)
    loss_function = K.SparseCategoricalCrossentropy(from_logits=True)
    o = getattr(keras.optimizers, optimizer)(**config)
    o.build(list(trainable.values()))
    tensors = {"input": x, "labels": y}
    tensors |= {role: keras.ops.convert_to_numpy(w) for role, w in {**trainable, **fixed}.items()}
    loss_history, after = [], {role: [] for role in {**trainable, **fixed}}
    for step in range(3):
        with tf.GradientTape() as tape:
            logits = net(x, training=True)
            loss = loss_function(y, logits)
        grads = tape.gradient(loss, [w.value for w in trainable.values()])
        if step == 0:
            tensors["logits"] = logits.numpy()
            tensors |= {f"grad_{role}": g.numpy() for role, g in zip(trainable, grads)}
        loss_history.append(loss.numpy())
        o.apply(grads)
        for role, w in {**trainable, **fixed}.items():
            after[role].append(keras.ops.convert_to_numpy(w))
    tensors["loss"] = np.stack(loss_history)
    tensors |= {f"{role}_after": np.stack(v) for role, v in after.items()}
    models.add(name, tensors, layers=layers, optimizer=optimizer, config=config)


def article(*filters):
    return [
        ["Conv2D", {"filters": filters[0], "kernel_size": 3, "activation": "relu"}],
        ["MaxPooling2D", {"pool_size": 2}],
        ["Conv2D", {"filters": filters[1], "kernel_size": 3, "activation": "relu"}],
        ["MaxPooling2D", {"pool_size": 2}],
        ["Flatten", {}],
        ["Dense", {"units": 10}],
    ]


model_case("article_cnn", article(4, 6), (12, 14, 1), "Adam", {**ADAM, "learning_rate": 1e-3})
model_case("article_cnn_three_channels", article(8, 16), (14, 14, 3), "SGD", {"learning_rate": 0.1, "momentum": 0.9}, batch=5)
model_case(
    "normalized_cnn",
    [
        ["Conv2D", {"filters": 4, "kernel_size": 3, "padding": "same", "use_bias": False}],
        ["BatchNormalization", {}],
        ["Activation", {"activation": "relu"}],
        ["Conv2D", {"filters": 6, "kernel_size": 3, "strides": 2, "padding": "same", "use_bias": False}],
        ["BatchNormalization", {}],
        ["Activation", {"activation": "relu"}],
        ["GlobalAveragePooling2D", {}],
        ["Dense", {"units": 10}],
    ],
    (6, 8, 3),
    "SGD",
    {"learning_rate": 0.1, "momentum": 0.9},
)  # fmt: skip
models.write()
