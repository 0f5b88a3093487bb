"""One training step of a preset in PyTorch."""

from common import (
    ADAM, ADAMW, EMBEDDING, ENCODERS, PRESETS, SGD, UNITS, VOCABULARY, WORDS, arguments, batches, measure,
)  # fmt: skip

args = arguments(
    __doc__,
    [
        ("--compile", {"action": "store_true", "help": "torch.compile instead of eager"}),
        ("--layout", {"choices": ["nchw", "nhwc"], "help": "memory format (default: the faster one)"}),
    ],
)

import torch  # noqa: E402  (threads are limited first)
import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

torch.set_num_threads(args.threads)
torch.set_num_interop_threads(1)
torch.manual_seed(0)


class Block(nn.Module):
    """ResNet's basic block: two 3x3 convolutions around a shortcut."""

    def __init__(self, inputs, filters, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, filters, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(filters)
        self.conv2 = nn.Conv2d(filters, filters, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(filters)
        self.shortcut = nn.Identity()
        if stride != 1:
            self.shortcut = nn.Sequential(nn.Conv2d(inputs, filters, 1, stride, bias=False), nn.BatchNorm2d(filters))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x), inplace=True)


class Classifier(nn.Module):
    """Embedding, LSTM, dense on the last hidden state."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, EMBEDDING)
        self.lstm = nn.LSTM(EMBEDDING, UNITS, batch_first=True)
        self.dense = nn.Linear(UNITS, 1)

    def forward(self, words):
        return self.dense(self.lstm(self.embedding(words))[0][:, -1]).squeeze(1)


class Encoder(nn.Module):
    """BERT's classifier of transformers, with fresh weights."""

    def __init__(self, hidden, layers, heads, inner):
        super().__init__()
        from transformers import BertConfig, BertForSequenceClassification

        config = BertConfig(
            vocab_size=VOCABULARY, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=inner, num_labels=2,
        )  # fmt: skip
        self.bert = BertForSequenceClassification(config)

    def forward(self, words):
        return self.bert(input_ids=words).logits


def model(preset):
    if preset in ENCODERS:
        return Encoder(*ENCODERS[preset])
    if preset == "lstm-imdb":
        return Classifier()
    if preset == "cifar10-cnn":
        return nn.Sequential(
            nn.Conv2d(3, 32, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3), nn.ReLU(inplace=True), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(6 * 6 * 64, 10),
        )  # fmt: skip
    if preset == "resnet18-cifar":
        layers = [nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)]
        inputs = 64
        for stage, filters in enumerate([64, 128, 256, 512]):
            layers.append(Block(inputs, filters, 1 if stage == 0 else 2))
            layers.append(Block(filters, filters, 1))
            inputs = filters
        return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))
    if preset == "mlp":
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(inplace=True), nn.Linear(128, 10))
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(400, 120), nn.ReLU(inplace=True),
        nn.Linear(120, 84), nn.ReLU(inplace=True), nn.Linear(84, 10),
    )  # fmt: skip


layout = args.layout or "nhwc"
memory_format = torch.channels_last if layout == "nhwc" else torch.contiguous_format
net = model(args.preset).to(memory_format=memory_format).train()
binary = PRESETS[args.preset][1] == 1
loss_function = F.binary_cross_entropy_with_logits if binary else F.cross_entropy
if PRESETS[args.preset][2] == "adamw":
    optimizer = torch.optim.AdamW(
        net.parameters(), lr=ADAMW["learning_rate"], weight_decay=ADAMW["weight_decay"], fused=True
    )
elif PRESETS[args.preset][2] == "adam":
    optimizer = torch.optim.Adam(
        net.parameters(), lr=ADAM["learning_rate"], betas=(ADAM["beta_1"], ADAM["beta_2"]), eps=ADAM["epsilon"], fused=True
    )
else:
    optimizer = torch.optim.SGD(net.parameters(), lr=SGD["learning_rate"], momentum=SGD["momentum"], fused=True)


def train_step(x, y):
    loss = loss_function(net(x), y)
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.detach()


if args.compile:
    compiled = torch.compile(lambda x, y: loss_function(net(x), y))

    def train_step(x, y):  # noqa: F811
        loss = compiled(x, y)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()


images, labels = batches(args)
# Prepared in the layout of the model, so that taking a batch is a plain copy.
if len(PRESETS[args.preset][0]) == 1:
    images = [torch.from_numpy(x) for x in images]
    labels = [torch.from_numpy(y).float() if binary else torch.from_numpy(y).long() for y in labels]
else:
    images = [torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=memory_format) for x in images]
    labels = [torch.from_numpy(y).long() for y in labels]
x = torch.empty_like(images[0], memory_format=torch.preserve_format)


def step(i):
    x.copy_(images[i % len(images)])
    return train_step(x, labels[i % len(labels)]).item()


variant = ("compile" if args.compile else "eager") + " " + layout
measure(args, step, "PyTorch", torch.__version__.split("+")[0], variant)
