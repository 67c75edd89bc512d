"""Every entry point gives the same bits however JAX was set up."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax_settings import CALLS, COMMANDS

import jaxdw as jd
from jaxdw.numerics import sfpu

ROOT = Path(__file__).parents[1]
ARRAYS = tuple(name for name in CALLS if name not in COMMANDS)
# op by op, which is slow: what has arithmetic of its own
FEW = (
    "host arrays", "conv1d", "float32", "grad", "core_sticks, wide gelu",
    "core_sticks, float32",
)  # fmt: skip
SETTINGS = {
    "64-bit types": ({"JAX_ENABLE_X64": "1"}, tuple(CALLS)),
    # a command moves what it prints
    "no transfer unasked": ({"JAX_TRANSFER_GUARD": "disallow"}, ARRAYS),
    "no NaN": ({"JAX_DEBUG_NANS": "1"}, tuple(CALLS)),
    "not compiled": ({"JAX_DISABLE_JIT": "1"}, FEW),
    "checks and strict types": (
        {
            "JAX_CHECK_TRACER_LEAKS": "1",
            "JAX_NUMPY_DTYPE_PROMOTION": "strict",
            "JAX_NUMPY_RANK_PROMOTION": "raise",
            "JAX_DEFAULT_DTYPE_BITS": "32",
            "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
        },
        ARRAYS,
    ),
}


@cache
def digests(names: tuple[str, ...] = (), **setting: str) -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, "tests/jax_settings.py", *names],
        capture_output=True,
        env=clean | {"PYTHONPATH": str(ROOT)} | setting,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
def test_nothing_hangs_on_being_compiled():
    assert digests(ARRAYS, JAX_DISABLE_JIT="1") == {c: digests()[c] for c in ARRAYS}


@pytest.mark.parametrize("name", SETTINGS)
def test_a_setting_of_jax_changes_no_bit(name):
    setting, names = SETTINGS[name]
    want = digests()
    assert not any(":" in digest for digest in want.values()), want
    assert digests(names, **setting) == {call: want[call] for call in names}


@pytest.mark.parametrize("name", ["gelu", "gelu_approx", "silu", "relu6"])
def test_an_activation_has_the_same_bits_compiled_or_not(name):
    rng = np.random.default_rng(0)
    every_bf16 = np.arange(2**16, dtype=np.uint32) << 16
    patterns = rng.integers(0, 2**32, 2**16, dtype=np.uint32)
    near = rng.standard_normal(2**16).astype(np.float32).view(np.uint32)
    values = jnp.asarray(np.concatenate([every_bf16, patterns, near]).view(np.float32))

    def activate(values):
        return sfpu.activate(values, name, fp32_dest=True)

    compiled = np.asarray(jax.jit(activate)(values))
    with jax.disable_jit():
        found = np.asarray(activate(values))
    np.testing.assert_array_equal(compiled, found)  # NaN is NaN
    number = ~np.isnan(found)
    bits = compiled.view(np.uint32)[number], found.view(np.uint32)[number]
    np.testing.assert_array_equal(*bits)


def test_a_multiply_add_rounds_once():
    """Against float64, in which the product is exact."""
    rng = np.random.default_rng(1)
    a, b, c = rng.standard_normal((3, 2**16)).astype(np.float32)
    c *= np.float32(4)  # no cancellation, of which the chip itself loses bits
    want = (a.astype(np.float64) * b + np.where(a * b < 0, -abs(c), abs(c))).astype(
        np.float32
    )
    addend = jnp.asarray(np.where(a * b < 0, -abs(c), abs(c)))
    found = sfpu.multiply_add(jnp.asarray(a), sfpu._halves(jnp.asarray(b)), addend)
    far = np.asarray(jd.ulp_distance(found, want, "float32"))
    assert far.max() <= 1
    assert (far > 0).sum() <= 10
    separately = a * b + np.asarray(addend)
    assert (separately != want).sum() > 1000


@pytest.mark.parametrize("platform", ["cuda", "nonsense"])
@pytest.mark.parametrize("words", [
    "run --channels 32 --size 4",
    "faults --channels 32 --size 4",
    "sweep --models mobilenet_v2 --filter channels==96 --out {0} --processes 2",
])  # fmt: skip
def test_a_platform_that_is_not_there_is_one_sentence(tmp_path, platform, words):
    program = "import sys; from jaxdw.cli import command; sys.exit(command())"
    done = subprocess.run(
        [sys.executable, "-c", program, *words.format(tmp_path / "out").split()],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_PLATFORMS": platform, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 2
    assert f"`JAX_PLATFORMS` (='{platform}')" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
