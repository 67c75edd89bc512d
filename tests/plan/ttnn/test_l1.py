"""L1 of ttnn 0.81.1's launches: buffers by hand, published cases, edges."""

import dataclasses

import hypothesis.strategies as st
import pytest
import strategies
from hypothesis import given

import jaxdw as jd
from jaxdw.plan.ttnn.l1 import place_l1
from jaxdw.plan.ttnn.planner import default_compute, plan_ttnn

LAYER = jd.ConvConfig(channels=64, height=16, width=16, padding=1)
F32 = {"dtype": "float32", "weights_dtype": "float32", "output_dtype": "float32"}


def plan_of(conv=LAYER, arch="n150", compute=None, **shard):
    arch = jd.load_arch(arch) if isinstance(arch, str) else arch
    compute = compute or default_compute(conv)
    return plan_ttnn(conv, jd.ShardConfig(**shard), compute, arch)


def one_row(**fields):
    return jd.ConvConfig(height=1, **fields)


def roles(conv=LAYER, compute=None, arch="n150", **shard):
    launch = plan_of(conv, arch, compute, **shard).launch
    return {b.role: (b.num_bytes, b.on_buffer) for b in launch.buffers}


def test_buffers_of_a_biased_height_launch_one_by_one():
    launch = plan_of(dataclasses.replace(LAYER, bias=True)).launch
    found = [(b.role, b.page_bytes, b.pages, b.on_buffer) for b in launch.buffers]
    assert found == [
        ("weights", 2048, 12, False),
        ("partials", 2048, 2, True),
        ("activations", 2048, 6, False),
        ("tilized", 2048, 6, False),
        ("bias", 2048, 2, False),
        ("output", 2048, 2, True),
        ("indices", 12, 1, True),
        ("array", 64, 1, False),
        ("window", 128, 72, True),
    ]
    l1 = launch.l1
    assert l1.static_bytes == 26 * 2048 + 64
    assert (l1.base, l1.region_end) == (105_824, 105_824 + 26 * 2048 + 64)
    assert l1.lowest_buffer == 1_499_136 - 32_768 - 72 * 128 - 4096


def test_buffers_follow_the_chip_s_alignment():
    conv = dataclasses.replace(LAYER, weights_dtype="bfloat8_b")
    for arch, gaps in (("n150", 0), ("p150", 0)):
        l1 = plan_of(conv, arch, config_tensors_in_dram=True).launch.l1
        step = {"n150": 32, "p150": 64}[arch]
        assert l1.region_end == l1.base + l1.static_bytes + step - 12 + gaps


def test_the_options_of_a_launch_show_in_its_buffers():
    big = jd.ConvConfig(channels=64, height=24, width=24, padding=1)
    plain, on_output = roles(big, grid=(3, 2)), (12_288, True)
    assert plain["partials"] == on_output
    assert plain["activations"] == plain["tilized"] == (3 * 6 * 2048, False)
    split = roles(big, grid=(3, 2), force_split_reader=True)
    assert split["activations"] == (2 * 6 * 2048, False)
    assert split["second_reader"] == (6 * 2048, False)
    doubled = roles(big, grid=(3, 2), enable_act_double_buffer=True)
    assert doubled["activations"] == (6 * 6 * 2048, False)
    weights = roles(big, grid=(3, 2), enable_weights_double_buffer=True)
    assert weights["weights"][0] == 2 * plain["weights"][0]
    cut = roles(big, grid=(3, 2), act_block_h_override=32)
    assert cut["weights"][0] == 3 * plain["weights"][0]
    assert roles(big, grid=(3, 2), output_layout="row_major")["partials"] == (
        12_288,
        False,
    )


@pytest.mark.parametrize(
    ("changes", "compute", "partials"),
    [
        ({}, {"fp32_dest_acc": True, "packer_l1_acc": True}, (8192, False)),
        ({}, {"fp32_dest_acc": True}, (4096, True)),
        ({}, {"packer_l1_acc": True}, (4096, True)),
        ({"output_dtype": "bfloat8_b"}, {"packer_l1_acc": True}, (4096, False)),
        ({"output_dtype": "bfloat8_b"}, {}, (2176, True)),
        # two blocks add up in L1 only with a bias
        (
            {"kernel": (2, 3), "padding": (1, 0, 1, 1)},
            {"fp32_dest_acc": True, "packer_l1_acc": True},
            (4096, True),
        ),
        (
            {"kernel": (2, 3), "padding": (1, 0, 1, 1), "bias": True},
            {"fp32_dest_acc": True, "packer_l1_acc": True},
            (8192, False),
        ),
    ],
)
def test_partials_are_on_the_output_if_they_have_its_format(changes, compute, partials):
    conv = dataclasses.replace(LAYER, **changes)
    assert roles(conv, jd.ComputeConfig(**compute), grid=(8, 1))["partials"] == partials


def test_block_shares_activations_if_formats_agree():
    shared = roles(scheme="block", grid=(8, 2))
    assert "row_major" not in shared
    assert "second_reader" not in shared
    assert shared["activations"] == shared["tilized"]
    mixed = dataclasses.replace(LAYER, output_dtype="bfloat8_b")
    apart = roles(mixed, scheme="block", grid=(8, 2))
    assert apart["activations"] == (4 * 1088, False)
    assert apart["second_reader"] == apart["row_major"] == (2 * 2048, False)
    narrow = jd.ConvConfig(channels=8, height=16, width=16, padding=1)
    lone = roles(narrow, scheme="block", grid=(8, 2))
    assert "activations" not in lone
    assert lone["second_reader"] == lone["row_major"] == (2 * 2048, False)
    assert "activations" not in roles(narrow, scheme="width")
    assert roles(scheme="width")["row_major"] == (2 * 9 * 2048, False)


# tt-metal issues #46025, #45392, #49793 (PR #49694), #54564, #53303: what upstream's
# builds did, and where their circular buffers ended
PUBLISHED = [
    ("p150", True, {"channels": 768, "width": 1641, "kernel": (1, 12), **F32}),
    (
        "p150",
        True,
        {"channels": 768, "width": 1611, "kernel": (1, 12), "stride": (1, 2), **F32},
    ),
    ("p150", True, {"channels": 384, "width": 3241, "kernel": (1, 12), **F32}),
    (
        "p150",
        True,
        {"channels": 384, "width": 3211, "kernel": (1, 12), "stride": (1, 2), **F32},
    ),
    ("p150", False, {"channels": 192, "width": 6441, "kernel": (1, 12), **F32}),
    ("p150", False, {"channels": 8192, "width": 7, "kernel": (1, 4)}),
    (
        "p150",
        False,
        {"channels": 8192, "width": 20, "kernel": (1, 4), "padding": (0, 0, 3, 3)},
    ),
    (
        "p150",
        False,
        {"channels": 10_240, "width": 12, "kernel": (1, 4), "padding": (0, 0, 3, 3)},
    ),
]


@pytest.mark.parametrize(("arch", "fits", "fields"), PUBLISHED)
def test_published_one_row_layers_fit_or_not_as_upstream_found(arch, fits, fields):
    for scheme in ("auto", "height"):
        plan = plan_of(one_row(**fields), arch, scheme=scheme)
        assert plan.route == "conv1d"
        assert plan.launch.l1.fits == fits
        assert (plan.message is None) == fits


@pytest.mark.parametrize(
    ("fields", "end", "base_then"),
    [
        (
            {"channels": 192, "width": 6441, "kernel": (1, 12), **F32},
            1_880_640,
            111_104,
        ),
        ({"channels": 8192, "width": 7, "kernel": (1, 4)}, 1_684_352, 111_424),
    ],
)
def test_published_regions_end_where_they_did_with_the_base_of_their_build(
    fields, end, base_then
):
    arch = jd.load_arch("p150")
    then = dataclasses.replace(arch, l1_unreserved_base_bytes=base_then)
    assert plan_of(one_row(**fields), then).launch.l1.region_end == end
    now = plan_of(one_row(**fields), arch)
    assert f"grow to {end + 111_744 - base_then} B" in now.message


def test_the_layer_of_45392_failed_as_a_dense_matmul():
    fields = {"channels": 512, "width": 512, "kernel": (1, 4)}
    fields["padding"] = (0, 0, 1, 2)
    assert plan_of(one_row(**fields)).message is None
    dense = plan_of(one_row(bias=True, **fields), scheme="height")
    assert dense.route == "regular"
    assert "grow to" in dense.message


def test_the_layer_of_18286_fails_in_height_and_fits_by_itself():
    conv = jd.ConvConfig(
        channels=640,
        height=40,
        width=40,
        stride=2,
        padding=1,
        weights_dtype="bfloat8_b",
    )
    then = dataclasses.replace(jd.load_arch("n150"), l1_unreserved_base_bytes=104_608)
    assert plan_of(conv, then, scheme="height").launch.l1.region_end == 1_656_032
    assert "grow to 1657248 B" in plan_of(conv, scheme="height").message
    by_itself = plan_of(conv, scheme="auto")
    assert by_itself.message is None
    assert by_itself.launch.at.scheme == "block"


def test_the_two_refusals_begin_one_byte_too_far():
    launch = plan_of().launch
    at, l1 = launch.at, launch.l1

    def message(**changes):
        arch = dataclasses.replace(at.arch, **changes)
        return place_l1(dataclasses.replace(at, arch=arch), launch.buffers).message

    gap = l1.lowest_buffer - l1.region_end
    assert gap > 0
    assert message(l1_size_bytes=at.arch.l1_size_bytes - gap) is None
    assert message(l1_size_bytes=at.arch.l1_size_bytes - gap - 1) == (
        "Statically allocated circular buffers in program # clash with L1 buffers on "
        f"core range [0-0 - 7-0]. L1 buffer allocated at {l1.region_end - 1} and "
        f"static circular buffer region ends at {l1.region_end}"
    )
    small = {"l1_small_bytes": 0}
    assert "clash" in message(l1_size_bytes=l1.region_end, **small)
    assert message(l1_size_bytes=l1.region_end - 1, **small) == (
        f"Statically allocated circular buffers on core range [0-0 - 7-0] grow to "
        f"{l1.region_end} B which is beyond max L1 size of {l1.region_end - 1} B"
    )


def test_tensors_that_find_no_room_are_refused_in_their_order():
    conv = jd.ConvConfig(channels=32, height=112, width=112, padding=1)
    launch = plan_of(conv, scheme="width").launch
    assert launch.allocation_failure.tensor == "halo"
    assert launch.message.startswith(
        "Out of Memory: Not enough space to allocate 831744 B L1 buffer across 1 banks"
    )
    tall = dataclasses.replace(conv, height=200)
    assert plan_of(tall, scheme="width").launch.allocation_failure.tensor == "input"
    free = 12_544 * 64 + 12_996 * 64
    for spare, tensor in ((0, None), (-1, "halo")):
        arch = dataclasses.replace(
            jd.load_arch("n150"), l1_size_bytes=105_824 + 32_768 + free + spare
        )
        failure = plan_of(conv, arch, scheme="width").launch.allocation_failure
        assert (failure and failure.tensor) == tensor
    wide = dataclasses.replace(LAYER, dtype="bfloat16", output_dtype="float32")
    compute = jd.ComputeConfig(fp32_dest_acc=True)
    at = plan_of(wide, compute=compute).launch.at
    assert at.out_h_tiles * at.out_w_tiles * 4096 == 8192
    arch = dataclasses.replace(
        at.arch, l1_size_bytes=105_824 + 32_768 + 72 * 128 + 8191
    )
    failure = plan_of(wide, arch, compute=compute).launch.allocation_failure
    assert failure.tensor == "output"
    assert "allocate 65536 B L1 buffer across 8 banks" in failure.message
    assert "(allocated: 9216 B, free: 8191 B" in failure.message


def test_an_image_that_is_read_in_place_takes_no_halo():
    conv = jd.ConvConfig(channels=32, height=110, width=110, output_dtype="bfloat8_b")
    launch = plan_of(conv, scheme="width").launch
    assert launch.buffers[-1].num_bytes == 110 * 110 * 64
    outputs = -(-108 * 108 // 32) * 1088
    assert launch.l1.lowest_buffer == 1_466_368 - 110 * 110 * 64 - outputs
    assert launch.allocation_failure is None
    padded = dataclasses.replace(conv, padding=(0, 0, 0, 1))
    assert plan_of(padded, scheme="width").launch.allocation_failure.tensor == "halo"


@given(strategies.ttnn_layers(), st.integers(0, 200), st.sampled_from(["n150", "p150"]))
def test_buffers_grow_with_the_channels(layer, more, arch):
    conv, shard = layer
    used = []
    for channels in (conv.channels, conv.channels + more):
        wider = dataclasses.replace(conv, channels=channels)
        launch = plan_of(wider, arch, scheme=shard.scheme, grid=(1, 1)).launch
        coalesced = launch.blocks.coalesced
        used.append((coalesced, launch.l1.static_bytes, -launch.l1.lowest_buffer))
    if used[0][0] == used[1][0]:
        assert used[0][1] <= used[1][1]
    assert used[0][2] <= used[1][2]
