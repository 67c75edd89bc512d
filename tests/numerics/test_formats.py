from pathlib import Path

import chex
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import oracles
import oracles_fpu
import pytest
from absl.testing import parameterized

import jaxdw as jd
from jaxdw.numerics.formats import (
    cut_to_bf16,
    dst_to_bf16,
    hold,
    pack_output,
    packed_values,
    round_to,
    to_bf16,
)
from jaxdw.plan.units import TILE_BYTES

GOLDEN = Path(__file__).parents[1] / "golden"


class Bf16Test(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_rounding_equals_the_host_library_on_every_pattern(self):
        golden = np.load(GOLDEN / "fp32_to_bf16.npz")
        got = self.variant(to_bf16)(jnp.asarray(golden["in_bits"].view(np.float32)))
        chex.assert_trees_all_equal(np.asarray(got).view(np.uint16), golden["out_bits"])

    @chex.variants(with_jit=True, without_jit=True)
    def test_every_bf16_pattern_stays_what_it_is(self):
        bits = np.arange(65536, dtype=np.uint16)
        values = bits.view(ml_dtypes.bfloat16)
        got = np.asarray(self.variant(to_bf16)(jnp.asarray(values))).view(np.uint16)
        want = np.where(np.isnan(values.astype(np.float32)), 0x7FC0, bits)
        chex.assert_trees_all_equal(got, want.astype(np.uint16))


class PackTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(("bfloat16", 2048), ("float32", 4096))
    def test_packed_bytes_are_the_little_endian_values(self, dtype, page_bytes):
        rng = np.random.default_rng(0)
        tiles = rng.standard_normal((3, 1024)).astype(np.float32)
        packed = self.variant(lambda t: jd.pack(t, dtype))(jnp.asarray(tiles))
        assert packed.shape == (3, page_bytes)
        target = ml_dtypes.bfloat16 if dtype == "bfloat16" else np.float32
        want = tiles.astype(target)
        assert np.asarray(packed).tobytes() == want.tobytes()
        unpacked = self.variant(lambda p: jd.unpack(p, dtype))(packed)
        chex.assert_trees_all_equal(np.asarray(unpacked), want.astype(np.float32))


def test_round_to_keeps_float32_exactly():
    values = jnp.array([1.0000001, -3.3, 1e-40], jnp.float32)
    chex.assert_trees_all_equal(round_to(values, "float32"), values)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_unwritten_bytes_unpack_to_nan(dtype):
    size = {"bfloat16": 2048, "float32": 4096}[dtype]
    assert jnp.isnan(jd.unpack(jnp.full((1, size), 255, jnp.uint8), dtype)).all()


def tiles_of(array: np.ndarray) -> np.ndarray:
    return oracles.tilize(array)


HOST = np.load(GOLDEN / "bfp_host.npz")
HOST_CASES = sorted({n[: -len("_in")] for n in HOST.files if n.endswith("_in")})
DEVICE = np.load(GOLDEN / "device_pack.npz")
DEVICE_CASES = sorted({n[: -len("_in")] for n in DEVICE.files if n.endswith("_in")})
BLOCK_FORMATS = [("bfloat8_b", "bfp8"), ("bfloat4_b", "bfp4")]


def test_the_golden_files_hold_all_their_cases():
    assert (len(HOST_CASES), len(DEVICE_CASES)) == (7, 4)


class BlockFormatTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(case=HOST_CASES, names=BLOCK_FORMATS)
    def test_host_bytes_and_values_are_those_of_ttnn(self, case, names):
        dtype, short = names
        tiles = tiles_of(HOST[f"{case}_in"])
        packed = self.variant(lambda t: jd.pack(t, dtype))(tiles)
        np.testing.assert_array_equal(packed, HOST[f"{case}_{short}_packed"])
        values = self.variant(lambda p: jd.unpack(p, dtype))(packed)
        want = tiles_of(HOST[f"{case}_{short}_deq"])
        np.testing.assert_array_equal(values, want)

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.product(case=DEVICE_CASES, names=BLOCK_FORMATS)
    def test_device_bytes_are_those_of_the_chips_packer(self, case, names):
        dtype, short = names
        tiles = tiles_of(DEVICE[f"{case}_in"])
        packed = self.variant(lambda t: jd.pack(t, dtype, packer="device"))(tiles)
        np.testing.assert_array_equal(packed, DEVICE[f"{case}_{short}_packed"])


@pytest.mark.parametrize("packer", ["host", "device", "kernel"])
@pytest.mark.parametrize("dtype", ["bfloat8_b", "bfloat4_b"])
def test_every_bf16_pattern_packs_and_unpacks_as_the_oracle_says(dtype, packer):
    """65,536 patterns: in order, shuffled, and each repeated through its block."""
    patterns = np.arange(65536, dtype=np.uint32) << 16
    if packer != "host":  # the oracle has no byte for an exponent past 255
        patterns = np.where((patterns & 0x7FFF0000) == 0x7FFF0000, 0, patterns)
    rng = np.random.default_rng(0)
    for bits in (patterns, rng.permutation(patterns), patterns.reshape(16, -1).T):
        tiles = np.ascontiguousarray(bits).reshape(64, 1024)
        values = tiles.view(np.float32)
        packed = np.asarray(jd.pack(values, dtype, packer))
        held = np.asarray(jd.unpack(packed, dtype)).view(np.uint32)
        oracle = getattr(oracles_fpu, f"pack_{packer}")
        for tile in range(64):
            raw = oracle(tiles[tile].tolist(), dtype)
            assert packed[tile].tobytes() == raw
            assert held[tile].tolist() == oracles_fpu.unpack(raw, dtype)


@pytest.mark.parametrize("dtype", ["bfloat8_b", "bfloat4_b"])
def test_blocks_at_the_bottom_of_the_exponent_range_underflow_to_zero(dtype):
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 8, (1, 1024)) << 23 | rng.integers(0, 128, (1, 1024)) << 16
    tile = bits.astype(np.uint32)
    packed = np.asarray(jd.pack(tile.view(np.float32), dtype))
    assert packed[0].tobytes() == oracles_fpu.pack_host(tile[0].tolist(), dtype)
    held = np.asarray(jd.unpack(packed, dtype)).view(np.uint32)
    assert held[0].tolist() == oracles_fpu.unpack(packed[0].tobytes(), dtype)


@pytest.mark.parametrize("dtype", ["bfloat8_b", "bfloat4_b"])
def test_packing_what_was_unpacked_changes_nothing(dtype):
    values = np.random.default_rng(0).standard_normal((4, 1024)).astype(np.float32)
    packed = jd.pack(values, dtype)
    np.testing.assert_array_equal(jd.pack(jd.unpack(packed, dtype), dtype), packed)
    assert packed.shape == (4, TILE_BYTES[dtype])


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "bfloat8_b", "bfloat4_b"])
def test_holding_is_packing_and_unpacking(dtype):
    values = np.random.default_rng(0).standard_normal((2, 1024)).astype(np.float32)
    want = jd.unpack(jd.pack(values, dtype), dtype)
    np.testing.assert_array_equal(hold(jnp.asarray(values), dtype), want)


@pytest.mark.parametrize("dtype", ["bfloat8_b", "bfloat4_b"])
def test_casting_sticks_shares_exponents_along_16_channels(dtype):
    values = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    got = round_to(jnp.asarray(values), dtype)
    tiles = jd.unpack(jd.pack(jd.tilize(values), dtype), dtype)
    np.testing.assert_array_equal(got, jd.untilize(tiles, (64, 32)))


def test_dst_packs_to_bf16_as_the_oracle_says():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2**32, 5000, dtype=np.uint32)
    ties = (bits & 0xFFFF0000) | 0x8000
    special = np.array([0, 1 << 31, 1, 0x7F800000, 0xFF800001, 0x7F7FFFFF], np.uint32)
    for pattern in (bits, ties, special):
        got = np.asarray(dst_to_bf16(jnp.asarray(pattern.view(np.float32))))
        want = [oracles_fpu.dst_to_bf16(int(b)) for b in pattern]
        assert got.view(np.uint32).tolist() == want


def test_cutting_drops_bits_and_flushes_denormals():
    values = np.array([1 + 2**-7 + 2**-9, -1.999, 1e-39, -0.0], np.float32)
    got = np.asarray(cut_to_bf16(jnp.asarray(values)))
    assert got.tolist() == [1 + 2**-7, -(2 - 2**-7), 0.0, 0.0]


@pytest.mark.parametrize("fp32_dest", [False, True])
def test_a_block_output_is_what_a_kernels_packer_makes_of_dst(fp32_dest):
    """A 32-bit Dst loses its low 16 bits first; it is not rounded to bf16."""
    dst = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    dst[::2] *= (1 + 2.0**-8) / np.abs(dst[::2])  # below a tie, above it if rounded
    if not fp32_dest:
        dst = dst.astype(ml_dtypes.bfloat16).astype(np.float32)
    got = pack_output(jnp.asarray(dst), "bfloat8_b", fp32_dest=fp32_dest)
    tile = oracles.tilize(dst).view(np.uint32)[0].tolist()
    raw = oracles_fpu.pack_kernel(tile, "bfloat8_b")
    held = np.array(oracles_fpu.unpack(raw, "bfloat8_b"), np.uint32).view(np.float32)
    np.testing.assert_array_equal(got, oracles.untilize(held[None], (32, 32)))


@pytest.mark.parametrize("packer", ["host", "device", "kernel"])
def test_a_last_block_that_is_not_whole_is_filled_with_zeros(packer):
    values = jnp.asarray(np.random.default_rng(0).standard_normal((3, 40)), jnp.float32)
    got = packed_values(values, "bfloat8_b", packer)
    whole = packed_values(jnp.pad(values, ((0, 0), (0, 8))), "bfloat8_b", packer)
    chex.assert_trees_all_equal(got, whole[:, :40])
    assert got.shape == (3, 40)


def test_the_packers_of_the_chip_differ_for_bfloat8_b_only():
    """0x7FFF rounds up to the next power of two first, which halves its neighbours."""
    tile = np.full((1, 1024), 1.5 * 2.0**-7, np.float32)
    tile[0, ::16] = 2 - 2.0**-7
    one_step, two_steps = (
        jd.unpack(jd.pack(tile, "bfloat8_b", packer), "bfloat8_b")[0, :2].tolist()
        for packer in ("device", "kernel")
    )
    assert one_step == [127 / 64, 1 / 64]
    assert two_steps == [2.0, 0.0]
    same = [jd.pack(tile, "bfloat4_b", packer) for packer in ("device", "kernel")]
    np.testing.assert_array_equal(*same)


@pytest.mark.parametrize("use", [jd.pack, hold, round_to])
def test_unknown_formats_are_refused(use):
    with pytest.raises(jd.ConfigError, match=r"`dtype` \(='bfp8'\) must be one of bf"):
        use(jnp.zeros((1, 1024)), "bfp8")


def test_unknown_packers_are_refused():
    for dtype in ("bfloat8_b", "bfloat16"):
        with pytest.raises(
            jd.ConfigError, match=r"`packer` \(='chip'\) must be one of"
        ):
            jd.pack(jnp.zeros((1, 1024)), dtype, "chip")
    with pytest.raises(jd.ConfigError, match="='bfp8'"):
        jd.unpack(jnp.zeros((1, 1088), jnp.uint8), "bfp8")
