"""The oracles of ttnn 0.81.1's programs give what its kernels gave, bit for bit."""

import csv
from pathlib import Path

import numpy as np
import oracles_ttnn as ttnn
import oracles_unit as unit
import pytest
from oracles_ttnn import Layout
from oracles_unit import Compute, numbers, of_values, patterns

GOLDEN = Path(__file__).parent / "golden"
INF = 0x7F800000
RUN_FILES = ["run_R_D_bf16", "run_variants_wh", "run_bfp8_out", "run_fp32_tensors"]


def noise(rng: np.random.Generator, shape) -> np.ndarray:
    """Returns bf16 patterns of normal numbers."""
    return of_values(rng.standard_normal(shape)) & 0xFFFF0000


def load(file: str) -> dict[str, dict[str, np.ndarray]]:
    """Returns the fields of each case of a golden file."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    for key, value in np.load(GOLDEN / f"{file}.npz").items():
        name, field = key.split("__")
        cases.setdefault(name, {})[field] = value
    return cases


ARITH = load("arith")
RUNS = {name: case for file in RUN_FILES for name, case in load(file).items()}
RECORDED = np.load(GOLDEN / "recorded_layer.npz")
WEIGHTS = load("weights_ttnn")
WEIGHT_CASES = list(
    csv.DictReader((GOLDEN / "weights_ttnn.csv").read_text().splitlines())
)


# --- The library's kernels -----------------------------------------------------------


def settings(name: str, case: dict[str, np.ndarray]) -> Compute:
    """Returns how a stored run computed."""
    dtype = "bfloat8_b" if "exp" in case else "bfloat16"
    if "out" in case and case["out"].dtype == np.uint32:
        dtype = "float32"
    fidelity, dst = name.split("_")[2:4]
    return Compute(fidelity, dst == "dst32", "wormhole", dtype, "l1acc" in name)


def run_layout(name: str, channels: int) -> Layout:
    """Returns the layout of a stored run of the regular program."""
    kind = name.split("_")[1]
    if kind in ("b64", "b128"):
        width = {"b64": 8, "b128": 16}[kind]
        return Layout("block", (3, 3), width, channels // width)
    return Layout("height", (3, 3), channels)


def run_dst(name: str, stale=(ttnn.NAN, INF, 0xC1230000)) -> np.ndarray:
    """Returns what the oracles say that a stored run packs."""
    case = RUNS[name]
    compute, x, w = settings(name, case), patterns(case["x"]), patterns(case["w"])
    if name.split("_")[1].startswith("d"):
        return ttnn.conv1d_dst(x, w, compute, coalesced="_d40" not in name)
    return ttnn.regular_dst(
        np.moveaxis(x, 1, 3),
        w,
        run_layout(name, len(w)),
        compute,
        patterns(case["bias"]) if "bias" in case else None,
        "relu" in name,
        stale,
    )


@pytest.mark.parametrize("name", RUNS)
def test_kernels_of_the_library(name):
    case, dst = RUNS[name], run_dst(name)
    compute = settings(name, case)
    if compute.dtype == "bfloat8_b":
        exponents, codes = unit.pack_bfp8_kernel(dst)
        np.testing.assert_array_equal(exponents, case["exp"])
        np.testing.assert_array_equal(codes, case["man"])
    else:
        got = unit.pack(dst, compute.dtype, compute.fp32_dest)
        np.testing.assert_array_equal(got, patterns(case["out"]))


@pytest.mark.parametrize("name", [n for n in RUNS if "tilised_row2" in RUNS[n]])
def test_tilised_activations_of_the_library(name):
    case = RUNS[name]
    x, compute = np.moveaxis(patterns(case["x"]), 1, 3), settings(name, case)
    block = ttnn.k_blocks(run_layout(name, x.shape[3]))[2]
    sticks = ttnn.activation_block(x, block, compute.dtype, (ttnn.NAN,))
    got = ttnn.tilise(sticks, compute)
    np.testing.assert_array_equal(got, patterns(case["tilised_row2"]))


def test_blackhole_tilises_float32_and_bfp8_in_its_own_way():
    x = np.zeros((1, 16), np.int64)
    x[0, :3] = [0x40008000, 0x3F810000, 1]
    want = {
        ("wormhole", True): [0x40010000, 0x3F810000, 0],
        ("wormhole", False): [0x40000000, 0x3F810000, 0],
        ("blackhole", True): [0x40000000, 0x3F810000, 0],
        ("blackhole", False): [0x40000000, 0x3F810000, 0],
    }
    for (arch, wide), bits in want.items():
        assert ttnn.tilise(x, Compute("LoFi", wide, arch))[0, :3].tolist() == bits
        bfp8 = ttnn.tilise(x, Compute("LoFi", wide, arch, "bfloat8_b"))
        once = arch == "blackhole" and wide
        assert numbers(bfp8)[0, 1] == (1.0 if once else 1.03125)
    x[0, 2] = 0x007FE000
    got = ttnn.tilise(x | 0x1FFF, Compute("LoFi", True, "wormhole", "float32"))
    assert got[0, :3].tolist() == [0x40008000, 0x3F810000, 0]


# --- The functional simulator's instructions, composed -------------------------------


def arith_layout(name: str) -> Layout:
    """Returns the layout of R_<scheme>_w<width>_k<kh>x<kw>_..."""
    _, scheme, width, kernel, *_ = name.split("_")
    kh, kw = kernel.removeprefix("k").split("x")
    scheme = {"H": "height", "B": "block", "W": "width"}[scheme]
    return Layout(scheme, (int(kh), int(kw)), int(width[1:]))


@pytest.mark.parametrize("name", [n for n in ARITH if n.startswith("R_")])
def test_regular_arithmetic(name):
    case, layout = ARITH[name], arith_layout(name)
    x, w, lane = patterns(case["x"]), patterns(case["w"]), case["lane"]
    fidelity, dst = name.split("_")[-2:]
    compute = Compute(fidelity, dst == "dst32")
    rows = range(len(x))
    kh, kw = layout.kernel
    windows = noise(np.random.default_rng(1), (len(x), kh, kw, layout.width))
    windows[rows, :, :, lane] = x.reshape(-1, kh, kw)
    activations, weights = [], []
    for block in ttnn.k_blocks(layout):
        column = np.zeros((len(x), 1, len(block)), np.int64)
        for k, (_, tap, channel) in enumerate(block):
            if tap is not None:
                own = lane == channel
                column[own, 0, k] = w[own, tap[0] * kw + tap[1]]
        sticks = ttnn.activation_block(windows, block, "bfloat16", (ttnn.NAN, INF))
        activations.append(ttnn.tilise(sticks, compute))
        weights.append(column)
    got = ttnn.dense_dst(activations, weights, compute)
    got = unit.pack(got, "bfloat16", compute.fp32_dest)[:, 0]
    np.testing.assert_array_equal(got, patterns(case["out"]))


@pytest.mark.parametrize("name", [n for n in ARITH if n.startswith("D_")])
def test_conv1d_arithmetic(name):
    case = ARITH[name]
    fidelity, dst = name.split("_")[-2:]
    compute = Compute(fidelity, dst == "dst32")
    x, w = patterns(case["x"]).T[None], patterns(case["w"]).T
    for field in ("coalesced", "tap"):
        got = ttnn.conv1d_sticks(x, w, compute, field == "coalesced")
        np.testing.assert_array_equal(got[0], patterns(case[field]))


@pytest.fixture(scope="module")
def recorded() -> tuple[np.ndarray, np.ndarray]:
    """Windows [64, 3, 3, 64] and weights [64, 3, 3] of the layer run on silicon."""
    stored = np.load(GOLDEN / "recorded_height.npz")
    image = np.pad(stored["x_nchw"][0].transpose(1, 2, 0), [(1, 1), (1, 1), (0, 0)])
    windows = [image[y : y + 3, x : x + 3] for y in range(8) for x in range(8)]
    return patterns(np.stack(windows)), patterns(stored["w_oihw"][:, 0])


@pytest.mark.parametrize("name", RECORDED.files)
def test_recorded_layer(name, recorded):
    program, fidelity = name.split("_")
    (windows, weights), compute = recorded, Compute(fidelity, False)
    want = patterns(RECORDED[name]).reshape(64, 64)
    if program == "R":
        for layout in (Layout("height", (3, 3), 64), Layout("width", (3, 3), 32, 2)):
            got = ttnn.regular_sticks(windows, weights, layout, compute)
            np.testing.assert_array_equal(got, want)
    else:
        taps, by_tap = windows.reshape(64, 9, 64), weights.reshape(64, 9).T
        got = ttnn.conv1d_sticks(taps, by_tap, compute, program == "Dcoal")
        np.testing.assert_array_equal(got, want)


# --- What no stored vector shows -----------------------------------------------------

LAYOUTS = [
    Layout("height", (2, 3), 40),
    Layout("block", (2, 3), 16, 3),
    Layout("block_full", (2, 3), 24, 2),
    Layout("width", (2, 3), 64, 2, 2),
]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "bfloat8_b"])
def test_small_integers_are_exact_whatever_is_stale(layout, dtype):
    rng = np.random.default_rng(0)
    kh, kw = layout.kernel
    channels = layout.width * layout.cores - 3
    x = rng.integers(-3, 4, (4, kh, kw, channels))
    w, bias = rng.integers(-3, 4, (channels, kh, kw)), rng.integers(-9, 10, channels)
    want = np.einsum("nrsc,crs->nc", x, w) + bias
    for relu, stale in [(False, ttnn.NAN), (True, INF), (False, 0x42F70000), (True, 0)]:
        compute = Compute("LoFi", dtype == "float32", "blackhole", dtype)
        args = of_values(x), of_values(w), layout, compute, of_values(bias)
        got = numbers(ttnn.regular_sticks(*args, relu, (stale,)))
        assert got.shape == (4, -(-channels // 32) * 32)
        expected = np.maximum(want, 0) if relu else want
        np.testing.assert_array_equal(got[:, :channels], expected)
        assert not got[:, channels:].any()


@pytest.mark.parametrize("dtype", ["bfloat16", "bfloat8_b"])
def test_conv1d_of_small_integers_is_exact(dtype):
    rng = np.random.default_rng(0)
    x, w = rng.integers(-3, 4, (5, 4, 48)), rng.integers(-3, 4, (4, 48))
    for coalesced in (True, False):
        compute = Compute("HiFi2", True, "blackhole", dtype)
        got = ttnn.conv1d_sticks(of_values(x), of_values(w), compute, coalesced)
        np.testing.assert_array_equal(numbers(got), (x * w).sum(1))


def test_conv1d_refuses_float32():
    x = np.zeros((1, 2, 16), np.int64)
    with pytest.raises(ValueError, match="=float32"):
        ttnn.conv1d_sticks(x, x[0], Compute("HiFi4", True, dtype="float32"), False)


def test_blocks_of_k_come_in_the_order_of_the_kernel():
    orders = [
        [(block[0].tap, block[0].channel) for block in ttnn.k_blocks(layout)]
        for layout in LAYOUTS
    ]
    top, bottom = (0, 0), (1, 0)
    assert orders[0] == [(top, 0), (bottom, 0)]
    assert orders[1] == [(row, c) for row in (top, bottom) for c in (0, 16, 32)]
    assert orders[2] == [(top, 0), (top, 24)]
    assert orders[3] == [(top, 0), (top, 64), (top, 32), (top, 96)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_blocks_of_k_read_every_row_of_the_weights_once(layout):
    rows = [lane.row for block in ttnn.k_blocks(layout) for lane in block]
    assert sorted(rows) == list(range(ttnn.regular_rows(layout)))


def test_l1_accumulation_needs_more_than_two_blocks_or_a_bias():
    rng = np.random.default_rng(2)
    for rows, with_bias, in_force in [(2, False, 0), (2, True, 1), (3, False, 1)]:
        layout = Layout("height", (rows, 3), 32)
        x, w = noise(rng, (8, rows, 3, 32)), noise(rng, (32, rows, 3))
        bias = noise(rng, 32) if with_bias else None
        plain, in_l1 = (
            ttnn.regular_sticks(
                x, w, layout, Compute("HiFi4", True, packer_l1_acc=l1), bias
            )
            for l1 in (False, True)
        )
        assert (plain != in_l1).any() == in_force


def test_width_div_must_leave_whole_tiles():
    with pytest.raises(ValueError, match=r"32 / 2"):
        ttnn.k_blocks(Layout("width", (3, 3), 32, 1, 2))


def test_unknown_scheme_is_refused():
    with pytest.raises(ValueError, match="=diagonal"):
        ttnn.regular_weights(np.ones((8, 1, 3, 3)), Layout("diagonal", (3, 3), 8))


# --- Prepared weights ----------------------------------------------------------------

# Shard width and input cores along the channels on 8 x 8 cores, ROW_MAJOR input.
CORES = {
    "R_H_C16_k3": (16, 1), "R_H_C32_k3": (32, 1), "R_H_C96_k5": (96, 1),
    "R_H_C144_k3": (144, 1), "R_H_C160_k5": (160, 1), "R_H_C320_k3": (320, 1),
    "R_H_C64_k1x4_bias": (64, 1), "R_B_C48_k3": (8, 6), "R_B_C64_k3": (8, 8),
    "R_B_C144_k3": (24, 6), "R_B_C320_k3": (40, 8), "R_W_C32_k3": (32, 1),
    "R_W_C40_k3": (32, 2), "R_W_C144_k3": (32, 5), "R_W_C320_k3": (32, 10),
    "R_W_C64_k1x4_bias": (32, 2),
}  # fmt: skip


@pytest.mark.parametrize("row", WEIGHT_CASES, ids=lambda row: row["name"])
def test_prepared_weights(row):
    name, c, kh, kw = row["name"], int(row["C"]), int(row["kh"]), int(row["kw"])
    case = WEIGHTS[name]
    want = np.zeros(case["shape"], np.int64)
    want[case["row"], case["col"]] = case["id"]
    w = np.arange(1, c * kh * kw + 1).reshape(c, 1, kh, kw)
    if name.startswith("D"):
        got = ttnn.conv1d_weights(w, block_h=2 if "act_block_h" in row["opts"] else 1)
    else:
        scheme = {"H": "height", "B": "block", "W": "width"}[row["layout"]]
        got = ttnn.regular_weights(w, Layout(scheme, (kh, kw), *CORES[name]))
    np.testing.assert_array_equal(got, want)
