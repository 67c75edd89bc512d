import jax.numpy as jnp
import numpy as np
import oracles_fpu as oracle
import pytest

from jaxdw.arch.arch import load_arch
from jaxdw.numerics import mvmul
from jaxdw.numerics.fpu_float import cut

WORMHOLE = load_arch("wormhole_b0")
UNITS = [mvmul.IntegerUnit(False, WORMHOLE), mvmul.FloatUnit()]


def floats(bits) -> jnp.ndarray:
    return jnp.asarray(np.array(bits, np.uint32).view(np.float32))


def draw(rng: np.random.Generator, *shape: int, spread: int, few: int) -> np.ndarray:
    """Draws bf16 patterns near 1.0; `few` of the lower mantissa bits are zero."""
    exponent = rng.integers(127 - spread, 127 + spread, shape)
    bits = exponent << 23 | rng.integers(0, 128 >> few, shape) << 16 + few
    bits |= rng.integers(0, 2, shape) << 31
    bits[rng.random(shape) < 0.1] = 0
    return bits.astype(np.uint32)


@pytest.mark.parametrize("unit", UNITS, ids=["integer", "float"])
@pytest.mark.parametrize("few", [0, 4, 6])
@pytest.mark.parametrize("spread", [1, 3, 8, 16])
@pytest.mark.parametrize("products", [1, 2])
def test_a_step_equals_the_scalar_oracle(products, spread, few, unit):
    rng = np.random.default_rng(spread + few)
    a, b = (draw(rng, products, 400, spread=spread, few=few) for _ in range(2))
    dst = draw(rng, 400, spread=2 * spread, few=few)
    dst[dst == 0x80000000] = 0
    for phase in range(4):
        terms = [
            unit.products(floats(x), floats(y), [phase])[phase]
            for x, y in zip(a, b, strict=True)
        ]
        got = np.asarray(unit.finish(unit.add(terms, floats(dst))))
        want = [
            oracle.add_to_dst(
                [oracle.elwmul_term(x, y, phase) for x, y in zip(xs, ys, strict=True)],
                old,
                False,
                "wormhole",
            )
            for xs, ys, old in zip(
                a.T.tolist(), b.T.tolist(), dst.tolist(), strict=True
            )
        ]
        assert got.view(np.uint32).tolist() == want


@pytest.mark.parametrize("unit", UNITS, ids=["integer", "float"])
@pytest.mark.parametrize("few", [0, 4, 6])
@pytest.mark.parametrize("spread", [1, 3, 8])
def test_a_sum_of_two_values_equals_the_scalar_oracle(spread, few, unit):
    rng = np.random.default_rng(spread + few)
    a, b = (draw(rng, 800, spread=spread, few=few) for _ in range(2))
    a[:50] = b[:50] ^ 0x80000000  # sums of zero
    got = np.asarray(unit.elwadd(floats(a), floats(b))).view(np.uint32).tolist()
    want = [
        oracle.elwadd(x, y, 0, False, False, "wormhole")
        for x, y in zip(a.tolist(), b.tolist(), strict=True)
    ]
    assert got == want


@pytest.mark.parametrize("unit", UNITS, ids=["integer", "float"])
@pytest.mark.parametrize(
    ("product", "dst", "want"),
    [
        ((1.0, 2.0**-11), 1.0, 1.0),  # half a unit goes up, and half of that is lost
        ((-1.0, 2.0**-8), 1.0, 1.0 - 2.0**-8),
        ((1.0, 2.0**-8), 1.0, 1.0 + 2.0**-7),  # ties of the result go away from zero
        ((-1.0, 2.0**-8), -1.0, -1.0 - 2.0**-7),
        ((2.0**10, 1.0), 0.5, 2.0**10),  # a Dst of half a unit goes up: lost in 8 bits
        ((1.0, -1.0), 1.0, 0.0),
        ((0.0, -1.0), 0.0, 0.0),
    ],
)
def test_examples_of_one_step(product, dst, want, unit):
    a, b = (jnp.float32(value) for value in product)
    got = unit.finish(unit.add([unit.products(a, b, [0])[0]], jnp.float32(dst)))
    assert np.float32(got).tobytes() == np.float32(want).tobytes()


@pytest.mark.parametrize("short", ["", "a", "b"])
@pytest.mark.parametrize("source", ["a", "b"])
def test_weights_read_before_give_the_same_terms(source, short):
    rng = np.random.default_rng(5)
    a, b = (floats(draw(rng, 9, 1, 80, spread=8, few=0)) for _ in range(2))
    cut_a, cut_b = (
        cut(values, bits) if name in short else values
        for name, values, bits in (("a", a, 5), ("b", b, 7))
    )
    want = mvmul.FloatUnit().products(a, b, (0,))[0]
    unit = mvmul.FloatUnit(short)
    weights, others = (cut_a, cut_b) if source == "a" else (cut_b, cut_a)
    weight = mvmul.weights_of(unit, weights, source, (0,))
    for tap in range(9):
        assert isinstance(weight(tap), mvmul.Operand)
        operands = (weight(tap), others[tap])
        got = unit.products(*(operands if source == "a" else operands[::-1]), (0,))
        for own, other in zip(got[0], want, strict=True):
            found, wanted = (np.asarray(v).view(np.uint32) for v in (own, other[tap]))
            np.testing.assert_array_equal(found, wanted)


def test_weights_are_read_before_in_one_phase_of_the_float_form_only():
    weights = jnp.ones((9, 1, 32))
    for unit, given, phases in (
        (UNITS[0], weights, (0,)),
        (UNITS[1], weights, (0, 1)),
        (UNITS[1], list(weights), (0,)),
    ):
        weight = mvmul.weights_of(unit, given, "a", phases)(3)
        assert isinstance(weight, jnp.ndarray)
        assert weight.shape == (1, 32)


def test_a_32_bit_dst_has_the_integer_form_only():
    fixed = {"arch": WORMHOLE}
    assert mvmul.unit_of("float", fp32_dest=False, **fixed) == mvmul.FloatUnit()
    short = mvmul.unit_of("float", fp32_dest=False, **fixed, short="b")
    assert short == mvmul.FloatUnit("b")
    for form in ("float", "integer"):
        unit = mvmul.unit_of(form, fp32_dest=True, **fixed)
        assert unit == mvmul.IntegerUnit(True, WORMHOLE)


def test_the_float_form_leaves_out_phases_that_read_no_bits():
    float_unit, integer_unit = mvmul.FloatUnit(), UNITS[0]
    assert float_unit.phases("HiFi4", (8, 8)) == (0, 1, 2, 3)
    assert float_unit.phases("HiFi4", (8, 7)) == (0, 1)
    assert float_unit.phases("HiFi3", (3, 8)) == (0, 2)
    assert integer_unit.phases("HiFi3", (3, 7)) == (0, 1, 2)


@pytest.mark.parametrize("taps", [1, 4, 8, 9, 12, 13, 25, 49])
@pytest.mark.parametrize("steps", [1, 3, 4])
@pytest.mark.parametrize("multiple", [1, 4])
def test_all_taps_come_once_and_in_order(multiple, steps, taps):
    seen = []

    def note(first, count, order):
        seen.append((first if isinstance(first, int) else None, count))
        for n in range(count):
            order = order.at[0].add(1)
            tap = jnp.asarray(first + n).astype(jnp.float32)
            order = order.at[order[0].astype(jnp.int32)].set(tap)
        return order

    start = jnp.full(taps + 1, -1.0).at[0].set(0)
    order = mvmul.over_taps(note, taps, steps, start, multiple=multiple)
    assert order[0] == taps
    assert order[1:].tolist() == list(range(taps))
    pieces = [count for first, count in seen if first != 0][:-1]
    assert all(count % multiple == 0 for count in pieces)
