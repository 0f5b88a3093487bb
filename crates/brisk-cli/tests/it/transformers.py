"""Asks a Hugging Face folder about texts: FOLDER TEXT... A line of JSON with the probabilities of each text."""

import json
import sys

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder, *texts = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
with torch.no_grad():
    logits = model(**tokenizer(texts, padding=True, truncation=True, return_tensors="pt")).logits
names = model.config.id2label
rows = [{names[i]: p for i, p in enumerate(row)} for row in logits.softmax(-1).tolist()]
print(json.dumps(rows))
