"""Compares `layers.json` with Keras: builds each layer from its config, runs it, and compares output and gradients.

The goldens come from PyTorch; this shows that the configurations and layouts mean what Keras means by them.
"""

import json
import os
import re
import sys

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402
from golden import HERE  # noqa: E402
from safetensors.numpy import load_file  # noqa: E402

keras.config.set_floatx("float64")
index = json.loads((HERE / "layers.json").read_text())
tensors = load_file(HERE / "layers.safetensors")


def build(layer, config):
    config = {k: tuple(map(tuple, v)) if k == "padding" and isinstance(v, list) else v for k, v in config.items()}
    if layer == "Activation":
        name = config.pop("activation")
        return keras.layers.Activation(lambda x: getattr(keras.activations, name)(x, **config))
    if isinstance(config.get("layer"), dict):
        ((inner, arguments),) = config.pop("layer").items()
        return getattr(keras.layers, layer)(build(inner, arguments), **config)
    return getattr(keras.layers, layer)(**config)


def role_of(weight):
    """`kernel`, or `forward_lstm.kernel` of a bidirectional layer."""
    parts = (re.sub(r"_\d+$", "", part) for part in weight.path.split("/"))
    side = [part for part in parts if part.startswith(("forward_", "backward_"))]
    return ".".join([*side, weight.name])


def call(layer, argument, mask, training):
    """A second input of a recurrent layer is its initial state; an LSTM's is in two parts."""
    masks = {} if mask is None else {"mask": tf.constant(mask != 0)}
    if isinstance(layer, (keras.layers.LSTM, keras.layers.GRU, keras.layers.SimpleRNN)) and isinstance(argument, list):
        x, state = argument
        parts = tf.split(state, 2, axis=-1) if isinstance(layer, keras.layers.LSTM) else [state]
        return layer(x, initial_state=parts)
    return layer(argument, **masks, **training)


worst = 0.0
for case in index["cases"]:
    name = case["name"]
    t = {role: tensors[f"{name}/{role}"].astype(np.float64) for role in case["tensors"]}
    inputs = [tf.Variable(t[role]) for role in t if role == "input" or role.startswith("input_")]
    layer = build(case["layer"], case["config"])
    argument = inputs[0] if len(inputs) == 1 else inputs
    call(layer, argument, t.get("mask"), {})
    for weight in layer.weights:
        role = role_of(weight)
        weight.assign(t[role].reshape(weight.shape))
    training = {"training": case["training"]} if "training" in case else {}
    with tf.GradientTape() as tape:
        output = call(layer, argument, t.get("mask"), training)
        total = tf.reduce_sum(output * t["cotangent"])
    names = [role for role in t if role == "input" or role.startswith("input_")] + [role_of(w) for w in layer.trainable_weights]
    grads = tape.gradient(total, inputs + [w.value for w in layer.trainable_weights])
    found = {"output": output, **{f"grad_{n}": g for n, g in zip(names, grads) if g is not None}}
    found |= {f"{w.name}_after": w.value for w in layer.non_trainable_weights if f"{w.name}_after" in t}
    missing = {r for r in t if r.startswith("grad_") or r.endswith("_after") or r == "output"} - set(found)
    if missing:
        sys.exit(f"{name}: Keras has no {missing}")
    for role, value in found.items():
        value = np.asarray(tf.convert_to_tensor(value)).reshape(t[role].shape)
        error = np.abs(value - t[role]).max() / (1 + np.abs(t[role]).max())
        worst = max(worst, error)
        if error > 1e-6:
            sys.exit(f"{name}: {role} differs from Keras by {error:.2g}")
print(f"layers: {len(index['cases'])} cases agree with Keras {keras.__version__}, worst difference {worst:.1g}")
