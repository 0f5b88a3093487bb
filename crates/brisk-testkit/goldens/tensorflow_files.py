"""Checkpoints and SavedModels of TensorFlow, with what is in them.

`tensorflow/NAME/` is a SavedModel or holds a checkpoint; `tensorflow/NAME.safetensors` has its variables by the keys of the
checkpoint, as `tf.train.load_checkpoint` reads them: floats as f32, i64 and unsigned numbers of 32 and 64 bits as i64, other
whole numbers as i32, u8 and bool as u8.
"""

import os
import pathlib
import shutil

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")

import keras
import numpy as np
import tensorflow as tf
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent / "tensorflow"
ALL = "float32 float64 float16 bfloat16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool".split()


def plain(value):
    value = np.asarray(value)
    if value.dtype.name in ("int64", "uint32", "uint64"):
        return value.astype(np.int64)
    if value.dtype.name in ("int32", "int16", "int8", "uint16"):
        return value.astype(np.int32)
    return value.astype(np.uint8 if value.dtype.name in ("uint8", "bool") else np.float32)


def expect(name, prefix):
    reader = tf.train.load_checkpoint(str(prefix))
    types = reader.get_variable_to_dtype_map()
    keys = [key for key in types if types[key] != tf.string]
    save_file({key: plain(reader.get_tensor(key)).copy(order="C") for key in keys}, HERE / f"{name}.safetensors")


class Types(tf.Module):
    """A variable of each type, one that is held twice, two of the same name, and names that must be escaped in a path."""

    def __init__(self):
        super().__init__()
        ramp = np.arange(6).reshape(2, 3)
        self.types = {t: tf.Variable(tf.cast(ramp, t), name=f"types/{t}") for t in ALL}
        self.again = self.types["float32"]
        self.layers = [tf.Variable(1.0, name="layer/scale"), tf.Variable(2.0, name="layer/scale")]
        self.odd = {"a.b/c": tf.Variable([0.5]), "..S": tf.Variable([0.25])}
        self.words = tf.lookup.StaticHashTable(
            tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([1, 2], tf.int64)), -1
        )

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def scale(self, x):
        eye = tf.constant(np.eye(2, dtype="f") * 3)
        zeros = tf.zeros([4, 2]) + tf.cast(self.types["int64"][0, 1], tf.float32)
        y = tf.nn.relu(tf.matmul(x, eye)) @ self.again
        return {"y": y * self.layers[1], "zeros": zeros}


def network():
    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(3, activation="relu"), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((4,)), *layers], name="net")
    model.compile(optimizer="adam", loss="mse")
    rng = np.random.default_rng(1)
    model.fit(rng.normal(size=(8, 4)), rng.normal(size=(8, 2)), epochs=2, verbose=0)
    return model


def partitioned(folder):
    """By names only, as TensorFlow 1 saves: a variable in parts along two axes, Adam's slots, and data in two files."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        v1 = tf.compat.v1
        v1.set_random_seed(1)
        with v1.variable_scope("dense"):
            split = v1.get_variable("kernel", [5, 4], partitioner=v1.fixed_size_partitioner(3))
            wide = v1.get_variable("wide", [2, 70], partitioner=v1.fixed_size_partitioner(2, axis=1))
            bias = v1.get_variable("bias", [4], initializer=v1.ones_initializer())
        loss = tf.reduce_sum((tf.ones([1, 5]) @ tf.convert_to_tensor(split) + bias) ** 2) + tf.reduce_sum(tf.convert_to_tensor(wide) ** 2)
        step = v1.train.get_or_create_global_step()
        train = v1.train.AdamOptimizer(0.1).minimize(loss, global_step=step)
        session.run(v1.global_variables_initializer())
        session.run(train)
        first = [v for v in v1.global_variables() if v.op.name.startswith("dense/bias")]
        rest = [v for v in v1.global_variables() if v not in first]
        for name, variables in [("a", first), ("b", rest)]:
            v1.train.Saver(variables, write_version=v1.train.SaverDef.V2).save(session, str(folder / name), write_meta_graph=False)
    parts = [str(folder / name) for name in ("a", "b")]
    tf.raw_ops.MergeV2Checkpoints(checkpoint_prefixes=parts, destination_prefix=str(folder / "model.ckpt"), delete_old_dirs=False)
    for file in folder.iterdir():
        if not file.name.startswith("model.ckpt"):
            file.unlink()


def slots(prefix):
    """As Keras 2 and TensorFlow 1 save: an optimizer's slots belong to its variables, by reference."""
    module = tf.Module()
    module.w = tf.Variable([[1.0, 2.0]], name="dense/kernel")
    optimizer = tf.compat.v1.train.AdamOptimizer(0.1)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(module.w**2)
    optimizer.apply_gradients([(tape.gradient(loss, module.w), module.w)])
    tf.train.Checkpoint(model=module, optimizer=optimizer).write(str(prefix))


def main():
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir()
    tf.saved_model.save(Types(), str(HERE / "types"))
    model = network()
    model.export(str(HERE / "export"), verbose=False)
    tf.train.Checkpoint(model=model, optimizer=model.optimizer).save(str(HERE / "training" / "ckpt"))
    slots(HERE / "slots" / "ckpt")
    (HERE / "partitioned").mkdir()
    partitioned(HERE / "partitioned")
    for name in ("types", "export"):
        expect(name, HERE / name / "variables" / "variables")
        (HERE / name / "fingerprint.pb").unlink()
        (HERE / name / "assets").rmdir()
    expect("training", HERE / "training" / "ckpt-1")
    expect("slots", HERE / "slots" / "ckpt")
    expect("partitioned", HERE / "partitioned" / "model.ckpt")


main()
