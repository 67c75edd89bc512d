"""Which weights and bias an output is a convolution with: a fit for every channel."""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int

from jaxdw.judge.draws import Operands
from jaxdw.plan.config import Activation, ConvConfig
from jaxdw.plan.window import PAD

_MOST_STICKS = 2048  # that a fit looks at
_MOST_ELEMS = 2**19  # of all windows together, more only where a fit needs them
ROUGHLY = {  # near enough to choose by; SciPy takes 0.2 s to import
    None: lambda y: y,
    "relu": lambda y: np.maximum(y, 0),
    "relu6": lambda y: np.clip(y, 0, 6),
    "silu": lambda y: y / (1 + np.exp(-np.clip(y, -80, 80))),
    "gelu": lambda y: y / (1 + np.exp(-1.702 * np.clip(y, -40, 40))),
}
ROUGHLY["gelu_approx"] = ROUGHLY["gelu"]
_TELLING = {  # outputs that say what the activation got
    None: (-np.inf, np.inf), "relu": (0, np.inf), "relu6": (0, 6),
    "silu": (0.3, np.inf), "gelu": (0.3, np.inf), "gelu_approx": (0.3, np.inf),
}  # fmt: skip
EXPLAINED = 0.03  # residue of a channel, at least; twice what arithmetic leaves else
_FITTED = 0.25  # of the channels, at least: a ReLU leaves many of them zero
_SNAP = 0.003  # of a factor, that the simple one may be off
OWN = 0.1  # of their size that fitted weights may differ from a layer's own: LoFi's 4 %


@dataclasses.dataclass(frozen=True)
class Sample:
    """Windows of some output sticks, and what an output holds there.

    Attributes:
      sticks: which; `windows`: `[sticks, taps, C]`; `found`: `[sticks, C]`.
    """

    conv: ConvConfig
    sticks: Int[np.ndarray, " sticks"]
    windows: Float32[np.ndarray, "sticks taps c"]
    found: Float32[np.ndarray, "sticks c"]

    def before(self, operands: Operands) -> Float64[np.ndarray, "sticks c"]:
        """Returns what an activation gets, in float64."""
        taps = operands.w.reshape(self.conv.channels, -1).T.astype(np.float64)
        total = np.einsum("stc,tc->sc", self.windows, taps)
        return total if operands.bias is None else total + operands.bias

    def distance(
        self, before: Float64[np.ndarray, "sticks c"], activation: Activation | None
    ) -> float:
        """Returns how far from the sample an activation is, as a share of its size."""
        want = ROUGHLY[activation](before)
        size = np.sqrt(np.mean(want**2))
        error = np.sqrt(np.mean((want - self.found) ** 2))
        return float(error / size) if size else np.inf


def take_sample(
    window, x: Float32[np.ndarray, "n h w c"], output: Float32[np.ndarray, "..."]
) -> Sample:
    """Takes some sticks of an output and their windows of the input."""
    conv = window.conv
    rng = np.random.default_rng(0)
    wanted = min(_MOST_STICKS, _MOST_ELEMS // (conv.taps * conv.channels))
    count = min(window.num_outputs, max(wanted, 8 * (conv.taps + 1)))
    sticks = np.sort(rng.choice(window.num_outputs, count, replace=False))
    places = window.starts(sticks)[:, None] + np.array(window.tap_offsets())
    padded = np.full((conv.batch, window.padded_height, window.padded_width), PAD)
    top, left = conv.padding[0], conv.padding[2]
    own = np.arange(conv.batch * conv.height * conv.width)
    inside = (
        slice(None),
        slice(top, top + conv.height),
        slice(left, left + conv.width),
    )
    padded[inside] = own.reshape(conv.batch, conv.height, conv.width)
    source = padded.ravel()[places]
    rows = x.reshape(-1, conv.channels)
    windows = np.where(source[..., None] == PAD, np.float32(0), rows[source])
    return Sample(conv, sticks, windows, output.reshape(-1, conv.channels)[sticks])


@dataclasses.dataclass(frozen=True)
class Fit:
    """Weights and bias that explain a sample best.

    Attributes:
      w: `[C, taps]`; bias: `[C]`.
      residue: of each channel, root mean square as a share of what the weights make of
        the input before the activation; NaN where a channel has too few outputs that
        tell what the activation got.
      rounding: the share that rounding outputs to bf16 may leave.
    """

    w: Float64[np.ndarray, "c taps"]
    bias: Float64[np.ndarray, " c"]
    residue: Float64[np.ndarray, " c"]
    rounding: Float64[np.ndarray, " c"]

    @property
    def unknown(self) -> Bool[np.ndarray, " c"]:
        return np.isnan(self.residue)

    def explains(self, right: "Fit") -> Bool[np.ndarray, " c"]:
        """Returns the channels that it explains as well as arithmetic lets it.

        Args:
          right: of the emulation's own output.
        """
        left = max(EXPLAINED, 2 * float(np.nanmax(right.residue, initial=0)))
        allowed = np.maximum(left, 2 * self.rounding)
        return np.nan_to_num(self.residue, nan=np.inf) <= allowed

    def explains_all(self, right: "Fit") -> bool:
        """Whether it explains every channel that can be fitted, and some can be."""
        fitted = ~self.unknown
        some = fitted.mean() >= _FITTED
        return bool(some and self.explains(right)[fitted].all())


def _before_activation(
    values: Float64[np.ndarray, "*shape"], activation: Activation | None
) -> Float64[np.ndarray, "*shape"]:
    """Returns what the activation got, where its output tells."""
    if activation in (None, "relu", "relu6"):
        return values
    got = np.linspace(0, max(float(values.max(initial=0)), 1) + 1, 2**14)
    return np.interp(values, ROUGHLY[activation](got), got)


def fit(sample: Sample, where: Bool[np.ndarray, "sticks c"] | None = None) -> Fit:
    """Fits weights and bias to every channel of a sample by least squares.

    Only outputs that tell what the activation got count.

    Args:
      where: outputs to look at; all if None.
    """
    conv, found = sample.conv, sample.found.astype(np.float64)
    low, high = _TELLING[conv.activation]
    used = (low < found) & (found < high) & np.isfinite(found)
    found = _before_activation(np.where(used, found, 0), conv.activation)
    if where is not None:
        used &= where
    ones = np.ones((len(found), 1, conv.channels), np.float32)
    taps = np.concatenate([sample.windows, ones], axis=1).transpose(2, 0, 1)
    used, y = used.T, np.where(used, found, 0).T
    taps = taps.astype(np.float64) * used[..., None]
    count = used.sum(axis=1)
    unknowns = taps.shape[-1]
    normal = taps.swapaxes(1, 2) @ taps
    size = np.maximum(normal.max(axis=(1, 2), keepdims=True), 1e-30)
    normal = normal + 1e-9 * size * np.eye(unknowns)
    solved = np.linalg.solve(normal, taps.swapaxes(1, 2) @ y[..., None])[..., 0]
    residual = ((y - (taps @ solved[..., None])[..., 0]) * used) ** 2
    freedom = np.maximum(count - unknowns, 1)
    size = (sample.windows.astype(np.float64) ** 2).mean(axis=(0, 1))
    size = size * (solved[:, :-1] ** 2).sum(axis=1)
    enough = (count >= 2 * unknowns) & (size > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        residue = np.sqrt(residual.sum(axis=1) / freedom / size)
        level = np.sqrt((y**2).sum(axis=1) / count / size)
    return Fit(
        w=solved[:, :-1],
        bias=solved[:, -1],
        residue=np.where(enough, residue, np.nan),
        rounding=np.where(enough, level * 2.0**-8, 0),
    )


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the weights of an output are, next to those of the right one.

    Attributes:
      order: the channel whose weights each channel has; None if some have none of
        them, or all have their own.
      factor: the one factor that all weights are scaled by; None if there is none.
      scaled_by_channel: whether each channel's weights are its own, scaled.
      own_weights, own_bias: whether they are the layer's own, as far as a fit shows.
    """

    order: Int[np.ndarray, " c"] | None
    factor: float | None
    scaled_by_channel: bool
    own_weights: bool
    own_bias: bool


def read_fit(found: Fit, right: Fit) -> Reading:
    """Compares the weights and bias of an output with those of the right one."""
    both = ~(found.unknown | right.unknown)
    sizes = np.maximum(np.linalg.norm(right.w, axis=1), 1e-30)
    own = np.linalg.norm(found.w - right.w, axis=1) <= OWN * sizes
    squares = max(float((right.w[both] ** 2).sum()), 1e-30)
    factor = float((found.w[both] * right.w[both]).sum()) / squares
    away = np.linalg.norm(found.w - factor * right.w, axis=1)
    scaled = away <= OWN * abs(factor) * sizes
    products = (found.w * right.w).sum(axis=1, keepdims=True)
    own_scaled = products / sizes[:, None] ** 2 * right.w
    left = np.linalg.norm(found.w - own_scaled, axis=1)
    along = left <= OWN * np.linalg.norm(found.w, axis=1)
    reach = OWN * (np.abs(right.bias) + sizes)
    own_bias = np.abs(found.bias - right.bias) <= reach
    return Reading(
        order=None if own[both].all() else _order(found, right, both),
        factor=factor if both.any() and scaled[both].all() else None,
        scaled_by_channel=bool(found.w.shape[1] > 1 and along[both].all()),
        own_weights=bool(own[both].all()),
        own_bias=bool(own_bias[both].all()),
    )


def _order(
    found: Fit, right: Fit, both: Bool[np.ndarray, " c"]
) -> Int[np.ndarray, " c"] | None:
    """Returns the channel whose weights are nearest to each fitted ones."""
    squares = (right.w**2).sum(axis=1)
    own = (found.w**2).sum(axis=1)
    distance = squares[None] - 2 * found.w @ right.w.T + own[:, None]
    distance[:, right.unknown] = np.inf
    nearest = distance.argmin(axis=1)
    near = np.take_along_axis(distance, nearest[:, None], axis=1)[:, 0]
    if not (near <= OWN**2 * np.maximum(squares[nearest], 1e-30))[both].all():
        return None
    return np.where(both, nearest, np.arange(len(own)))


def snapped(factor: float) -> float:
    """Returns the simple factor next to a fitted one, or one of few digits."""
    simple = [s * 2.0**n for n in range(-16, 17) for s in (1, -1)]
    simple += [s * k for k in (3, 10, 255, 1 / 3, 1 / 10, 1 / 255) for s in (1, -1)]
    for candidates in (simple, [round(factor, 1)], [round(factor, 2)]):
        nearest = min(candidates, key=lambda s: abs(s - factor))
        if abs(nearest - factor) < _SNAP * abs(factor):
            return nearest
    return factor
