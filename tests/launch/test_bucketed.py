import dataclasses

import numpy as np
import pytest
import strategies
from hypothesis import given, settings

import jaxdw as jd
from jaxdw.launch import bucketed
from jaxdw.maps.indexmap import IndexMap

EXAMPLE = jd.ConvConfig(channels=100, height=9, width=7, padding=1, bias=True)
FLOAT32 = jd.ComputeConfig(arithmetic="float32")


def draw(conv: jd.ConvConfig, seed: int = 0):
    rng = np.random.default_rng(seed)
    x, w = rng.standard_normal(conv.input_shape), rng.standard_normal(conv.weight_shape)
    bias = rng.standard_normal(conv.channels) if conv.bias else None
    return x, w, bias


def both(plan: jd.Plan, maps: jd.Maps):
    x, w, bias = draw(plan.conv)
    want = np.asarray(jd.run(plan, maps, x, w, bias).output)
    return bucketed.run_bucketed(plan, maps, x, w, bias), want


def same_bits(plan: jd.Plan, maps: jd.Maps | None = None) -> None:
    got, want = both(plan, maps or jd.make_maps(plan))
    assert got.shape == want.shape
    np.testing.assert_array_equal(got.view(np.uint32), want.view(np.uint32))


@pytest.mark.parametrize("scheme", ["height", "width", "block"])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"weights_dtype": "bfloat8_b", "bias": False},
        {"weights_dtype": "bfloat4_b"},
        {"weights_dtype": "float32", "dtype": "float32"},
        {"activation": "silu"},
        {"output_dtype": "bfloat8_b", "dtype": "bfloat8_b"},
    ],
)
def test_the_bits_are_those_of_run(scheme, changes):
    conv = dataclasses.replace(EXAMPLE, **changes)
    same_bits(jd.make_plan(conv, jd.ShardConfig(scheme=scheme), FLOAT32))


@pytest.mark.parametrize("fidelity", ["LoFi", "HiFi4"])
def test_the_bits_of_the_matrix_unit_are_those_of_run(fidelity):
    compute = jd.ComputeConfig(math_fidelity=fidelity)
    conv = dataclasses.replace(EXAMPLE, weights_dtype="bfloat8_b")
    same_bits(jd.make_plan(conv, jd.ShardConfig(scheme="block"), compute))


@settings(max_examples=8)
@given(strategies.convs(max_channels=150, max_size=9), strategies.any_shards())
def test_any_plan_gives_the_bits_of_run(conv, shard):
    same_bits(jd.make_plan(conv, shard, FLOAT32, must_fit=False))


@pytest.mark.parametrize("size", [2.0**60, 2.0**-60])
@pytest.mark.parametrize("where", ["x", "w", "x of many"])
def test_operands_that_are_not_ordinary_take_the_integer_form(size, where):
    side = 48 if where == "x of many" else 5  # over 2**16 elements, the first one odd
    conv = jd.ConvConfig(channels=32, height=side, width=side)
    plan = jd.make_plan(conv, None, jd.ComputeConfig())
    maps = jd.make_maps(plan)
    x, w, _ = draw(conv)
    (w if where == "w" else x)[0, 0, 0, 0] = size
    got = bucketed.run_bucketed(plan, maps, x, w)
    np.testing.assert_array_equal(got, jd.run(plan, maps, x, w).output)


@pytest.mark.parametrize(
    ("odd", "form"),
    [
        (None, "float"),
        (("x", 0), "by operands"),  # in the first 2**16 elements, in the last
        (("x", -1), "by operands"),
        (("w", 5), "by operands"),
    ],
)
def test_the_integer_form_is_compiled_for_odd_operands_only(odd, form, monkeypatch):
    forms = set()

    def call(jitted, *operands, **static):
        if "form" in static:
            forms.add(static["form"])
        return jitted(*operands, **static)

    monkeypatch.setattr(bucketed.kept, "call", call)
    conv = jd.ConvConfig(channels=32, height=48, width=48)
    plan = jd.make_plan(conv, None, jd.ComputeConfig())
    x, w, _ = draw(conv)
    if odd is not None:
        name, place = odd
        {"x": x, "w": w}[name].flat[place] = 2.0**60
    bucketed.run_bucketed(plan, jd.make_maps(plan), x, w)
    assert forms == {form}


def test_more_sticks_than_one_piece_holds():
    conv = jd.ConvConfig(channels=32, height=80, width=70, padding=1)
    assert 80 * 70 > bucketed.MOST_STICKS
    same_bits(jd.make_plan(conv, jd.ShardConfig(scheme="width"), FLOAT32))


def test_windows_that_reach_further_than_a_piece_holds():
    conv = jd.ConvConfig(channels=8, height=3, width=5000, padding=1)
    assert 3 * 5000 > bucketed.bucket_rows(bucketed.MOST_STICKS)
    same_bits(jd.make_plan(conv, None, FLOAT32, must_fit=False))


def test_a_short_last_piece_is_computed_as_the_others_are():
    conv = jd.ConvConfig(channels=24, kernel=(2, 2), height=33, width=34)
    assert 0 < 32 * 33 - bucketed.MOST_STICKS < 64
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="width"), FLOAT32)
    before = bucketed._run_piece._cache_size()
    same_bits(plan)
    assert bucketed._run_piece._cache_size() == before + 1


@pytest.mark.parametrize("name", ["halo", "collect", "top_left", "pairing"])
@pytest.mark.parametrize("sentinel", [0, 1])
def test_spoiled_maps_show_alike(name, sentinel):
    plan = jd.make_plan(EXAMPLE, jd.ShardConfig(scheme="block"), FLOAT32)
    maps = jd.make_maps(plan)
    spoiled = getattr(maps, name)
    index = np.array(spoiled.index)
    index.reshape(-1)[3::7] = spoiled.size + sentinel
    maps = dataclasses.replace(maps, **{name: IndexMap(index, spoiled.size)})
    got, want = both(plan, maps)
    np.testing.assert_array_equal(got, want)
    assert np.isnan(want).any() or sentinel == 0


def test_a_receiver_that_got_nothing_shows_alike():
    plan = jd.make_plan(EXAMPLE, jd.ShardConfig(scheme="block"), FLOAT32)
    maps = jd.make_maps(plan)
    names = np.array(maps.multicast.names)
    names[-1] = 0
    maps = dataclasses.replace(
        maps, multicast=dataclasses.replace(maps.multicast, names=names)
    )
    got, want = both(plan, maps)
    assert np.isnan(want).any()
    np.testing.assert_array_equal(got, want)


def test_schemes_formats_and_sizes_share_one_computation():
    keys = set()
    for scheme in ("height", "width", "block"):
        for dtype in ("bfloat16", "bfloat8_b", "bfloat4_b"):
            for channels, height in ((40, 17), (300, 30)):
                conv = jd.ConvConfig(
                    channels=channels,
                    height=height,
                    width=30,
                    padding=1,
                    weights_dtype=dtype,
                )
                plan = jd.make_plan(conv, jd.ShardConfig(scheme=scheme), FLOAT32)
                keys.add(bucketed.compiled_key(plan))
                x, w, _ = draw(conv)
                bucketed.run_bucketed(plan, jd.make_maps(plan), x, w)
                computations = bucketed._run_piece._cache_size()
                if len(keys) == 1 and channels == 40 and scheme == "height":
                    first = computations
    assert len(keys) == 1
    assert bucketed._run_piece._cache_size() == first


@pytest.mark.parametrize(
    ("rows", "bucket"),
    [(1, 256), (256, 256), (257, 8192), (8192, 8192), (12544, 32768), (70000, 131072)],
)
def test_inputs_are_padded_to_few_sizes(rows, bucket):
    assert bucketed.bucket_rows(rows) == bucket


def test_keys_tell_apart_what_compiles_apart():
    def key(compute=FLOAT32, **changes):
        conv = dataclasses.replace(EXAMPLE, **changes)
        return bucketed.compiled_key(jd.make_plan(conv, None, compute))

    assert key() == key(channels=50, padding=(0, 0, 0, 0), stride=(2, 2))
    others = {
        key(), key(kernel=(5, 5), padding=(2, 2, 2, 2)), key(bias=False),
        key(activation="relu"), key(height=80), key(output_dtype="bfloat8_b"),
        key(jd.ComputeConfig()), key(jd.ComputeConfig(math_fidelity="HiFi2")),
        key(weights_dtype="float32"), key(dtype="float32"),
    }  # fmt: skip
    assert len(others) == 10


def planned(program: str = "depthwise", **changes):
    """Returns a plan and its maps, some settings changed."""
    shard = {"scheme": "height", "grid": (2, 2)}
    compute, layer = {}, {"channels": 64, "height": 6, "width": 6, "padding": 1}
    for name, value in changes.items():
        of = shard if name in ("scheme", "grid") else compute
        (layer if name in jd.ConvConfig.__dataclass_fields__ else of)[name] = value
    plan = jd.make_plan(
        jd.ConvConfig(**layer),
        jd.ShardConfig(**shard),
        jd.ComputeConfig(**compute),
        program=program,
        must_fit=False,
    )
    return plan, jd.make_maps(plan)


@pytest.mark.parametrize("weights_dtype", ["bfloat16", "bfloat8_b"])
def test_schemes_whose_maps_say_the_same_share_a_key(weights_dtype):
    keys = {
        bucketed.output_key(
            *planned(scheme=scheme, grid=grid, weights_dtype=weights_dtype, bias=True)
        )
        for scheme in ("height", "width", "block")
        for grid in ((2, 2), (4, 1))
    }
    assert len(keys) == 1
    assert None not in keys


@pytest.mark.parametrize(
    "changes",
    [
        {"stride": 2},
        {"padding": 0},
        {"weights_dtype": "bfloat4_b"},
        {"activation": "relu"},
        {"math_fidelity": "HiFi4"},
        {"fp32_dest_acc": True},
        {"arithmetic": "float32"},
        {"bias": True},
        {"program": "regular"},
    ],
)
def test_what_changes_an_output_changes_the_key(changes):
    assert bucketed.output_key(*planned()) != bucketed.output_key(*planned(**changes))


def test_widths_of_a_dense_program_have_keys_of_their_own():
    keys = [
        bucketed.output_key(*planned("regular", scheme=scheme, grid=(4, 2)))
        for scheme in ("height", "block", "width")
    ]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    "stage", ["weights.prepare", "pairing", "halo", "bias.prepare"]
)
def test_a_spoiled_map_has_another_key_or_none(stage):
    plan, maps = planned(bias=True)
    *part, field = stage.split(".")
    holder = getattr(maps, part[0]) if part else maps
    index_map = getattr(holder, field)
    index = index_map.index.copy()
    used = np.flatnonzero(index.ravel() < index_map.size)
    index.flat[used[5]] = index.flat[used[40]]
    spoiled = dataclasses.replace(holder, **{field: IndexMap(index, index_map.size)})
    if part:
        spoiled = dataclasses.replace(maps, **{part[0]: spoiled})
    assert bucketed.output_key(plan, spoiled) != bucketed.output_key(plan, maps)


@pytest.mark.parametrize(
    ("program", "scheme", "channels", "grid", "width"),
    [
        # narrow shards stay whole: slices of 120, two of them
        ("regular", "block", 144, (6, 2), 24),
        ("regular", "block", 160, (4, 2), 40),
        ("regular", "width", 280, (3, 1), 96),
        ("regular", "height", 200, (2, 1), 200),
        ("conv1d", "height", 160, (2, 1), 160),
    ],
)
@pytest.mark.parametrize("fidelity", ["LoFi", "HiFi3"])
def test_shards_that_no_slice_is_made_of_give_the_bits_of_run(
    program, scheme, channels, grid, width, fidelity
):
    image = {"height": 5, "width": 7, "kernel": 2, "padding": 1}
    if program == "conv1d":
        image = {"height": 1, "width": 45, "kernel": (1, 3)}
    plan = jd.make_plan(
        jd.ConvConfig(channels=channels, **image),
        jd.ShardConfig(scheme=scheme, grid=grid),
        jd.ComputeConfig(math_fidelity=fidelity),
        program=program,
    )
    assert plan.input_shard.channels == width
    assert bucketed.SLICE % width
    same_bits(plan)
