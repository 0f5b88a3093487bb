"""Layers, forward and backward, computed by PyTorch and written in Keras's vocabulary and layouts.

Images are (batch, height, width, channels). Kernels: Conv2D (height, width, in / groups, filters), DepthwiseConv2D
(height, width, channels, multiplier), Conv2DTranspose (height, width, filters, in), Dense (in, units).
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
]:
    label = f"activation_{name}" + ("_tanh" if config.get("approximate") else "")
    # Wide enough that the tails are seen too.
    case(label, "Activation", {"activation": name, **config}, function, (4, 3, 11), input_scale=3.0)

goldens.write()
