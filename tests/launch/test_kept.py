"""Programs kept whole give the bits of those compiled, and are never another's."""

import dataclasses
import functools
import os
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdw as jd
from jaxdw import xla
from jaxdw.launch import kept
from jaxdw.launch.cache import CompileClock, keep_programs, programs_folder
from jaxdw.machine.cores import static_of
from jaxdw.maps.strided import Strided


@pytest.fixture
def folder(tmp_path):
    keep_programs(tmp_path)
    yield tmp_path
    keep_programs(None)


def times(scale: float):
    """Returns a jitted function of a name that all of them share."""

    def scaled(x, *, static):
        return {"found": x * scale + static}

    return jax.jit(scaled, static_argnames="static")


def forget():
    kept._programs.clear()


def files(folder):
    return sorted(folder.glob("*.program"))


X = np.arange(6, dtype=np.float32)


def test_a_kept_program_runs_in_place_of_what_is_called(folder):
    np.testing.assert_array_equal(kept.call(times(2), X, static=1)["found"], 2 * X + 1)
    (file,) = files(folder)
    forget()
    # another function of that name: what runs is the program that was kept
    found = kept.call(times(3), 10 * X, static=1)["found"]
    np.testing.assert_array_equal(found, 20 * X + 1)
    assert files(folder) == [file]
    for other in (X[:3], X.astype(np.int32), X.reshape(2, 3)):
        np.testing.assert_array_equal(
            kept.call(times(3), other, static=1)["found"], 3 * other + 1
        )
    np.testing.assert_array_equal(kept.call(times(3), X, static=2)["found"], 3 * X + 2)
    assert len(files(folder)) == 5


def test_a_setting_that_changes_makes_another_program(folder):
    kept.call(times(2), X, static=1)
    jitted = times(3)
    kept.call(jitted, X, static=1)
    with jax.numpy_dtype_promotion("standard"):
        kept.call(jitted, X, static=1)
    kept.call(jitted, X, static=1)
    assert len(files(folder)) == 2


def test_nothing_is_kept_unless_asked(tmp_path):
    assert programs_folder() is None
    kept.call(times(2), X, static=1)
    assert not files(tmp_path)


@pytest.mark.parametrize("spoiled", [b"", b"no program", pickle.dumps((b"x", None))])
def test_a_spoiled_file_is_made_anew(folder, spoiled):
    kept.call(times(2), X, static=1)
    (file,) = files(folder)
    whole = len(file.read_bytes())
    file.write_bytes(spoiled)
    forget()
    found = kept.call(times(2), X, static=1)["found"]
    np.testing.assert_array_equal(found, 2 * X + 1)
    assert abs(len(file.read_bytes()) - whole) < whole / 2


def test_a_program_that_is_read_but_does_not_run_is_made_anew(folder):
    kept.call(times(2), X[:3], static=1)
    (other,) = files(folder)
    kept.call(times(2), X, static=1)
    (file,) = {*files(folder)} - {other}
    right = file.read_bytes()
    file.write_bytes(other.read_bytes())
    forget()
    found = kept.call(times(2), X, static=1)["found"]
    np.testing.assert_array_equal(found, 2 * X + 1)
    assert len(file.read_bytes()) == pytest.approx(len(right), rel=0.1)


CACHED = """
import sys
import jax, numpy as np
import jaxdw as jd
from jaxdw.launch import kept
jd.enable_cache(sys.argv[1])
def longer(x, *, static):
    return {'found': np.float32(3) * x + static}
if sys.argv[2] == "cached":
    kept._NEVER_S = 0
jitted = jax.jit(longer, static_argnames="static")
print(kept.call(jitted, np.ones(4, np.float32), static=1)["found"])
"""


@pytest.mark.parametrize(
    ("way", "first", "later"),
    [("cached", (1, 1), (0, 1)), ("kept", (1, 0), (1, 0))],
)
def test_what_jaxs_own_cache_gives_back_is_not_kept(tmp_path, way, first, later):
    """It would lack its code. Nor does JAX cache what is kept."""
    for want in (first, later, later):
        for file in files(tmp_path):
            file.unlink()
        done = subprocess.run(
            [sys.executable, "-c", CACHED, str(tmp_path), way],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert done.stdout == "[4. 4. 4. 4.]\n"
        assert (len(files(tmp_path)), len([*tmp_path.glob("*-cache")])) == want


def test_a_folder_that_takes_nothing_is_no_failure(tmp_path):
    (tmp_path / "file").write_text("")
    keep_programs(tmp_path / "file" / "folder")
    try:
        found = kept.call(times(2), X, static=1)["found"]
    finally:
        keep_programs(None)
    np.testing.assert_array_equal(found, 2 * X + 1)


@pytest.mark.parametrize("static", [frozenset({1}), 1.5j])
def test_what_is_not_spelt_is_not_kept(folder, static):
    def longer(x, *, static):
        return x + len(str(static))

    jitted = jax.jit(longer, static_argnames="static")
    np.testing.assert_array_equal(
        kept.call(jitted, X, static=static), X + len(str(static))
    )
    assert not files(folder)


@pytest.mark.parametrize(
    "setting",
    [
        jax.disable_jit,
        functools.partial(jax.debug_nans, True),
        lambda: jax.default_device(jax.devices()[0]),
    ],
)
def test_who_runs_computations_otherwise_gets_them_so(folder, setting):
    with setting():
        kept.call(times(2), X, static=1)
    assert not files(folder)


def test_loading_counts_as_making_and_not_as_a_compilation(folder):
    jitted = times(5)
    for compiled in (True, False):
        forget()
        clock = CompileClock()
        with clock:
            kept.call(jitted, X, static=1)
        assert clock.seconds > 0
        assert (clock.compilations > 0) == compiled


CONV = jd.ConvConfig(channels=32, height=6, width=6, padding=1)


def test_a_name_tells_all_that_a_program_depends_on(monkeypatch, tmp_path):
    plan = jd.make_plan(CONV)
    static, windows = static_of(plan), Strided.of_layer(CONV)
    jitted = times(1)

    def name(operands=(X,), static=static, jitted=jitted, options=None, anew=False):
        if anew:
            kept._surroundings.cache_clear()
        return kept._name(jitted, operands, {"static": static}, options)

    names = [
        name(),
        name(options=xla.compiler_options("cpu")),
        name(options=xla.compiler_options("cpu", one_thread=True)),
        name((X, None)),
        name((X[:5],)),
        name((X.astype(np.float64),)),
        name((jnp.asarray(X).astype(jnp.bfloat16),)),
        name((jnp.asarray(1.0),)),
        name((jnp.asarray(np.float32(1)),)),
        name((jnp.asarray(X),)),
        name(((X,),)),
        name(([X],)),
        name((windows,)),
        name((dataclasses.replace(windows, stride=(2, 1)),)),
        name(jitted=jax.jit(lambda x: x)),
        name(static=True),
        name(static=1),
        name(static=1.0),
        name(static="1"),
    ]
    for field in dataclasses.fields(static):
        changed = dataclasses.replace(static)
        object.__setattr__(changed, field.name, "another")
        names.append(name(static=changed))
    arch = dataclasses.replace(static.arch, clock_hz=static.arch.clock_hz + 1)
    names.append(name(static=dataclasses.replace(static, arch=arch)))
    with jax.numpy_dtype_promotion("standard"):
        names.append(name())
    with monkeypatch.context() as changed:
        changed.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")
        names.append(name(anew=True))
    with monkeypatch.context() as changed:
        changed.setattr(kept, "_processor", lambda: ["another"])
        names.append(name(anew=True))
    with monkeypatch.context() as changed:
        changed.setattr(jax, "__version__", "0.0")
        names.append(name(anew=True))
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "a.py").write_text("a = 1")
    with monkeypatch.context() as changed:
        changed.setattr(kept, "_PACKAGE", tmp_path)
        names.append(name(anew=True))
        (tmp_path / "room" / "a.py").write_text("a = 2")
        names.append(name(anew=True))
    assert [names.index(one) for one in names] == [*range(len(names))]
    assert name(anew=True) == names[0]
    assert name((X + 1,)) == names[0]


SCRIPT = """
import sys
import jax, numpy as np
import jaxdw as jd
traced = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **_: traced.append(event)
)
jd.enable_cache(sys.argv[1])
conv = jd.ConvConfig(channels=48, height=7, width=6, padding=1, bias=True)
plan = jd.make_plan(conv, jd.ShardConfig(scheme="block"))
rng = np.random.default_rng(0)
x, w = rng.standard_normal(conv.input_shape), rng.standard_normal(conv.weight_shape)
out = jd.run(plan, jd.make_maps(plan), float(sys.argv[2]) * x, w, w[:, 0, 0, 0]).output
print(np.asarray(out).tobytes().hex())
print(sum("trace" in event for event in traced))
"""


@pytest.mark.parametrize("size", ["1.0", "1e30"])  # of the float form, of the integer
def test_another_process_traces_nothing_and_finds_the_same_bits(tmp_path, size):
    found = []
    for folder in ("a", "a", "b"):
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, str(tmp_path / folder), size],
            capture_output=True, text=True, check=True,
            env={k: v for k, v in os.environ.items() if k != "JAXDW_CACHE"},
        )  # fmt: skip
        found.append(done.stdout.split())
    outputs, traced = zip(*found, strict=True)
    assert outputs[0] == outputs[1] == outputs[2]
    assert int(traced[0]) > int(traced[1]) == 0
