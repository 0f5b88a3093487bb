"""Architectures with random weights of transformers, torchvision and keras.applications, exported and imported: does Brisk say the same?

    python import_zoo.py BRISK [NAME ...]

BRISK is the program. Those of PyTorch go by way of torch.onnx.export, with batches of two and with a free batch; those of Keras as
.keras, SavedModel and .tflite. Prints a line for each, and what did not agree at the end. torchvision is left out where it is not
installed. Takes a quarter of an hour.
"""

import logging
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)

import numpy as np
import onnx
import torch
import transformers as hf

brisk, chosen = sys.argv[1], sys.argv[2:]
failed, agreed = [], 0


def texts(length=12):
    return torch.randint(1, 99, (2, length))


def pictures(size=32):
    return torch.rand(2, 3, size, size)


TINY = dict(vocab_size=99, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37, max_position_embeddings=64)
PATCHES = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37, image_size=32, patch_size=8)
COUPLED = dict(vocab_size=99, encoder_layers=2, decoder_layers=2, encoder_attention_heads=4, decoder_attention_heads=4, use_cache=False)
GROUPED = dict(num_key_value_heads=2, use_cache=False)
SPEECH = dict(vocab_size=32, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=37)


def of_text(model, config):
    return model, config, lambda: dict(input_ids=texts())


def of_picture(model, config, size=32):
    return model, config, lambda: dict(pixel_values=pictures(size))


TRANSFORMERS = {
    "bert": (
        hf.BertForSequenceClassification,
        lambda: hf.BertConfig(**TINY),
        lambda: dict(input_ids=texts(), attention_mask=torch.ones(2, 12, dtype=torch.long)),
    ),
    "roberta": of_text(hf.RobertaModel, lambda: hf.RobertaConfig(**TINY)),
    "electra": of_text(hf.ElectraModel, lambda: hf.ElectraConfig(**TINY, embedding_size=16)),
    "albert": of_text(hf.AlbertModel, lambda: hf.AlbertConfig(**TINY, embedding_size=16)),
    "mpnet": of_text(hf.MPNetModel, lambda: hf.MPNetConfig(**TINY)),
    "deberta": of_text(
        hf.DebertaV2Model, lambda: hf.DebertaV2Config(**TINY, relative_attention=True, pos_att_type=["p2c", "c2p"])
    ),
    "xlnet": of_text(hf.XLNetModel, lambda: hf.XLNetConfig(vocab_size=99, d_model=32, n_layer=2, n_head=4, d_inner=37)),
    "gpt2": of_text(
        hf.GPT2LMHeadModel,
        lambda: hf.GPT2Config(vocab_size=99, n_embd=32, n_layer=2, n_head=4, n_positions=64, use_cache=False),
    ),
    "llama": of_text(hf.LlamaForCausalLM, lambda: hf.LlamaConfig(**TINY, **GROUPED)),
    "mistral": of_text(hf.MistralForCausalLM, lambda: hf.MistralConfig(**TINY, **GROUPED)),
    "qwen2": of_text(hf.Qwen2ForCausalLM, lambda: hf.Qwen2Config(**TINY, **GROUPED)),
    "gemma": of_text(hf.GemmaForCausalLM, lambda: hf.GemmaConfig(**TINY, **GROUPED, head_dim=8)),
    "bart": (
        hf.BartModel,
        lambda: hf.BartConfig(**COUPLED, d_model=32, encoder_ffn_dim=37, decoder_ffn_dim=37, max_position_embeddings=64),
        lambda: dict(input_ids=texts(), decoder_input_ids=texts(7)),
    ),
    "whisper": (
        hf.WhisperModel,
        lambda: hf.WhisperConfig(
            **COUPLED, d_model=16, encoder_ffn_dim=32, decoder_ffn_dim=32, num_mel_bins=80, max_source_positions=30,
            max_target_positions=40, pad_token_id=0, bos_token_id=1, eos_token_id=2, decoder_start_token_id=1,
        ),
        lambda: dict(input_features=torch.randn(2, 80, 60), decoder_input_ids=texts(7)),
    ),
    "wav2vec2": (
        hf.Wav2Vec2ForCTC,
        lambda: hf.Wav2Vec2Config(
            **SPEECH, conv_dim=(16, 16, 16), conv_stride=(5, 2, 2), conv_kernel=(10, 3, 2), num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=2, apply_spec_augment=False,
        ),
        lambda: dict(input_values=torch.randn(2, 1600)),
    ),
    "vit": of_picture(hf.ViTForImageClassification, lambda: hf.ViTConfig(**PATCHES)),
    "deit": of_picture(hf.DeiTModel, lambda: hf.DeiTConfig(**PATCHES)),
    "yolos": of_picture(
        hf.YolosForObjectDetection, lambda: hf.YolosConfig(**PATCHES | dict(image_size=[32, 32]), num_detection_tokens=5)
    ),
    "dpt": of_picture(
        hf.DPTForDepthEstimation,
        lambda: hf.DPTConfig(
            **PATCHES | dict(num_hidden_layers=4), backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[16] * 4,
            fusion_hidden_size=16, readout_type="project", is_hybrid=False,
        ),
    ),
    "segformer": of_picture(
        hf.SegformerForSemanticSegmentation,
        lambda: hf.SegformerConfig(
            depths=[1] * 4, hidden_sizes=[8, 16, 24, 32], num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=16
        ),
        64,
    ),
    "convnext": of_picture(hf.ConvNextModel, lambda: hf.ConvNextConfig(hidden_sizes=[8, 16, 24, 32], depths=[1, 1, 2, 1]), 64),
    "clip": (
        hf.CLIPModel,
        lambda: hf.CLIPConfig(text_config=TINY | dict(eos_token_id=98), vision_config=PATCHES, projection_dim=16),
        lambda: dict(input_ids=texts(), pixel_values=pictures(), attention_mask=torch.ones(2, 12, dtype=torch.long)),
    ),
}

TORCHVISION = dict(
    alexnet=64, convnext_tiny=32, densenet121=32, efficientnet_b0=32, efficientnet_v2_s=32, googlenet=64, inception_v3=96,
    maxvit_t=224, mnasnet0_5=32, mobilenet_v2=32, mobilenet_v3_small=32, regnet_y_400mf=32, resnet18=32, resnext50_32x4d=32,
    shufflenet_v2_x0_5=32, squeezenet1_1=64, swin_t=64, swin_v2_t=64, vgg11_bn=32, vit_b_32=64,
)

KERAS = dict(
    DenseNet121=64, EfficientNetB0=64, EfficientNetV2B0=64, InceptionV3=96, MobileNetV2=64, MobileNetV3Small=64, NASNetMobile=64,
    ResNet50V2=64, VGG16=32, Xception=96,
)


def check(name, model, given, expected, tolerance):
    global agreed
    with tempfile.TemporaryDirectory() as folder:
        files = [f"{folder}/inputs.npz", f"{folder}/outputs.npz"]
        np.savez(files[0], **given)
        np.savez(files[1], **expected)
        command = [brisk, "import", str(model), "--check", *files, "--tolerance", str(tolerance)]
        done = subprocess.run(command, capture_output=True, text=True)
    print(f"{name:<32} {'agrees' if done.returncode == 0 else 'FAILED'}", flush=True)
    if done.returncode == 0:
        agreed += 1
    else:
        failed.append((name, [line for line in (done.stdout + done.stderr).splitlines() if "error" in line or "DIFFERS" in line]))


def tensors(value):
    """All tensors of an answer, in order."""
    if torch.is_tensor(value):
        return [value]
    if hasattr(value, "to_tuple"):
        value = value.to_tuple()
    elif isinstance(value, dict):
        value = list(value.values())
    return [t for part in value if part is not None for t in tensors(part)] if isinstance(value, (tuple, list)) else []


def of_torch(name, model, inputs, folder):
    model = model.eval()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    with torch.no_grad():
        answers = tensors(model(**inputs))
    for kind, free in [("two rows", None), ("free batch", {k: {0: torch.export.Dim.DYNAMIC} for k in inputs})]:
        path = folder / "model.onnx"
        torch.onnx.export(model, kwargs=inputs, f=str(path), dynamo=True, dynamic_shapes=free, verbose=False, report=False)
        graph = onnx.load(str(path), load_external_data=False).graph
        given = {i.name: inputs[i.name].numpy() for i in graph.input}
        check(f"{name}, {kind}", path, given, {o.name: t.numpy() for o, t in zip(graph.output, answers, strict=True)}, 1e-4)


def of_keras(name, size, folder):
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(1)
    model = getattr(keras.applications, name)(weights=None, input_shape=(size, size, 3), classes=100)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_mean.assign(np.random.randn(*layer.moving_mean.shape) * 0.1)
            layer.moving_variance.assign(np.random.rand(*layer.moving_variance.shape) + 0.5)
    x = (np.random.rand(2, size, size, 3) * 255).astype("f")
    given, said = {"x": x}, {"y": model.predict(x, verbose=0)}
    model.save(folder / "model.keras")
    check(f"{name}, .keras", folder / "model.keras", given, said, 1e-5)
    model.export(folder / "saved", verbose=False)
    check(f"{name}, SavedModel", folder / "saved", given, said, 1e-5)
    (folder / "model.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved")).convert())
    check(f"{name}, .tflite", folder / "model.tflite", given, said, 1e-5)
    keras.backend.clear_session()


def torchvision_models():
    try:
        from torchvision import models
    except ImportError:
        return {}

    def of(name, size):
        more = dict(aux_logits=False, init_weights=False) if name in ("googlenet", "inception_v3") else {}
        more |= dict(image_size=size) if name == "vit_b_32" else {}
        return lambda: (getattr(models, name)(weights=None, num_classes=10, **more), dict(x=pictures(size)))

    return {name: of(name, size) for name, size in TORCHVISION.items()}


torch.manual_seed(0)
made = {name: lambda m=m, c=c, i=i: (m(c()), i()) for name, (m, c, i) in TRANSFORMERS.items()} | torchvision_models()
for name in [*made, *KERAS]:
    if chosen and name not in chosen:
        continue
    with tempfile.TemporaryDirectory() as folder:
        if name in made:
            of_torch(name, *made[name](), pathlib.Path(folder))
        else:
            of_keras(name, KERAS[name], pathlib.Path(folder))
print(f"{agreed} agree, {len(failed)} do not")
for name, lines in failed:
    print(name, *lines[:3], sep="\n    ")
sys.exit(bool(failed))
