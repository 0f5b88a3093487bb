"""Checks exported models with ONNX's checker, and runs them in ONNX Runtime.

python onnx_export.py FOLDER: each folder in it holds model.onnx, and files N.safetensors with input.NAME and output.NAME. NaN in an
output stands for any number.
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file

TYPES = {
    "tensor(float)": np.float32,
    "tensor(int64)": np.int64,
    "tensor(int32)": np.int32,
    "tensor(uint8)": np.uint8,
}


def part(tensors, prefix):
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def check(folder):
    path = folder / "model.onnx"
    onnx.checker.check_model(str(path), full_check=True)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    files = sorted(folder.glob("*.safetensors"))
    assert len(files) >= 2, "asked about fewer than two batches"
    for file in files:
        tensors = load_file(file)
        given = part(tensors, "input.")
        given = {i.name: given[i.name].astype(TYPES[i.type]) for i in session.get_inputs()}
        expected = part(tensors, "output.")
        for port, found in zip(session.get_outputs(), session.run(None, given), strict=True):
            want = expected[port.name]
            assert found.shape == want.shape, f"{file.name} {port.name}: {found.shape}, expected {want.shape}"
            known = ~np.isnan(want)
            np.testing.assert_allclose(found[known], want[known], rtol=1e-5, atol=1e-5, err_msg=f"{file.name} {port.name}")


def main():
    folders = sorted(p for p in pathlib.Path(sys.argv[1]).iterdir() if p.is_dir())
    failed = 0
    for folder in folders:
        try:
            check(folder)
        except Exception as error:  # each model by itself
            failed += 1
            print(f"{folder.name}: {error}"[:1500])
    if failed:
        sys.exit(f"{failed} of {len(folders)} models do not agree")
    print(f"{len(folders)} models agree")


main()
