"""Writes ONNX's own conformance tests as folders of protobuf files: OUT/KIND/NAME/{model.onnx, test_data_set_N/...}.

    pip install onnx==1.23.2
    python make.py OUT

They are made by the package's own code: the cases of single operators, the small models, those converted from PyTorch, and the
nine real graphs, whose inputs and outputs are those of the package's runner.
"""

import json
import os
import shutil
import sys

import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test import loader
from onnx.backend.test.case.model import collect_testcases as model_cases
from onnx.backend.test.case.node import collect_testcases as node_cases
from onnx.backend.test.runner import Runner

out = sys.argv[1]
data = os.path.join(os.path.dirname(loader.__file__), "..", "data")


def write(path, value, port):
    kind = port.type.WhichOneof("value")
    if isinstance(value, TensorProto):
        proto = value
    elif kind == "map_type":
        proto = numpy_helper.from_dict(value, port.name)
    elif kind == "sequence_type":
        proto = numpy_helper.from_list(value, port.name)
    elif kind == "optional_type":
        proto = numpy_helper.from_optional(value, port.name)
    else:
        proto = numpy_helper.from_array(value, port.name)
    with open(path, "wb") as file:
        file.write(proto.SerializeToString())


def write_case(kind, name, model, sets, rtol, atol):
    folder = os.path.join(out, kind, name)
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "model.onnx"), "wb") as file:
        file.write(model.SerializeToString())
    with open(os.path.join(folder, "tolerance.json"), "w") as file:
        json.dump({"rtol": rtol, "atol": atol}, file)
    for number, (inputs, outputs) in enumerate(sets):
        into = os.path.join(folder, f"test_data_set_{number}")
        os.makedirs(into, exist_ok=True)
        for i, value in enumerate(inputs):
            write(os.path.join(into, f"input_{i}.pb"), value, model.graph.input[i])
        for i, value in enumerate(outputs):
            write(os.path.join(into, f"output_{i}.pb"), value, model.graph.output[i])


for case in node_cases(None):
    write_case("node", case.name, case.model, case.data_sets, case.rtol, case.atol)
for case in model_cases():
    if case.kind != "real":
        write_case("simple", case.name, case.model, case.data_sets, case.rtol, case.atol)
        continue
    path = os.path.join(data, "light", os.path.basename(case.url))
    model = onnx.load(path)
    initializers = {i.name for i in model.graph.initializer}
    ports = [i for i in model.graph.input if i.name not in initializers]
    runner = Runner.__new__(Runner)
    inputs = [runner.generate_dummy_data(p, seed=0, name=case.model_name, random=False) for p in ports]
    folder = os.path.join(out, "real", case.name)
    sets = os.path.join(folder, "test_data_set_0")
    os.makedirs(sets, exist_ok=True)
    shutil.copy(path, os.path.join(folder, "model.onnx"))
    with open(os.path.join(folder, "tolerance.json"), "w") as file:
        json.dump({"rtol": case.rtol, "atol": case.atol}, file)
    for i, value in enumerate(inputs):
        write(os.path.join(sets, f"input_{i}.pb"), value, ports[i])
    for i in range(len(model.graph.output)):
        shutil.copy(path.replace(".onnx", f"_output_{i}.pb"), os.path.join(sets, f"output_{i}.pb"))
for kind in ["pytorch-converted", "pytorch-operator", "simple"]:
    for name in sorted(os.listdir(os.path.join(data, kind))):
        folder = os.path.join(data, kind, name)
        if os.path.isdir(folder) and not os.path.exists(os.path.join(out, kind, name)):
            shutil.copytree(folder, os.path.join(out, kind, name))
