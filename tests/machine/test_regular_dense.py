"""The short chain of a channel's taps equals MVMUL's full sums, over long random runs.

Slow, about six minutes on one core, and left out by default: `pytest -m slow` runs it.
"""

import itertools
from collections import Counter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import oracles_ttnn as ttnn
import pytest
from oracles_unit import Compute, numbers
from programs import same_bits

import jaxdw as jd
from jaxdw.arch.arch import load_arch
from jaxdw.machine import regular
from jaxdw.numerics.fpu_float import is_ordinary

CHIPS = {"wormhole": "wormhole_b0", "blackhole": "blackhole"}
WIDTHS = (8, 16, 24, 40, 48, 32, 64)
KERNELS = ((3, 3), (1, 4), (2, 5), (1, 13), (5, 5))
ELEMENTS = 20_000  # of the windows of one draw, at least
STICKS_AT_ONCE = 48  # through the oracle, which is quickest then
# Input, weights and output; a 16-bit Dst takes the first.
TENSORS = (
    ("bfloat16", "bfloat16", "bfloat16"),
    ("bfloat16", "bfloat16", "float32"),
    ("float32", "float32", "float32"),
)


class Kind(NamedTuple):
    """Of which operands a draw is.

    least, beyond: biased exponents.
    few: bits of the mantissa, hidden bit counted; None for all of the format.
    zeros: share of them.
    cancels: whether the later half of the taps are the earlier ones, negated.
    """

    least: int
    beyond: int
    few: int | None = None
    zeros: float = 0.0
    cancels: bool = False


ORDINARY = (
    Kind(120, 133, zeros=0.05),
    Kind(84, 164),
    Kind(126, 130, few=3, zeros=0.2),  # most sums meet ties
    Kind(122, 130, few=8, cancels=True),
)
EXTREME = (
    Kind(0, 256, zeros=0.05),  # denormals, infinities and NaN among them
    Kind(56, 76),  # products about the least exponent
    Kind(182, 200, few=4),  # products about the largest
)


class Case(NamedTuple):
    """One shape, format and order of a launch."""

    scheme: str
    width: int
    shards: int
    full_inner_dim: bool
    parts: int
    kernel: tuple[int, int]
    fidelity: str
    fp32_dest: bool
    dtypes: tuple[str, str, str]
    chip: str


def shapes():
    """Yields scheme, width, shards, full_inner_dim and parts."""
    for width in WIDTHS:
        yield "height", width, 1, False, 1
        yield "block", width, 2, False, 1
        yield "block", width, 2, True, 1
    yield "width", 32, 2, False, 1
    yield "width", 64, 1, False, 2


def cases():
    fidelities = ("LoFi", "HiFi2", "HiFi3", "HiFi4")
    found = itertools.product(shapes(), fidelities, (False, True))
    for n, (shape, fidelity, fp32_dest) in enumerate(found):
        tensors = TENSORS[n // 2 % 3 if fp32_dest else 0]
        kernel, chip = KERNELS[n % len(KERNELS)], list(CHIPS)[n // 3 % 2]
        yield Case(*shape, kernel, fidelity, fp32_dest, tensors, chip)


def draw(rng: np.random.Generator, shape: tuple, kind: Kind, dtype: str) -> np.ndarray:
    """Draws float32 patterns of a format, taps on the first axis."""
    bits = kind.few or {"bfloat16": 8, "float32": 24}[dtype]
    found = rng.integers(kind.least, kind.beyond, shape) << 23
    found |= rng.integers(0, 1 << (bits - 1), shape) << (24 - bits)
    found |= rng.integers(0, 2, shape) << 31
    found[rng.random(shape) < kind.zeros] = 0
    return found


def programs(case: Case) -> dict:
    """Returns the package's program in each form that a Dst of this width has."""
    dtype, weights_dtype, output_dtype = case.dtypes

    def in_form(form):
        def program(windows, weights):
            return regular.compute_sticks(
                lambda k: windows[k],
                weights,
                None,
                scheme=case.scheme,
                kernel=case.kernel,
                width=case.width,
                full_inner_dim=case.full_inner_dim,
                act_block_w_div=case.parts,
                activation=None,
                output_dtype=output_dtype,
                dtype=dtype,
                weights_dtype=weights_dtype,
                compute=jd.ComputeConfig(
                    math_fidelity=case.fidelity, fp32_dest_acc=case.fp32_dest
                ),
                arch=load_arch(CHIPS[case.chip]),
                form=form,
            )

        return jax.jit(program)

    forms = ("integer",) if case.fp32_dest else ("integer", "float")
    return {form: in_form(form) for form in forms}


def full_sums(case: Case, windows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Returns the oracle's sticks: every lane of K, those of weight zero included.

    Args:
      windows: patterns `[taps, sticks, channels]`; weights: `[taps, 1, channels]`.
    """
    taps, sticks, channels = windows.shape
    scheme = "block_full" if case.full_inner_dim else case.scheme
    layout = ttnn.Layout(scheme, case.kernel, case.width, case.shards, case.parts)
    compute = Compute(case.fidelity, case.fp32_dest, case.chip, case.dtypes[2])
    by_stick = windows.swapaxes(0, 1).reshape(sticks, *case.kernel, channels)
    by_channel = weights.reshape(taps, channels).T.reshape(channels, *case.kernel)
    found = [
        ttnn.regular_sticks(part, by_channel, layout, compute)
        for part in np.split(by_stick, range(STICKS_AT_ONCE, sticks, STICKS_AT_ONCE))
    ]
    return np.concatenate(found)[:, :channels]


@pytest.mark.slow
def test_the_chain_of_taps_equals_the_full_sums_of_millions_of_operands():
    rng = np.random.default_rng(0)
    compared, outputs, not_zero = Counter(), 0, 0
    for case in cases():
        taps, channels = case.kernel[0] * case.kernel[1], case.width * case.shards
        sticks = -(-ELEMENTS // (taps * channels))
        by_form = programs(case)
        rounds = len(by_form)  # as many for each form, all in all
        for kind in ORDINARY * rounds + EXTREME:
            windows = draw(rng, (taps, sticks, channels), kind, case.dtypes[0])
            weights = draw(rng, (taps, 1, channels), kind, case.dtypes[1])
            if kind.cancels:
                half = taps // 2
                windows[taps - half :] = windows[:half] ^ 0x80000000
                weights[taps - half :] = weights[:half]
            want = full_sums(case, windows, weights)
            operands = [jnp.asarray(numbers(bits)) for bits in (windows, weights)]
            ordinary = all(map(is_ordinary, operands))
            assert ordinary == (kind in ORDINARY)
            for form, program in by_form.items():
                if form == "integer" or ordinary:
                    same_bits(program(*operands), numbers(want))
                    compared[form] += windows.size
            if ordinary:
                outputs += want.size
                not_zero += np.count_nonzero(want)
    assert compared["integer"] >= 10_000_000
    assert compared["float"] >= 10_000_000
    assert not_zero > 0.8 * outputs
