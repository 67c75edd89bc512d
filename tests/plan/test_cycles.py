import dataclasses

import strategies
from hypothesis import given

import jaxdw as jd

EXAMPLE = jd.ConvConfig(channels=64, height=8, width=8, padding=1)


def bounds(conv=EXAMPLE, arch="n150", fidelity="LoFi", **shard) -> dict[str, int]:
    compute = jd.ComputeConfig(math_fidelity=fidelity)
    plan = jd.make_plan(conv, jd.ShardConfig(**shard), compute, arch)
    return dataclasses.asdict(plan.cycles) | {
        "total": plan.cycles.total,
        "binding": plan.cycles.binding,
    }


def test_the_plans_block_example_by_hand():
    assert bounds(scheme="block") == {
        "halo": 60 * 64 // 64,  # 60 sticks of 32 bf16 channels, two NoCs of 32 bytes
        "dram": -(-2048 // 24),  # one tile of a bank, 24 bytes to a cycle
        "multicast": 2048 // 32,
        "l1_reads": 32 * 9 * 64 // 32,
        "matrix_unit": 32 * (8 + 2),  # ELWMUL of one tile, GAPOOL of two faces
        "total": 60 + 86 + 64 + 576,
        "binding": "l1_reads",
    }


def test_phases_multiply_products_and_sums_but_not_the_bias():
    conv = dataclasses.replace(EXAMPLE, bias=True)
    lofi, hifi4 = (bounds(conv, fidelity=f) for f in ("LoFi", "HiFi4"))
    assert lofi["matrix_unit"] == 32 * (8 + 4 + 2 * 8)
    assert hifi4["matrix_unit"] == 32 * (4 * (8 + 4) + 2 * 8)
    assert hifi4["binding"] == "matrix_unit"
    assert hifi4["total"] > lofi["total"]


def test_more_than_16_taps_take_a_second_pass_over_the_faces():
    conv = dataclasses.replace(EXAMPLE, kernel=5, padding=2)
    assert bounds(dataclasses.replace(conv, kernel=(5, 5)))["matrix_unit"] == 32 * (
        2 * 8 + 2 * 4
    )


def test_width_sends_nothing_and_without_padding_has_no_halo():
    conv = dataclasses.replace(EXAMPLE, padding=0)
    width = bounds(conv, scheme="width")
    assert (width["halo"], width["multicast"]) == (0, 0)
    assert bounds(conv, scheme="height")["halo"] > 0


def test_blackhole_moves_twice_the_bytes_in_a_cycle():
    n150, p150 = bounds(scheme="block"), bounds(scheme="block", arch="p150")
    assert p150["l1_reads"] * 2 == n150["l1_reads"]
    assert p150["multicast"] * 2 == n150["multicast"]
    assert p150["dram"] == -(-2048 * 135 // 6400)


def test_the_reader_moves_real_channels_only():
    few = dataclasses.replace(EXAMPLE, channels=20)
    assert bounds(few)["l1_reads"] == 32 * 9 * 40 // 32
    assert bounds(few)["halo"] == 60


def test_float32_sticks_take_twice_as_long():
    fp32 = dataclasses.replace(EXAMPLE, dtype="float32")
    for bound in ("halo", "l1_reads"):
        assert bounds(fp32)[bound] == 2 * bounds()[bound]
    assert bounds(fp32)["dram"] == bounds()["dram"]


@given(strategies.convs(), strategies.shards())
def test_bounds_hold_together(conv, shard):
    cycles = jd.make_plan(conv, shard, must_fit=False).cycles
    parts = dataclasses.asdict(cycles)
    assert min(parts.values()) >= 0
    assert cycles.matrix_unit > 0
    assert max(parts.values()) <= cycles.total <= sum(parts.values())
    assert parts[cycles.binding] == max(parts.values())


def test_the_core_with_most_sticks_decides():
    conv = dataclasses.replace(EXAMPLE, height=20, width=20)  # the last core has 16
    assert bounds(conv)["l1_reads"] == 32 * 9 * 128 // 32


def test_the_multicast_sends_the_empty_tiles_too():
    assert bounds(scheme="height")["multicast"] == 4 * 2048 // 32


def test_a_part_of_a_cycle_counts_as_one():
    conv = jd.ConvConfig(channels=32, height=7, width=7, padding=1)
    assert bounds(conv, arch="p150", grid=(1, 1))["halo"] == -(-81 * 64 // 128)
