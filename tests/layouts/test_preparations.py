import numpy as np
import oracles
import oracles_ttnn
import pytest
from examples import distinct_weights, width_plan
from ttnn_examples import ttnn_plan

import jaxdw as jd
from jaxdw.layouts.identify import identify
from jaxdw.layouts.misread import misread
from jaxdw.layouts.preparations import matrix_of, other_preparations


def prepared(w: np.ndarray, columns: int, *layout) -> np.ndarray:
    """Returns the regular program's matrix by loops, with so many columns."""
    matrix = oracles_ttnn.regular_weights(w, oracles_ttnn.Layout(*layout))
    return np.pad(matrix, [(0, 0), (0, columns - matrix.shape[1])])


PLANS = {
    "height": {"scheme": "height"},
    "width": {"scheme": "width", "channels": 200, "grid": (2, 2)},
    "block": {},
    "full inner dim": {"full_inner_dim": True},
    "conv1d": {"program": "conv1d"},
}


@pytest.mark.parametrize("dtype", ["bfloat16", "bfloat8_b", "float32"])
@pytest.mark.parametrize("case", PLANS)
def test_a_plans_own_weights_are_recognised(case, dtype):
    plan = ttnn_plan(**PLANS[case], weights_dtype=dtype)
    w = distinct_weights(plan)
    if plan.program == "conv1d":
        matrix = oracles_ttnn.conv1d_weights(w, plan.act_block[0])
    else:
        scheme = plan.scheme + "_full" * plan.shard.full_inner_dim
        shards, width = plan.num_channel_shards, plan.input_shard.channels
        columns = plan.weight_matrix_shape[1]
        matrix = prepared(w, columns, scheme, plan.kernel, width, shards)
    tiles = oracles.tilize(matrix)
    assert identify(plan, matrix, w).matches
    assert identify(plan, tiles, w, "tiles").matches
    wrong = matrix.copy()
    at = np.unravel_index(np.abs(matrix).argmax(), matrix.shape)
    wrong[at] *= -1
    found = identify(plan, wrong, w)
    assert not found.matches
    assert (found.first.row, found.first.column) == at
    assert found.first.weight[0] == at[1]


# of 40 channels, kernel 2x3: what each plan is given, by loops
MISTAKES = {
    ("block", "prepared with input_layout='tile'"): ("block", (2, 3), 32, 2),
    ("block", "prepared with full_inner_dim=True"): ("block_full", (2, 3), 8, 5),
    ("block", "prepared with scheme='height'"): ("height", (2, 3), 40),
    ("height", "prepared with input_layout='tile'"): ("height", (2, 3), 64),
    ("height", "prepared with scheme='block'"): ("block", (2, 3), 8, 5),
    ("full inner dim", "prepared with full_inner_dim=False"): ("block", (2, 3), 8, 5),
}


TILED_HEIGHT = ("height", "prepared with input_layout='tile'")


@pytest.mark.parametrize(("case", "name"), MISTAKES)
@pytest.mark.parametrize("kind", ["matrix", "tiles"])
def test_weights_prepared_for_another_sharding_are_named(case, name, kind):
    plan = ttnn_plan(**PLANS[case])
    w = distinct_weights(plan)
    data = prepared(w, 64, *MISTAKES[case, name])
    if kind == "tiles":
        data = oracles.tilize(data)
    found = identify(plan, data, w, kind)
    also = "prepared with scheme='width'"  # its shards are whole tiles, as those are
    names = (name, also) if (case, name) == TILED_HEIGHT else (name,)
    assert found.hypotheses == names
    assert found.verdict == f"not the plan's: {' or '.join(names)}"


def test_layouts_with_the_same_matrix_are_no_mistake():
    """Whole tiles of taps: HEIGHT, WIDTH and both input layouts prepare alike."""
    plan = ttnn_plan(scheme="height", channels=64)
    w = distinct_weights(plan)
    found = identify(plan, prepared(w, 64, "width", (2, 3), 32, 2), w)
    assert (found.matches, found.indistinguishable) == (True, ())


@pytest.mark.parametrize("kind", ["matrix", "tiles"])
def test_another_block_height_of_conv1d_is_named(kind):
    plan = ttnn_plan("conv1d", grid=(2, 1))
    assert plan.act_block[0] == 3
    w = distinct_weights(plan)
    data = oracles_ttnn.conv1d_weights(w, 2)
    if kind == "tiles":
        data = oracles.tilize(data)
    found = identify(plan, data, w, kind)
    assert found.hypotheses == ("prepared for blocks of 2 tile rows, not 3",)


def test_another_programs_matrix_is_named():
    plan = ttnn_plan("conv1d")
    w = distinct_weights(plan)
    regular = prepared(w, 64, "height", (1, 3), 40)
    found = identify(plan, regular, w)
    assert found.hypotheses == ("prepared with program='regular'",)
    depthwise = oracles.prepare_final(w, 1)
    assert "program='depthwise', the HEIGHT layout" in (
        identify(plan, depthwise, w).hypotheses
    )
    of_regular = ttnn_plan(**plan_fields(plan), scheme="height")
    repeated = oracles_ttnn.conv1d_weights(w, plan.act_block[0])
    found = identify(of_regular, repeated, w)
    assert found.hypotheses == ("prepared with program='conv1d'",)
    width = width_plan(96, 3)
    w = distinct_weights(width)
    found = identify(width, prepared(w, 96, "width", (3, 3), 32, 3), w)
    assert found.hypotheses == ("prepared with program='regular'",)


def plan_fields(plan: jd.Plan) -> dict:
    conv = plan.conv
    return {
        "height": conv.height, "width": conv.width, "kernel": conv.kernel,
        "padding": conv.padding, "bias": conv.bias,
    }  # fmt: skip


def test_orders_and_tiles_of_ttnns_matrices_are_named_too():
    plan = ttnn_plan()
    w = distinct_weights(plan)
    flipped = prepared(w[:, :, ::-1, ::-1], 64, "block", (2, 3), 8, 5)
    name = "kernel rotated by 180 degrees"
    assert identify(plan, flipped, w).hypotheses == (name,)
    own = prepared(w, 64, "block", (2, 3), 8, 5)
    squares = own.reshape(10, 32, 2, 32).swapaxes(1, 2).reshape(-1, 1024)
    found = identify(plan, squares, w, "tiles")
    assert found.hypotheses == ("tiles untilized twice", "tiles never tilized")
    assert identify(plan, own[::-1], w).hypotheses == ()


def test_a_weight_buffer_that_streams_is_no_dump_of_all_tiles():
    plan = ttnn_plan()
    w = distinct_weights(plan)
    message = r"\(=1 tiles\) must hold all 10.*'regular'.*kind='matrix'"
    with pytest.raises(jd.UnsupportedError, match=message):
        identify(plan, np.zeros((1, 1024)), w, "l1", 0)
    resident = ttnn_plan(scheme="height", grid=(1, 1), act_block_h_override=32)
    w = distinct_weights(resident)
    matrix = prepared(w, 64, "height", (2, 3), 40)
    tiles = oracles.tilize(matrix)
    assert identify(resident, tiles, w, "l1", 0).matches
    assert not identify(resident, tiles[::-1], w, "l1", 0).matches


def test_what_cores_make_of_weights_prepared_for_another_input_layout():
    rows, tiles = ttnn_plan(), ttnn_plan(input_layout="tile")
    assert misread(rows, rows).reads_right
    assert misread(tiles, tiles).reads_right
    found = misread(tiles, rows)
    assert len(found.cores) == rows.num_output_cores
    w = np.arange(1, 241).reshape(40, 1, 2, 3)
    l1 = oracles.tilize(prepared(w, 64, "block", (2, 3), 32, 2))
    ids = np.array([rows.weight_tile_ids(shard) for shard in range(2)])
    np.testing.assert_array_equal(found.taken + 1, l1[ids].reshape(2, -1))
    own = oracles.tilize(prepared(w, 64, "block", (2, 3), 8, 5))
    np.testing.assert_array_equal(found.due + 1, own[ids].reshape(2, -1))
    for core in found.cores:
        due, taken = found.due[core.core % 2], found.taken[core.core % 2]
        assert core.in_place == np.count_nonzero((due >= 0) & (due == taken))
        assert core.strays == np.count_nonzero((due < 0) & (taken != due))


def test_conv1d_weights_of_another_block_height_are_misread():
    short = ttnn_plan("conv1d", grid=(2, 1), act_block_h_override=32)
    tall = ttnn_plan("conv1d", grid=(2, 1))
    found = misread(short, tall)
    assert not found.reads_right
    first = found.cores[0]
    lanes = 96 * 3 * 40  # of each core
    assert first.in_place + first.others + first.zeros + first.outside == lanes
    # tile rows 0 to 2 hold taps 0 to 2; then the tensor ends
    assert (first.in_place, first.others) == (32 * 40, 64 * 40)
    assert first.outside == lanes - 96 * 40


def test_a_matrix_too_large_for_a_table_is_refused_or_left_out():
    conv = jd.ConvConfig(channels=2048, height=8, width=8, padding=1)
    plan = jd.make_plan(conv, program="regular", must_fit=False)
    w = np.zeros(conv.weight_shape, np.float32)
    for ask in (
        lambda: matrix_of(plan),
        lambda: misread(plan, plan),
        lambda: identify(plan, np.zeros((32, 32)), w),
    ):
        with pytest.raises(
            jd.UnsupportedError, match=r"=37748736 elements.*fewer channels"
        ):
            ask()
    depthwise = jd.make_plan(conv, must_fit=False)
    assert [*other_preparations(depthwise, 18432 * 2048)] == []
