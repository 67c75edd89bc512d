"""Which mistakes cannot have made an output: told from some outputs, without a run.

A launch's maps and host tensors alone say what an output comes to, up to the
arithmetic. A mistake whose outputs are further off than any arithmetic explains does
not have to be emulated. Nothing is named by this, only left out.
"""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from jaxdw.faults.fit import ROUGHLY
from jaxdw.faults.used_chip import Launch, Output, laid_operands
from jaxdw.judge.draws import Operands
from jaxdw.maps.indexmap import IndexMap, gather
from jaxdw.maps.lanes import fitted, side_by_side
from jaxdw.maps.maps import ComposedMaps, Maps
from jaxdw.numerics.formats import MAGNITUDE_BITS
from jaxdw.plan.plan import Plan

_MOST_ELEMS = 2**17  # of all windows together
_STICKS = (16, 128)  # that are looked at, at least and at most
OFF = 0.25  # of the magnitudes of an output's products: LoFi loses up to 0.08
_WIDER = 3  # times as far as the plan's own arithmetic is off
_FEW = 0.01  # of the outputs may be further off
_ROUGH = 0.5  # of those that differ, where other arithmetic made them: bfloat4_b


class Foretold(NamedTuple):
    """What a launch gives at some output sticks, but for the arithmetic.

    Attributes:
      outputs: NaN where memory is unknown; magnitudes: of their products and bias,
        summed.
    """

    outputs: Float[np.ndarray, "sticks c"]
    magnitudes: Float[np.ndarray, "sticks c"]


class Excluded(NamedTuple):
    """A launch that cannot have made a file.

    Attributes:
      distance: of the outputs that it determines, as a share of their size.
      known: how many these are, as a share.
    """

    distance: float
    known: float


@dataclasses.dataclass(frozen=True)
class Probe:
    """Some output sticks of a file: half of them differ from the emulation.

    Attributes:
      differs: where they do.
      off: how far a foretold output may be off, as a share of its magnitude.
      exacter: whether the file is nearer to float32 than the emulation is.
    """

    plan: Plan
    operands: Operands
    sticks: Int[np.ndarray, " sticks"]
    found: Float32[np.ndarray, "sticks c"]
    differs: Bool[np.ndarray, "sticks c"]
    off: float
    exacter: bool

    def exclude(self, launch: Launch) -> Excluded | None:
        """Returns how far a launch is from the file; None if it may give the file."""
        foretold = foretell(launch, self.operands, self.sticks)
        if foretold is None:
            return None
        outputs, magnitudes = foretold
        known = np.isfinite(outputs)
        if not known.any():
            return None
        with np.errstate(invalid="ignore", over="ignore"):
            error = np.abs(outputs - self.found)[known]
        too_far = ~(error <= self.off * magnitudes[known])  # NaN is
        if np.count_nonzero(too_far) <= _FEW * known.sum():
            return None
        size = np.sqrt((outputs[known].astype(np.float64) ** 2).mean())
        distance = np.sqrt((error.astype(np.float64) ** 2).mean()) / max(size, 1e-30)
        distance = float(np.nan_to_num(distance, nan=np.inf))
        return Excluded(distance, float(known.mean()))

    def is_near(self, launch: Launch) -> bool:
        """Whether what differs from a launch is no further off than arithmetic is.

        That of a few outputs apart: a block format is rough with small weights.
        """
        foretold = foretell(launch, self.operands, self.sticks)
        if foretold is None:
            return True
        outputs, magnitudes = foretold
        with np.errstate(invalid="ignore", over="ignore"):
            near = np.abs(outputs - self.found) <= self.off * magnitudes
        return float(near[self.differs].mean()) >= 1 - _ROUGH


def make_probe(
    launch: Launch, operands: Operands, right: Output, found: Output, seed: int = 0
) -> Probe:
    """Chooses sticks, and measures how far the plan's own arithmetic is off there."""
    plan = launch.plan
    channels = plan.conv.channels
    own, file = (values.reshape(-1, channels) for values in (right, found))
    least, most = _STICKS
    count = min(most, max(least, _MOST_ELEMS // (plan.conv.taps * channels)))
    rng = np.random.default_rng(seed)
    wrong = (own != file) & ~(np.isnan(own) & np.isnan(file))
    halves = (np.flatnonzero(wrong.any(axis=1)), np.arange(len(own)))
    sticks = np.concatenate(
        [rng.choice(of, min(count // 2, len(of)), replace=False) for of in halves]
    )
    sticks = np.unique(sticks)
    off, exacter = OFF, False
    foretold = foretell(launch, operands, sticks)
    if foretold is not None:
        outputs, magnitudes = foretold
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            share = np.abs(outputs - own[sticks]) / magnitudes
            of_file = np.abs(outputs - file[sticks]) / magnitudes
        exacter = bool(np.nansum(np.minimum(of_file, 1)) < np.nansum(share))
        share = share[np.isfinite(share)]
        if share.size:
            off = max(off, _WIDER * float(np.quantile(share, 1 - _FEW)))
    return Probe(plan, operands, sticks, file[sticks], wrong[sticks], off, exacter)


def foretell(
    launch: Launch, operands: Operands, sticks: Int[np.ndarray, " sticks"]
) -> Foretold | None:
    """Returns what a launch gives, in float32 and with weights as they are handed over.

    None where an unknown exponent of a block leaves weights unknown that are known.

    Args:
      launch: whose way into a file keeps outputs in their places.
    """
    plan, maps = launch.plan, launch.maps.on_host
    laid = laid_operands(launch, operands)
    weights = _weights(maps, laid.w, plan)
    if weights is None:
        return None
    activation = ROUGHLY[plan.conv.activation]
    windows, shard = _windows(launch.maps, laid.x, plan, sticks)
    met = weights[shard] if weights.ndim == 3 else weights[None]
    with np.errstate(invalid="ignore", over="ignore"):
        products = windows * met
        total, size = products.sum(axis=1), np.abs(products).sum(axis=1)
        if launch.bias_last:
            total = activation(total)
        if maps.bias is not None and laid.bias is not None:
            bias = gather(laid.bias, maps.bias)
            bias = fitted(bias.reshape(*bias.shape[:-2], -1), maps.lanes)
            bias = bias[shard] if bias.ndim == 2 else bias[None]
            total, size = total + bias, size + np.abs(bias)
        total = activation(total) if not launch.bias_last else total
    channels = plan.conv.channels
    saved = launch.save(plan, total[None, None, :, :channels].astype(np.float32))
    return Foretold(saved[0, 0], size[:, :channels])


def _weights(
    maps: ComposedMaps, w: Float32[np.ndarray, "..."], plan: Plan
) -> Float32[np.ndarray, "*nhw taps lanes"] | None:
    found = gather(w.reshape(-1), maps.blocks or maps.weights)
    if plan.conv.weights_dtype in MAGNITUDE_BITS and np.isnan(found).any():
        return None
    if maps.blocks is not None:
        found = gather(found.reshape(-1), maps.weights)
    found = fitted(side_by_side(found), maps.lanes)
    if maps.channels_written is not None:
        found = np.where(maps.channels_written[..., None, :], found, np.float32(np.nan))
    return found


def _windows(
    maps: Maps,
    x: Float32[np.ndarray, "..."],
    plan: Plan,
    sticks: Int[np.ndarray, " sticks"],
) -> tuple[Float32[np.ndarray, "sticks taps lanes"], Int[np.ndarray, " sticks"]]:
    """Returns the windows of output sticks, and the NHW shard of each."""
    composed = maps.on_host.sticks
    shard, row = np.divmod(
        np.asarray(maps.collect.index)[sticks], composed.index.shape[2]
    )
    index = IndexMap(np.asarray(composed.index)[shard, :, row], composed.size)
    windows = gather(x.reshape(-1, plan.conv.channels), index)
    return fitted(windows, maps.lanes), shard
