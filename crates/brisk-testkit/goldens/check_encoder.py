"""Writes what a sentence encoder computes of texts of mixed length, for Brisk to be compared with by hand:

    python check_encoder.py FOLDER FILE.safetensors
    BRISK_HF_FOLDER=FOLDER BRISK_HF_GOLDEN=FILE.safetensors cargo nextest run -p brisk-format --run-ignored only a_real_model
"""

import sys

import torch
import transformers as t
from safetensors.torch import save_file

TEXTS = [
    "Hello",
    "A man is eating food.",
    "这部电影很好看，演员也不错。",
    "The quick brown fox jumps over the lazy dog, and nobody knows why it should have wanted to. " * 3,
    "",
    "Tokenization of uncommonly long-winded compounds (antidisestablishmentarianism!) costs many word pieces. " * 14,
]
folder, output = sys.argv[1:]
torch.set_num_threads(2)
model = t.AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
batch = t.AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
with torch.no_grad():
    result = model(**batch)
mask = batch["attention_mask"][:, :, None]
mean = (result.last_hidden_state * mask).sum(1) / mask.sum(1)
tensors = {k: v.to(torch.int32) for k, v in batch.items()}
tensors["last_hidden_state"] = result.last_hidden_state * mask
if getattr(result, "pooler_output", None) is not None:
    tensors["pooler_output"] = result.pooler_output
tensors["sentence_embedding"] = torch.nn.functional.normalize(mean, dim=-1)
save_file({k: v.contiguous() for k, v in tensors.items()}, output)
print(batch["attention_mask"].sum(1).tolist(), "tokens")
