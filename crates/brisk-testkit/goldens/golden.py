"""Writes golden files: `NAME.json`, the index, and `NAME.safetensors`, the tensors (key: `case/role`).

Values are computed in f64 from inputs that f32 holds exactly, and stored as f32 (labels as i32), so that what a test
sees is its own error and not the peer's.
"""

import json
import pathlib
import zlib

import numpy as np
from safetensors.numpy import save

HERE = pathlib.Path(__file__).parent


class Goldens:
    def __init__(self, name, about, versions):
        self.name, self.tensors, self.cases = name, {}, []
        self.head = {"about": about, "versions": versions}

    def add(self, name, tensors, **fields):
        """One case. `fields` go into the index as they are; `tensors` maps role to array."""
        assert all(case["name"] != name for case in self.cases), name
        shapes = {}
        for role, value in tensors.items():
            value = np.asarray(value)
            value = value.astype(np.int32 if np.issubdtype(value.dtype, np.integer) else np.float32)
            self.tensors[f"{name}/{role}"] = np.ascontiguousarray(value).reshape(value.shape)
            shapes[role] = list(value.shape)
        self.cases.append({"name": name, **fields, "tensors": shapes})

    def write(self):
        data = save(self.tensors)
        (HERE / f"{self.name}.safetensors").write_bytes(data)
        lines = [json.dumps(case) for case in self.cases]
        head = json.dumps(self.head, indent=2)[:-2]
        text = head + ',\n  "cases": [\n    ' + ",\n    ".join(lines) + "\n  ]\n}\n"
        json.loads(text)
        (HERE / f"{self.name}.json").write_text(text)
        print(f"{self.name}: {len(self.cases)} cases, {len(self.tensors)} tensors, {len(data) / 1024:.0f} KB")


def random(name, *shape, scale=1.0):
    """Normal values that depend only on `name`, exact in f32, as f64."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    return (rng.standard_normal(shape) * scale).astype(np.float32).astype(np.float64)
