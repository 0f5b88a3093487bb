"""Files as `torch.save` writes them, in `torch/`, and what is in each, in `torch/files.json`.

Tensors stand there by the keys on the way to them, joined by dots: PyTorch's element type, Brisk's, the shape, and all elements as numbers
(null for NaN). Plain values likewise. Files that are to be refused are listed with a part of the message. In the format of before the archives
storages are called by their addresses, so that those files are never the same twice.
"""

import collections
import json
import pathlib
import zipfile

import numpy as np
import torch

HERE = pathlib.Path(__file__).parent / "torch"
HERE.mkdir(exist_ok=True)
torch.manual_seed(0)

OURS = {
    torch.float64: "f64", torch.float32: "f32", torch.float16: "f32", torch.bfloat16: "f32",
    torch.float8_e4m3fn: "f32", torch.float8_e5m2: "f32", torch.float8_e4m3fnuz: "f32", torch.float8_e5m2fnuz: "f32",
    torch.int64: "i64", torch.int32: "i32", torch.int16: "i32", torch.int8: "i32",
    torch.uint64: "i64", torch.uint32: "i64", torch.uint16: "i32", torch.uint8: "u8", torch.bool: "u8",
}  # fmt: skip
index = {}


def numbers(tensor):
    flat = tensor.detach().to(torch.float64).reshape(-1).tolist()
    return [None if x != x else x for x in flat]


def flat(value, name, tensors, values):
    """What is in a value, by name."""
    below = lambda key: f"{name}.{key}" if name else str(key)
    if isinstance(value, np.ndarray):
        value = torch.from_numpy(np.ascontiguousarray(value.astype(value.dtype.newbyteorder("="))))
    if isinstance(value, torch.Tensor):
        kind = str(value.dtype).removeprefix("torch.")
        tensors[name] = {"dtype": kind, "ours": OURS[value.dtype], "shape": list(value.shape), "numbers": numbers(value)}
    elif isinstance(value, dict):
        for key, inner in value.items():
            flat(inner, below(key), tensors, values)
    elif isinstance(value, (list, tuple, set)):
        for i, inner in enumerate(value):
            flat(inner, below(i), tensors, values)
    elif isinstance(value, np.generic):
        values[name] = value.item()
    elif isinstance(value, (torch.dtype, torch.device)):
        values[name] = str(value)
    elif isinstance(value, (bytes, bytearray)):
        values[name] = {"bytes": list(value)}
    else:
        values[name] = value


def describe(file, content):
    tensors, values = {}, {}
    flat(content, "", tensors, values)
    index[file] = {"tensors": tensors, "values": values}


def save(file, content, **how):
    torch.save(content, HERE / file, **how)
    describe(file, content)


# ---- Element types

base = torch.tensor([[0.0, 1.0, -2.5], [3.0, 0.0625, 100.0]])
eights = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]
dtypes = {str(d)[6:]: base.to(d) for d in (torch.float64, torch.float32, torch.float16, torch.bfloat16, *eights)}
dtypes |= {str(d)[6:]: torch.tensor([-7, 0, 100], dtype=d) for d in (torch.int64, torch.int32, torch.int16, torch.int8)}
dtypes |= {str(d)[6:]: torch.tensor([7, 0, 200], dtype=d) for d in (torch.uint64, torch.uint32, torch.uint16, torch.uint8)}
dtypes["bool"] = torch.tensor([True, False, True])
dtypes["large"] = torch.tensor([2**40, -(2**62)])
dtypes["special"] = torch.tensor([float("nan"), 1e-40, -0.0])
every = torch.arange(256, dtype=torch.uint8)
dtypes |= {"all_" + str(d)[6:]: every.view(d) for d in (torch.float8_e4m3fn, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz)}
del dtypes["float8_e5m2"]
dtypes["all_float8_e5m2"] = (every[:124]).view(torch.float8_e5m2)
save("dtypes.pt", dtypes)

# ---- Views

whole = torch.arange(60, dtype=torch.float32).reshape(3, 4, 5)
views = {
    "whole": whole,
    "sliced": whole[1:, :, 1:4],
    "stepped": whole[::2, ::3, ::2],
    "transposed": whole[0].t(),
    "permuted": whole.permute(2, 0, 1),
    "expanded": whole[1, 2, :2].reshape(2, 1).expand(2, 3),
    "everywhere": whole[2, 3, 4].expand(2, 2),
    "diagonal": whole[0].diagonal(),
    "windows": whole.reshape(-1).as_strided((4, 3), (2, 1), 7),
    "row": whole[2, 1],
    "one": whole[1:2, 2:3, 3:4],
    "scalar": whole[2, 3, 4],
    "number": torch.tensor(5),
    "none": torch.zeros(0, 4),
    "none_sliced": whole[1:1],
    "cut": whole[2, 3, 4:].clone(),
}
save("views.pt", views)

# ---- Containers

net = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
optimizer = torch.optim.Adam(net.parameters(), lr=0.1)
net(torch.randn(4, 3)).sum().backward()
optimizer.step()
tied = torch.tensor([1.5, 2.5])
nested = {
    "epoch": 3,
    "lr": 0.125,
    "name": "größe",
    "done": True,
    "nothing": None,
    "large": 2**80,
    "negative": -300,
    "size": torch.Size([2, 3]),
    "list": [1, [2.5, "x"], (), {}],
    "set": {5},
    "bytes": b"\x00\xff",
    "bytearray": bytearray(b"ab"),
    "dtype": torch.bfloat16,
    "device": torch.device("cpu"),
    "model_state_dict": net.state_dict(),
    "optimizer": optimizer.state_dict(),
    "history": collections.defaultdict(list, {"loss": [0.5, 0.25]}),
    "tied": [tied, tied, tied[1:]],
    7: "seven",
    "numpy": {
        "f64": np.float64(0.1),
        "f32": np.float32(0.5),
        "i64": np.int64(-5),
        "bool": np.bool_(True),
        "array": np.arange(6, dtype=np.float32).reshape(2, 3),
        "fortran": np.asfortranarray(np.arange(6, dtype=np.int64).reshape(2, 3)),
        "big": np.arange(3, dtype=">i4"),
    },
}
save("nested.pt", nested)
save("legacy.pt", nested, _use_new_zipfile_serialization=False)
save("legacy_views.pt", {k: v for k, v in views.items()}, _use_new_zipfile_serialization=False)
save("legacy_dtypes.pt", {k: v for k, v in dtypes.items() if "float8" not in k and "uint1" not in k and "uint3" not in k and "uint6" not in k}, _use_new_zipfile_serialization=False)  # fmt: skip
state = net.state_dict()
save("state_dict.pt", state)
for protocol in range(6):
    # PyTorch itself cannot read back tensors that it wrote with protocol 0.
    w = {"w": whole[0]} if protocol else {}
    some = {"text": "a\nü", "n": [1, 255, 70_000, -1, 2**40], "x": 0.1, "b": b"\x01\xe9", "t": True, **w, "e": {}, "l": [], "u": ()}
    save(f"protocol{protocol}.pt", some, pickle_protocol=protocol)
    save(f"legacy_protocol{protocol}.pt", some, pickle_protocol=protocol, _use_new_zipfile_serialization=False)

# ---- Parameters, with attributes and without

named = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
named.note = "kept beside it"
noted = torch.tensor([3.0])
noted.note = "another"
save("parameters.pt", {"plain": torch.nn.Parameter(base), "named": named, "noted": noted, "buffer": torch.nn.Buffer(base[0])})

# ---- TorchScript


class Inner(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)
        self.steps = [1, 2, 3]

    def forward(self, x):
        return self.fc(x)


class Outer(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = Inner()
        self.norm = torch.nn.BatchNorm1d(2)
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.rate = 0.25

    def forward(self, x):
        return self.norm(self.inner(x)) * self.scale * self.rate


outer = Outer().eval()
torch.jit.script(outer).save(HERE / "script.pt")
describe("script.pt", outer.state_dict())
index["script.pt"]["values"] = {"rate": 0.25, "inner.steps.1": 2, "training": False}

# ---- Made on a big-endian machine


def rewrite(name, to, change):
    """Copies an archive, with the content of its entries changed."""
    with zipfile.ZipFile(HERE / name) as old, zipfile.ZipFile(HERE / to, "w") as new:
        for entry in old.infolist():
            data = change(entry.filename, old.read(entry))
            if data is not None:
                new.writestr(zipfile.ZipInfo(entry.filename), data)


def swapped(name, data):
    if name.endswith("/byteorder"):
        return b"big"
    return np.frombuffer(data, ">f4").astype("<f4").tobytes() if "/data/" in name else data


save("little.pt", {"w": whole, "t": whole[0].t()})
rewrite("little.pt", "big.pt", swapped)
index["big.pt"] = index["little.pt"]
rewrite("little.pt", "no_order.pt", lambda name, data: None if name.endswith("/byteorder") else data)
index["no_order.pt"] = index["little.pt"]

# ---- What is refused


class Own(torch.nn.Module):
    pass


refused = {
    "module.pt": (Own(), "wants to call __main__.Own"),
    "layer.pt": (torch.nn.Linear(1, 1), "wants to call torch.nn.modules.linear.Linear"),
    "sparse.pt": ({"s": torch.eye(2).to_sparse()}, "has a sparse tensor (torch._utils._rebuild_sparse_tensor)"),
    "complex.pt": ({"c": torch.ones(2, dtype=torch.complex64)}, "has complex numbers (torch.ComplexFloatStorage)"),
    "quantized.pt": ({"q": torch.quantize_per_tensor(base, 0.1, 0, torch.qint8)}, "has a quantized tensor"),
    "protocol_0_tensor.pt": ({"w": base}, "pickle protocol 0, which PyTorch cannot read either"),
    "objects.pt": ({"a": np.array([None], dtype=object)}, "elements of type O8"),
}
torch.save({"w": torch.tensor([2**63], dtype=torch.uint64)}, HERE / "uint64.pt")  # Only its tensor is refused.
for file, (content, _) in refused.items():
    torch.save(content, HERE / file, pickle_protocol=0 if file == "protocol_0_tensor.pt" else 2)
head = {"about": __doc__.split("\n")[0], "versions": {"torch": torch.__version__.split("+")[0], "numpy": np.__version__}}
head["refused"] = {file: message for file, (_, message) in refused.items()}
lines = [f"    {json.dumps(file)}: {json.dumps(content)}" for file, content in index.items()]
text = json.dumps(head, indent=2)[:-2] + ',\n  "files": {\n' + ",\n".join(lines) + "\n  }\n}\n"
json.loads(text)
(HERE / "files.json").write_text(text)
print(f"{len(index)} files, {sum(f.stat().st_size for f in HERE.iterdir()) / 1024:.0f} KB")
