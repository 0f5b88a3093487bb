"""One training step of a preset in JAX: one jitted function with donated state."""

from common import ADAM, PRESETS, SGD, arguments, batches, measure

args = arguments(
    __doc__,
    [("--pool", {"choices": ["reshape", "window"], "help": "how to pool 2x2 (default: the faster one)"})],
)

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from jax import lax  # noqa: E402

pooling = args.pool or "reshape"
rng = np.random.default_rng(0)


def conv(x, kernel, stride=1, padding="VALID"):
    return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


def pool(x):
    """2x2 pooling with stride 2, dropping an odd last row or column."""
    b, h, w, c = x.shape
    if pooling == "reshape":
        x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(b, h // 2, 2, w // 2, 2, c)
        return x.max((2, 4))
    window, strides = (1, 2, 2, 1), (1, 2, 2, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, strides, "VALID")


def he(*shape):
    fan_in = int(np.prod(shape[:-1]))
    return jnp.asarray(rng.standard_normal(shape, dtype=np.float32) * np.float32((2 / fan_in) ** 0.5))


def conv_layer(h, w, i, o):
    return {"kernel": he(h, w, i, o), "bias": jnp.zeros(o)}


def dense_layer(i, o):
    return {"kernel": he(i, o), "bias": jnp.zeros(o)}


def dense(x, p):
    return x @ p["kernel"] + p["bias"]


# Parameters, running statistics, and (params, stats, x) -> (logits, new stats).


def cifar10_cnn():
    params = [conv_layer(3, 3, 3, 32), conv_layer(3, 3, 32, 64), dense_layer(6 * 6 * 64, 10)]

    def apply(p, stats, x):
        for layer in p[:2]:
            x = pool(jax.nn.relu(conv(x, layer["kernel"]) + layer["bias"]))
        return dense(x.reshape(x.shape[0], -1), p[2]), stats

    return params, [], apply


def mlp():
    params = [dense_layer(784, 128), dense_layer(128, 10)]

    def apply(p, stats, x):
        return dense(jax.nn.relu(dense(x.reshape(x.shape[0], -1), p[0])), p[1]), stats

    return params, [], apply


def lenet():
    params = [
        conv_layer(5, 5, 1, 6), conv_layer(5, 5, 6, 16), dense_layer(400, 120), dense_layer(120, 84), dense_layer(84, 10),
    ]  # fmt: skip

    def apply(p, stats, x):
        x = pool(jax.nn.relu(conv(x, p[0]["kernel"], 1, "SAME") + p[0]["bias"]))
        x = pool(jax.nn.relu(conv(x, p[1]["kernel"]) + p[1]["bias"]))
        x = x.reshape(x.shape[0], -1)
        for layer in p[2:4]:
            x = jax.nn.relu(dense(x, layer))
        return dense(x, p[4]), stats

    return params, [], apply


def resnet18_cifar():
    params, stats = [], []

    def unit(h, i, o):
        params.append({"kernel": he(h, h, i, o), "gain": jnp.ones(o), "bias": jnp.zeros(o)})
        stats.append({"mean": jnp.zeros(o), "variance": jnp.ones(o)})

    unit(3, 3, 64)
    inputs = 64
    plan = []
    for stage, filters in enumerate([64, 128, 256, 512]):
        for block in range(2):
            stride = 2 if stage > 0 and block == 0 else 1
            plan.append(stride)
            unit(3, inputs, filters)
            unit(3, filters, filters)
            if stride == 2:
                unit(1, inputs, filters)
            inputs = filters
    params.append(dense_layer(512, 10))

    def apply(p, stats, x):
        new, layers = [], iter(zip(p, stats))

        def convolution(x, stride=1):
            layer, running = next(layers)
            x = conv(x, layer["kernel"], stride, "SAME")
            mean = x.mean((0, 1, 2))
            variance = (x * x).mean((0, 1, 2)) - mean * mean
            new.append({k: 0.99 * running[k] + 0.01 * v for k, v in (("mean", mean), ("variance", variance))})
            scale = layer["gain"] * lax.rsqrt(variance + 1e-3)
            return x * scale + (layer["bias"] - mean * scale)

        x = jax.nn.relu(convolution(x))
        for stride in plan:
            y = convolution(jax.nn.relu(convolution(x, stride)))
            x = jax.nn.relu(y + (convolution(x, 2) if stride == 2 else x))
        return dense(x.mean((1, 2)), p[-1]), new

    return params, stats, apply


params, stats, apply = {"cifar10-cnn": cifar10_cnn, "mlp": mlp, "lenet": lenet, "resnet18-cifar": resnet18_cifar}[args.preset]()
tree = jax.tree_util.tree_map


def adam(params, slots, grads, t):
    b1, b2 = ADAM["beta_1"], ADAM["beta_2"]
    m = tree(lambda m, g: b1 * m + (1 - b1) * g, slots[0], grads)
    v = tree(lambda v, g: b2 * v + (1 - b2) * g * g, slots[1], grads)
    rate = ADAM["learning_rate"] * jnp.sqrt(1 - b2**t) / (1 - b1**t)
    return tree(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + ADAM["epsilon"]), params, m, v), [m, v]


def sgd(params, slots, grads, _):
    m = tree(lambda m, g: SGD["momentum"] * m - SGD["learning_rate"] * g, slots[0], grads)
    return tree(lambda p, m: p + m, params, m), [m]


update, slot_count = (adam, 2) if PRESETS[args.preset][2] == "adam" else (sgd, 1)


def loss_function(params, stats, x, y):
    logits, stats = apply(params, stats, x)
    picked = jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)
    return -picked.mean(), stats


def train_step(state, x, y):
    params, stats, slots, t = state
    (loss, stats), grads = jax.value_and_grad(loss_function, has_aux=True)(params, stats, x, y)
    params, slots = update(params, slots, grads, t)
    return (params, stats, slots, t + 1), loss


train_step = jax.jit(train_step, donate_argnums=0)
state = (params, stats, [tree(jnp.zeros_like, params) for _ in range(slot_count)], jnp.float32(1))
images, labels = batches(args)


def step(i):
    global state
    x = jnp.array(images[i % len(images)], copy=True)
    state, loss = train_step(state, x, jnp.asarray(labels[i % len(labels)]))
    jax.block_until_ready(state)
    return float(loss)


measure(args, step, "JAX", jax.__version__, f"jit, pool by {pooling}")
