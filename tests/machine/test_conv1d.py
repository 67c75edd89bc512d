import functools

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import oracles_fpu as oracle
import pytest
import ttnn_golden
from absl.testing import parameterized
from cut_bits import check_cut
from oracles_unit import of_values
from ttnn_golden import ordinary_sticks, run_case, values

import jaxdw as jd
from jaxdw.arch.arch import load_arch
from jaxdw.machine import conv1d
from jaxdw.numerics import sfpu

ARITHMETIC = ttnn_golden.names("arith", "D")
RUN_FILES = ("run_R_D_bf16", "run_variants_wh", "run_bfp8_out")
RUN = [(f, n) for f in RUN_FILES for n in ttnn_golden.names(f, "d")]
FORMS = ("integer", "float")


def sticks(windows, weights, *, fidelity="LoFi", fp32_dest=False, **how):
    how = {
        "coalesced": True,
        "output_dtype": "bfloat16",
        "dtype": "bfloat16",
        "weights_dtype": "bfloat16",
        "activation": None,
        "arch": load_arch("wormhole_b0"),
        "form": "integer",
        **how,
    }
    compute = jd.ComputeConfig(math_fidelity=fidelity, fp32_dest_acc=fp32_dest)
    return conv1d.compute_sticks(lambda k: windows[k], weights, compute=compute, **how)


def same_bits(got, want) -> None:
    np.testing.assert_array_equal(np.asarray(got).view("u4"), want.view("u4"))


def test_the_golden_files_hold_all_their_cases():
    assert (len(ARITHMETIC), len(RUN)) == (36, 41)


@pytest.mark.parametrize("name", ARITHMETIC)
def test_sums_are_those_of_the_matrix_unit(name):
    _, _, fidelity, dst = name.split("_")
    with np.load(ttnn_golden.FILES / "arith.npz") as golden:
        x, w, *wanted = (
            values(golden[f"{name}__{n}"]) for n in ("x", "w", "coalesced", "tap")
        )
    size = np.abs(np.concatenate([x, w], axis=1))
    ordinary = ((size == 0) | ((size >= 2.0**-43) & (size < 2.0**37))).all(axis=1)
    assert ordinary.sum() > 60
    for coalesced, want in zip((True, False), wanted, strict=True):
        for form, chosen in (("integer", np.ones_like(ordinary)), ("float", ordinary)):
            got = sticks(
                jnp.asarray(x.T[:, None, chosen]),
                jnp.asarray(w.T[:, None, chosen]),
                fidelity=fidelity,
                fp32_dest=dst == "dst32",
                coalesced=coalesced,
                form=form,
            )
            same_bits(got, want[None, chosen])


def check(file: str, name: str, form: str, run=lambda f: f) -> None:
    case = run_case(file, name)
    program = functools.partial(
        sticks,
        fidelity=case.fidelity,
        fp32_dest=case.fp32_dest,
        coalesced="_d64" in name,
        form=form,
        **case.dtypes,
    )
    got = run(program)(jnp.asarray(case.windows), jnp.asarray(case.weights))
    same_bits(got, case.want)


@pytest.mark.parametrize(("file", "name"), RUN)
def test_sticks_are_those_of_the_librarys_kernels(file, name):
    check(file, name, "integer")
    if ordinary_sticks(run_case(file, name)).all():
        check(file, name, "float")


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(
        case=[
            ("run_R_D_bf16", "wh_d64_HiFi4_dst16_fam0"),
            ("run_R_D_bf16", "wh_d40_HiFi2_dst32_fam0"),
            ("run_bfp8_out", "wh_d40o8_LoFi_dst16"),
        ],
        form=FORMS,
    )
    def test_jitted_and_not_the_sticks_are_the_golden_ones(self, case, form):
        check(*case, form, self.variant)


@pytest.mark.parametrize("taps", [2, 9, 31])
@pytest.mark.parametrize("coalesced", [False, True])
@pytest.mark.parametrize("fidelity", ["LoFi", "HiFi2", "HiFi3", "HiFi4"])
def test_both_forms_give_the_same_bits(fidelity, coalesced, taps):
    """Ordinary operands, ties, zeros and sums near zero among them."""
    rng = np.random.default_rng(taps)
    draws = ((0, (84, 164), "bfloat16"), (5, (125, 130), "bfloat8_b"))
    for few, spread, output in draws:
        shape = (taps, 300, 64)
        bits = rng.integers(*spread, shape) << 23 | rng.integers(0, 128, shape) << 16
        bits = (bits >> 16 + few << 16 + few) | rng.integers(0, 2, shape) << 31
        bits[rng.random(shape) < 0.05] = 0
        windows = jnp.asarray(bits.astype(np.uint32).view(np.float32))
        weights = jnp.flip(windows[:, :1], axis=2)
        how = {"coalesced": coalesced, "output_dtype": output}
        want, got = (
            jax.jit(functools.partial(sticks, fidelity=fidelity, form=form, **how))(
                windows, weights
            )
            for form in FORMS
        )
        same_bits(got, np.asarray(want))


def test_8_bits_of_weights_count_though_activations_are_packed_to_7():
    rng = np.random.default_rng(0)
    shapes = (2, 50, 16), (2, 1, 16)
    windows, weights = (rng.integers(128, 256, shape) / 128 for shape in shapes)
    for fidelity in ("LoFi", "HiFi2", "HiFi3", "HiFi4"):
        how = {"fidelity": fidelity, "output_dtype": "bfloat8_b"}
        want, got = (
            sticks(jnp.float32(windows), jnp.float32(weights), form=form, **how)
            for form in FORMS
        )
        same_bits(got, np.asarray(want))


@pytest.mark.parametrize(
    ("coalesced", "fidelity", "figure"),
    [
        (True, "HiFi2", 0.99998249),
        (True, "HiFi4", 0.99998452),
        (False, "HiFi2", 0.99998511),
        (False, "HiFi4", 0.99998887),
    ],
)
def test_the_recorded_layer_comes_out_bit_for_bit(coalesced, fidelity, figure):
    layer = np.load(ttnn_golden.FILES / "recorded_height.npz")
    x = values(layer["x_nchw"])[0].transpose(1, 2, 0)
    w = values(layer["w_oihw"])[:, 0].transpose(1, 2, 0).reshape(9, 1, 64)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    windows = np.stack(
        [padded[r : r + 8, s : s + 8].reshape(64, 64) for r, s in np.ndindex(3, 3)]
    )
    how = {"fidelity": fidelity, "coalesced": coalesced, "form": "float"}
    got = np.asarray(sticks(jnp.asarray(windows), jnp.asarray(w), **how))
    kind = "coal" if coalesced else "tap"
    golden = np.load(ttnn_golden.FILES / "recorded_layer.npz")[f"D{kind}_{fidelity}"]
    same_bits(got, values(golden).reshape(64, 64))
    reference = (windows * w).sum(axis=0)
    pcc = jd.pcc(got.astype(ml_dtypes.bfloat16), reference, revision="branch")
    assert pcc == pytest.approx(figure, abs=5e-9)


@pytest.mark.parametrize("coalesced", [False, True])
@pytest.mark.parametrize("fp32_dest", [False, True])
def test_the_activation_comes_before_the_last_packing_only(fp32_dest, coalesced):
    """Sums of either sign: a partial sum that is negative is not cut."""
    windows = jnp.array([-3.0, 1.0, 2.0, 3.0, 4.0, -9.0]).reshape(3, 2, 1)
    how = {"fp32_dest": fp32_dest, "coalesced": coalesced}
    got = sticks(windows, jnp.ones((3, 1, 1)), activation="relu", **how)
    assert got.tolist() == [[3.0], [0.0]]
    near_6 = jnp.array([4.0, 4.0]).reshape(2, 1, 1)
    got = sticks(near_6, jnp.ones((2, 1, 1)), activation="relu6", **how)
    assert got.tolist() == [[6.0]]


@pytest.mark.parametrize("coalesced", [False, True])
def test_an_activation_takes_all_bits_of_a_32_bit_dst(coalesced):
    low = jnp.arange(1, 65, dtype=jnp.float32) * 2.0**-10
    windows = jnp.stack([jnp.ones_like(low), low])[..., None]
    how = {"fidelity": "HiFi4", "fp32_dest": True, "coalesced": coalesced}
    got = sticks(windows, jnp.ones((2, 1, 1)), activation="gelu", **how)
    active = of_values(sfpu.activate(1 + low, "gelu", fp32_dest=True)).tolist()
    assert of_values(got)[:, 0].tolist() == [oracle.dst_to_bf16(b) for b in active]


def test_a_product_of_a_32_bit_dst_reaches_srcb_cut_to_bf16():
    """The product lies past the middle of two bf16 values: the packer takes it up."""
    below = 194 / 128  # product: 194.5 / 128 and a little
    windows = jnp.array([0.0, 1 + 2.0**-7]).reshape(2, 1, 1)
    weights = jnp.full((2, 1, 1), 1.5 + 2.0**-7, jnp.float32)
    how = {"fidelity": "HiFi4", "fp32_dest": True, "coalesced": False}
    assert sticks(windows[1:], weights[1:], **how).item() == below + 2.0**-7
    assert sticks(windows, weights, **how).item() == below


@pytest.mark.parametrize("float32", ["dtype", "weights_dtype", "output_dtype"])
def test_float32_tensors_are_refused(float32):
    operands = jnp.ones((1, 1, 16)), jnp.ones((1, 1, 16))
    with pytest.raises(jd.UnsupportedError, match=rf"`{float32}` \(='float32'\)"):
        sticks(*operands, fp32_dest=True, **{float32: "float32"})


def test_block_outputs_that_share_exponents_with_stale_memory_are_refused():
    operands = jnp.ones((1, 1, 40)), jnp.ones((1, 1, 40))
    with pytest.raises(jd.UnsupportedError, match=r"`channels` \(=40\) .* use 48"):
        sticks(*operands, output_dtype="bfloat8_b")


def test_a_bias_is_refused():
    with pytest.raises(jd.ConfigError, match=r"`bias` \(given\) must be None"):
        sticks(jnp.ones((1, 1, 8)), jnp.ones((1, 1, 8)), bias=jnp.ones(8))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fp32_dest", [False, True])
@pytest.mark.parametrize("fidelity", ["LoFi", "HiFi2", "HiFi3", "HiFi4"])
def test_bits_that_no_phase_reads_may_be_cut_before(fidelity, fp32_dest, form):
    how = {"fidelity": fidelity, "fp32_dest": fp32_dest, "coalesced": True}
    bits = {"LoFi": (5, 24)}.get(fidelity)
    compute = jd.ComputeConfig(math_fidelity=fidelity, fp32_dest_acc=fp32_dest)
    check_cut(conv1d.read_bits, bits, functools.partial(sticks, **how), compute, form)
