"""Graphs of MXNet, with what they answer.

MXNet can no longer be installed: graphs and parameters are written by hand in its layout, and the answers are formulas of NumPy that
follow its documentation. `mxnet_graphs/NAME-symbol.json` and `NAME.params` are a model, `NAME.safetensors` has `input.NAME` and
`output.NAME`.
"""

import json
import math
import pathlib
import struct

import numpy as np
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent / "mxnet_graphs"


class Graph:
    """A graph and what its nodes compute, side by side."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.nodes, self.values, self.params, self.inputs, self.heads = [], [], {}, {}, []

    def add(self, op, name, inputs, value, **attrs):
        attrs = {k: str(v) for k, v in attrs.items()}
        self.nodes.append({"op": op, "name": name, "attrs": attrs, "inputs": [[i, 0, 0] for i in inputs]})
        self.values.append(value)
        return len(self.nodes) - 1

    def input(self, name, value):
        self.inputs[name] = np.asarray(value, np.float32)
        return self.add("null", name, [], self.inputs[name])

    def param(self, name, *shape, low=-1.0, high=1.0, aux=False):
        value = self.rng.uniform(low, high, shape).astype(np.float32)
        self.params[("aux:" if aux else "arg:") + name] = value
        return self.add("null", name, [], value)

    def op(self, op, inputs, f, **attrs):
        value = f(*(self.values[i].astype(np.float64) for i in inputs))
        return self.add(op, f"{op.strip('_').lower()}{len(self.nodes)}", inputs, value, **attrs)

    def head(self, *nodes):
        self.heads += nodes

    def save(self, name):
        HERE.mkdir(exist_ok=True)
        variables = [i for i, n in enumerate(self.nodes) if n["op"] == "null"]
        symbol = {"nodes": self.nodes, "arg_nodes": variables, "heads": [[i, 0, 0] for i in self.heads]}
        symbol["attrs"] = {"mxnet_version": ["int", 10900]}
        (HERE / f"{name}-symbol.json").write_text(json.dumps(symbol, separators=(",", ":")) + "\n")
        out = struct.pack("<QQQ", 0x112, 0, len(self.params))
        for value in self.params.values():
            out += struct.pack("<IiI", 0xF993FAC9, 0, value.ndim) + struct.pack(f"<{value.ndim}q", *value.shape)
            out += struct.pack("<iii", 1, 0, 0) + value.tobytes()
        out += struct.pack("<Q", len(self.params))
        for key in self.params:
            out += struct.pack("<Q", len(key)) + key.encode()
        (HERE / f"{name}.params").write_bytes(out)
        tensors = {f"input.{k}": v for k, v in self.inputs.items()}
        tensors |= {f"output.{self.nodes[i]['name']}_output": np.ascontiguousarray(self.values[i], np.float32) for i in self.heads}
        save_file(tensors, HERE / f"{name}.safetensors")



def conv(x, w, b=None, stride=(1, 1), pad=(0, 0), dilate=(1, 1), groups=1):
    x = np.pad(x, [(0, 0), (0, 0), (pad[0],) * 2, (pad[1],) * 2])
    n, c, h, wd = x.shape
    o, per, kh, kw = w.shape
    oh = (h - dilate[0] * (kh - 1) - 1) // stride[0] + 1
    ow = (wd - dilate[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, oh, ow))
    for k in range(o):
        g = k // (o // groups)
        for i in range(oh):
            for j in range(ow):
                rows = [i * stride[0] + a * dilate[0] for a in range(kh)]
                columns = [j * stride[1] + a * dilate[1] for a in range(kw)]
                y[:, k, i, j] = (x[:, g * per : (g + 1) * per][:, :, rows][..., columns] * w[k]).sum((1, 2, 3))
    return y if b is None else y + b[:, None, None]


def deconv(x, w, stride, pad, adj):
    n, c, h, wd = x.shape
    _, o, kh, kw = w.shape
    full = np.zeros((n, o, (h - 1) * stride[0] + kh + adj[0], (wd - 1) * stride[1] + kw + adj[1]))
    for i in range(h):
        for j in range(wd):
            stamp = np.einsum("nc,coab->noab", x[:, :, i, j], w)
            full[:, :, i * stride[0] : i * stride[0] + kh, j * stride[1] : j * stride[1] + kw] += stamp
    return full[:, :, pad[0] : full.shape[2] - pad[0], pad[1] : full.shape[3] - pad[1]]


def pool(x, kernel, stride, pad, f, full=False):
    """`f` gets the cells of a window and how many it has with the pad."""
    n, c, h, w = x.shape
    up = math.ceil if full else math.floor
    out = [up((d + 2 * p - k) / s) + 1 for d, p, k, s in zip((h, w), pad, kernel, stride)]
    y = np.zeros((n, c, *out))
    for i in range(out[0]):
        for j in range(out[1]):
            start = [i * stride[0] - pad[0], j * stride[1] - pad[1]]
            end = [min(s + k, d + p) for s, k, d, p in zip(start, kernel, (h, w), pad)]
            cells = x[:, :, max(start[0], 0) : min(end[0], h), max(start[1], 0) : min(end[1], w)]
            y[:, :, i, j] = f(cells, (end[0] - start[0]) * (end[1] - start[1]))
    return y


def most(cells, count):
    return cells.max((2, 3))


def mean_with_pad(cells, count):
    return cells.sum((2, 3)) / count


def mean_without_pad(cells, count):
    return cells.mean((2, 3))


def softmax(x, axis=-1):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def norm(x, gamma, beta, mean, variance, eps):
    shape = (1, -1) + (1,) * (x.ndim - 2)
    gamma, beta, mean, variance = (v.reshape(shape) for v in (gamma, beta, mean, variance))
    return (x - mean) / np.sqrt(variance + eps) * gamma + beta


def batch_norm(g, x, name, channels, fix, **attrs):
    parts = [g.param(f"{name}_gamma", channels), g.param(f"{name}_beta", channels)]
    parts += [g.param(f"{name}_mean", channels, aux=True), g.param(f"{name}_var", channels, low=0.5, high=2.0, aux=True)]
    eps = attrs.get("eps", 1e-3)
    f = lambda x, gamma, beta, mean, variance: norm(x, np.ones_like(gamma) if fix else gamma, beta, mean, variance, eps)
    return g.op("BatchNorm", [x, *parts], f, **attrs)


def network():
    """As `mx.sym` writes an image classifier for training: with a loss and its label."""
    g = Graph(1)
    x = g.input("data", g.rng.normal(size=(2, 4, 9, 8)))
    w, b = g.param("conv_weight", 6, 2, 3, 3), g.param("conv_bias", 6)
    x = g.op("Convolution", [x, w, b], lambda x, w, b: conv(x, w, b, (2, 1), (1, 1), groups=2),
             kernel=(3, 3), num_filter=6, num_group=2, stride=(2, 1), pad=(1, 1))
    x = batch_norm(g, x, "bn0", 6, True)
    x = g.op("Activation", [x], lambda x: np.maximum(x, 0), act_type="relu")
    x = g.op("Pooling", [x], lambda x: pool(x, (2, 3), (2, 2), (0, 0), most, True),
             kernel=(2, 3), stride=(2, 2), pool_type="max", pooling_convention="full")
    y = g.param("skip_weight", 6, 6, 1, 1)
    y = g.op("Convolution", [x, y], lambda x, w: conv(x, w), kernel=(1, 1), num_filter=6, no_bias=True)
    x = g.op("elemwise_add", [x, batch_norm(g, y, "bn1", 6, False, fix_gamma=False, eps=2e-5, use_global_stats=True)], np.add)
    x = g.op("Dropout", [x], lambda x: x, p=0.5)
    x = g.op("Flatten", [x], lambda x: x.reshape(len(x), -1))
    w, b = g.param("fc_weight", 5, g.values[x].shape[1]), g.param("fc_bias", 5)
    x = g.op("FullyConnected", [x, w, b], lambda x, w, b: x @ w.T + b, num_hidden=5)
    label = g.add("null", "softmax_label", [], np.zeros(2))
    x = g.op("SoftmaxOutput", [x, label], lambda x, _: softmax(x))
    g.head(x)
    g.save("network")


def layers():
    g = Graph(2)
    x = g.input("data", g.rng.normal(size=(2, 3, 6, 5)))
    g.nodes[x]["attrs"]["__shape__"] = "(0, 3, 6, 5)"
    w = g.param("up_weight", 3, 2, 3, 2)
    g.head(g.op("Deconvolution", [x, w], lambda x, w: deconv(x, w, (2, 2), (1, 0), (1, 0)),
                kernel=(3, 2), num_filter=2, stride=(2, 2), pad=(1, 0), adj=(1, 0)))
    w = g.param("hole_weight", 2, 3, 2, 2)
    g.head(g.op("Convolution", [x, w], lambda x, w: conv(x, w, dilate=(2, 1)), kernel=(2, 2), num_filter=2, dilate=(2, 1), no_bias=True))
    for pad_counts, f in ((True, mean_with_pad), (False, mean_without_pad)):
        attrs = {} if pad_counts else {"count_include_pad": False}
        g.head(g.op("Pooling", [x], lambda x: pool(x, (3, 2), (2, 2), (1, 1), f),
                    kernel=(3, 2), stride=(2, 2), pad=(1, 1), pool_type="avg", **attrs))
    g.head(g.op("Pooling", [x], lambda x: x.mean((2, 3), keepdims=True), global_pool=True, pool_type="avg", kernel=(1, 1)))
    g.head(g.op("Pooling", [x], lambda x: x.max((2, 3), keepdims=True), global_pool="True", pool_type="max"))
    gamma = g.param("slopes", 3)
    g.head(g.op("LeakyReLU", [x, gamma], lambda x, s: np.where(x > 0, x, x * s[:, None, None]), act_type="prelu"))
    erf = np.vectorize(math.erf)
    kinds = {"leaky": lambda x: np.where(x > 0, x, 0.25 * x), "elu": lambda x: np.where(x > 0, x, 0.25 * np.expm1(x)),
             "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
             "gelu": lambda x: x * 0.5 * (1 + erf(x / 2**0.5)), "rrelu": lambda x: np.where(x > 0, x, (0.125 + 0.334) / 2 * x)}
    for kind, f in kinds.items():
        g.head(g.op("LeakyReLU", [x], f, act_type=kind))
    kinds = {"sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh, "softrelu": lambda x: np.log1p(np.exp(x)),
             "softsign": lambda x: x / (1 + abs(x)), "log_sigmoid": lambda x: -np.log1p(np.exp(-x)),
             "mish": lambda x: x * np.tanh(np.log1p(np.exp(x)))}
    for kind, f in kinds.items():
        g.head(g.op("Activation", [x], f, act_type=kind))
    g.head(g.op("UpSampling", [x], lambda x: x.repeat(2, 2).repeat(2, 3), scale=2, sample_type="nearest", num_args=1))
    rows = lambda x, axes: x / np.sqrt((x**2).sum(axes, keepdims=True) + 1e-10)
    for mode, axes in (("instance", (1, 2, 3)), ("channel", 1), ("spatial", (2, 3))):
        g.head(g.op("L2Normalization", [x], lambda x: rows(x, axes), mode=mode))

    def lrn(x):
        squares = np.pad(x**2, [(0, 0), (1, 1), (0, 0), (0, 0)])
        return x / (2 + 0.3 / 3 * sum(squares[:, i : i + 3] for i in range(3))) ** 0.75

    g.head(g.op("LRN", [x], lrn, nsize=3, alpha=0.3))
    standard = lambda x, axes, eps: (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + eps)
    gamma, beta = g.param("in_gamma", 3), g.param("in_beta", 3)
    g.head(g.op("InstanceNorm", [x, gamma, beta], lambda x, s, b: standard(x, (2, 3), 1e-3) * s[:, None, None] + b[:, None, None]))
    gamma, beta = g.param("ln_gamma", 5), g.param("ln_beta", 5)
    g.head(g.op("LayerNorm", [x, gamma, beta], lambda x, s, b: standard(x, -1, 1e-5) * s + b))
    g.head(g.op("softmax", [x], lambda x: softmax(x / 2.0, 1), axis=1, temperature=2.0))
    g.head(g.op("log_softmax", [x], lambda x: np.log(softmax(x))))
    g.head(g.op("SoftmaxActivation", [x], lambda x: softmax(x, 1), mode="channel"))
    w = g.param("dense_weight", 4, 5)
    g.head(g.op("FullyConnected", [x, w], lambda x, w: x @ w.T, num_hidden=4, no_bias=True, flatten=False))
    g.save("layers")


def operators():
    g = Graph(3)
    x = g.input("x", g.rng.normal(size=(2, 3, 4)))
    y = g.input("y", g.rng.uniform(0.5, 2.0, size=(2, 3, 4)))
    i = g.input("words", g.rng.integers(0, 5, (2, 3)))
    for name, shape in (("x", "(0, 3, 4)"), ("y", "(0, 3, 4)"), ("words", "(0, 3)")):
        next(n for n in g.nodes if n["name"] == name)["attrs"]["__shape__"] = shape
    table = g.param("table", 5, 2)
    g.head(g.op("Embedding", [i, table], lambda i, t: t[i.astype(int)], input_dim=5, output_dim=2))
    for op, f in (("elemwise_sub", np.subtract), ("elemwise_mul", np.multiply), ("elemwise_div", np.divide),
                  ("broadcast_maximum", np.maximum), ("broadcast_greater", np.greater)):
        g.head(g.op(op, [x, y], f))
    row = g.param("row", 1, 3, 1)
    g.head(g.op("broadcast_add", [x, row], np.add), g.op("broadcast_power", [y, x], np.power))
    scalars = {"_plus_scalar": lambda y: y + 1.5, "_rminus_scalar": lambda y: 1.5 - y, "_mul_scalar": lambda y: y * 1.5,
               "_div_scalar": lambda y: y / 1.5, "_rdiv_scalar": lambda y: 1.5 / y, "_power_scalar": lambda y: y**1.5,
               "_rpower_scalar": lambda y: 1.5**y, "_minimum_scalar": lambda y: np.minimum(y, 1.5), "_lesser_scalar": lambda y: y < 1.5}
    for op, f in scalars.items():
        g.head(g.op(op, [y], f, scalar=1.5))
    for op, f in (("sqrt", np.sqrt), ("rsqrt", lambda y: y**-0.5), ("square", np.square), ("log", np.log), ("negative", np.negative)):
        g.head(g.op(op, [y], f))
    shapes = {(0, -1): (2, 12), (-3, 0): (6, 4), (0, 0, -4, 2, -1): (2, 3, 2, 2), (0, -2): (2, 3, 4), (-1, 6): (4, 6)}
    for shape, result in shapes.items():
        g.head(g.op("Reshape", [x], lambda x: x.reshape(result), shape=shape))
    g.head(g.op("Concat", [x, y], lambda x, y: np.concatenate([x, y], 2), dim=2, num_args=2))
    g.head(g.op("stack", [x, y], lambda x, y: np.stack([x, y], 1), axis=1, num_args=2))
    g.head(g.op("transpose", [x], lambda x: x.transpose(1, 0, 2), axes=(1, 0, 2)), g.op("transpose", [x], np.transpose))
    g.head(g.op("slice_axis", [x], lambda x: x[:, :, 1:], axis=2, begin=1, end=None))
    g.head(g.op("slice", [x], lambda x: x[:, 0:2, ::-2], begin=(None, 0, None), end=(None, 2, None), step=(1, 1, -2)))
    g.head(g.op("expand_dims", [x], lambda x: x[:, None], axis=1))
    g.head(g.op("mean", [x], lambda x: x.mean((1, 2)), axis=(1, 2)), g.op("sum", [x], lambda x: x.sum(1, keepdims=True), axis=1, keepdims=True))
    g.head(g.op("max", [x], lambda x: x.max().reshape(1)), g.op("argmax", [x], lambda x: x.argmax(2), axis=2))
    g.head(g.op("clip", [x], lambda x: x.clip(-0.5, 0.7), a_min=-0.5, a_max=0.7))
    g.head(g.op("batch_dot", [x, y], lambda x, y: x @ y.transpose(0, 2, 1), transpose_b=True))
    flat = g.op("Flatten", [x], lambda x: x.reshape(2, -1))
    w = g.param("w", 3, 12)
    g.head(g.op("dot", [flat, w], lambda x, w: x @ w.T, transpose_b=True))
    four = g.op("expand_dims", [x], lambda x: x[:, None], axis=1)
    g.head(g.op("Pad", [four], lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2), (0, 1)], constant_values=0.5),
                mode="constant", pad_width=(0, 0, 0, 0, 1, 2, 0, 1), constant_value=0.5))
    parts = g.op("SliceChannel", [x], lambda x: x[:, 0], axis=1, num_outputs=3, squeeze_axis=True)
    g.head(parts)
    g.head(g.op("tile", [x], lambda x: np.tile(x, (1, 2, 1)), reps=(1, 2, 1)))
    g.head(g.op("where", [g.op("_greater_scalar", [x], lambda x: x > 0.0, scalar=0), x, y], lambda c, x, y: np.where(c > 0, x, y)))
    g.save("operators")


network()
layers()
operators()
