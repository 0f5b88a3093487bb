"""Fine-tuning and losses of text models, computed by PyTorch in f64."""

import torch
import torch.nn.functional as F
from golden import Goldens, random

torch.set_default_dtype(torch.float64)
VERSIONS = {"torch": torch.__version__}

# ---- AdamW without decay for biases and norms, with linear warmup and linear decay

STEPS, WARMUP = 3, 2
cases = Goldens(
    "fine_tuning",
    f"dense, layer normalization, dense: parameters after each of {STEPS} steps of AdamW (leading axis: the step)",
    VERSIONS,
)
SHAPES = {
    "dense.kernel": (5, 8), "dense.bias": (8,), "layer_normalization.gamma": (8,), "layer_normalization.beta": (8,),
    "dense_1.kernel": (8, 3), "dense_1.bias": (3,),
}  # fmt: skip
NO_DECAY = ("bias", "gamma", "beta")


def train(name, rules, factor=lambda _: 1.0, frozen=(), lora=None):
    """Three steps. `factor` gives the factor of a parameter's learning rate; `lora` is (rank, alpha, parameter)."""
    p = {n: torch.tensor(random(f"fine_tuning/{n}", *s, scale=0.5)) for n, s in SHAPES.items()}
    start = {n: v.numpy().copy() for n, v in p.items()}
    if lora:
        rank, alpha, target = lora
        rows, columns = SHAPES[target]
        p[f"{target}.lora_a"] = torch.tensor(random("fine_tuning/a", rows, rank, scale=0.5))
        p[f"{target}.lora_b"] = torch.tensor(random("fine_tuning/b", rank, columns, scale=0.5))
        start |= {n: v.numpy().copy() for n, v in p.items() if "lora" in n}
        frozen = (*frozen, target)
    x, y = torch.tensor(random("fine_tuning/x", 6, 5)), torch.tensor([0, 2, 1, 1, 0, 2])
    trained = [n for n in p if n not in frozen]
    for n in trained:
        p[n].requires_grad_(True)
    groups = [
        {"params": [p[n]], "lr": 0.02 * factor(n), "weight_decay": 0.0 if n.split(".")[-1] in NO_DECAY else 0.1}
        for n in trained
    ]
    o = torch.optim.AdamW(groups, lr=0.02, betas=(0.9, 0.999), eps=1e-10)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        o, lambda s: (s + 1) / WARMUP if s < WARMUP else 1 - (s - WARMUP) / (2 * STEPS - WARMUP)
    )
    losses, after = [], {n: [] for n in p}

    def weight(n):
        if lora and n == lora[2]:
            return p[n] + lora[1] / lora[0] * p[f"{n}.lora_a"] @ p[f"{n}.lora_b"]
        return p[n]

    for _ in range(STEPS):
        o.zero_grad()
        h = x @ weight("dense.kernel") + p["dense.bias"]
        h = F.layer_norm(h, (8,), p["layer_normalization.gamma"], p["layer_normalization.beta"], eps=1e-3)
        loss = F.cross_entropy(h @ weight("dense_1.kernel") + p["dense_1.bias"], y)
        loss.backward()
        o.step()
        schedule.step()
        losses.append(loss.detach())
        for n in p:
            after[n].append(p[n].detach().clone())
    tensors = {"x": x, "y": y.int(), "loss": torch.stack(losses)} | start
    tensors |= {f"{n}_after": torch.stack(v) for n, v in after.items()}
    cases.add(name, tensors, rules=rules)


no_decay = {"no_decay": list(NO_DECAY)}
train("no_decay", no_decay)
train("frozen", no_decay | {"frozen": ["dense"]}, frozen=("dense.kernel", "dense.bias"))
train("factors", no_decay | {"learning_rates": {"dense_1": 10.0, "kernel": 0.5}},
      factor=lambda n: (10.0 if "dense_1" in n else 1.0) * (0.5 if "kernel" in n else 1.0))  # fmt: skip
train("lora", no_decay | {"lora": {"rank": 2, "alpha": 3.0, "parameters": ["dense.kernel"]}}, lora=(2, 3.0, "dense.kernel"))
cases.write()

# ---- Losses

losses = Goldens(
    "text_losses", "the mean loss of a batch, and its gradient with respect to y_pred", VERSIONS
)


def loss_case(name, loss, config, function, y_pred, y_true=None):
    x = torch.tensor(y_pred, requires_grad=True)
    value = function(x) if y_true is None else function(x, torch.tensor(y_true))
    value.backward()
    tensors = {"y_pred": y_pred} | ({} if y_true is None else {"y_true": y_true})
    losses.add(name, tensors | {"loss": value.detach(), "grad_y_pred": x.grad}, loss=loss, config=config)


CLASSES = 5
logits = random("text/logits", 7, CLASSES, scale=2.0)
tags = [3, -1, 0, 4, -1, -1, 2]
weights = [0.5, 1.0, 2.0, 0.25, 3.0]


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def ignoring(x, y):
    return F.cross_entropy(x.flatten(0, -2), y.flatten(), ignore_index=-1)


import numpy as np  # noqa: E402

loss_case("tags", "sparse_categorical_crossentropy", {"ignore_class": -1}, ignoring, logits, np.int64(tags))
loss_case("tags_padded", "sparse_categorical_crossentropy", {"ignore_class": -1}, ignoring,
          random("text/padded", 2, 3, CLASSES), np.int64([[1, 4, -1], [0, -1, -1]]))  # fmt: skip
loss_case("tags_none", "sparse_categorical_crossentropy", {"ignore_class": -1}, lambda x, y: (x * 0).sum(),
          logits, np.int64([-1] * 7))  # fmt: skip
loss_case("tags_weighted", "sparse_categorical_crossentropy", {"ignore_class": -1, "class_weights": weights},
          lambda x, y: F.cross_entropy(x, y, weight=tensor(weights), ignore_index=-1, reduction="sum") / (y >= 0).sum(),
          logits, np.int64(tags))  # fmt: skip

flags = (random("text/flags", 4, 3) > 0).astype(np.float64)
flag_logits = random("text/flag_logits", 4, 3, scale=3.0)
positive = [0.5, 2.0, 1.0]
loss_case("multi_label", "binary_crossentropy", {}, F.binary_cross_entropy_with_logits, flag_logits, flags)
loss_case("multi_label_weighted", "binary_crossentropy", {"positive_weights": positive},
          lambda x, y: F.binary_cross_entropy_with_logits(x, y, pos_weight=tensor(positive)), flag_logits, flags)  # fmt: skip


def focal(x, y, gamma, weights=None):
    logp = F.log_softmax(x, -1).gather(-1, y[:, None])[:, 0]
    loss = -((1 - logp.exp()) ** gamma) * logp
    return (loss if weights is None else loss * tensor(weights)[y]).mean()


def binary_focal(x, y, gamma, alpha):
    p = torch.where(y > 0.5, torch.sigmoid(x), torch.sigmoid(-x))
    share = torch.where(y > 0.5, torch.tensor(alpha), torch.tensor(1 - alpha)) if alpha is not None else 1.0
    return (-share * (1 - p) ** gamma * p.log()).mean()


classes = np.int64([3, 1, 0, 4, 2, 2, 1])
loss_case("focal", "focal_crossentropy", {}, lambda x, y: focal(x, y, 2.0), logits, classes)
loss_case("focal_weighted", "focal_crossentropy", {"gamma": 0.5, "class_weights": weights},
          lambda x, y: focal(x, y, 0.5, weights), logits, classes)  # fmt: skip
loss_case("binary_focal", "binary_focal_crossentropy", {}, lambda x, y: binary_focal(x, y, 2.0, None), flag_logits, flags)
loss_case("binary_focal_alpha", "binary_focal_crossentropy", {"gamma": 1.5, "alpha": 0.25},
          lambda x, y: binary_focal(x, y, 1.5, 0.25), flag_logits, flags)  # fmt: skip


def ranking(x, scale=20.0):
    anchors, positives = x.chunk(2)
    scores = F.cosine_similarity(anchors[:, None], positives[None], dim=-1) * scale
    return F.cross_entropy(scores, torch.arange(len(anchors)))


def cosine(x, y):
    a, b = x.chunk(2)
    return ((F.cosine_similarity(a, b) - y[:, 0]) ** 2).mean()


def triplet(x, margin=5.0):
    a, p, n = x.chunk(3)
    return F.relu((a - p).norm(dim=-1) - (a - n).norm(dim=-1) + margin).mean()


loss_case("multiple_negatives_ranking", "multiple_negatives_ranking", {}, ranking, random("text/pairs", 8, 6))
loss_case("multiple_negatives_ranking_scale", "multiple_negatives_ranking", {"scale": 5.0},
          lambda x: ranking(x, 5.0), random("text/pairs", 8, 6))  # fmt: skip
loss_case("cosine_similarity", "cosine_similarity", {}, cosine, random("text/pairs", 8, 6),
          np.float64([[1.0], [0.25], [0.5], [-0.5]]))  # fmt: skip
loss_case("triplet", "triplet", {}, triplet, random("text/triples", 12, 6))
loss_case("triplet_margin", "triplet", {"margin": 0.5}, lambda x: triplet(x, 0.5), random("text/triples", 12, 6))
losses.write()
