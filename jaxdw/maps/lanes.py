"""What lanes of the windows meet: weights and bias, channel shards in a row."""

import dataclasses

import jax
import numpy as np
from jaxtyping import Bool, Shaped

from jaxdw.maps.indexmap import Alike, HostOrDevice, IndexMap


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True, kw_only=True)
class LaneMaps:
    """What each lane of the windows meets, from the host's tensors.

    Weights and bias lack their leading axis where all NHW shards get the same.

    Attributes:
      weights: `[(shards,) channel shards, taps, channels]` from OIHW weights, or from
        the elements of `blocks` if they are given.
      blocks: `[(shards,) channel shards, n, 16]` from OIHW weights, runs that share an
        exponent; None if elements are packed one by one, or in runs of 16 channels.
      bias: `[(shards,) channel shards, channels]` from the bias, or None.
      channels_written: `[(shards,) channels]`, of channel shards in a row, whether all
        weights of a channel were ever written; None if all were.
      lanes: as in `Maps`; weights and bias are cut or filled up to them.
    """

    weights: IndexMap
    blocks: IndexMap | None
    bias: IndexMap | None
    channels_written: Bool[HostOrDevice, "*nhw channels"] | None
    lanes: int = dataclasses.field(metadata={"static": True})


def side_by_side(
    weights: Shaped[Alike, "*nhw channel_shards taps channels"],
) -> Shaped[Alike, "*nhw taps all_channels"]:
    """Returns the weights of channel shards, or where they come from, in a row."""
    by_tap = weights.swapaxes(-3, -2)
    return by_tap.reshape(*by_tap.shape[:-2], -1)


def fitted(
    values: Shaped[Alike, "*rows channels"], lanes: int, fill: float | bool = 0
) -> Shaped[Alike, "*rows lanes"]:
    """Returns channels cut or filled up to `lanes`: cores hold whole tiles of outputs,
    and may hold fewer or more channels of windows."""
    past = [(0, 0)] * (values.ndim - 1) + [(0, max(0, lanes - values.shape[-1]))]
    if isinstance(values, np.ndarray):
        return np.pad(values[..., :lanes], past, constant_values=fill)
    return jax.numpy.pad(values[..., :lanes], past, constant_values=fill)
