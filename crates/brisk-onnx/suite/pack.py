"""Packs a few small cases of every operator into one archive, which the tests of `brisk-format` run.

    python make.py SUITE
    python pack.py SUITE ../../brisk-format/tests/onnx/cases.zip

Of an operator's cases come the smallest, the smallest one with other attributes, and the smallest one with other operands.
"""

import os
import sys
import zipfile

import onnx

suite, archive = sys.argv[1:]
LARGEST = 128 << 10
# Their results are random, so that the suite's cannot be found again; or Brisk does not have the operator.
LEFT_OUT = ["bernoulli", "training_dropout", "image_decoder"]


def files(folder):
    for at, _, names in os.walk(folder):
        yield from (os.path.join(at, name) for name in sorted(names))


def described(path):
    """The operators of a case, and for each what its call looks like."""
    model = onnx.load(os.path.join(path, "model.onnx"))
    kinds = {i.name: i.type.tensor_type.elem_type for i in model.graph.input}
    calls = {}
    for node in model.graph.node:
        attributes = tuple(sorted(a.name for a in node.attribute))
        operands = tuple(kinds.get(name, bool(name)) for name in node.input)
        calls.setdefault((node.domain, node.op_type), (attributes, operands))
    return calls


cases = {}
for kind in ["node", "simple"]:
    for name in os.listdir(os.path.join(suite, kind)):
        path = os.path.join(suite, kind, name)
        size = sum(os.path.getsize(f) for f in files(path))
        # An expanded case writes an operator in terms of others, which have cases of their own.
        if size > LARGEST or "_expanded" in name or any(word in name for word in LEFT_OUT):
            continue
        for operator, call in described(path).items():
            cases.setdefault(operator, []).append((size, f"{kind}/{name}", call))

chosen = set()
for operator, all in cases.items():
    all.sort()
    _, name, (attributes, operands) = all[0]
    chosen.add(name)
    for part, first in [(0, attributes), (1, operands)]:
        chosen.update(name for _, name, call in [c for c in all if c[2][part] != first][:1])

with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
    for name in sorted(chosen):
        for file in sorted(files(os.path.join(suite, name))):
            # The same bytes whenever it is made.
            entry = zipfile.ZipInfo(os.path.relpath(file, suite))
            entry.compress_type = zipfile.ZIP_DEFLATED
            with open(file, "rb") as content:
                out.writestr(entry, content.read())
print(f"{len(chosen)} cases of {len(cases)} operators, {os.path.getsize(archive)} bytes")
