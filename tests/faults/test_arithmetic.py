"""Arithmetic that goes wrong: other conversions, modes and rows of the reduce."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from fault_examples import (
    FAULTS,
    FLOAT32,
    UNIT,
    example,
    plan_of,
    spoilt,
    whole_numbers,
)

import jaxdw as jd
from jaxdw.faults.arithmetic import block_values, stale_row_sticks
from jaxdw.faults.used_chip import Operands, lay_out, run_launch
from jaxdw.judge.draws import draw
from jaxdw.numerics import formats

GOLDEN = Path(__file__).parents[1] / "golden"
LOFI_INTO_32_BITS = jd.ComputeConfig(fp32_dest_acc=True)


@pytest.mark.parametrize("compute", [FLOAT32, jd.ComputeConfig()], ids=str)
def test_the_bias_comes_after_the_activation(compute):
    plan = plan_of("block", compute, **UNIT, bias=True, activation="relu")
    operands = whole_numbers(plan.conv, 0)
    plain = dataclasses.replace(plan.conv, bias=False)
    want = jd.reference(plain, operands.x, operands.w) + operands.bias
    got = spoilt(plan, "bias-after-activation", operands)
    np.testing.assert_array_equal(got, want)


def cut(values):
    bits = np.asarray(values, np.float32).view(np.uint32) >> 16 << 16
    return bits.view(np.float32)


@pytest.mark.parametrize("compute", [FLOAT32, LOFI_INTO_32_BITS], ids=str)
def test_bf16_is_truncated_on_output(compute):
    plan = plan_of("block", compute, **UNIT, bias=True)
    operands = draw(plan.conv, "witness", 0)
    wide = dataclasses.replace(plan.conv, output_dtype="float32")
    want = run_launch(lay_out(jd.make_plan(wide, plan.shard, compute)), operands)
    assert (cut(want) != want).any()
    np.testing.assert_array_equal(spoilt(plan, "output-truncated", operands), cut(want))


@pytest.mark.parametrize(
    ("fields", "are_cut"),
    [
        ({}, (True, True, True)),
        ({"weights_dtype": "bfloat8_b"}, (True, False, False)),
        ({"dtype": "float32"}, (False, True, True)),
    ],
)
def test_bf16_is_truncated_on_the_host(fields, are_cut):
    plan = plan_of("block", **UNIT, bias=True, **fields)
    operands = draw(plan.conv, "witness", 0)
    given = (
        cut(values) if is_cut else values
        for values, is_cut in zip(operands, are_cut, strict=True)
    )
    want = run_launch(lay_out(plan), Operands(*given))
    np.testing.assert_array_equal(spoilt(plan, "host-truncates", operands), want)


@pytest.mark.parametrize(
    ("fault", "fields"),
    [
        ("fidelity-too-high", {"math_fidelity": "HiFi4"}),
        ("fidelity-too-low", {"math_fidelity": "LoFi"}),
        ("dst-16-bit", {"fp32_dest_acc": False}),
    ],
)
def test_the_matrix_unit_runs_in_another_mode(fault, fields):
    plan = example("HiFi2")
    operands = draw(plan.conv, "witness", 0)
    compute = dataclasses.replace(plan.compute, **fields)
    want = run_launch(lay_out(jd.make_plan(plan.conv, plan.shard, compute)), operands)
    np.testing.assert_array_equal(spoilt(plan, fault, operands), want)


@pytest.mark.parametrize(("dtype", "bits"), [("bfloat8_b", 7), ("bfloat4_b", 3)])
def test_the_right_rule_of_blocks_is_the_hosts(dtype, bits):
    rng = np.random.default_rng(0)
    values = rng.standard_normal((64, 16)) * 2.0 ** rng.integers(-9, 9, (64, 16))
    values[0] = 0
    values = values.astype(np.float32)
    want = jax.jit(formats.round_to, static_argnums=1)(values, dtype)
    np.testing.assert_array_equal(block_values(values, bits), want)


def test_blocks_share_round_and_saturate_as_told():
    block = np.zeros((1, 32), np.float32)
    block[0, :4] = 3.0, 1.0 + 2**-6, 1.0 + 2**-5, -(2**-5) - 2**-6
    plain = block_values(block, 7)[0]
    np.testing.assert_array_equal(plain[:4], [3.0, 1.0, 1.0 + 2**-5, -(2**-4)])
    kept = block_values(block, 7, rounds=False)[0]
    np.testing.assert_array_equal(kept[:4], [3.0, 1.0, 1.0 + 2**-5, -(2**-5)])
    most = block_values(block, 7, most_exponent=0)[0]
    np.testing.assert_array_equal(most[:2], [127 / 64, 1.0 + 2**-6])


@pytest.mark.parametrize(
    ("fault", "elems", "rule"),
    [
        ("block-exponent-per-32", 32, {}),
        ("block-exponent-saturated", 16, {"most_exponent": 0}),
        ("block-truncated", 16, {"rounds": False}),
    ],
)
def test_weights_are_packed_by_another_rule(fault, elems, rule):
    """The blocks of a stream are neighbouring channels of one kernel position."""
    plan = plan_of("block", channels=64, weights_dtype="bfloat8_b")
    operands = draw(plan.conv, "witness", 0)
    lanes = operands.w.reshape(64, 9).T.reshape(-1, elems)
    held = block_values(lanes, 7, **rule).reshape(9, 64).T.reshape(operands.w.shape)
    plain = dataclasses.replace(plan.conv, weights_dtype="bfloat16")
    want = jd.emulate(plain, plan.shard, operands.x, held, compute=FLOAT32).output
    np.testing.assert_array_equal(spoilt(plan, fault, operands), want)


def test_stale_rows_are_those_of_the_library_bit_for_bit():
    """JDW005, one core; the first stick reads L1 that nobody initialised."""
    golden = np.load(GOLDEN / "stale_rows_K25_C160.npz")
    windows, w, want = (
        jnp.asarray(golden[name].view(ml_dtypes.bfloat16).astype(np.float32))
        for name in ("win", "w", "out")
    )
    got = stale_row_sticks(
        windows,
        w,
        None,
        w.reshape(-1),
        compute=jd.ComputeConfig(),
        arch=jd.load_arch("wormhole_b0"),
    )
    np.testing.assert_array_equal(got[1:], want[1:])
    assert want[1:].size == 7 * 160


def test_stale_rows_come_from_the_memory_that_follows():
    """JDW005 through the whole launch, against a loop over one linear memory."""
    plan = example("25 taps")
    assert (plan.num_cores, plan.effective_tiles, plan.channel_tiles) == (2, 4, 5)
    operands = whole_numbers(plan.conv, 0)
    image = np.pad(operands.x[0], [(2, 2), (2, 2), (0, 0)])
    linear = operands.w.reshape(160, 25).T.ravel()
    want = np.empty(plan.output_shape)
    for output in range(64):
        y, x = divmod(output, 8)
        slot = output % 32 % 2  # of the core's own count
        if output % 32 == 0:
            memory = np.zeros(3 * 4096)
            memory[8192 : 8192 + linear.size] = linear
        window = image[y : y + 5, x : x + 5].reshape(-1)
        memory[slot * 4096 : slot * 4096 + window.size] = window * linear
        rows = memory[slot * 4096 : slot * 4096 + 32 * 160].reshape(32, 160)
        want[0, y, x] = rows.sum(axis=0)
    np.testing.assert_array_equal(spoilt(plan, "stale-rows", operands), want)
    launch = lay_out(plan, known=False)
    got = run_launch(FAULTS["stale-rows"].inject(launch), operands)
    want[0, [0, 4], 0] = np.nan  # every core's first stick
    np.testing.assert_array_equal(got, want)
