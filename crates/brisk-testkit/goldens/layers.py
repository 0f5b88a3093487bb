"""Layers, forward and backward, computed by PyTorch and written in Keras's vocabulary and layouts.

Images are (batch, height, width, channels). Kernels: Conv2D (height, width, in / groups, filters), DepthwiseConv2D
(height, width, channels, multiplier), Conv2DTranspose (height, width, filters, in), Dense (in, units).
Recurrent layers: LSTM's gates i, f, g, o, GRU's z, r, h with the reset after the product; an initial state is (h, c) side by side.
Gradients are those of sum(output * cotangent). `check_layers.py` compares the file with Keras itself.
"""

import numpy as np
import torch
import torch.nn.functional as F
from golden import Goldens, random

torch.set_num_threads(1)
goldens = Goldens(
    "layers",
    "layers with inputs, parameters, output, and the gradients of sum(output * cotangent)",
    {"torch": torch.__version__.split("+")[0], "numpy": np.__version__},
)


def case(name, layer, config, forward, inputs, params=None, extra=None, input_scale=1.0, **fields):
    """Adds one case: `forward(*inputs, **params) -> output`, or `(output, {role: tensor})`.

    inputs: one shape or a list of them; params: {role: (shape, scale, offset)}; extra: roles without a gradient.
    """
    many = isinstance(inputs, list)
    roles = [f"input_{i}" for i in range(len(inputs))] if many else ["input"]
    values = {r: random(f"{name}/{r}", *s, scale=input_scale) for r, s in zip(roles, inputs if many else [inputs])}
    for role, (shape, scale, offset) in (params or {}).items():
        values[role] = np.float32(offset + random(f"{name}/{role}", *shape, scale=scale)).astype(np.float64)
    leaves = {role: torch.tensor(v, requires_grad=True) for role, v in values.items()}
    fixed = {role: torch.tensor(v) for role, v in (extra or {}).items()}
    result = forward(*(leaves[r] for r in roles), **{r: leaves[r] for r in params or {}}, **fixed)
    output, after = result if isinstance(result, tuple) else (result, {})
    cotangent = torch.tensor(random(f"{name}/cotangent", *output.shape))
    grads = torch.autograd.grad((output * cotangent).sum(), list(leaves.values()))
    tensors = {role: t.detach().numpy() for role, t in {**leaves, **fixed, "output": output, **after}.items()}
    tensors["cotangent"] = cotangent.numpy()
    tensors.update({f"grad_{role}": g.numpy() for role, g in zip(leaves, grads)})
    goldens.add(name, tensors, layer=layer, config=config, **fields)


def pair(v):
    return (v, v) if isinstance(v, int) else tuple(v)


def to_nchw(x):
    return x.permute(0, 3, 1, 2)


def to_nhwc(x):
    return x.permute(0, 2, 3, 1)


def same_padding(size, kernel, stride, dilation=1):
    """TensorFlow's: as little as covers the input, the odd one at the end."""
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


def pad(x, padding, kernel, strides, dilation=(1, 1), value=0.0):
    """Pads (batch, channels, height, width) as `padding` says."""
    if padding == "valid":
        return x
    (top, bottom), (left, right) = (same_padding(x.shape[2 + i], kernel[i], strides[i], dilation[i]) for i in (0, 1))
    return F.pad(x, (left, right, top, bottom), value=value)


ACTIVATIONS = {None: lambda x: x, "relu": F.relu}

# ---- Convolutions


def conv2d(name, shape, filters, kernel_size, strides=1, padding="valid", dilation_rate=1, groups=1, use_bias=True, activation=None):
    config = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "padding": padding}
    config |= {"dilation_rate": dilation_rate, "groups": groups, "use_bias": use_bias, "activation": activation}
    k, s, d = pair(kernel_size), pair(strides), pair(dilation_rate)

    def forward(x, kernel, bias=None):
        x = pad(to_nchw(x), padding, k, s, d)
        return ACTIVATIONS[activation](to_nhwc(F.conv2d(x, kernel.permute(3, 2, 0, 1), bias, s, 0, d, groups)))

    params = {"kernel": ((*k, shape[3] // groups, filters), 0.3, 0.0)}
    if use_bias:
        params["bias"] = ((filters,), 0.3, 0.0)
    case(name, "Conv2D", config, forward, shape, params)


conv2d("conv2d_valid", (2, 7, 6, 3), 5, 3)
conv2d("conv2d_valid_relu", (3, 8, 7, 3), 4, 3, activation="relu")
conv2d("conv2d_same", (2, 5, 6, 3), 4, 3, padding="same")
conv2d("conv2d_same_even_kernel", (2, 5, 4, 2), 3, 2, padding="same")
conv2d("conv2d_same_kernel_2x5", (1, 6, 7, 2), 3, (2, 5), padding="same")
conv2d("conv2d_stride2_valid", (2, 8, 7, 3), 4, 3, strides=2)
conv2d("conv2d_stride2_same_even", (2, 8, 6, 3), 4, 3, strides=2, padding="same")
conv2d("conv2d_stride2_same_odd", (2, 7, 9, 3), 4, 3, strides=2, padding="same")
conv2d("conv2d_stride2x1_same", (1, 6, 5, 2), 3, 3, strides=(2, 1), padding="same")
conv2d("conv2d_stride3_kernel2", (2, 8, 7, 2), 3, 2, strides=3, padding="same")
conv2d("conv2d_dilation2_valid", (2, 8, 7, 2), 3, 3, dilation_rate=2)
conv2d("conv2d_dilation2_same", (1, 7, 6, 2), 3, 3, padding="same", dilation_rate=2)
conv2d("conv2d_groups2", (2, 6, 5, 4), 6, 3, padding="same", groups=2)
conv2d("conv2d_no_bias", (2, 5, 5, 3), 4, 3, use_bias=False)
conv2d("conv2d_1x1", (2, 4, 3, 5), 7, 1)
conv2d("conv2d_1x1_stride2_no_bias", (2, 6, 5, 4), 3, 1, strides=2, padding="same", use_bias=False)
conv2d("conv2d_whole_image", (3, 4, 5, 2), 6, (4, 5))
conv2d("conv2d_wide", (1, 5, 5, 17), 19, 3, padding="same")
conv2d("conv2d_batch1_one_channel_5x5", (1, 9, 8, 1), 6, 5, padding="same", activation="relu")


def depthwise(name, shape, kernel_size, strides=1, padding="valid", depth_multiplier=1, use_bias=True):
    config = {"kernel_size": kernel_size, "strides": strides, "padding": padding}
    config |= {"depth_multiplier": depth_multiplier, "use_bias": use_bias}
    k, s, channels = pair(kernel_size), pair(strides), shape[3]

    def forward(x, kernel, bias=None):
        weight = kernel.permute(2, 3, 0, 1).reshape(channels * depth_multiplier, 1, *k)  # output c * multiplier + m
        return to_nhwc(F.conv2d(pad(to_nchw(x), padding, k, s), weight, bias, s, groups=channels))

    params = {"kernel": ((*k, channels, depth_multiplier), 0.3, 0.0)}
    if use_bias:
        params["bias"] = ((channels * depth_multiplier,), 0.3, 0.0)
    case(name, "DepthwiseConv2D", config, forward, shape, params)


depthwise("depthwise_valid", (2, 6, 7, 4), 3)
depthwise("depthwise_multiplier2_same", (2, 5, 6, 3), 3, padding="same", depth_multiplier=2)
depthwise("depthwise_stride2_same", (2, 8, 7, 5), 3, strides=2, padding="same")
depthwise("depthwise_stride2_valid_no_bias", (2, 8, 7, 3), 3, strides=2, use_bias=False)


def transpose(name, shape, filters, kernel_size, strides=1, padding="valid", use_bias=True, activation=None):
    config = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "padding": padding}
    config |= {"use_bias": use_bias, "activation": activation}
    k, s = pair(kernel_size), pair(strides)

    def forward(x, kernel, bias=None):
        full = F.conv_transpose2d(to_nchw(x), kernel.permute(3, 2, 0, 1), None, s)
        for axis in (2, 3):
            i = axis - 2
            want = shape[1 + i] * s[i] + (max(k[i] - s[i], 0) if padding == "valid" else 0)
            first = max(k[i] - s[i], 0) // 2 if padding == "same" else 0
            missing = first + want - full.shape[axis]  # only if the kernel is smaller than the stride
            if missing > 0:
                full = F.pad(full, (0, missing) if axis == 3 else (0, 0, 0, missing))
            full = full.narrow(axis, first, want)
        full = to_nhwc(full)
        return ACTIVATIONS[activation](full if bias is None else full + bias)

    params = {"kernel": ((*k, filters, shape[3]), 0.3, 0.0)}
    if use_bias:
        params["bias"] = ((filters,), 0.3, 0.0)
    case(name, "Conv2DTranspose", config, forward, shape, params)


transpose("conv2d_transpose_valid", (2, 4, 5, 3), 4, 3)
transpose("conv2d_transpose_same", (2, 4, 5, 3), 4, 3, padding="same")
transpose("conv2d_transpose_stride2_valid", (2, 3, 4, 3), 2, 3, strides=2)
transpose("conv2d_transpose_stride2_same", (2, 3, 4, 3), 2, 3, strides=2, padding="same")
transpose("conv2d_transpose_stride2_kernel4_same_relu", (2, 3, 4, 2), 3, 4, strides=2, padding="same", activation="relu")
transpose("conv2d_transpose_stride2_kernel2_no_bias", (1, 3, 4, 2), 3, 2, strides=2, use_bias=False)
transpose("conv2d_transpose_stride3_kernel2_same", (1, 3, 2, 2), 2, 2, strides=3, padding="same")

# ---- Pooling


def pooling(name, kind, shape, pool_size, strides=None, padding="valid"):
    config = {"pool_size": pool_size, "strides": strides, "padding": padding}
    k, s = pair(pool_size), pair(strides or pool_size)

    def forward(x):
        x = to_nchw(x)
        if kind == "Max":
            return to_nhwc(F.max_pool2d(pad(x, padding, k, s, value=-torch.inf), k, s))
        ones = pad(torch.ones_like(x), padding, k, s)  # padding does not count
        return to_nhwc(F.avg_pool2d(pad(x, padding, k, s), k, s) / F.avg_pool2d(ones, k, s))

    case(name, kind + "Pooling2D", config, forward, shape)


for kind, prefix in (("Max", "max_pooling2d"), ("Average", "average_pooling2d")):
    pooling(f"{prefix}_valid", kind, (2, 6, 8, 3), 2)
    pooling(f"{prefix}_valid_odd", kind, (2, 7, 5, 3), 2)
    pooling(f"{prefix}_same_odd", kind, (2, 7, 5, 3), 2, padding="same")
    pooling(f"{prefix}_overlapping", kind, (2, 7, 8, 3), 3, strides=2)
    pooling(f"{prefix}_overlapping_same", kind, (2, 6, 7, 3), 3, strides=2, padding="same")
    pooling(f"{prefix}_stride1_same", kind, (1, 4, 5, 2), (3, 2), strides=1, padding="same")
    pooling(f"{prefix}_2x3", kind, (1, 6, 7, 2), (2, 3))

case("global_average_pooling2d", "GlobalAveragePooling2D", {}, lambda x: x.mean((1, 2)), (3, 4, 5, 6))
case("global_max_pooling2d", "GlobalMaxPooling2D", {}, lambda x: x.amax((1, 2)), (3, 4, 5, 6))

# ---- Shapes

case("flatten", "Flatten", {}, lambda x: x.reshape(2, -1), (2, 3, 4, 2))
case("reshape", "Reshape", {"target_shape": [4, 6]}, lambda x: x.reshape(2, 4, 6), (2, 3, 4, 2))
case("reshape_inferred", "Reshape", {"target_shape": [2, -1, 3]}, lambda x: x.reshape(2, 2, 4, 3), (2, 24))
case(
    "zero_padding2d",
    "ZeroPadding2D",
    {"padding": [[1, 2], [0, 3]]},
    lambda x: to_nhwc(F.pad(to_nchw(x), (0, 3, 1, 2))),
    (2, 3, 4, 2),
)
for interpolation in ("nearest", "bilinear"):
    for size in (2, (3, 2)):

        def upsample(x, scale=pair(size), mode=interpolation):
            corners = {} if mode == "nearest" else {"align_corners": False}
            return to_nhwc(F.interpolate(to_nchw(x), scale_factor=scale, mode=mode, **corners))

        name = f"up_sampling2d_{interpolation}" + ("" if size == 2 else "_3x2")
        case(name, "UpSampling2D", {"size": size, "interpolation": interpolation}, upsample, (2, 3, 4, 2))
case("add", "Add", {}, lambda a, b: a + b, [(2, 3, 4), (2, 3, 4)])
case("add_three", "Add", {}, lambda a, b, c: a + b + c, [(2, 3, 4, 2)] * 3)
case("concatenate", "Concatenate", {"axis": -1}, lambda a, b: torch.cat([a, b], -1), [(2, 3, 4, 2), (2, 3, 4, 3)])
case("concatenate_axis1", "Concatenate", {"axis": 1}, lambda *x: torch.cat(x, 1), [(2, 3, 4), (2, 1, 4), (2, 2, 4)])

# ---- Dense and normalization


def dense(name, shape, units, use_bias=True, activation=None):
    config = {"units": units, "use_bias": use_bias, "activation": activation}
    params = {"kernel": ((shape[-1], units), 0.3, 0.0)}
    if use_bias:
        params["bias"] = ((units,), 0.3, 0.0)

    def forward(x, kernel, bias=None):
        return ACTIVATIONS[activation](x @ kernel if bias is None else x @ kernel + bias)

    case(name, "Dense", config, forward, shape, params)


dense("dense", (4, 7), 5)
dense("dense_relu", (3, 17), 9, activation="relu")
dense("dense_no_bias", (2, 6), 3, use_bias=False)
dense("dense_sequence", (2, 3, 5), 4)
dense("dense_one", (1, 1), 1)

GAIN = {"gamma": (0.2, 1.0), "beta": (0.3, 0.0)}


def batch_norm(name, shape, training, momentum=0.99, epsilon=1e-3, scale=True, center=True):
    config = {"momentum": momentum, "epsilon": epsilon, "scale": scale, "center": center}
    c = shape[-1]
    params = {r: ((c,), *GAIN[r]) for r, used in (("gamma", scale), ("beta", center)) if used}
    moving = {
        "moving_mean": random(name + "/moving_mean", c, scale=0.3),
        "moving_variance": np.float32(np.exp(random(name + "/moving_variance", c, scale=0.3))).astype(np.float64),
    }

    def forward(x, gamma=None, beta=None, moving_mean=None, moving_variance=None):
        mean, variance = moving_mean, moving_variance
        after = {}
        if training:
            axes = tuple(range(x.dim() - 1))
            mean, variance = x.mean(axes), x.var(axes, unbiased=False)
            after = {
                "moving_mean_after": moving_mean * momentum + mean * (1 - momentum),
                "moving_variance_after": moving_variance * momentum + variance * (1 - momentum),
            }
        y = (x - mean) * (variance + epsilon).rsqrt()
        y = y if gamma is None else y * gamma
        return (y if beta is None else y + beta), after

    case(name, "BatchNormalization", config, forward, shape, params, moving, training=training)


batch_norm("batch_normalization_training", (4, 3, 5, 6), True)
batch_norm("batch_normalization_inference", (2, 3, 4, 5), False)
batch_norm("batch_normalization_training_2d", (6, 5), True, momentum=0.9, epsilon=1e-5)
batch_norm("batch_normalization_training_no_scale", (3, 2, 2, 3), True, scale=False)
batch_norm("batch_normalization_training_plain", (5, 4), True, scale=False, center=False)


def layer_norm(name, shape, epsilon=1e-3):
    params = {r: ((shape[-1],), *GAIN[r]) for r in GAIN}

    def forward(x, gamma, beta):
        return F.layer_norm(x, x.shape[-1:], gamma, beta, epsilon)

    case(name, "LayerNormalization", {"epsilon": epsilon}, forward, shape, params)


layer_norm("layer_normalization", (3, 7))
layer_norm("layer_normalization_4d", (2, 3, 2, 19))
layer_norm("layer_normalization_small_epsilon", (2, 5, 8), 1e-6)

# ---- Sequences (batch, length, features); a mask of 0 and 1 (batch, length) goes with the input


def tokens(name, *shape, bound):
    return np.random.default_rng(len(name)).integers(0, bound, shape)


def embedding(name, shape, input_dim, output_dim, mask_zero=False):
    config = {"input_dim": input_dim, "output_dim": output_dim, "mask_zero": mask_zero}
    params = {"embeddings": ((input_dim, output_dim), 0.5, 0.0)}
    extra = {"input": tokens(name, *shape, bound=input_dim)}
    case(name, "Embedding", config, lambda embeddings, input: embeddings[input], [], params, extra)


embedding("embedding", (3, 5), 7, 4)
embedding("embedding_mask_zero_wide", (2, 9), 50, 33, mask_zero=True)

# Each: a step of PyTorch's own cell, from weights in Keras's layouts. Its GRU has the gates in the order r, z.


def lstm_step(x, state, kernel, recurrent_kernel, bias):
    h, c = state.chunk(2, -1)
    return torch.cat(torch._VF.lstm_cell(x, (h, c), kernel.T, recurrent_kernel.T, bias, torch.zeros_like(bias)), -1)


def gru_step(x, state, kernel, recurrent_kernel, bias):
    def turn(v):
        z, r, h = v.chunk(3, -1)
        return torch.cat([r, z, h], -1)

    return torch._VF.gru_cell(x, state, turn(kernel).T, turn(recurrent_kernel).T, turn(bias[0]), turn(bias[1]))


def simple_step(x, state, kernel, recurrent_kernel, bias):
    return torch._VF.rnn_tanh_cell(x, state, kernel.T, recurrent_kernel.T, bias, torch.zeros_like(bias))


CELLS = {"LSTM": (lstm_step, 4, 2), "GRU": (gru_step, 3, 1), "SimpleRNN": (simple_step, 1, 1)}


def run(kind, x, state, mask, backwards, sequences, **weights):
    """Hidden states in the order of computation, or the last."""
    step, gates, states = CELLS[kind]
    units = weights["recurrent_kernel"].shape[0]
    if "bias" not in weights:
        shape = (2, 3 * units) if kind == "GRU" else (gates * units,)
        weights["bias"] = torch.zeros(shape, dtype=x.dtype)
    state = torch.zeros(x.shape[0], states * units, dtype=x.dtype) if state is None else state
    hidden = []
    for t in reversed(range(x.shape[1])) if backwards else range(x.shape[1]):
        after = step(x[:, t], state, **weights)
        state = after if mask is None else torch.where(mask[:, t, None] != 0, after, state)
        hidden.append(state[:, :units])
    return torch.stack(hidden, 1) if sequences else hidden[-1]


def weights(kind, features, units, use_bias=True):
    gates = CELLS[kind][1]
    params = {"kernel": ((features, gates * units), 0.4, 0.0), "recurrent_kernel": ((units, gates * units), 0.4, 0.0)}
    if use_bias:
        params["bias"] = ((2, 3 * units) if kind == "GRU" else (gates * units,), 0.3, 0.0)
    return params


def recurrent(name, kind, shape, units, mask=None, state=False, sequences=False, backwards=False, use_bias=True):
    config = {"units": units, "return_sequences": sequences, "go_backwards": backwards, "use_bias": use_bias}
    inputs = [shape, (shape[0], CELLS[kind][2] * units)] if state else shape

    def forward(x, state=None, mask=None, **weights):
        return run(kind, x, state, mask, backwards, sequences, **weights)

    extra = None if mask is None else {"mask": np.array(mask)}
    case(name, kind, config, forward, inputs, weights(kind, shape[2], units, use_bias), extra)


RIGHT = [[1, 1, 1, 1, 0], [1, 1, 0, 0, 0], [1, 1, 1, 1, 1]]
HOLES = [[0, 1, 0, 1, 1], [1, 0, 0, 1, 0], [0, 0, 1, 1, 1]]
for kind, prefix in (("LSTM", "lstm"), ("GRU", "gru"), ("SimpleRNN", "simple_rnn")):
    recurrent(prefix, kind, (3, 4, 5), 6)
    recurrent(f"{prefix}_wide", kind, (6, 3, 19), 35, sequences=True)
    recurrent(f"{prefix}_backwards", kind, (2, 4, 3), 5, backwards=True)
    recurrent(f"{prefix}_backwards_sequences", kind, (2, 4, 3), 5, backwards=True, sequences=True)
    recurrent(f"{prefix}_state", kind, (2, 3, 3), 4, state=True, sequences=True)
    recurrent(f"{prefix}_masked", kind, (3, 5, 4), 6, mask=RIGHT)
    recurrent(f"{prefix}_masked_sequences", kind, (3, 5, 4), 6, mask=HOLES, sequences=True)
    recurrent(f"{prefix}_masked_backwards", kind, (3, 5, 4), 6, mask=RIGHT, backwards=True)
    recurrent(f"{prefix}_no_bias", kind, (2, 3, 4), 3, use_bias=False)
    recurrent(f"{prefix}_one_step", kind, (2, 1, 4), 3)


def bidirectional(name, kind, shape, units, merge_mode, mask=None, sequences=False):
    inner = {"units": units, "return_sequences": sequences}
    config = {"layer": {kind: inner}, "merge_mode": merge_mode}
    sides = {side: f"{side}_{'simple_rnn' if kind == 'SimpleRNN' else kind.lower()}." for side in ("forward", "backward")}
    params = {sides[s] + role: spec for s in sides for role, spec in weights(kind, shape[2], units).items()}

    def forward(x, mask=None, **all_weights):
        results = []
        for side, prefix in sides.items():
            own = {role[len(prefix) :]: v for role, v in all_weights.items() if role.startswith(prefix)}
            y = run(kind, x, None, mask, side == "backward", sequences, **own)
            y = y.flip(1) if side == "backward" and sequences else y
            results.append(y if mask is None or not sequences else torch.where(mask[..., None] != 0, y, 0.0))
        a, b = results
        return {"concat": torch.cat(results, -1), "sum": a + b, "mul": a * b, "ave": (a + b) / 2}[merge_mode]

    case(name, "Bidirectional", config, forward, shape, params, None if mask is None else {"mask": np.array(mask)})


bidirectional("bidirectional", "LSTM", (2, 4, 3), 5, "concat")
bidirectional("bidirectional_sequences", "GRU", (2, 4, 3), 5, "concat", sequences=True)
bidirectional("bidirectional_masked", "LSTM", (3, 5, 4), 3, "concat", mask=RIGHT)
bidirectional("bidirectional_masked_sequences", "GRU", (3, 5, 4), 3, "sum", mask=HOLES, sequences=True)
bidirectional("bidirectional_mul", "SimpleRNN", (2, 4, 3), 5, "mul")
bidirectional("bidirectional_ave", "LSTM", (2, 4, 3), 5, "ave")
case(
    "time_distributed",
    "TimeDistributed",
    {"layer": {"Dense": {"units": 4}}},
    lambda x, kernel, bias: x @ kernel + bias,
    (2, 3, 5),
    {"kernel": ((5, 4), 0.3, 0.0), "bias": ((4,), 0.3, 0.0)},
)
case("masking", "Masking", {"mask_value": 0.0}, lambda x: x, (2, 3, 4))


def conv1d(name, shape, filters, kernel_size, strides=1, padding="valid", dilation_rate=1, groups=1, activation=None):
    config = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "padding": padding}
    config |= {"dilation_rate": dilation_rate, "groups": groups, "activation": activation}

    def forward(x, kernel, bias):
        x = x.permute(0, 2, 1)
        if padding == "same":
            x = F.pad(x, same_padding(shape[1], kernel_size, strides, dilation_rate))
        if padding == "causal":
            x = F.pad(x, (dilation_rate * (kernel_size - 1), 0))
        y = F.conv1d(x, kernel.permute(2, 1, 0), bias, strides, 0, dilation_rate, groups)
        return ACTIVATIONS[activation](y.permute(0, 2, 1))

    params = {"kernel": ((kernel_size, shape[2] // groups, filters), 0.3, 0.0), "bias": ((filters,), 0.3, 0.0)}
    case(name, "Conv1D", config, forward, shape, params)


conv1d("conv1d_valid_relu", (2, 7, 3), 5, 3, activation="relu")
conv1d("conv1d_same", (2, 6, 3), 4, 4, padding="same")
conv1d("conv1d_causal", (2, 7, 3), 4, 3, padding="causal")
conv1d("conv1d_causal_dilated", (1, 8, 2), 3, 3, padding="causal", dilation_rate=2)
conv1d("conv1d_strides2_same", (2, 7, 3), 4, 3, strides=2, padding="same")
conv1d("conv1d_groups", (2, 6, 4), 6, 3, groups=2)


def pooling1d(name, kind, shape, pool_size, strides=None, padding="valid"):
    config = {"pool_size": pool_size, "strides": strides, "padding": padding}
    s = strides or pool_size
    around = same_padding(shape[1], pool_size, s) if padding == "same" else (0, 0)

    def forward(x):
        x = x.permute(0, 2, 1)
        if kind == "Max":
            return F.max_pool1d(F.pad(x, around, value=-torch.inf), pool_size, s).permute(0, 2, 1)
        ones = F.pad(torch.ones_like(x), around)
        return (F.avg_pool1d(F.pad(x, around), pool_size, s) / F.avg_pool1d(ones, pool_size, s)).permute(0, 2, 1)

    case(name, kind + "Pooling1D", config, forward, shape)


for kind, prefix in (("Max", "max_pooling1d"), ("Average", "average_pooling1d")):
    pooling1d(prefix, kind, (2, 7, 3), 2)
    pooling1d(f"{prefix}_overlapping_same", kind, (2, 7, 3), 3, strides=2, padding="same")


def masked_mean(x, mask):
    live = (mask != 0)[..., None].to(x.dtype)
    return (x * live).sum(1) / live.sum(1)


case("global_average_pooling1d", "GlobalAveragePooling1D", {}, lambda x: x.mean(1), (3, 4, 5))
case("global_average_pooling1d_masked", "GlobalAveragePooling1D", {}, masked_mean, (3, 5, 4), None, {"mask": np.array(HOLES)})
case("global_max_pooling1d", "GlobalMaxPooling1D", {}, lambda x: x.amax(1), (3, 4, 5))
case(
    "rms_normalization",
    "RMSNormalization",
    {"epsilon": 1e-3},
    lambda x, scale: F.rms_norm(x, x.shape[-1:], scale, 1e-3),
    (2, 3, 9),
    {"scale": ((9,), 0.2, 1.0)},
)

# ---- Transformers; `mask` is of the first input, `mask_1` of the second, and so on


def attention(
    name,
    shapes,
    heads,
    key_dim,
    value_dim=None,
    kv_heads=None,
    causal=False,
    use_bias=True,
    rope=None,
    masks=None,
):
    """shapes: those of query, value and key, or of the first of them."""
    config = {"num_heads": heads, "key_dim": key_dim, "use_causal_mask": causal, "use_bias": use_bias}
    config |= {k: v for k, v in (("value_dim", value_dim), ("num_kv_heads", kv_heads), ("rope_max_wavelength", rope)) if v}
    of_value, of_key = shapes[min(1, len(shapes) - 1)], shapes[-1]
    sizes = (heads * key_dim, (kv_heads or heads) * key_dim, (kv_heads or heads) * (value_dim or key_dim))
    kernels = {
        "query": (shapes[0][2], sizes[0]),
        "key": (of_key[2], sizes[1]),
        "value": (of_value[2], sizes[2]),
        "output": (heads * (value_dim or key_dim), shapes[0][2]),
    }
    params = {f"{part}.kernel": (shape, shape[0] ** -0.5, 0.0) for part, shape in kernels.items()}
    if use_bias:
        params |= {f"{part}.bias": ((shape[1],), 0.3, 0.0) for part, shape in kernels.items()}

    def forward(*inputs, mask=None, mask_1=None, **weights):
        query, value, key = inputs[0], inputs[min(1, len(inputs) - 1)], inputs[-1]

        def project(part, x, own):
            y = F.linear(x, weights[f"{part}.kernel"].T, weights.get(f"{part}.bias"))
            return y.unflatten(-1, (own, -1)).transpose(1, 2)

        q, k = project("query", query, heads), project("key", key, kv_heads or heads)
        if rope:
            q, k = turn(q, rope), turn(k, rope)
        v = project("value", value, kv_heads or heads)
        seen = mask_1 if mask_1 is not None else mask
        allowed = torch.ones(query.shape[0], 1, q.shape[2], k.shape[2], dtype=torch.bool)
        if seen is not None:
            allowed = allowed & (seen != 0)[:, None, None, :]
        if causal:
            allowed = allowed.tril()
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=allowed, enable_gqa=kv_heads is not None)
        return F.linear(y.transpose(1, 2).flatten(2), weights["output.kernel"].T, weights.get("output.bias"))

    extra = {role: np.array(m) for role, m in (masks or {}).items()}
    case(name, "MultiHeadAttention", config, forward, shapes if len(shapes) > 1 else shapes[0], params, extra)


def turn(x, wavelength):
    """Turns pairs (i, i + size / 2) as complex numbers, by the place along the last axis but one."""
    pairs = torch.complex(*x.chunk(2, -1))
    frequency = wavelength ** (-torch.arange(pairs.shape[-1], dtype=x.dtype) / pairs.shape[-1])
    angle = torch.outer(torch.arange(x.shape[-2], dtype=x.dtype), frequency)
    pairs = pairs * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([pairs.real, pairs.imag], -1)


LONG = [[1, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1, 1], [0, 1, 0, 1, 0, 0, 1]]
attention("multi_head_attention", [(2, 5, 6)], 2, 3)
attention("multi_head_attention_wide", [(2, 9, 33)], 3, 17, value_dim=5)
attention("multi_head_attention_masked", [(3, 5, 6)], 2, 4, masks={"mask": HOLES})
attention("multi_head_attention_causal", [(3, 5, 6)], 2, 4, causal=True, masks={"mask": RIGHT})
attention("multi_head_attention_cross", [(3, 4, 6), (3, 7, 5)], 2, 3, masks={"mask_1": LONG})
attention("multi_head_attention_cross_causal", [(2, 4, 6), (2, 6, 5)], 1, 3, causal=True)
attention("multi_head_attention_key", [(2, 4, 6), (2, 3, 5), (2, 3, 4)], 2, 3, value_dim=2)
attention("multi_head_attention_grouped", [(3, 5, 6)], 4, 3, kv_heads=2, masks={"mask": RIGHT})
attention("multi_head_attention_one_kv_head", [(2, 5, 6)], 4, 2, kv_heads=1, causal=True)
attention("multi_head_attention_no_bias", [(2, 3, 4)], 2, 2, use_bias=False)
attention("multi_head_attention_rope", [(3, 5, 6)], 2, 4, rope=10000.0, causal=True, masks={"mask": RIGHT})


def transformer(name, layer, shapes, heads, inner, activation="relu", norm_first=False, masks=None):
    """PyTorch's own layers, with their weights put together from ours. A decoder without a memory is a causal encoder."""
    config = {"num_heads": heads, "intermediate_dim": inner, "activation": activation, "normalize_first": norm_first}
    d, cross = shapes[0][2], len(shapes) > 1
    kind = torch.nn.TransformerDecoderLayer if cross else torch.nn.TransformerEncoderLayer
    args = {"dropout": 0.0, "activation": activation, "batch_first": True, "norm_first": norm_first}
    module = kind(d, heads, inner, **args, dtype=torch.float64)
    scopes = ["self_attention", "cross_attention", "feed_forward"] if cross else ["self_attention", "feed_forward"]
    theirs = {"self_attention": "self_attn", "cross_attention": "multihead_attn"}
    params = {}
    for scope in scopes[:-1]:
        for part in ("query", "key", "value", "output"):
            params[f"{scope}.{part}.kernel"] = ((d, d), 0.4, 0.0)
            params[f"{scope}.{part}.bias"] = ((d,), 0.3, 0.0)
    for part, shape in (("inner", (d, inner)), ("outer", (inner, d))):
        params[f"feed_forward.{part}.kernel"] = (shape, 0.4, 0.0)
        params[f"feed_forward.{part}.bias"] = ((shape[1],), 0.3, 0.0)
    params |= {f"{scope}.norm.{role}": ((d,), *GAIN[role]) for scope in scopes for role in GAIN}

    def forward(x, memory=None, mask=None, mask_1=None, **w):
        weights = {}
        for scope in scopes[:-1]:
            for role, name, joined in (("kernel", "weight", torch.Tensor.t), ("bias", "bias", lambda v: v)):
                parts = [joined(w[f"{scope}.{part}.{role}"]) for part in ("query", "key", "value")]
                weights[f"{theirs[scope]}.in_proj_{name}"] = torch.cat(parts)
                weights[f"{theirs[scope]}.out_proj.{name}"] = joined(w[f"{scope}.output.{role}"])
        for part, name in (("inner", "linear1"), ("outer", "linear2")):
            weights[f"{name}.weight"] = w[f"feed_forward.{part}.kernel"].T
            weights[f"{name}.bias"] = w[f"feed_forward.{part}.bias"]
        for i, scope in enumerate(scopes, 1):
            weights[f"norm{i}.weight"], weights[f"norm{i}.bias"] = w[f"{scope}.norm.gamma"], w[f"{scope}.norm.beta"]
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        hidden = None if mask is None else mask == 0
        if cross:
            own = {"tgt_mask": later, "tgt_key_padding_mask": hidden}
            own["memory_key_padding_mask"] = None if mask_1 is None else mask_1 == 0
            return torch.func.functional_call(module, weights, (x, memory), own)
        own = {"src_mask": later if layer == "TransformerDecoder" else None, "src_key_padding_mask": hidden}
        return torch.func.functional_call(module, weights, (x,), own)

    extra = {role: np.array(m) for role, m in (masks or {}).items()}
    case(name, layer, config, forward, shapes if cross else shapes[0], params, extra)


for suffix, first in (("", False), ("_pre_norm", True)):
    transformer(f"transformer_encoder{suffix}", "TransformerEncoder", [(2, 4, 6)], 2, 9, norm_first=first)
    masks = {"mask": HOLES}
    transformer(f"transformer_encoder_masked{suffix}", "TransformerEncoder", [(3, 5, 8)], 4, 5, "gelu", first, masks)
    masks = {"mask": RIGHT, "mask_1": LONG}
    shapes = [(3, 5, 6), (3, 7, 6)]
    transformer(f"transformer_decoder{suffix}", "TransformerDecoder", shapes, 2, 9, norm_first=first, masks=masks)
    masks = {"mask": RIGHT}
    transformer(f"transformer_decoder_alone{suffix}", "TransformerDecoder", [(3, 5, 6)], 3, 7, "gelu", first, masks)


def places(x, embeddings):
    return F.embedding(torch.arange(x.shape[1]), embeddings).expand(x.shape) + 0.0 * x


def waves(x):
    column = torch.arange(x.shape[2])
    frequency = 500.0 ** (-2 * (column // 2).to(x.dtype) / x.shape[2])
    angle = torch.outer(torch.arange(x.shape[1], dtype=x.dtype), frequency)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos()).expand(x.shape) + 0.0 * x


case("position_embedding", "PositionEmbedding", {"sequence_length": 6}, places, (2, 4, 3), {"embeddings": ((6, 3), 0.5, 0.0)})
for size in (6, 5):
    case(f"sine_position_encoding_{size}", "SinePositionEncoding", {"max_wavelength": 500.0}, waves, (2, 7, size))
case(
    "rotary_embedding",
    "RotaryEmbedding",
    {"num_heads": 3, "max_wavelength": 500.0},
    lambda x: turn(x.unflatten(-1, (3, -1)).transpose(1, 2), 500.0).transpose(1, 2).flatten(2),
    (2, 7, 12),
)

# ---- Joining, rearranging and scaling

PAIR = [(2, 3, 4), (2, 3, 4)]
case("multiply", "Multiply", {}, lambda a, b: a * b, PAIR)
case("multiply_stretched", "Multiply", {}, lambda a, b: a * b, [(2, 3, 4, 5), (2, 1, 1, 5)])
case("average", "Average", {}, lambda a, b, c: (a + b + c) / 3, [(2, 5)] * 3)
case("maximum", "Maximum", {}, torch.maximum, PAIR)
case("minimum", "Minimum", {}, torch.minimum, PAIR)
case("subtract", "Subtract", {}, lambda a, b: a - b, PAIR)
case("dot", "Dot", {"normalize": False}, lambda a, b: (a * b).sum(-1, keepdim=True), [(3, 7), (3, 7)])
case("dot_normalize", "Dot", {"normalize": True}, lambda a, b: F.cosine_similarity(a, b)[:, None], [(3, 7), (3, 7)])
case("zero_padding1d", "ZeroPadding1D", {"padding": [1, 2]}, lambda x: F.pad(x, (0, 0, 1, 2)), (2, 3, 4))
case("cropping1d", "Cropping1D", {"cropping": [1, 2]}, lambda x: x[:, 1:-2], (2, 6, 3))
case("cropping2d", "Cropping2D", {"cropping": [[1, 0], [0, 2]]}, lambda x: x[:, 1:, :-2], (2, 4, 5, 3))
case("up_sampling1d", "UpSampling1D", {"size": 3}, lambda x: x.repeat_interleave(3, 1), (2, 3, 4))
case("repeat_vector", "RepeatVector", {"n": 4}, lambda x: x[:, None].expand(-1, 4, -1), (3, 5))
case("permute", "Permute", {"dims": [3, 1, 2]}, lambda x: x.permute(0, 3, 1, 2), (2, 3, 4, 5))
case("relu_layer", "ReLU", {}, F.relu, (3, 7))
case(
    "relu_layer_bounds",
    "ReLU",
    {"max_value": 2.0, "negative_slope": 0.1, "threshold": 0.5},
    lambda x: torch.where(x < 0.5, 0.1 * (x - 0.5), x.clamp(max=2.0)),
    (4, 9),
    input_scale=2.0,
)
case("prelu", "PReLU", {}, lambda x, alpha: torch.where(x > 0, x, alpha * x), (3, 5), {"alpha": ((5,), 0.3, 0.2)})
case(
    "prelu_shared",
    "PReLU",
    {"shared_axes": [1, 2]},
    lambda x, alpha: torch.where(x > 0, x, alpha * x),
    (2, 3, 4, 5),
    {"alpha": ((1, 1, 5), 0.3, 0.2)},
)
case("rescaling", "Rescaling", {"scale": [0.5], "offset": [-1.0, 0.0, 2.0]}, lambda x: x * 0.5 + torch.tensor([-1.0, 0.0, 2.0]), (2, 4, 3))
case(
    "normalization",
    "Normalization",
    {},
    lambda x, mean, variance: (x - mean) / variance.sqrt(),
    (3, 4),
    extra={"mean": random("normalization/mean", 4), "variance": np.float32([0.5, 1.0, 2.0, 0.1]).astype(np.float64)},
)
case(
    "group_normalization",
    "GroupNormalization",
    {"groups": 3, "epsilon": 1e-3},
    lambda x, gamma, beta: to_nhwc(F.group_norm(to_nchw(x), 3, gamma, beta, 1e-3)),
    (2, 3, 4, 6),
    {r: ((6,), *GAIN[r]) for r in GAIN},
)
case("unit_normalization", "UnitNormalization", {}, lambda x: F.normalize(x, dim=-1), (2, 3, 5))


def separable(name, layer, shape, filters, kernel_size, strides, padding, multiplier, activation):
    config = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "padding": padding}
    config |= {"depth_multiplier": multiplier, "activation": activation}
    flat, c = layer.endswith("1D"), shape[-1]
    k, s = ((kernel_size, 1), (strides, 1)) if flat else (pair(kernel_size), pair(strides))

    def forward(x, depthwise_kernel, pointwise_kernel, bias):
        x = to_nchw(x[:, :, None] if flat else x)
        x = F.pad(x, (0, 0, k[0] - 1, 0)) if padding == "causal" else pad(x, padding, k, s)
        first = depthwise_kernel.reshape(*k, c, multiplier).permute(2, 3, 0, 1).reshape(-1, 1, *k)
        second = pointwise_kernel.reshape(c * multiplier, filters).T[..., None, None]
        y = ACTIVATIONS[activation](to_nhwc(F.conv2d(F.conv2d(x, first, None, s, 0, 1, c), second, bias)))
        return y[:, :, 0] if flat else y

    lead = (kernel_size,) if flat else k
    params = {"depthwise_kernel": ((*lead, c, multiplier), 0.3, 0.0)}
    params["pointwise_kernel"] = ((*(1 for _ in lead), c * multiplier, filters), 0.3, 0.0)
    params["bias"] = ((filters,), 0.3, 0.0)
    case(name, layer, config, forward, shape, params)


separable("separable_conv2d", "SeparableConv2D", (2, 6, 5, 3), 4, 3, 1, "valid", 1, "relu")
separable("separable_conv2d_stride2_same", "SeparableConv2D", (2, 7, 6, 3), 5, (3, 2), 2, "same", 2, None)
separable("separable_conv1d_same", "SeparableConv1D", (2, 7, 3), 4, 3, 2, "same", 2, "relu")
separable("separable_conv1d_causal", "SeparableConv1D", (2, 6, 3), 4, 3, 1, "causal", 1, None)
case(
    "depthwise_conv1d_same",
    "DepthwiseConv1D",
    {"kernel_size": 4, "padding": "same", "depth_multiplier": 2},
    lambda x, kernel, bias: F.conv1d(F.pad(x.permute(0, 2, 1), (1, 2)), kernel.permute(1, 2, 0).reshape(6, 1, 4), bias, groups=3).permute(0, 2, 1),
    (2, 6, 3),
    {"kernel": ((4, 3, 2), 0.3, 0.0), "bias": ((6,), 0.3, 0.0)},
)


def transpose1d(name, shape, filters, kernel_size, strides, padding):
    over = max(kernel_size - strides, 0)
    first, want = (0, shape[1] * strides + over) if padding == "valid" else (over // 2, shape[1] * strides)
    config = {"filters": filters, "kernel_size": kernel_size, "strides": strides, "padding": padding}

    def forward(x, kernel, bias):
        full = F.conv_transpose1d(x.permute(0, 2, 1), kernel.permute(2, 1, 0), None, strides)
        return full.narrow(2, first, want).permute(0, 2, 1) + bias

    params = {"kernel": ((kernel_size, filters, shape[2]), 0.3, 0.0), "bias": ((filters,), 0.3, 0.0)}
    case(name, "Conv1DTranspose", config, forward, shape, params)


transpose1d("conv1d_transpose_valid", (2, 5, 3), 4, 3, 2, "valid")
transpose1d("conv1d_transpose_same", (2, 5, 3), 4, 4, 2, "same")


def gru_reset_before(name, shape, units, mask=None, sequences=False, backwards=False):
    config = {"units": units, "reset_after": False, "return_sequences": sequences, "go_backwards": backwards}

    def forward(x, kernel, recurrent_kernel, bias, mask=None):
        state, hidden = torch.zeros(shape[0], units, dtype=x.dtype), []
        gates, candidate = recurrent_kernel[:, : 2 * units], recurrent_kernel[:, 2 * units :]
        for t in reversed(range(shape[1])) if backwards else range(shape[1]):
            z, r, h = (x[:, t] @ kernel + bias).chunk(3, -1)
            z, r = torch.sigmoid(torch.cat([z, r], -1) + state @ gates).chunk(2, -1)
            after = z * state + (1 - z) * torch.tanh(h + (r * state) @ candidate)
            state = after if mask is None else torch.where(mask[:, t, None] != 0, after, state)
            hidden.append(state)
        return torch.stack(hidden, 1) if sequences else hidden[-1]

    params = {"kernel": ((shape[2], 3 * units), 0.4, 0.0), "recurrent_kernel": ((units, 3 * units), 0.4, 0.0), "bias": ((3 * units,), 0.3, 0.0)}
    case(name, "GRU", config, forward, shape, params, None if mask is None else {"mask": np.array(mask)})


gru_reset_before("gru_reset_before", (3, 4, 5), 6)
gru_reset_before("gru_reset_before_masked", (3, 5, 4), 6, mask=HOLES, sequences=True)
gru_reset_before("gru_reset_before_backwards", (2, 4, 3), 5, sequences=True, backwards=True)

# ---- Activations (leaky_relu and gelu carry their own argument)

for name, config, function in [
    ("relu", {}, F.relu),
    ("leaky_relu", {"negative_slope": 0.2}, lambda x: F.leaky_relu(x, 0.2)),
    ("elu", {}, F.elu),
    ("gelu", {"approximate": False}, F.gelu),
    ("gelu", {"approximate": True}, lambda x: F.gelu(x, approximate="tanh")),
    ("silu", {}, F.silu),
    ("tanh", {}, torch.tanh),
    ("sigmoid", {}, torch.sigmoid),
    ("softplus", {}, F.softplus),
    ("softmax", {}, lambda x: F.softmax(x, -1)),
    ("log_softmax", {}, lambda x: F.log_softmax(x, -1)),
    ("relu6", {}, F.relu6),
    ("selu", {}, F.selu),
    ("exponential", {}, torch.exp),
    ("softsign", {}, F.softsign),
    ("hard_sigmoid", {}, F.hardsigmoid),
    ("hard_silu", {}, F.hardswish),
    ("mish", {}, F.mish),
]:
    label = f"activation_{name}" + ("_tanh" if config.get("approximate") else "")
    # Wide enough that the tails are seen too.
    case(label, "Activation", {"activation": name, **config}, function, (4, 3, 11), input_scale=3.0)

goldens.write()
