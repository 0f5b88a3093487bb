"""Compares a step of plain gradient descent with PyTorch: BEFORE AFTER TABLE RATE LOSS.

BEFORE and AFTER are Hugging Face folders of a classifier, a step of RATE apart over all rows of TABLE (columns text and
label); LOSS is what the step said. Prints the largest difference, relative to the tensor's gradient; fails above 1e-3.
"""

import csv
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

before, after, table, rate, loss = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(before)
load = AutoModelForSequenceClassification.from_pretrained
model, moved = load(before, dtype=torch.float32).eval(), load(after, dtype=torch.float32)
rows = list(csv.DictReader(open(table, encoding="utf-8")))
batch = tokenizer([r["text"] for r in rows], padding=True, truncation=True, return_tensors="pt")
labels = torch.tensor([model.config.label2id[r["label"]] for r in rows])
ours = model(**batch, labels=labels).loss
ours.backward()
print(f"loss {loss}, here {ours.item()}")
assert abs(float(loss) - ours.item()) <= 1e-3 * abs(ours.item())
moved = dict(moved.named_parameters())
gradients = {name: p.grad for name, p in model.named_parameters()}
largest = max(g.norm() for g in gradients.values())
worst = ("", 0.0)
for name, p in model.named_parameters():
    step = (p.detach() - moved[name].detach()) / float(rate)
    # Gradients that are zero but for rounding, as those of the keys' biases, have no direction of their own.
    error = ((step - gradients[name]).norm() / (gradients[name].norm() + 1e-4 * largest)).item()
    worst = max(worst, (name, error), key=lambda w: w[1])
    assert error <= 1e-3, f"{name}: {error}"
print(f"{len(gradients)} gradients, the largest difference {worst[1]:.1e} of {worst[0]}")
