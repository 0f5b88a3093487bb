"""Loads folders that Brisk wrote with `transformers` and compares them with those that Brisk read: by hand, as

    BRISK_HF_OUTPUT=DIR cargo nextest run -p brisk-format --run-ignored only folders_are_written_for_others
    python check_huggingface.py DIR [ANOTHER_FOLDER_THAT_WAS_READ...]

Fails if a weight is missing or unexpected, or if an output differs by more than 1e-6.
"""

import pathlib
import sys

import torch
import transformers as t

HERE = pathlib.Path(__file__).parent / "huggingface"
torch.set_num_threads(1)


def load(path):
    """The model that the folder says it is, and what `transformers` says of its weights."""
    name = t.AutoConfig.from_pretrained(path).architectures[0]
    model, info = getattr(t, name).from_pretrained(path, dtype=torch.float64, output_loading_info=True)
    return model.eval(), {k: v for k, v in info.items() if v}


def tensors(result):
    return {k: v for k, v in result.items() if isinstance(v, torch.Tensor)}


output, *others = map(pathlib.Path, sys.argv[1:])
sources = [p for p in sorted(HERE.iterdir()) if p.is_dir()] + others
for source in sources:
    was, _ = load(source)
    now, info = load(output / source.name)
    assert not info, f"{source.name}: {info}"
    vocab = was.config.vocab_size
    ids = torch.randint(5, vocab, (3, 11), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, 6:] = 0
    with torch.no_grad():
        a, b = (tensors(m(input_ids=ids, attention_mask=mask)) for m in (was, now))
    keys = [k for k in a if k in b]
    # BertForPreTraining is read as a model for masked tokens: it keeps one of its two heads.
    if source.name == "bert-pretraining":
        a, keys = {"logits": a["prediction_logits"]}, ["logits"]
    assert keys and (source.name == "bert-pretraining" or set(a) == set(b)), (source.name, a.keys(), b.keys())
    worst = max((a[k] - b[k]).abs().max().item() for k in keys)
    assert worst < 1e-6, f"{source.name}: outputs differ by {worst}"
    print(f"{source.name}: {type(now).__name__}, {', '.join(keys)}: largest difference {worst:.1e}")
