import functools

import chex
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import ttnn_golden
from absl.testing import parameterized
from cut_bits import check_cut
from ttnn_golden import Case, arithmetic_case, compared, ordinary_sticks, run_case

import jaxdw as jd
from jaxdw.arch.arch import load_arch
from jaxdw.machine import k_blocks, regular

ARITHMETIC = ttnn_golden.names("arith", "R")
RUN_FILES = ("run_R_D_bf16", "run_variants_wh", "run_bfp8_out", "run_fp32_tensors")
RUN = [(f, n) for f in RUN_FILES for k in "hb" for n in ttnn_golden.names(f, k)]
FORMS = ("integer", "float")


def sticks(windows, weights, bias=None, *, fidelity, fp32_dest, form, **how):
    how = {
        "output_dtype": "bfloat16",
        "dtype": "bfloat16",
        "weights_dtype": "bfloat16",
        "activation": None,
        "arch": load_arch("wormhole_b0"),
        **how,
    }
    compute = jd.ComputeConfig(math_fidelity=fidelity, fp32_dest_acc=fp32_dest)
    return regular.compute_sticks(
        lambda k: windows[k], weights, bias, compute=compute, form=form, **how
    )


def check(case: Case, form: str, run=lambda f: f) -> None:
    chosen = np.ones(case.windows.shape[1], bool)
    if form == "float":
        chosen = ordinary_sticks(case)
    own = case.weights.shape[1] > 1
    program = functools.partial(
        sticks,
        fidelity=case.fidelity,
        fp32_dest=case.fp32_dest,
        scheme=case.scheme,
        kernel=case.kernel,
        width=case.width,
        activation="relu" if "relu" in case.name else None,
        packer_l1_acc="l1acc" in case.name,
        form=form,
        **case.dtypes,
    )
    bias = None if case.bias is None else jnp.asarray(case.bias)
    got = run(program)(
        jnp.asarray(case.windows[:, chosen]),
        jnp.asarray(case.weights[:, chosen] if own else case.weights),
        bias,
    )
    lanes = None if case.compared is None else case.compared[chosen]
    case = case._replace(want=case.want[chosen], compared=lanes)
    np.testing.assert_array_equal(compared(case, got), compared(case, case.want))


def test_the_golden_files_hold_all_their_cases():
    assert (len(ARITHMETIC), len(RUN)) == (80, 65)
    assert sum(ordinary_sticks(arithmetic_case(n)).sum() > 40 for n in ARITHMETIC) == 80


@pytest.mark.parametrize("name", ARITHMETIC)
def test_sums_are_those_of_the_matrix_unit(name):
    check(arithmetic_case(name), "integer")
    if name.endswith("dst16"):
        check(arithmetic_case(name), "float", jax.jit)


@pytest.mark.parametrize(("file", "name"), RUN)
def test_sticks_are_those_of_the_librarys_kernels(file, name):
    case = run_case(file, name)
    check(case, "integer")
    if not case.fp32_dest and ordinary_sticks(case).any():
        check(case, "float")


class VariantsTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(
        case=[
            ("run_R_D_bf16", "wh_b64_HiFi4_dst16_fam0"),
            ("run_R_D_bf16", "wh_h64l_HiFi2_dst32_l1acc_bias_fam0"),
            ("run_bfp8_out", "wh_h64o8b_LoFi_dst16"),
            ("run_fp32_tensors", "wh_h64f32b_LoFi_dst32"),
        ],
        form=FORMS,
    )
    def test_jitted_and_not_the_sticks_are_the_golden_ones(self, case, form):
        check(run_case(*case), form, self.variant)


@pytest.mark.parametrize("fidelity", ["LoFi", "HiFi2", "HiFi4"])
def test_the_recorded_layer_comes_out_bit_for_bit(fidelity):
    got, want, reference = recorded_layer(fidelity)
    np.testing.assert_array_equal(got, want)
    figures = {"LoFi": 0.99988882, "HiFi2": 0.99998367, "HiFi4": 0.99998592}
    pcc = jd.pcc(got.astype(ml_dtypes.bfloat16), reference, revision="branch")
    assert pcc == pytest.approx(figures[fidelity], abs=5e-9)


def recorded_layer(fidelity: str) -> tuple[np.ndarray, ...]:
    """Returns sticks computed here, the golden ones, and the float32 convolution."""
    layer = np.load(ttnn_golden.FILES / "recorded_height.npz")
    x = ttnn_golden.values(layer["x_nchw"])[0].transpose(1, 2, 0)
    w = ttnn_golden.values(layer["w_oihw"])[:, 0].transpose(1, 2, 0)
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    windows = np.stack(
        [padded[r : r + 8, s : s + 8].reshape(64, 64) for r, s in np.ndindex(3, 3)]
    )
    weights = w.reshape(9, 1, 64)
    golden = np.load(ttnn_golden.FILES / "recorded_layer.npz")[f"R_{fidelity}"]
    got = sticks(
        jnp.asarray(windows),
        jnp.asarray(weights),
        fidelity=fidelity,
        fp32_dest=False,
        scheme="height",
        kernel=(3, 3),
        width=64,
        form="float",
    )
    want = ttnn_golden.values(golden).reshape(64, 64)
    return np.asarray(got), want, (windows * weights).sum(axis=0)


def ordinary(rng: np.random.Generator, shape: tuple, kind: int, bits: int) -> jax.Array:
    """Draws values of some mantissa bits: normal, wide, or full of ties and zeros."""
    spread = [(120, 132), (87, 160), (126, 129), (84, 164)][kind]
    few = 3 if kind == 2 else bits
    exponent = rng.integers(*spread, shape, dtype=np.uint32) << 23
    fraction = rng.integers(0, 2 ** (few - 1), shape, dtype=np.uint32) << (24 - few)
    patterns = exponent | fraction | rng.integers(0, 2, shape, dtype=np.uint32) << 31
    patterns[rng.random(shape) < 0.1 * (kind % 3)] = 0
    return jnp.asarray(patterns.view(np.float32))


@pytest.mark.parametrize("kernel", [(1, 1), (1, 4), (3, 3), (5, 5), (7, 7), (1, 31)])
@pytest.mark.parametrize("width", [8, 16, 24, 40, 48, 64, 96])
def test_both_forms_give_the_same_bits(kernel, width):
    """Ordinary operands of all sizes, ties, zeros and cancellation among them."""
    taps = kernel[0] * kernel[1]
    fidelities = ["LoFi", "HiFi2", "HiFi3", "HiFi4"]
    fidelity = fidelities[(width // 8 + taps) % 4]
    weights_dtype, bits = [("bfloat16", 8), ("bfloat8_b", 7), ("bfloat4_b", 3)][
        (width // 8) % 3
    ]
    rng = np.random.default_rng(taps * width)
    channels = -(-96 // width) * width
    both = [
        jax.jit(
            functools.partial(
                sticks,
                fidelity=fidelity,
                fp32_dest=False,
                scheme="block" if width < 96 else "height",
                kernel=kernel,
                width=width,
                weights_dtype=weights_dtype,
                form=form,
            )
        )
        for form in FORMS
    ]
    for kind in range(4):
        windows = ordinary(rng, (taps, 200, channels), kind, 8)
        weights = ordinary(rng, (taps, 1, channels), kind, bits)
        if kind == 2 and taps > 1:  # sums near zero
            windows = windows.at[taps // 2 :].set(-windows[: taps - taps // 2])
        got, want = (np.asarray(f(windows, weights)).view("u4") for f in both)
        np.testing.assert_array_equal(got, want)


def test_it_runs_under_vmap_cond_and_loops():
    case = run_case("run_R_D_bf16", "wh_b64_HiFi4_dst16_fam0")
    windows, weights = jnp.asarray(case.windows), jnp.asarray(case.weights)

    def one(windows, form):
        return sticks(
            windows,
            weights,
            fidelity="HiFi4",
            fp32_dest=False,
            scheme="block",
            kernel=case.kernel,
            width=8,
            form=form,
        )

    @jax.jit
    def twice(both):
        either = jax.lax.cond(
            both[0, 0, 0, 0] > 1e9,
            jax.vmap(functools.partial(one, form="integer")),
            jax.vmap(functools.partial(one, form="float")),
            both,
        )
        empty = jnp.zeros_like(either)
        return jax.lax.fori_loop(0, 2, lambda n, old: old * 0 + either, empty)

    got = twice(jnp.stack([windows, windows[:, ::-1]]))
    np.testing.assert_array_equal(got[0], case.want)
    np.testing.assert_array_equal(got[1], case.want[::-1])


@pytest.mark.parametrize(
    ("width", "taps", "phases", "group", "want"),
    [
        (8, 4, 2, 0, [(0, (0, 1)), (0, (2, 3)), (1, (0, 1)), (1, (2, 3))]),
        (16, 3, 1, 1, [(0, (0,)), (0, (1,)), (0, (2,))]),
        (16, 2, 2, 1, [(0, (0,)), (0, (1,)), (1, (0,)), (1, (1,))]),
        (24, 2, 2, 0, [(0, (0,)), (0, (1,)), (1, (0,)), (1, (1,))]),
        (24, 2, 2, 1, [(0, (0,)), (1, (0,)), (0, (1,)), (1, (1,))]),
        (40, 2, 2, 3, [(0, (0,)), (1, (0,)), (0, (1,)), (1, (1,))]),
    ],
)  # fmt: skip
def test_steps_follow_tiles_then_phases_then_halves(width, taps, phases, group, want):
    assert list(k_blocks.steps_of(width, taps, range(phases), group)) == want


def refused(**how):
    how = {"scheme": "block", "kernel": (1, 1), "width": 8, **how}
    operands = jnp.zeros((1, 1, 48)), jnp.zeros((1, 1, 48))
    sticks(*operands, fidelity="LoFi", fp32_dest=False, form="integer", **how)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"kernel": (1, 2)}, r"1 taps\) must have one for each of the kernel's 2"),
        ({"width": 12}, r"`width` \(=12\) must be a multiple of 8; use 16"),
        ({"width": 0}, r"`width` \(=0\) must be a multiple of 8; use 8"),
        (
            {"act_block_w_div": 2},
            r"`act_block_w_div` \(=2\) must be 1 .*='block'; use 1",
        ),
        (
            {"scheme": "width", "width": 96, "act_block_w_div": 2},
            r"\(=96\) must be .* 32 times `act_block_w_div` \(=2\).* use 128",
        ),
        ({"width": 32}, r"`channels` \(=48\) must be whole shards .*=32\); use 64"),
        ({"scheme": "width", "width": 16}, r"`width` \(=16\) must be a multiple of 32"),
        (
            {"scheme": "height", "width": 48, "full_inner_dim": True},
            r"=True\) must be F",
        ),
        ({"scheme": "height", "width": 16}, r"`width` \(=16\) must be all 48 channels"),
    ],
)
def test_what_no_core_has_is_refused(how, message):
    with pytest.raises(jd.ConfigError, match=message):
        refused(**how)


@pytest.mark.parametrize("scheme", ["height", "width"])
def test_full_inner_dim_changes_block_only(scheme):
    """As the library has it; at 16 channels HiFi4 would give other bits."""
    conv = jd.ConvConfig(channels=32 if scheme == "width" else 16, height=4, width=4)
    rng = np.random.default_rng(0)
    operands = [rng.standard_normal(s) for s in (conv.input_shape, conv.weight_shape)]
    results = [
        jd.emulate(
            conv,
            jd.ShardConfig(scheme=scheme, full_inner_dim=full),
            *operands,
            compute=jd.ComputeConfig(math_fidelity="HiFi4", fp32_dest_acc=True),
            program="regular",
        ).output
        for full in (False, True)
    ]
    chex.assert_trees_all_equal(*results)


@pytest.mark.parametrize(
    ("compute", "output_dtype", "want"),
    [
        ({}, "bfloat16", True),
        ({"fp32_dest_acc": True}, "bfloat16", False),
        ({"packer_l1_acc": True}, "bfloat16", False),
        ({}, "bfloat8_b", False),
    ],
)
def test_channels_part_where_packing_partials_changes_nothing(
    compute, output_dtype, want
):
    assert regular.channels_part(jd.ComputeConfig(**compute), output_dtype) == want


@pytest.mark.parametrize(
    ("how", "size"),
    [
        ({"scheme": "height", "kernel": (2, 3), "width": 24}, 48),
        (
            {"scheme": "block", "kernel": (3, 3), "width": 16, "full_inner_dim": True},
            64,
        ),
        ({"scheme": "block", "kernel": (1, 3), "width": 32}, 64),
        ({"scheme": "width", "kernel": (2, 2), "width": 96, "act_block_w_div": 3}, 64),
        ({"scheme": "height", "kernel": (2, 2), "width": 72}, 64),
    ],
)
def test_a_slice_of_channels_gives_the_bits_of_the_whole(how, size):
    """In both forms; shards narrower than a tile stay whole."""
    own, found = regular.figures_of_slice(tuple(how.items()), 64)
    assert found == size
    rng = np.random.default_rng(0)
    shards = 1 if how["scheme"] == "height" else 192 // how["width"]
    taps, channels = how["kernel"][0] * how["kernel"][1], shards * how["width"]
    shapes = [(taps, sticks, max(channels, size)) for sticks in (100, 1)]
    windows, weights = (ordinary(rng, shape, 0, 8) for shape in shapes)
    both = min(channels, size)
    for form in FORMS:
        run = functools.partial(sticks, fidelity="HiFi4", fp32_dest=False, form=form)
        want = run(windows[..., :channels], weights[..., :channels], **how)
        got = run(windows[..., :size], weights[..., :size], **dict(own))
        np.testing.assert_array_equal(got[:, :both], want[:, :both])


@pytest.mark.parametrize(
    "dtypes",
    [
        {"dtype": "float32", "output_dtype": "bfloat8_b"},
        {"weights_dtype": "float32"},
        {"dtype": "float32", "output_dtype": "float32"},
    ],
)
def test_formats_of_unknown_rule_are_refused(dtypes):
    with pytest.raises(jd.UnsupportedError, match=r"float32.* is not modelled"):
        refused(**dtypes)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("fp32_dest", [False, True])
@pytest.mark.parametrize("fidelity", ["LoFi", "HiFi2", "HiFi3", "HiFi4"])
def test_bits_that_no_phase_reads_may_be_cut_before(fidelity, fp32_dest, form):
    how = {
        "fidelity": fidelity,
        "fp32_dest": fp32_dest,
        "scheme": "height",
        "kernel": (3, 3),
        "width": 64,
    }
    bits = {"LoFi": (7, 24), "HiFi2": (7, 24)}.get(fidelity)
    compute = jd.ComputeConfig(math_fidelity=fidelity, fp32_dest_acc=fp32_dest)
    check_cut(regular.read_bits, bits, functools.partial(sticks, **how), compute, form)
