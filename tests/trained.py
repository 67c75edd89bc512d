"""A small MobileNet, trained on a task that needs the scale of what it sees."""

import functools
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx_files import make, node

CHANNELS, SIZE, BLOCKS, LEVELS = 16, 10, 6, 6
STEPS, BATCH = 500, 32


class Trained(NamedTuple):
    """A network as an ONNX model for a batch of one, and what it was not trained on."""

    model: onnx.ModelProto
    images: np.ndarray  # [samples, 1, 3, SIZE, SIZE]
    labels: np.ndarray


def drawn(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws gratings of a random place; the label is how strong they are."""
    labels = rng.integers(0, LEVELS, count)
    strength = 0.5 + labels / (LEVELS - 1) + rng.uniform(-0.04, 0.04, count)
    phase = rng.uniform(0, 2 * np.pi, (count, 3, 1, 1))
    y, x = np.mgrid[:SIZE, :SIZE]
    wave = np.sin(0.9 * x + 0.4 * y + phase)
    noise = 0.02 * rng.standard_normal(wave.shape)
    images = strength[:, None, None, None] * wave + noise
    return images.astype(np.float32), labels


def initial(rng: np.random.Generator) -> dict[str, np.ndarray]:
    def weights(*shape):
        fan_in = np.prod(shape[1:])
        scale = (2 / fan_in) ** 0.5
        return (rng.standard_normal(shape) * scale).astype(np.float32)

    params = {"stem": weights(CHANNELS, 3, 3, 3)}
    for block in range(BLOCKS):
        params[f"dw{block}"] = weights(CHANNELS, 1, 3, 3)
        params[f"db{block}"] = np.zeros(CHANNELS, np.float32)
        params[f"pw{block}"] = weights(CHANNELS, CHANNELS, 1, 1)
    params["head"] = weights(LEVELS, CHANNELS, 1, 1)
    params["bias"] = np.zeros(LEVELS, np.float32)
    return params


def depthwise(x, w):
    """Convolves 3x3 by channel as lax does with padding 1."""
    return jax.lax.conv_general_dilated(
        x, w, (1, 1), ((1, 1), (1, 1)), feature_group_count=CHANNELS
    )


def by_shifts(x, w):
    """Does the same; XLA's gradients of `depthwise` take ten times as long."""
    padded = jnp.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    return sum(
        padded[:, :, y : y + SIZE, z : z + SIZE] * w[None, :, 0, y, z, None, None]
        for y in range(3)
        for z in range(3)
    )


def forward(params, x, depthwise=depthwise):
    """The network in JAX: NCHW images to scores `[N, LEVELS]`."""

    def pointwise(x, w):
        return jnp.einsum("nchw,oc->nohw", x, w[:, :, 0, 0])

    x = jax.lax.conv_general_dilated(x, params["stem"], (1, 1), ((1, 1), (1, 1)))
    for block in range(BLOCKS):
        y = depthwise(x, params[f"dw{block}"])
        y = jax.nn.relu(y + params[f"db{block}"][None, :, None, None])
        y = pointwise(y, params[f"pw{block}"])
        x = x + y if block % 2 else y
    return x.mean((2, 3)) @ params["head"][:, :, 0, 0].T + params["bias"][None]


def exported(params) -> onnx.ModelProto:
    """The same network in ONNX."""
    constants = {name: np.asarray(value) for name, value in params.items()}
    nodes = [node("Conv", "image stem", "x0", "stem", pads=[1] * 4)]
    for block in range(BLOCKS):
        x, y, z = f"x{block}", f"y{block}", f"z{block}"
        nodes += [
            node("Conv", f"{x} dw{block} db{block}", y, f"block{block}/dw",
                 group=CHANNELS, pads=[1] * 4),
            node("Relu", y, z),
            node("Conv", f"{z} pw{block}", f"p{block}", f"block{block}/pw"),
            node("Add", f"{x} p{block}", f"x{block + 1}") if block % 2
            else node("Identity", f"p{block}", f"x{block + 1}"),
        ]  # fmt: skip
    nodes += [
        node("GlobalAveragePool", f"x{BLOCKS}", "pooled"),
        node("Conv", "pooled head bias", "scores4", "head"),
        node("Flatten", "scores4", "scores"),
    ]
    shape = (1, 3, SIZE, SIZE)
    return make(nodes, {"image": shape}, "scores", constants)


@functools.cache
def trained() -> Trained:
    """Trains the network, some seconds of a processor."""
    rng = np.random.default_rng(1)
    params = {name: jnp.asarray(value) for name, value in initial(rng).items()}

    def loss(params, x, labels):
        scores = jax.nn.log_softmax(forward(params, x, by_shifts))
        return -jnp.take_along_axis(scores, labels[:, None], 1).mean()

    @jax.jit
    def step(params, first, second, x, labels, rate):
        slopes = jax.grad(loss)(params, x, labels)
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slopes)
        second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g * g, second, slopes)
        params = jax.tree.map(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-6), params, first, second
        )
        return params, first, second

    first = second = jax.tree.map(jnp.zeros_like, params)
    for number in range(STEPS):
        x, labels = drawn(rng, BATCH)
        rate = np.float32(3e-3 * (1 - number / STEPS))
        params, first, second = step(params, first, second, x, labels, rate)
    images, labels = drawn(np.random.default_rng(2), 40)
    params = {name: np.asarray(value) for name, value in params.items()}
    return Trained(exported(params), images[:, None], labels)


def written(folder: Path, count: int = 40) -> Path:
    """Writes the model and a folder of samples; returns the model's path."""
    network = trained()
    path = folder / "net.onnx"
    path.write_bytes(network.model.SerializeToString())
    (folder / "samples").mkdir()
    for number, image in enumerate(network.images[:count]):
        np.save(folder / "samples" / f"{number:02}.npy", image)
    return path
