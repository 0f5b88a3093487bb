"""Fine-tunes a text classifier with the Hugging Face Trainer, as `brisk train` does with the same table and recipe.

The folder holds train.csv and test.csv with the columns text and label. Prints one JSON object: seconds of training, accuracy
on the test rows.
"""

import argparse
import csv
import json
import os
import pathlib
import tempfile
import time

p = argparse.ArgumentParser(description=__doc__)
p.add_argument("data", type=pathlib.Path)
p.add_argument("model", help="a Hugging Face folder")
p.add_argument("--seed", type=int, default=1)
p.add_argument("--epochs", type=int, default=2)
p.add_argument("--batch-size", type=int, default=32)
p.add_argument("--learning-rate", type=float, default=5e-5)
p.add_argument("--weight-decay", type=float, default=0.01)
p.add_argument("--max-length", type=int, default=128)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--group-by-length", action="store_true", help="texts of like length meet in a batch, as in Brisk")
args = p.parse_args()
os.environ["CUDA_VISIBLE_DEVICES"] = ""
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch  # noqa: E402  (the environment comes first)
from transformers import (  # noqa: E402
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    set_seed,
)

torch.set_num_threads(args.threads)
set_seed(args.seed)
tokenizer = AutoTokenizer.from_pretrained(args.model)
rows = {part: list(csv.DictReader((args.data / f"{part}.csv").open(encoding="utf-8"))) for part in ("train", "test")}
labels = sorted({row["label"] for row in rows["train"]})


def encode(rows):
    tokens = tokenizer([row["text"] for row in rows], truncation=True, max_length=args.max_length)
    columns = [k for k in ("input_ids", "attention_mask", "token_type_ids") if k in tokens]
    return [{k: tokens[k][i] for k in columns} | {"label": labels.index(row["label"])} for i, row in enumerate(rows)]


settings = {"train_sampling_strategy": "group_by_length"} if args.group_by_length else {}
trainer = Trainer(
    model=AutoModelForSequenceClassification.from_pretrained(args.model, num_labels=len(labels)),
    args=TrainingArguments(
        output_dir=tempfile.mkdtemp(), per_device_train_batch_size=args.batch_size,
        per_device_eval_batch_size=args.batch_size, num_train_epochs=args.epochs, learning_rate=args.learning_rate,
        weight_decay=args.weight_decay, lr_scheduler_type="linear", seed=args.seed, use_cpu=True, save_strategy="no",
        report_to=[], disable_tqdm=True, **settings,
    ),
    train_dataset=encode(rows["train"]),
    eval_dataset=encode(rows["test"]),
    data_collator=DataCollatorWithPadding(tokenizer),
    compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())},
)  # fmt: skip
start = time.time()
cpu = time.process_time()
trainer.train()
seconds = time.time() - start
cpu = time.process_time() - cpu
print(json.dumps({"seed": args.seed, "seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "accuracy": trainer.evaluate()["eval_accuracy"]}))
