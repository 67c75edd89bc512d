from pathlib import Path

import chex
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from absl.testing import parameterized

import jaxdw as jd
from jaxdw.numerics.formats import round_to, to_bf16

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
