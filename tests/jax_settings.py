"""Every entry point under JAX as a user set it up, by its environment.

As a program it prints the digest of what each gives, or the error, as JSON.
"""

import contextlib
import hashlib
import io
import json
import sys
import tempfile
import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import jaxdw as jd
from jaxdw.cli import main

CONV = jd.ConvConfig(
    channels=40, height=3, width=4, kernel=(1, 2), bias=True, activation="gelu"
)
HIFI2 = jd.ComputeConfig(math_fidelity="HiFi2")
FLOAT32 = jd.ComputeConfig(arithmetic="float32")
WIDE = jd.ComputeConfig(fp32_dest_acc=True)
ROW = jd.ConvConfig(channels=32, height=1, width=4, kernel=(1, 2))
KEPT = ("l1_weights", "l1_bias", "haloed_shards", "dram", "output_shards")
LAYER = ["--channels", "32", "--size", "3", "--kernel", "1x2"]

rng = np.random.default_rng(0)
host = {
    "x": rng.standard_normal(CONV.input_shape),
    "w": rng.standard_normal(CONV.weight_shape),
    "bias": rng.standard_normal(40),
    "windows": rng.standard_normal((6, 2, 48)),
    "weights": rng.standard_normal((1, 2, 48)),
    "row": rng.standard_normal(ROW.input_shape),
    "taps": rng.standard_normal(ROW.weight_shape),
}
at = {name: jax.device_put(v.astype(np.float32)) for name, v in host.items()}
odd = np.array(host["x"])
odd.flat[:3] = np.inf, 1e-40, -1e38
PLAN = jd.make_plan(CONV, jd.ShardConfig(scheme="block"), HIFI2)
MAPS = jd.make_maps(PLAN)
MESH = jax.make_mesh((1,), ("cores",))


def of(x=at["x"], w=at["w"], bias=at["bias"], **options):
    return jd.run(PLAN, MAPS, x, w, bias, **options)


def kept(x=at["x"]):
    emulation = of(x, keep=KEPT)
    return emulation.output, *(emulation.memories[name] for name in KEPT)


def slope():
    """The derivative of small integers, whose sums are exact in any order."""
    x, w = jnp.round(at["row"] * 4), jnp.round(at["taps"] * 4)
    plan = jd.make_plan(ROW)
    maps = jd.make_maps(plan)
    return jax.grad(lambda w: jd.run(plan, maps, x, w).output.sum())(w)


def of_program(program, compute):
    plan = jd.make_plan(ROW, None, compute, program=program, must_fit=False)
    return jd.run(plan, jd.make_maps(plan), at["row"], at["taps"]).output


def sticks(compute, **options):
    return jd.core_sticks(at["windows"], at["weights"], compute=compute, **options)


def said(*words):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        status = main(words)
    assert status in (0, 1), words
    return np.frombuffer(out.getvalue().encode(), np.uint8)


def diagnosed():
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "output.npy"
        conv = jd.ConvConfig(channels=32, height=3, width=3, kernel=(1, 2))
        np.save(output, np.zeros(jd.make_plan(conv).output_shape, np.float32))
        return said("diagnose", *LAYER, "--output", str(output))


CALLS = {
    "device arrays": lambda: of().output,
    "infinities and denormals": lambda: of(odd).output,
    "host arrays": lambda: of(host["x"], host["w"], host["bias"]).output,
    "keep": kept,
    "keep, integer form": lambda: kept(odd),
    "jit": lambda: jax.jit(lambda x: of(x).output)(at["x"]),
    "grad": jax.jit(slope),
    "mesh": lambda: of(mesh=MESH).output,
    "load": lambda: jd.load(PLAN, MAPS, at["w"], at["bias"])(at["x"]),
    "regular": lambda: of_program("regular", HIFI2),
    "conv1d": lambda: of_program("conv1d", HIFI2),
    "float32": lambda: of_program("depthwise", FLOAT32),
    "core_sticks": lambda: sticks(HIFI2),
    "core_sticks, wide gelu": lambda: sticks(
        WIDE, activation="gelu", output_dtype="float32"
    ),
    "core_sticks, float32": lambda: sticks(FLOAT32, output_dtype="float32"),
    "run --dump": lambda: said("run", *LAYER, "--dump", "l1", "--dump", "tiles"),
    "faults": lambda: said("faults", *LAYER),
    "diagnose": diagnosed,
}


def result(call) -> str:
    """Returns the digest of what a call gives, or its error."""
    try:
        with warnings.catch_warnings(action="ignore"):
            arrays = jax.tree.leaves(call())
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    held = [np.asarray(jax.device_get(array)) for array in arrays]
    text = b"".join(str((v.dtype, v.shape)).encode() + v.tobytes() for v in held)
    return hashlib.sha256(text).hexdigest()[:16]


COMMANDS = ("run --dump", "faults", "diagnose")

if __name__ == "__main__":
    chosen = sys.argv[1:] or CALLS
    json.dump({name: result(CALLS[name]) for name in chosen}, sys.stdout)
