import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.machine import cores
from jaxdw.machine.cores import DeviceProgram, in_form, run_cores, static_of

LOFI, FLOAT32 = jd.ComputeConfig(), jd.ComputeConfig(arithmetic="float32")
ORDINARY, HUGE = jnp.ones(3), jnp.array([1.0, 2.0**60, 1.0])


def forms_of(asked: str, *operands, compute=LOFI) -> tuple[str, list[str]]:
    """Returns the form that computed, and all that were traced."""
    traced = []

    def way(form):
        traced.append(form)
        return jnp.float32(form == "integer")

    result = in_form(asked, way, *operands, compute=compute)
    return "integer" if float(result) else "float", traced


@pytest.mark.parametrize(
    ("operands", "form"),
    [
        ((ORDINARY, ORDINARY), "float"),
        ((HUGE, ORDINARY), "integer"),
        ((ORDINARY, HUGE), "integer"),
        ((ORDINARY, jnp.array([jnp.nan])), "integer"),
    ],
)
def test_operands_choose_the_form(operands, form):
    assert forms_of("by operands", *operands) == (form, ["float", "integer"])


@pytest.mark.parametrize("asked", ["float", "integer"])
def test_a_form_that_is_asked_for_is_the_only_one_compiled(asked):
    assert forms_of(asked, HUGE) == (asked, [asked])


@pytest.mark.parametrize("asked", ["by operands", "integer"])
def test_arithmetic_in_float32_has_one_form(asked):
    assert forms_of(asked, HUGE, compute=FLOAT32) == ("float", ["float"])


def grid(**changes):
    """Returns 2 NHW shards of 2 sticks, 2 taps, 32 channels, and their static part."""
    conv = jd.ConvConfig(channels=32, height=8, width=8, kernel=(1, 2))
    static = dataclasses.replace(static_of(jd.make_plan(conv)), **changes)
    l1 = jnp.arange(4 * 32.0).reshape(4, 32)
    sticks = np.array([[[0, 1], [1, 2]], [[3, 4], [4, 0]]], np.int32)  # 4: padding
    weights = jnp.stack([jnp.full(32, 1.0), jnp.full(32, 2.0)])
    return (l1, sticks, weights, jnp.ones(32)), static


@pytest.mark.parametrize("backend", ["xla", "pallas"])
def test_every_core_multiplies_its_windows_with_its_weights(backend):
    arguments, static = grid(compute=FLOAT32, output_dtype="float32", backend=backend)
    rows = np.concatenate([np.arange(128.0).reshape(4, 32), np.zeros((1, 32))])
    index = arguments[1]
    want = rows[index[:, 0]] + 2 * rows[index[:, 1]] + 1
    np.testing.assert_array_equal(run_cores(*arguments, static), want)


def test_poison_follows_channels_and_windows_before_what_comes_then():
    arguments, static = grid()
    channels = np.arange(32) != 5
    windows = np.array([[True, False], [True, True]])
    found = run_cores(
        *arguments,
        static,
        channels_written=channels,
        windows_written=windows,
        then=lambda rows: jnp.isnan(rows).astype(jnp.float32),
    )
    want = np.zeros((2, 2, 32), bool)
    want[:, :, 5] = want[0, 1] = True
    np.testing.assert_array_equal(found, want)


def test_operands_given_apart_choose_the_form(monkeypatch):
    """Memory that nobody wrote is NaN, which would ask for the integer form."""
    asked = []

    def in_form(form, way, *operands, compute):
        asked.append(operands)
        return way("float")

    monkeypatch.setattr(cores, "in_form", in_form)
    arguments, static = grid()
    run_cores(*arguments, static)
    run_cores(*arguments, static, operands=(ORDINARY,))
    (l1, weights), (given,) = asked
    assert (l1 is arguments[0]) & (weights is arguments[2]) & (given is ORDINARY)


def test_a_device_program_is_one_line_of_a_table(monkeypatch):
    """It gets its own figures of the plan, and what all programs get."""
    seen = {}

    def compute_sticks(tap, weights, bias, *, kernel, **common):
        seen.update(common, kernel=kernel)
        return tap(0) * 0 + kernel[1]

    program = DeviceProgram(
        compute_sticks=compute_sticks,
        read_bits=lambda *_, **how: None,
        figures=lambda plan: {"kernel": plan.kernel},
    )
    monkeypatch.setitem(cores.PROGRAMS, "depthwise", program)
    conv = jd.ConvConfig(
        channels=32,
        height=8,
        width=8,
        kernel=(3, 5),
        dtype="float32",
        weights_dtype="bfloat8_b",
    )
    static = static_of(jd.make_plan(conv))
    hash(static)
    arguments, _ = grid()
    found = run_cores(*arguments, static, form="float")
    np.testing.assert_array_equal(found, np.full((2, 2, 32), 5))
    assert seen.pop("compute") == LOFI
    assert seen.pop("arch") == jd.load_arch("wormhole_b0")
    assert seen == {
        "activation": None,
        "output_dtype": "bfloat16",
        "dtype": "float32",
        "weights_dtype": "bfloat8_b",
        "form": "float",
        "kernel": (3, 5),
    }


def test_only_the_float_form_is_a_pallas_kernel():
    def kernels(backend: str, form: str) -> int:
        arguments, static = grid(backend=backend)
        run = jax.make_jaxpr(
            lambda l1: run_cores(l1, *arguments[1:], static, form=form)
        )
        return str(run(arguments[0])).count("pallas_call")

    forms = ("float", "integer", "by operands")
    assert [kernels("pallas", form) for form in forms] == [1, 0, 1]
    assert [kernels("xla", form) for form in forms] == [0, 0, 0]


def test_the_static_part_is_kept_by_backend_and_its_hash_by_process():
    plan = jd.make_plan(jd.ConvConfig(channels=32, height=6, width=6))
    static = static_of(plan)
    assert static_of(plan) is static
    assert static_of(plan, "pallas").backend == "pallas"
    twin = dataclasses.replace(static)
    assert hash(twin) == hash(static) == hash(pickle.loads(pickle.dumps(static)))
    other = pickle.loads(pickle.dumps(static))
    assert "_hash" in vars(static)
    assert "_hash" not in vars(other)


@pytest.mark.parametrize(
    ("layer", "compute", "fits"),
    [  # steps of 64 channels and 9 taps
        ({"height": 64, "width": 113}, LOFI, True),
        ({"height": 64, "width": 114}, LOFI, False),
        ({"height": 128, "width": 113}, FLOAT32, True),
        ({"height": 128, "width": 114}, FLOAT32, False),
        ({"height": 64, "width": 28}, jd.ComputeConfig(math_fidelity="HiFi4"), True),
        ({"height": 64, "width": 29}, jd.ComputeConfig(math_fidelity="HiFi4"), False),
        ({"height": 64, "width": 113, "batch": 2}, LOFI, False),
        ({"height": 128, "width": 226, "stride": 2}, LOFI, True),
        ({"height": 64, "width": 43, "kernel": 5, "padding": 2}, LOFI, False),
    ],
)
def test_one_thread_takes_what_others_would_not_end_sooner(layer, compute, fits):
    conv = jd.ConvConfig(**{"channels": 64, "padding": 1} | layer)
    static = static_of(jd.make_plan(conv, None, compute, must_fit=False))
    assert static.fits_one_thread == fits
    for program in ("regular", "conv1d"):  # their steps take longer
        slower = dataclasses.replace(static, program=program)
        assert slower.fits_one_thread == (fits and compute is FLOAT32)
        third = dataclasses.replace(slower, output_shape=(1, 64, 37, 64))
        few = compute.math_fidelity == "LoFi" and conv.taps == 9
        assert third.fits_one_thread == few


@pytest.mark.parametrize(
    ("changes", "program", "gains"),
    [
        ({}, "regular", True),
        ({}, "depthwise", False),
        ({"math_fidelity": "HiFi3", "height": 40}, "regular", True),  # 27 steps
        ({"math_fidelity": "HiFi2", "height": 60}, "regular", False),  # 18
        (
            {"math_fidelity": "HiFi2", "kernel": (4, 4), "height": 40},
            "regular",
            True,
        ),  # 32
        ({"kernel": (5, 5)}, "regular", False),  # 100, in a loop
        ({"weights_dtype": "bfloat4_b"}, "regular", False),  # a phase or two less
        ({"height": 15}, "regular", True),
        ({"height": 14}, "regular", False),  # fewer than 2**20 steps
        ({"arithmetic": "float32"}, "regular", False),
        ({"fp32_dest_acc": True}, "regular", False),
        ({"packer_l1_acc": True}, "regular", False),
        ({"output_dtype": "bfloat8_b"}, "regular", False),
        ({"channels": 24, "height": 100}, "regular", True),  # tiles of two taps
    ],
)
def test_outputs_side_by_side_are_for_long_chains_of_large_launches(
    changes, program, gains
):
    layer = {"channels": 64, "height": 31, "width": 31, "padding": 1}
    compute = {"math_fidelity": "HiFi4"}
    for name, value in changes.items():
        is_layer = name in jd.ConvConfig.__dataclass_fields__
        (layer if is_layer else compute)[name] = value
    plan = jd.make_plan(
        jd.ConvConfig(**layer),
        jd.ShardConfig(scheme="height"),
        jd.ComputeConfig(**compute),
        program=program,
        must_fit=False,
    )
    assert cores.gains_by_pairs(static_of(plan)) == gains
