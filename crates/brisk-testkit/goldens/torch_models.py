"""Models of PyTorch with what they compute, one file each in `torch/models/`, and the layers of Brisk that they are the weights of.

A file holds `state_dict` as a user would save it; `model`, Brisk's configuration; `rules`, where names and order do not say which module is
which layer; `inputs` and `outputs` (of evaluation), `targets`, and `gradients` of the mean squared error, summed over the outputs, in training.
Inputs and outputs have Brisk's layout, channels last; gradients PyTorch's, by the names of the state dict, with its buffers among them. Values
are computed in f64 from weights and inputs that f32 holds exactly.
"""

import json
import pathlib
import zlib

import torch
import torch.nn.functional as F
from torch import nn

HERE = pathlib.Path(__file__).parent / "torch" / "models"
HERE.mkdir(parents=True, exist_ok=True)
torch.set_num_threads(1)


def first(x):
    """Channels first, as PyTorch wants maps and sequences of features."""
    return x.movedim(-1, 1)


def last(x):
    return x.movedim(1, -1)


def save(name, module, config, inputs, forward, rules=()):
    """Writes a model. `inputs`: Brisk's name to a shape, or to (shape, number of tokens)."""
    torch.manual_seed(zlib.crc32(name.encode()))
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.4)
    for key, buffer in module.named_buffers():
        if buffer.dtype.is_floating_point:
            buffer.copy_(torch.rand(buffer.shape) + 0.5)
    given = {}
    for key, shape in inputs.items():
        tokens = isinstance(shape[0], tuple)
        given[key] = torch.randint(shape[1], shape[0], dtype=torch.int32) if tokens else torch.randn(shape)
    state = {key: value.clone() for key, value in module.state_dict().items()}
    module.double()
    wide = {key: x.double() if x.dtype.is_floating_point else x for key, x in given.items()}

    def run():
        outputs = forward(module, *wide.values())
        return outputs if isinstance(outputs, dict) else {"y": outputs}

    outputs = {key: y.detach().float() for key, y in (module.eval(), run())[1].items()}
    targets = {key: torch.randn(y.shape) for key, y in outputs.items()}
    module.train()
    loss = sum(F.mse_loss(y, targets[key].double()) for key, y in run().items())
    loss.backward()
    gradients = {key: p.grad.float() for key, p in module.named_parameters(remove_duplicate=False)}
    # Brisk has one bias where PyTorch has two that are added up: the gradient counts once.
    added = tuple(f"{key}.bias_hh" for key, m in module.named_modules() if isinstance(m, (nn.LSTM, nn.RNN)))
    gradients |= {key: torch.zeros_like(g) for key, g in gradients.items() if key.startswith(added)}
    gradients |= {key: value for key, value in state.items() if key not in gradients}
    content = {"state_dict": state, "model": json.dumps(config), "rules": list(rules), "inputs": given, "outputs": outputs}
    content |= {"targets": targets, "loss": loss.item(), "gradients": {key: gradients[key] for key in state}}
    torch.save(content, HERE / f"{name}.pt")


def layer(kind, name=None, inputs=None, **arguments):
    arguments |= {"name": name} if name else {}
    arguments |= {"inputs": inputs} if inputs else {}
    return {kind: arguments} if arguments else kind


def model(shape, *layers, **more):
    return {"input_shape": shape, "layers": list(layers), **more}


def tokens(length, *layers):
    return {"inputs": [{"name": "tokens", "shape": [length], "dtype": "i32"}], "layers": list(layers)}


NORM = {"epsilon": 1e-5}

# ---- Convolutions

cnn = nn.Sequential(
    nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, (2, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(24, 5), nn.ReLU(), nn.Linear(5, 3)
)  # fmt: skip
config = model(
    [8, 10, 3],
    layer("Conv2D", filters=4, kernel_size=3, activation="relu"),
    layer("MaxPooling2D", pool_size=2),
    layer("Conv2D", filters=6, kernel_size=[2, 3], activation="relu"),
    layer("Flatten"),
    layer("Dense", units=5, activation="relu"),
    layer("Dense", units=3),
)
save("cnn", cnn, config, {"x": (2, 8, 10, 3)}, lambda m, x: m(first(x)))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 2, 1, bias=False), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 4, 3, 1, 1, bias=False), nn.BatchNorm2d(4)
        self.downsample = nn.Sequential(nn.Conv2d(3, 4, 1, 2, bias=False), nn.BatchNorm2d(4))
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return self.fc(F.relu(y + self.downsample(x)).mean((2, 3)))


config = model(
    [7, 9, 3],
    layer("ZeroPadding2D", padding=1),
    layer("Conv2D", filters=4, kernel_size=3, strides=2, use_bias=False),
    layer("BatchNormalization", **NORM),
    layer("Activation", activation="relu"),
    layer("Conv2D", filters=4, kernel_size=3, padding="same", use_bias=False),
    layer("BatchNormalization", name="main", **NORM),
    layer("Conv2D", filters=4, kernel_size=1, strides=2, use_bias=False, inputs=["input"]),
    layer("BatchNormalization", name="shortcut", **NORM),
    layer("Add", inputs=["main", "shortcut"]),
    layer("Activation", activation="relu"),
    layer("GlobalAveragePooling2D"),
    layer("Dense", units=3),
)
# As saved from several devices: every name begins with `module.`.
wrapped = nn.Module()
wrapped.module = Block()
save("resnet_block", wrapped, config, {"x": (4, 7, 9, 3)}, lambda m, x: m.module(first(x)))

separable = nn.Sequential(
    nn.Conv2d(3, 6, 3, groups=3), nn.Conv2d(6, 4, 1), nn.Tanh(), nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2), nn.AvgPool2d(2)
)  # fmt: skip
config = model(
    [8, 8, 3],
    layer("DepthwiseConv2D", kernel_size=3, depth_multiplier=2),
    layer("Conv2D", filters=4, kernel_size=1, activation="tanh"),
    layer("Conv2D", filters=8, kernel_size=3, padding="same", dilation_rate=2, groups=2),
    layer("AveragePooling2D", pool_size=2),
)
save("separable_convolutions", separable, config, {"x": (2, 8, 8, 3)}, lambda m, x: last(m(first(x))))

# Layers that Keras has as one, PyTorch as two modules or with one weight less.


class Separable(nn.Module):
    def __init__(self, kind, inputs, outputs, kernel, times=1, **more):
        super().__init__()
        self.depthwise = kind(inputs, inputs * times, kernel, groups=inputs, bias=False, **more)
        self.pointwise = kind(inputs * times, outputs, 1)

    def forward(self, x):
        return self.pointwise(self.depthwise(x))


maps = nn.Sequential(
    Separable(nn.Conv2d, 3, 4, 3, 2, padding=1), nn.PReLU(4), Separable(nn.Conv2d, 4, 4, (2, 3)), nn.GroupNorm(2, 4), nn.Flatten(), nn.PReLU(), nn.Linear(48, 2)
)  # fmt: skip
config = model(
    [5, 5, 3],
    layer("SeparableConv2D", filters=4, kernel_size=3, depth_multiplier=2, padding="same"),
    layer("PReLU", shared_axes=[1, 2]),
    layer("SeparableConv2D", filters=4, kernel_size=[2, 3]),
    layer("GroupNormalization", groups=2, epsilon=1e-5),
    layer("PReLU", shared_axes=[1, 2, 3]),
    layer("Flatten"),
    layer("Dense", units=2),
)
save("separable_layers", maps, config, {"x": (2, 5, 5, 3)}, lambda m, x: m(first(x)))

sequences = nn.Sequential(
    Separable(nn.Conv1d, 3, 4, 3), nn.Conv1d(4, 8, 2, groups=4), nn.PReLU(8), nn.ConvTranspose1d(8, 3, 3, 2), nn.Flatten(), nn.Linear(51, 4), nn.PReLU(4)
)  # fmt: skip
config = model(
    [11, 3],
    layer("SeparableConv1D", filters=4, kernel_size=3),
    layer("DepthwiseConv1D", kernel_size=2, depth_multiplier=2),
    layer("PReLU", shared_axes=[1]),
    layer("Conv1DTranspose", filters=3, kernel_size=3, strides=2),
    layer("Flatten"),
    layer("Dense", units=4),
    layer("PReLU"),
)
save("separable_sequences", sequences, config, {"x": (2, 11, 3)}, lambda m, x: m(first(x)))

generator = nn.Sequential(
    nn.Linear(5, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Unflatten(1, (4, 2, 3)), nn.ConvTranspose2d(4, 3, 4, 2, 1), nn.Tanh(),
    nn.ConvTranspose2d(3, 2, 3, 2),
)  # fmt: skip
config = model(
    [5],
    layer("Dense", units=24),
    layer("BatchNormalization", **NORM),
    layer("Activation", activation="relu"),
    layer("Reshape", target_shape=[2, 3, 4]),
    layer("Conv2DTranspose", filters=3, kernel_size=4, strides=2, padding="same", activation="tanh"),
    layer("Conv2DTranspose", filters=2, kernel_size=3, strides=2),
)
save("transposed_convolutions", generator, config, {"x": (4, 5)}, lambda m, x: last(m(x)))

norms = nn.Sequential(
    nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.BatchNorm1d(36), nn.LayerNorm(36), nn.Linear(36, 6), nn.RMSNorm(6, eps=1e-5), nn.Linear(6, 2)
)  # fmt: skip
config = model(
    [5, 6, 2],
    layer("Conv2D", filters=3, kernel_size=3),
    layer("BatchNormalization", **NORM),
    layer("Flatten"),
    layer("BatchNormalization", **NORM),
    layer("LayerNormalization", **NORM),
    layer("Dense", units=6),
    layer("RMSNormalization", **NORM),
    layer("Dense", units=2),
)
save("normalizations", norms, config, {"x": (4, 5, 6, 2)}, lambda m, x: m(first(x)))

frames = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU())
config = model([4, 5, 5, 2], layer("TimeDistributed", layer={"Conv2D": {"filters": 3, "kernel_size": 3, "activation": "relu"}}))
save("one_layer_for_all_frames", frames, config, {"x": (2, 4, 5, 5, 2)}, lambda m, x: last(m(first(x.flatten(0, 1)))).unflatten(0, (2, 4)))

# ---- Sequences


class Text(nn.Module):
    def __init__(self, rnn, size):
        super().__init__()
        self.embed, self.rnn, self.out = nn.Embedding(11, 4), rnn, nn.Linear(size, 2)

    def forward(self, ids):
        y, _ = self.rnn(self.embed(ids))
        return self.out(y[:, -1])


embed = layer("Embedding", input_dim=11, output_dim=4)
ids = {"tokens": ((3, 6), 11)}
config = tokens(6, embed, layer("LSTM", units=5), layer("Dense", units=2))
save("lstm", Text(nn.LSTM(4, 5, batch_first=True), 5), config, ids, lambda m, x: m(x))
config = tokens(6, embed, layer("GRU", units=5, return_sequences=True), layer("GRU", units=5), layer("Dense", units=2))
save("gru_of_two_layers", Text(nn.GRU(4, 5, 2, batch_first=True), 5), config, ids, lambda m, x: m(x))
config = tokens(6, embed, layer("SimpleRNN", units=5), layer("Dense", units=2))
save("simple_rnn", Text(nn.RNN(4, 5, batch_first=True), 5), config, ids, lambda m, x: m(x))


class Both(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.gru = (kind(size, 4, batch_first=True, bidirectional=True) for kind, size in ((nn.LSTM, 3), (nn.GRU, 8)))
        self.out = nn.Linear(8, 2)

    def forward(self, x):
        h = self.gru(self.lstm(x)[0])[1]
        return self.out(torch.cat([h[0], h[1]], 1))


config = model(
    [5, 3],
    layer("Bidirectional", layer={"LSTM": {"units": 4, "return_sequences": True}}),
    layer("Bidirectional", layer={"GRU": {"units": 4}}),
    layer("Dense", units=2),
)
save("bidirectional", Both(), config, {"x": (3, 5, 3)}, lambda m, x: m(x))

words = nn.ModuleDict({"embed": nn.Embedding(11, 4), "conv": nn.Conv1d(4, 6, 3), "out": nn.Linear(12, 2)})
config = tokens(
    7,
    embed,
    layer("Conv1D", filters=6, kernel_size=3, activation="relu"),
    layer("MaxPooling1D", pool_size=2),
    layer("Flatten"),
    layer("Dense", units=2),
)
save(
    "words_under_a_convolution", words, config, {"tokens": ((3, 7), 11)},
    lambda m, x: m["out"](F.max_pool1d(F.relu(m["conv"](first(m["embed"](x)))), 2).flatten(1)),
)  # fmt: skip

# ---- Attention


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.attn, self.fc = nn.LayerNorm(6), nn.MultiheadAttention(6, 2, batch_first=True), nn.Linear(6, 3)

    def forward(self, x):
        y = self.norm(x)
        return self.fc((x + self.attn(y, y, y, need_weights=False)[0]).mean(1))


config = model(
    [5, 6],
    layer("LayerNormalization", **NORM),
    layer("MultiHeadAttention", name="attention", num_heads=2, key_dim=3),
    layer("Add", inputs=["attention", "input"]),
    layer("GlobalAveragePooling1D"),
    layer("Dense", units=3),
)
save("attention", Attention(), config, {"x": (3, 5, 6)}, lambda m, x: m(x))

cross = nn.MultiheadAttention(6, 3, kdim=4, vdim=5, batch_first=True)
config = {
    "inputs": [{"name": name, "shape": shape} for name, shape in (("query", [4, 6]), ("key", [7, 4]), ("value", [7, 5]))],
    "layers": [layer("MultiHeadAttention", num_heads=3, key_dim=2, inputs=["query", "value", "key"])],
}
save(
    "cross_attention", cross, config, {"query": (2, 4, 6), "key": (2, 7, 4), "value": (2, 7, 5)}, lambda m, q, k, v: m(q, k, v, need_weights=False)[0]
)  # fmt: skip


class Projections(nn.Module):
    """An attention of linear layers, out of order, and a table of places that is a bare parameter."""

    def __init__(self):
        super().__init__()
        self.out, self.v, self.k, self.q = (nn.Linear(6, 6) for _ in range(4))
        self.places = nn.Parameter(torch.zeros(5, 6))

    def forward(self, x):
        x = x + self.places
        heads = lambda y: y.unflatten(-1, (2, 3)).transpose(1, 2)
        y = F.scaled_dot_product_attention(heads(self.q(x)), heads(self.k(x)), heads(self.v(x)))
        return self.out(y.transpose(1, 2).flatten(2))


config = model(
    [5, 6],
    layer("PositionEmbedding", name="places", sequence_length=5),
    layer("Add", inputs=["input", "places"]),
    layer("MultiHeadAttention", num_heads=2, key_dim=3),
)
rules = ["q -> multi_head_attention.query", "k -> multi_head_attention.key", "v -> multi_head_attention.value"]
rules += ["out -> multi_head_attention.output", "places -> places.embeddings"]
save("attention_of_projections", Projections(), config, {"x": (2, 5, 6)}, lambda m, x: m(x), rules)

encoder = nn.Sequential(*(nn.TransformerEncoderLayer(6, 2, 9, 0.0, norm_first=False, batch_first=True) for _ in range(2)), nn.Linear(6, 2))
own = {"intermediate_dim": 9, "num_heads": 2, "layer_norm_epsilon": 1e-5}
config = model([5, 6], layer("TransformerEncoder", **own), layer("TransformerEncoder", **own), layer("Dense", units=2))
save("transformer", encoder, config, {"x": (2, 5, 6)}, lambda m, x: m(x))

# ---- Several inputs and outputs


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.price, self.kind = nn.Linear(14, 1), nn.Linear(14, 3)
        self.eye = nn.Conv2d(1, 2, 3)

    def forward(self, picture, size):
        both = torch.cat([size, F.relu(self.eye(first(picture))).flatten(1)], 1)
        return {"kind": self.kind(both), "price": self.price(both)}


config = {
    "inputs": [{"name": "picture", "shape": [5, 4, 1]}, {"name": "size", "shape": [2]}],
    "layers": [
        layer("Conv2D", name="eye", filters=2, kernel_size=3, activation="relu", inputs=["picture"]),
        layer("Flatten"),
        layer("Concatenate", name="both", inputs=["size", "flatten"]),
        layer("Dense", name="kind", units=3),
        layer("Dense", name="price", units=1, inputs=["both"]),
    ],
    "outputs": ["kind", "price"],
}
save("several_inputs_and_outputs", Several(), config, {"picture": (2, 5, 4, 1), "size": (2, 2)}, lambda m, p, s: m(p, s))

sizes = [f.stat().st_size for f in HERE.iterdir()]
print(f"{len(sizes)} models, {sum(sizes) / 1024:.0f} KB, torch {torch.__version__}")
