import pytest

import jaxdw as jd
from jaxdw.plan.depthwise.layout import make_weight_layout


@pytest.mark.parametrize(
    ("channels", "shards", "taps", "shape"),
    [
        (64, 1, 9, (64, 64)),
        (64, 2, 9, (32, 64)),
        (48, 2, 9, (32, 64)),
        (16, 1, 9, (32, 32)),
        (96, 1, 9, (64, 96)),
        (480, 8, 25, (128, 512)),
        (576, 6, 9, (64, 576)),
        (672, 7, 25, (160, 672)),
        (320, 1, 9, (192, 320)),
    ],
)
def test_shapes_of_the_final_layout(channels, shards, taps, shape):
    layout = make_weight_layout(
        "final", channels=channels, taps=taps, num_shards=shards
    )
    assert (layout.rows, layout.columns) == shape
    assert layout.tile_grid == (shape[0] // 32, shape[1] // 32)
    assert sum(layout.shard_channels) == channels


def test_tile_chunks_gives_the_last_shard_the_remainder():
    layout = make_weight_layout("tile_chunks", channels=480, taps=9, num_shards=8)
    assert layout.shard_channels == (32,) * 7 + (256,)
    assert layout.columns == 7 * 32 + 256


def test_concatenated_loses_the_remainder():
    layout = make_weight_layout("concatenated", channels=70, taps=9, num_shards=2)
    assert layout.shard_channels == (35, 35)
    layout = make_weight_layout("concatenated", channels=71, taps=9, num_shards=2)
    assert layout.shard_channels == (35, 35)


@pytest.mark.parametrize(
    ("name", "channels", "grid", "kernel", "right"),
    [
        ("tile_chunks", 64, (2, 1), 3, True),
        ("tile_chunks", 48, (2, 1), 3, True),
        ("tile_chunks", 128, (4, 1), 3, True),
        ("tile_chunks", 480, (8, 1), 3, False),
        ("concatenated", 64, (1, 1), 3, True),
        ("concatenated", 64, (2, 1), 3, False),
        ("concatenated", 64, (1, 1), 7, False),
        ("final", 480, (8, 1), 7, True),
    ],
)
def test_the_plan_says_where_an_older_layout_is_wrong(
    name, channels, grid, kernel, right
):
    conv = jd.ConvConfig(channels=channels, height=8, width=8, kernel=kernel, padding=3)
    shard = jd.ShardConfig(scheme="width", grid=grid, weight_layout=name)
    findings = jd.make_plan(conv, shard, must_fit=False).findings
    found = [f for f in findings if f.code == "JDW001"]
    assert len(found) == (not right)
    if not right:
        assert found[0].severity == "wrong values"
        assert repr(name) in str(found[0])


def test_tile_chunks_is_wrong_where_a_shards_last_tile_is_begun():
    conv = jd.ConvConfig(channels=64, height=8, width=8, kernel=(5, 7), padding=3)
    shard = jd.ShardConfig(scheme="width", grid=(2, 1), weight_layout="tile_chunks")
    findings = jd.make_plan(conv, shard).findings
    assert "JDW001" in [f.code for f in findings]
