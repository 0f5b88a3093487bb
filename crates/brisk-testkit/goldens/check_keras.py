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

worst, count = 0.0, 0
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.keras")):
    model = keras.saving.load_model(path)
    tensors = load_file(path.with_suffix(".safetensors"))
    inputs = [tensors[f"input_{i}"] for i in range(len(model.inputs))]
    x = inputs[0] if len(inputs) == 1 else inputs
    said = model(x, training=False)
    said = list(said.values()) if isinstance(said, dict) else said if isinstance(said, list) else [said]
    for i, value in enumerate(said):
        value, want = np.asarray(value), tensors[f"output_{i}"]
        if value.shape != want.shape:
            sys.exit(f"{path.name}: output {i} is {value.shape}, expected {want.shape}")
        error = float(np.abs(value - want).max() / (1 + np.abs(want).max()))
        worst = max(worst, error)
        if error > 1e-5:
            sys.exit(f"{path.name}: output {i} differs by {error:.2g}")
    targets = [tensors[f"target_{i}"] for i in range(len(said)) if f"target_{i}" in tensors]
    if model.compiled and targets:
        names = model._outputs_struct.keys() if isinstance(getattr(model, "_outputs_struct", None), dict) else None
        y = targets[0] if len(targets) == 1 else dict(zip(names, targets))
        loss = model.compute_loss(x, y, model(x, training=False))
        want = float(tensors["loss"]) if "loss" in tensors else None
        if want is not None and abs(float(loss) - want) > 1e-4 * (1 + abs(want)):
            sys.exit(f"{path.name}: loss {float(loss)}, expected {want}")
        model.train_on_batch(x, y)
    count += 1
print(f"{count} models agree with Keras {keras.__version__}, worst difference {worst:.1g}")
