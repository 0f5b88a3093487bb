"""The presets as PyTorch's modules, with fresh weights."""

import torch.nn.functional as F
from torch import nn

from common import EMBEDDING, ENCODERS, UNITS, VOCABULARY, WORDS


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

    def forward(self, words, mask=None):
        return self.bert(input_ids=words, attention_mask=mask).logits


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
