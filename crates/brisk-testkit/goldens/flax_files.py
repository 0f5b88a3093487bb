"""Checkpoints of Flax, written by `flax.serialization`, with what is in them. Needs `flax` 0.12; run by hand.

`flax/NAME.safetensors` has the arrays and numbers of `flax/NAME.msgpack` by their names: floats as f32, i64, unsigned numbers of
32 and 64 bits and Python's whole numbers as i64, other whole numbers as i32, u8 and bool as u8.
"""

import pathlib

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization, traverse_util
from flax.training.train_state import TrainState
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent / "flax"
ALL = "float32 float64 float16 bfloat16 int64 int32 int16 int8 uint64 uint32 uint16 uint8 bool".split()


def plain(value):
    value = np.asarray(value)
    if value.dtype.name in ("int64", "uint32", "uint64"):
        return value.astype(np.int64)
    if value.dtype.name in ("int32", "int16", "int8", "uint16"):
        return value.astype(np.int32)
    return value.astype(np.uint8 if value.dtype.name in ("uint8", "bool") else np.float32)


def write(name, tree):
    (HERE / f"{name}.msgpack").write_bytes(serialization.to_bytes(tree))
    flat = traverse_util.flatten_dict(serialization.to_state_dict(tree), sep=".")
    save_file({k: plain(v).copy(order="C") for k, v in flat.items() if v is not None and not isinstance(v, str)}, HERE / f"{name}.safetensors")


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.Dense(3)(x)
        x = nn.BatchNorm(use_running_average=False)(x)
        return nn.Dense(2, param_dtype=jnp.bfloat16)(nn.relu(x))


def main():
    HERE.mkdir(exist_ok=True)
    ramp = np.arange(6).reshape(2, 3)
    types = {t: np.asarray(ramp).astype(jnp.bfloat16 if t == "bfloat16" else t) for t in ALL}
    numbers = {"step": 7, "big": 1 << 40, "negative": -3, "rate": 0.5, "flag": True, "numpy": np.float16(1.5), "nothing": None}
    write("types", {"types": types, "numbers": numbers, "text": "words", "empty": np.zeros((0, 4), "f"), "list": [np.ones(1, "f"), 2.0]})
    net = Net()
    variables = net.init(jax.random.key(1), np.ones((4, 5), "f"))
    state = TrainState.create(apply_fn=net.apply, params=variables["params"], tx=optax.adam(0.1))
    state = state.apply_gradients(grads=state.params)
    write("training", {"state": state, "batch_stats": variables["batch_stats"]})
    # As arrays beyond 1 GB are written.
    serialization.MAX_CHUNK_SIZE = 64
    write("chunks", {"embed": {"table": np.arange(60, dtype="f").reshape(12, 5), "half": np.arange(40, dtype=np.float16).reshape(40)}})


main()
print("flax", flax.__version__)
