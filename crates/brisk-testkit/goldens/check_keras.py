"""Loads models that Brisk wrote with Keras itself: `check_keras.py FOLDER`, with `NAME.keras` beside `NAME.safetensors`, which has
`input_I` and `output_I` as Brisk computes them. Trains each compiled one for a step."""

import os
import pathlib
import sys

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
import keras
import numpy as np
from safetensors.numpy import load_file

worst, count, failed = 0.0, 0, []


def check(path):
    """The largest difference from what Brisk said; an error for one that is too large."""
    model = keras.saving.load_model(path)
    tensors = load_file(path.with_suffix(".safetensors"))
    inputs = [tensors[f"input_{i}"] for i in range(len(model.inputs))]
    x = inputs[0] if len(inputs) == 1 else inputs
    said = model(x, training=False)
    by_name = said.keys() if isinstance(said, dict) else None
    said = list(said.values()) if by_name else said if isinstance(said, list) else [said]
    worst = 0.0
    for i, value in enumerate(said):
        value, want = np.asarray(value), tensors[f"output_{i}"]
        assert value.shape == want.shape, f"output {i} is {value.shape}, expected {want.shape}"
        error = float(np.abs(value - want).max() / (1 + np.abs(want).max()))
        assert error < 1e-5, f"output {i} differs by {error:.2g}"
        worst = max(worst, error)
    if "loss" in tensors:
        targets = [tensors[f"target_{i}"] for i in range(len(said))]
        y = dict(zip(by_name, targets)) if by_name else targets[0]
        loss, want = float(model.compute_loss(x, y, model(x, training=False))), float(tensors["loss"])
        assert abs(loss - want) < 1e-4 * (1 + abs(want)), f"loss {loss}, expected {want}"
        model.train_on_batch(x, y)
    return worst


for path in sorted(pathlib.Path(sys.argv[1]).glob("*.keras")):
    try:
        worst = max(worst, check(path))
        count += 1
    except Exception as error:
        failed.append(f"{path.name}: {str(error)[-600:]}")
print("\n".join(failed))
print(f"{count} models agree with Keras {keras.__version__}, worst difference {worst:.1g}; {len(failed)} do not")
sys.exit(bool(failed))
