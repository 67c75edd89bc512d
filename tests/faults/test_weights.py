"""Weights and bias after each fault: the convolution with what then arrives."""

import dataclasses
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from fault_examples import FAULTS, example, plan_of, spoilt, whole_numbers

import jaxdw as jd
from jaxdw.judge.draws import Operands

GOLDEN = Path(__file__).parents[1] / "golden"


def by_columns(plan: jd.Plan, *arrays: np.ndarray) -> list[np.ndarray]:
    """Returns copies with the channels split into those of 3 columns of cores."""
    assert plan.num_channel_shards == 3
    return [np.split(array.copy(), [32, 64]) for array in arrays]


def weights_after(fault: str, plan: jd.Plan, w: np.ndarray, earlier: np.ndarray):
    (a, b, c), (old_a, *_) = by_columns(plan, w, earlier)
    narrow = len(c)
    match fault:
        case "transposed-kernel":
            return w.swapaxes(2, 3)
        case "flipped-kernel":
            return w[..., ::-1, ::-1]
        case "channels-rotated":
            return np.concatenate([np.roll(part, -1, axis=0) for part in (a, b, c)])
        case "remainder-dropped":
            return np.concatenate([a, b, 0 * c])
        case "start-tile-zero":
            return np.concatenate([a, a, a[:narrow]])
        case "columns-swapped":
            return np.concatenate([b, a, c])
        case "byte-offset":
            return np.concatenate([a, old_a, old_a[:narrow]])
        case "stale-weights":
            return earlier


@pytest.mark.parametrize("scheme", ["width", "block"])
@pytest.mark.parametrize(
    "fault",
    [
        "transposed-kernel", "flipped-kernel", "channels-rotated", "remainder-dropped",
        "start-tile-zero", "columns-swapped", "byte-offset", "stale-weights",
    ],
)  # fmt: skip
def test_weights_go_where_the_mistake_sends_them(fault, scheme):
    plan = plan_of(scheme)
    operands, earlier = (whole_numbers(plan.conv, seed) for seed in (0, 1))
    w = weights_after(fault, plan, operands.w, earlier.w)
    want = jd.reference(plan.conv, operands.x, w)
    np.testing.assert_array_equal(spoilt(plan, fault, operands), want)


def test_a_kernel_that_is_no_square_is_counted_column_by_column():
    plan = plan_of("width", kernel=(2, 3))
    operands = whole_numbers(plan.conv, 0)
    w = operands.w.transpose(0, 1, 3, 2).reshape(operands.w.shape)
    got = spoilt(plan, "transposed-kernel", operands)
    np.testing.assert_array_equal(got, jd.reference(plan.conv, operands.x, w))


def read_linearly(plan: jd.Plan, matrix: np.ndarray) -> np.ndarray:
    """Returns the OIHW weights that cores read from a prepared matrix, by loops."""
    conv, padded = plan.conv, plan.input_shard.channels
    tile_columns = matrix.shape[1] // 32
    w = np.zeros((plan.num_channel_shards * padded, conv.taps), np.float32)
    for column in range(plan.num_channel_shards):
        stream = []
        for tile in plan.weight_tile_ids(column):
            y, x = divmod(tile, tile_columns)
            block = np.zeros((32, 32), np.float32)
            if 32 * y < len(matrix):
                block = matrix[32 * y : 32 * y + 32, 32 * x : 32 * x + 32]
            faces = [block[:16, :16], block[:16, 16:], block[16:, :16], block[16:, 16:]]
            stream += [face.ravel() for face in faces]
        lanes = np.concatenate(stream)[: conv.taps * padded].reshape(-1, padded)
        w[column * padded : (column + 1) * padded] = lanes.T
    return w[: conv.channels].reshape(conv.weight_shape)


def upstream_matrix(plan: jd.Plan, w: np.ndarray, num_shards: int) -> np.ndarray:
    """The preparation loop of tt-metal @002a3f41, which never wraps a shard's tiles."""
    channels, taps = plan.conv.channels, plan.conv.taps
    padded = 32
    while padded * num_shards < channels:
        padded += 32
    per_stick = padded // 16
    rows, columns = -(-taps * per_stick // 32) * 32, num_shards * padded
    out = np.zeros(rows * columns, np.float32)
    for shard in range(num_shards):
        first = shard * padded
        real = min(padded, channels - first)
        for k in range(taps):
            for s in range(-(-real // 16)):
                face, inner = divmod(k * per_stick + s, 16)
                tile, f = divmod(face, 4)
                at = (f // 2 * 16 + inner) * columns
                at += first + tile * 32 + f % 2 * 16
                for lane in range(min(16, real - 16 * s)):
                    if at + lane < out.size:
                        out[at + lane] = w.reshape(channels, -1)[
                            first + 16 * s + lane, k
                        ]
    return out.reshape(rows, columns)


@pytest.mark.parametrize("scheme", ["width", "height"])
def test_more_than_32_taps_overrun_their_columns(scheme):
    """JDW003, with the loop of upstream's own preparation."""
    plan = plan_of(scheme, channels=64, kernel=7, padding=3)
    operands = whole_numbers(plan.conv, 0)
    matrix = upstream_matrix(plan, operands.w, plan.num_channel_shards)
    w = read_linearly(plan, matrix)
    assert (w != operands.w).any()
    got = spoilt(plan, "layout-overrun", operands)
    np.testing.assert_array_equal(got, jd.reference(plan.conv, operands.x, w))


def test_an_earlier_buffer_of_many_tiles_lies_behind():
    plan = plan_of("width", channels=416, height=4)
    assert plan.weight_tile_grid == (1, 13)  # on 12 banks: it begins at page 24
    operands, earlier = (whole_numbers(plan.conv, seed) for seed in (0, 1))
    got = spoilt(plan, "stale-weights", operands, earlier)
    np.testing.assert_array_equal(got, jd.reference(plan.conv, operands.x, earlier.w))


@pytest.mark.parametrize("scheme", ["width", "block"])
def test_height_weights_under_another_scheme(scheme):
    plan = plan_of(scheme, channels=96)
    operands = whole_numbers(plan.conv, 0)
    w = read_linearly(plan, upstream_matrix(plan, operands.w, 1))
    got = spoilt(plan, "height-layout", operands)
    np.testing.assert_array_equal(got, jd.reference(plan.conv, operands.x, w))


def test_the_silicons_failure_is_in_the_catalogue():
    """WIDTH with every core fed tile 0 of the HEIGHT layout: 0.0896 on the chip."""
    golden = np.load(GOLDEN / "recorded_height.npz")
    x, w = (
        golden[name].view(ml_dtypes.bfloat16).astype(np.float32)
        for name in ("x_nchw", "w_oihw")
    )
    x = x.transpose(0, 2, 3, 1)
    plan = plan_of("width", jd.ComputeConfig(), channels=64)
    got = spoilt(plan, "height-layout-tile-zero", Operands(x, w, None))
    want = jd.reference(plan.conv, x, w).astype(np.float32)
    correlation = jd.pcc(got.astype(ml_dtypes.bfloat16), want, revision="branch")
    assert abs(correlation - 0.0895812379007859) <= 1e-13


@pytest.mark.parametrize(
    ("fault", "layout"),
    [("tile-chunks-layout", "tile_chunks"), ("concatenated-layout", "concatenated")],
)
def test_older_layouts_are_those_of_a_plan_that_has_them(fault, layout):
    plan = plan_of("width", grid=(2, 1), channels=192)
    operands = whole_numbers(plan.conv, 0)
    shard = dataclasses.replace(plan.shard, weight_layout=layout)
    older = jd.make_plan(plan.conv, shard, plan.compute)
    matrix = np.asarray(jd.prepare_weights(older, operands.w), np.float32)
    w = read_linearly(plan, matrix)
    want = jd.reference(plan.conv, operands.x, w)
    got = spoilt(plan, fault, operands)
    # beyond the matrix lie an earlier launch's weights: columns of zeros here
    inside = np.ones(192, bool)
    if matrix.size < 96 * 2 * 64:
        inside[96:] = False
    np.testing.assert_array_equal(got[..., inside], want[..., inside])
    assert not FAULTS[fault].applies(older)


def test_tiles_that_are_not_face_by_face():
    plan = plan_of("height", channels=32)
    operands = whole_numbers(plan.conv, 0)
    matrix = np.asarray(jd.prepare_weights(plan, operands.w), np.float32)
    w = matrix.reshape(-1)[: 9 * 32].reshape(9, 32).T.reshape(operands.w.shape)
    got = spoilt(plan, "face-order", operands)
    np.testing.assert_array_equal(got, jd.reference(plan.conv, operands.x, w))


def test_more_than_256_channels_pair_with_the_wrong_weights():
    """JDW004: blocks of 256 channels start at tiles 0 and 8; the stream is linear."""
    plan = plan_of("height", channels=320, height=4)
    operands = whole_numbers(plan.conv, 0)
    linear = np.zeros(11 * 1024, np.float32)
    linear[: 9 * 320] = operands.w.reshape(320, 9).T.ravel()
    w = np.zeros((320, 9), np.float32)
    for channel in range(320):
        for k in range(9):
            start = channel // 256 * 8 * 1024
            w[channel, k] = linear[start + k * 256 + channel % 256]
    got = spoilt(plan, "wide-blocks", operands)
    w = w.reshape(operands.w.shape)
    np.testing.assert_array_equal(got, jd.reference(plan.conv, operands.x, w))
    assert not got[..., 256:].any()  # tile 8 holds nothing
    assert (got[..., :256] != jd.reference(plan.conv, *operands)[..., :256]).any()


def test_tiles_past_the_third_are_not_multiplied():
    plan = example("25 taps")
    operands = whole_numbers(plan.conv, 0)
    lanes = operands.w.reshape(160, 25).T.copy().ravel()
    lanes[3 * 1024 :] = 0
    w = lanes.reshape(25, 160).T.reshape(operands.w.shape)
    got = spoilt(plan, "three-pages", operands)
    np.testing.assert_array_equal(got, jd.reference(plan.conv, operands.x, w))


@pytest.mark.parametrize(
    ("fault", "bias_after"),
    [
        ("bias-missing", lambda bias: 0 * bias),
        ("bias-of-next-shard", lambda bias: np.roll(bias, -32)),
    ],
)
def test_the_bias_is_another(fault, bias_after):
    plan = plan_of("block", channels=96, bias=True)
    operands = whole_numbers(plan.conv, 0)
    bias = bias_after(operands.bias)
    want = jd.reference(plan.conv, operands.x, operands.w, bias)
    np.testing.assert_array_equal(spoilt(plan, fault, operands), want)
