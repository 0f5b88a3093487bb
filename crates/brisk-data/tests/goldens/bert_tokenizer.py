"""Token numbers of Hugging Face's BERT tokenizer over the small vocabulary beside this file.

Writes bert_tokenizer.json. Run with transformers installed: python bert_tokenizer.py
"""

import json
from pathlib import Path

import transformers
from transformers import BertTokenizer

HERE = Path(__file__).parent

TEXTS = [
    "Playing the played plays!",
    "Un café à l'été; naïve Zürich.",
    "我爱北京天安门，hello世界。",
    "emoji 😀👍🏽 and 中文mixed字",
    "  spaces\tand\nlines \u00a0 \u3000 here ",
    "don't stop-me now... 3.14%",
    "",
    "[CLS] special [MASK] in text [SEP]",
    "unknownlongword " + "a" * 120,
    "zero\u200bwidth\ufeff \x00 control\x07 \ufffd",
    "ＦＵＬＬ width １２３ ﬁ Å é e\u0301",
]
PAIRS = [["Playing the play", "我爱 played"], ["", "the"]]
SETTINGS = [
    {"do_lower_case": True},
    {"do_lower_case": False},
    {"do_lower_case": True, "strip_accents": False},
    {"do_lower_case": False, "strip_accents": True, "tokenize_chinese_chars": False},
]

cases = []
for settings in SETTINGS:
    vocab = HERE / "vocab.txt"
    tokenizer = BertTokenizer(str(vocab), **settings)
    inputs = [[t] for t in TEXTS] + PAIRS
    encoded = [tokenizer(*i) for i in inputs]
    cases.append(
        {
            "settings": settings,
            "texts": inputs,
            "ids": [e["input_ids"] for e in encoded],
            "types": [e["token_type_ids"] for e in encoded],
            "truncated": tokenizer(*PAIRS[0], truncation=True, max_length=8)["input_ids"],
        }
    )
result = {"transformers": transformers.__version__, "cases": cases}
(HERE / "bert_tokenizer.json").write_text(json.dumps(result, ensure_ascii=False, indent=0) + "\n")
