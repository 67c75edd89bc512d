"""What jaxdw tells XLA does what it says; a JAX that changes it fails here."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.launch import composed
from jaxdw.machine import xla

ON_CPU = pytest.mark.skipif(jax.default_backend() != "cpu", reason="of the CPU")


def long_work(x):
    return jax.lax.fori_loop(0, 300, lambda _, y: jnp.sin(y) + 1e-3, x)


@ON_CPU
def test_a_computation_in_the_callers_thread_is_ready_when_the_call_returns():
    x = jnp.ones(300_000)
    plain, in_caller = jax.jit(long_work), jax.jit(xla.in_callers_thread(long_work))
    want = jax.block_until_ready((plain(x), in_caller(x)))[0]
    found = in_caller(x)
    assert found.is_ready()
    np.testing.assert_array_equal(found, want)
    assert not plain(x).is_ready()


def test_xla_drops_the_callback():
    lowered = jax.jit(xla.in_callers_thread(long_work)).lower(jnp.ones(64))
    assert "callback" in lowered.as_text()
    assert "custom-call" not in lowered.compile().as_text()


SCRIPT = """
import jax
{setting}
import numpy as np, jaxdw as jd
from jaxdw.launch import composed
conv = jd.ConvConfig(channels=32, height=6, width=6)
jd.emulate(conv, None, np.ones(conv.input_shape), np.ones(conv.weight_shape))
ways = [composed.compiled(composed.load_and_run, "cpu", own) for own in (True, False)]
print([way._cache_size() for way in ways])
"""


@ON_CPU
@pytest.mark.parametrize(
    ("setting", "want"),
    [
        ("", "[1, 0]"),
        ("jax.config.update('jax_cpu_enable_async_dispatch', False)", "[0, 1]"),
        ("jax.config.update('jax_compilation_cache_dir', '{folder}')", "[0, 1]"),
        ("from jaxdw.machine import xla; xla.USE_CALLERS_THREAD = False", "[0, 1]"),
    ],
)
def test_the_callers_thread_is_used_unless_a_setting_speaks_against_it(
    setting, want, tmp_path
):
    script = SCRIPT.format(setting=setting.format(folder=tmp_path))
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == want


def test_a_large_float32_run_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(composed, "_MOST_SMALL_OUTPUTS", 8)
    used = []
    compiled = composed.compiled
    monkeypatch.setattr(
        composed,
        "compiled",
        lambda way, backend, in_caller=False: (
            used.append(in_caller) or compiled(way, backend, in_caller)
        ),
    )
    conv = jd.ConvConfig(channels=32, height=6, width=6)
    x, w = np.ones(conv.input_shape), np.ones(conv.weight_shape)
    jd.emulate(conv, None, x, w, compute=jd.ComputeConfig(arithmetic="float32"))
    assert used == [False]
