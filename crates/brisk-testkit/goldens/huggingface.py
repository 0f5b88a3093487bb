"""Tiny encoders with random weights as Hugging Face folders, made by `transformers`, with what they compute.

Each folder in `huggingface/` holds `config.json`, the weights, and `golden.safetensors`: a padded batch of texts of mixed
lengths (`input_ids`, `attention_mask`, `token_type_ids`), `last_hidden_state`, and where the model has them `pooler_output`
and `logits`. Values are computed in f64 from the weights in the folder; at padding they are zeros.
"""

import json
import pathlib
import shutil
import zlib

import numpy as np
import torch
import transformers as t
from safetensors.numpy import load_file, save_file

HERE = pathlib.Path(__file__).parent / "huggingface"
VOCAB, PAD = 60, {"bert": 0, "distilbert": 0, "electra": 0}
LENGTHS = [7, 3, 9, 1, 5]
LABELS = {0: "负面", 1: "neutral", 2: "positive"}
SIZES = dict(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24)
torch.set_num_threads(1)


def config(kind, **more):
    """A configuration with three labels. RoBERTa's relatives pad with 1 and have one type."""
    pad = PAD.get(kind, 1)
    common = dict(vocab_size=VOCAB, pad_token_id=pad, id2label=LABELS, label2id={v: k for k, v in LABELS.items()})
    if kind == "distilbert":
        sizes = dict(dim=16, n_layers=2, n_heads=2, hidden_dim=24, max_position_embeddings=20)
    else:
        sizes = dict(**SIZES, max_position_embeddings=20 + 2 * pad, type_vocab_size=1 if pad else 2)
        sizes["layer_norm_eps"] = 1e-5 if pad else 1e-12
    if kind == "electra":
        sizes["embedding_size"] = 8
    return t.AutoConfig.for_model(kind, **{**common, **sizes, **more})


def randomize(model, name):
    """Weights that matter: norms are not the identity, biases are not zero."""
    for key, p in model.named_parameters():
        rng = np.random.default_rng(zlib.crc32(f"{name}/{key}".encode()))
        values = rng.standard_normal(p.shape) * (0.1 if p.dim() == 1 else 0.3)
        if "norm" in key.lower() and key.endswith("weight"):
            values += 1
        p.data = torch.tensor(values.astype(np.float32))


def batch(pad, types):
    rng = np.random.default_rng(7)
    shape = (len(LENGTHS), max(LENGTHS))
    ids, mask, kinds = np.full(shape, pad), np.zeros(shape, int), np.zeros(shape, int)
    for row, length in enumerate(LENGTHS):
        ids[row, :length] = rng.integers(5, VOCAB, length)
        mask[row, :length] = 1
        kinds[row, length // 2 : length] = types - 1
    return ids, mask, kinds


def folder(name, auto, cfg, dtype=torch.float32, **saving):
    model = auto.from_config(cfg).eval()
    randomize(model, name)
    model = model.to(dtype)
    path = HERE / name
    shutil.rmtree(path, ignore_errors=True)
    model.save_pretrained(path, **saving)
    model = model.double()
    types = getattr(cfg, "type_vocab_size", 1)
    ids, mask, kinds = batch(cfg.pad_token_id, types)
    inputs = dict(input_ids=torch.tensor(ids), attention_mask=torch.tensor(mask))
    if cfg.model_type != "distilbert":
        inputs["token_type_ids"] = torch.tensor(kinds)
    with torch.no_grad():
        hidden = model.base_model(**inputs)
        found = {"last_hidden_state": hidden.last_hidden_state}
        if getattr(hidden, "pooler_output", None) is not None:
            found["pooler_output"] = hidden.pooler_output
        result = model(**inputs)
        logits = getattr(result, "logits", getattr(result, "prediction_logits", None))
        if logits is not None:
            found["logits"] = logits
    tensors = dict(input_ids=ids, attention_mask=mask, token_type_ids=kinds)
    tensors = {k: v.astype(np.int32) for k, v in tensors.items()}
    for key, value in found.items():
        value = value.numpy()
        if value.ndim == 3:
            value = value * mask[:, :, None]
        tensors[key] = np.ascontiguousarray(value.astype(np.float32))
    save_file(tensors, path / "golden.safetensors")
    (path / "generation_config.json").unlink(missing_ok=True)
    return path


def old_names(path):
    """As files were written before 2019: `gamma` and `beta`, and with the buffer of positions."""
    file = path / "model.safetensors"
    tensors = load_file(file)
    rename = lambda k: k.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    tensors = {rename(k): v for k, v in tensors.items()}
    tensors["bert.embeddings.position_ids"] = np.arange(20, dtype=np.int64)[None]
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"].copy()
    save_file(tensors, file, metadata={"format": "pt"})


def sentences(path, **modes):
    """What `sentence-transformers` adds."""
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": p, "type": f"sentence_transformers.models.{k}"}
        for i, (p, k) in enumerate(kinds.items())
    ]
    (path / "modules.json").write_text(json.dumps(modules, indent=2) + "\n")
    (path / "1_Pooling").mkdir()
    (path / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 16, **modes}, indent=2) + "\n")


def tokenizer(path):
    words = "[PAD] [UNK] [CLS] [SEP] [MASK] 这 部 电 影 很 好 看 不 的 是 我 你 a the film is was good bad not very ##s ##ed".split()
    words += [f"[unused{i}]" for i in range(VOCAB - len(words))]
    (path / "vocab.txt").write_text("\n".join(words) + "\n")
    about = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 20}
    (path / "tokenizer_config.json").write_text(json.dumps(about, indent=2) + "\n")


HERE.mkdir(exist_ok=True)
classes = t.AutoModelForSequenceClassification
for kind in ["bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra"]:
    folder(kind, classes, config(kind))
tokenizer(HERE / "bert")
folder("bert-tokens", t.AutoModelForTokenClassification, config("bert", hidden_act="gelu_new"))
folder("bert-masked", t.AutoModelForMaskedLM, config("bert", hidden_act="relu"))
for kind in ["roberta", "distilbert", "electra"]:
    folder(f"{kind}-masked", t.AutoModelForMaskedLM, config(kind))
old_names(folder("bert-pretraining", t.AutoModelForPreTraining, config("bert")))
folder("roberta-pooler", t.AutoModel, config("roberta"))
path = folder("bert-shards", t.AutoModel, config("bert", hidden_act="silu"), dtype=torch.float16, max_shard_size="8KB")
sentences(path, pooling_mode_cls_token=False, pooling_mode_mean_tokens=True, pooling_mode_max_tokens=False)

versions = {"torch": torch.__version__.split("+")[0], "transformers": t.__version__, "numpy": np.__version__}
(HERE / "versions.json").write_text(json.dumps(versions, indent=2) + "\n")
for path in sorted(HERE.iterdir()):
    if path.is_dir():
        keys = ", ".join(load_file(path / "golden.safetensors"))
        size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
        print(f"{path.name}: {size / 1024:.0f} KB; {keys}")
