import pytest

import jaxdw as jd


def refusal(shard=None, compute=None, arch="wormhole_b0", **conv) -> str:
    conv = {"channels": 64, "height": 8, "width": 8, **conv}
    with pytest.raises(jd.ConfigError) as caught:
        jd.make_plan(
            jd.ConvConfig(**conv),
            jd.ShardConfig(**(shard or {})),
            jd.ComputeConfig(**(compute or {})),
            arch,
        )
    return str(caught.value)


def test_a_lone_number_is_spread_over_its_axes():
    conv = jd.ConvConfig(
        channels=1, height=9, width=9, kernel=5, padding=2, stride=[2, 1]
    )
    assert (conv.kernel, conv.padding, conv.stride) == ((5, 5), (2, 2, 2, 2), (2, 1))
    assert jd.ConvConfig(channels=1, height=9, width=9, padding=(1, 2)).padding == (
        1,
        1,
        2,
        2,
    )


@pytest.mark.parametrize(
    ("conv", "sentence"),
    [
        ({"channels": 0}, "`channels` (=0) must be an integer >= 1; try 1"),
        ({"channels": 1.5}, "`channels` (=1.5) must be an integer >= 1"),
        ({"batch": True}, "`batch` (=True) must be an integer >= 1"),
        ({"stride": (1.5, 1)}, "`stride` (=(1.5, 1)) must be 2 integers >= 1"),
        ({"kernel": (3, 3, 3)}, "`kernel` (=(3, 3, 3)) must be 2 integers >= 1"),
        ({"padding": (1, 2, 3)}, "`padding` (=(1, 2, 3)) must be 4 integers >= 0"),
        ({"padding": -1}, "`padding` (=(-1, -1, -1, -1)) must be 4 integers >= 0"),
        (
            {"kernel": 9},
            (
                "`kernel` (=9 along height, 9 dilated) must fit the padded input (=8); "
                "use a height of at least 9"
            ),
        ),
        (
            {"dilation": (1, 4), "padding": (0, 0, 0, 0), "width": 7},
            (
                "`kernel` (=3 along width, 9 dilated) must fit the padded input (=7); "
                "use a width of at least 9"
            ),
        ),
        ({"dtype": "float16"}, "`dtype` (='float16') must be one of bfloat16"),
        ({"activation": "tanh"}, "`activation` (='tanh') must be one of None, relu"),
        ({"bias": 1}, "`bias` (=1) must be True or False"),
        (
            {"batch": 10**6, "channels": 10**4},
            (
                "(=640000000000 elements) must have at most 2147483646; use a batch "
                "of at most 3355"
            ),
        ),
        (
            {"channels": 10**9},
            "must have at most 2147483646; use fewer pixels or channels",
        ),
        (
            {"channels": 10**6, "padding": 100},
            "(=43264000000 elements) must have at most 2147483646",
        ),
        ({"weights_dtype": "float16"}, "`weights_dtype` (='float16') must be one of"),
        ({"output_dtype": "float16"}, "`output_dtype` (='float16') must be one of"),
    ],
)
def test_a_broken_rule_of_the_convolution_is_named(conv, sentence):
    assert sentence in refusal(**conv)


@pytest.mark.parametrize(
    ("shard", "sentence"),
    [
        ({"scheme": "rows"}, "`scheme` (='rows') must be one of height, width, block"),
        (
            {"grid": (9, 8)},
            (
                "`grid` (=(9, 8), x and y) must lie inside the 8x8 cores of "
                "wormhole_b0; try (8, 8)"
            ),
        ),
        ({"grid": (8, 9)}, "`grid` (=(8, 9), x and y) must lie inside the 8x8 cores"),
        ({"grid": (0, 8)}, "`grid` (=(0, 8)) must be 2 integers >= 1"),
        ({"grid": 8}, "`grid` (=8) must be 2 integers >= 1"),
        (
            {"act_block_h_override": 48},
            "`act_block_h_override` (=48) must be a multiple of 32; try 64",
        ),
        (
            {"act_block_h_override": -32},
            "`act_block_h_override` (=-32) must be a multiple of 32; try 32",
        ),
        (
            {"act_block_h_override": 1},
            "`act_block_h_override` (=1) must be a multiple of 32; try 32",
        ),
        (
            {"act_block_h_override": "x"},
            "`act_block_h_override` (='x') must be a multiple of 32; try 0",
        ),
        (
            {"weight_layout": "new"},
            "`weight_layout` (='new') must be one of final, tile_chunks, concatenated",
        ),
        (
            {"input_layout": "sticks"},
            "`input_layout` (='sticks') must be one of row_major, tile",
        ),
        ({"memory": "l2"}, "`memory` (='l2') must be one of l1, dram"),
        ({"act_block_w_div": 0}, "`act_block_w_div` (=0) must be an integer >= 1"),
        ({"config_tensors_in_dram": 1}, "`config_tensors_in_dram` (=1) must be True"),
        ({"full_inner_dim": 1}, "`full_inner_dim` (=1) must be True or False"),
        ({"force_split_reader": None}, "`force_split_reader` (=None) must be True or"),
        ({"enable_activation_reuse": 0}, "`enable_activation_reuse` (=0) must be True"),
    ],
)
def test_a_broken_rule_of_the_sharding_is_named(shard, sentence):
    assert sentence in refusal(shard=shard)


def test_a_broken_rule_of_the_compute_config_is_named():
    assert "`math_fidelity` (='LoFi2') must be one of LoFi" in refusal(
        compute={"math_fidelity": "LoFi2"}
    )
    assert "`arithmetic` (='int8') must be one of" in refusal(
        compute={"arithmetic": "int8"}
    )
    assert "`fp32_dest_acc` (=1) must be True or False" in refusal(
        compute={"fp32_dest_acc": 1}
    )
    assert "`packer_l1_acc` (=1) must be True or False" in refusal(
        compute={"packer_l1_acc": 1}
    )


def test_all_problems_arrive_in_one_message():
    message = refusal(
        shard={"scheme": "rows", "grid": (9, 9)}, kernel=9, stride=0, dtype="int8"
    )
    for name in ("kernel", "stride", "dtype", "scheme", "grid"):
        assert f"`{name}`" in message
    assert len(message.splitlines()) == 6  # the kernel breaks both axes


def test_a_larger_chip_takes_a_larger_grid():
    conv = jd.ConvConfig(channels=64, height=64, width=64)
    plan = jd.make_plan(conv, jd.ShardConfig(grid=(13, 10)), arch="blackhole")
    assert plan.num_cores > 64


def test_as_many_elements_as_int32_maps_can_count_are_legal():
    most = jd.ConvConfig(channels=2**31 - 2, height=1, width=1, kernel=1)
    assert most.problems() == []


def test_a_grid_given_as_a_list_is_the_tuple():
    assert jd.ShardConfig(grid=[2, 1]) == jd.ShardConfig(grid=(2, 1))
