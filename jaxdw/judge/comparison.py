"""Where and how an output differs from the one expected: places first, no causes."""

import dataclasses
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int64
from numpy.typing import ArrayLike

from jaxdw.errors import ConfigError
from jaxdw.judge.compare import output_ulp_type, pcc, signed_ulp
from jaxdw.judge.reference import reference
from jaxdw.plan.placement import Placement
from jaxdw.plan.units import FACE, TILE

Kind = Literal["identical", "rounding only", "some places", "everywhere", "unrelated"]

ROUNDING_ULP = 2  # that any change of arithmetic may be off
ROUNDING_SHARE = 0.1  # of the sum of the products' magnitudes: LoFi loses up to 0.08
_SOME = 0.5  # share of outputs; more is everywhere
_UNRELATED = 0.2  # PCC below it
_STEPS = (1, 2, 4, 16, 256)  # of the histogram, ULP
_MOST_RANGES = 6


@dataclasses.dataclass(frozen=True, kw_only=True)
class Place:
    """One output: where the user sees it, and where the chip has it.

    Attributes:
      core: of the output grid; `tile` counts tiles of its shard, row by row; `face` is
        0 to 3.
    """

    image: int
    row: int
    column: int
    channel: int
    core: int
    tile: int
    face: int
    expected: float
    found: float

    def __str__(self) -> str:
        return (
            f"image {self.image}, row {self.row}, column {self.column}, channel "
            f"{self.channel} (core {self.core}, tile {self.tile} of its shard, face "
            f"{self.face}): expected {self.expected:g}, found {self.found:g}"
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Comparison:
    """Where and how an output differs from the one expected.

    Attributes:
      kind: `identical`: bit for bit, 0 and -0 and all NaN alike; `rounding only`: every
        output within 2 ULP, or within a tenth of what the magnitudes of its products
        sum to; `some places`: at most half of the outputs; `unrelated`: PCC within 0.2
        of 0.
      max_ulp, mean_ulp: in the output's dtype, over outputs that are numbers.
      histogram: (what, outputs): signed ULP, positive away from zero.
      direction: of the differences: `toward zero`, `away from zero` or `both ways`.
      nan: outputs that are NaN and should not be.
      first: the first that differs; None if none does.
      box: first and last image, row, column and channel that differ.
      sets: (axis, which of it differ), of images, rows, columns, channels, cores, faces
        and places within 16 channels.
      notes: what the sets have in common.
    """

    kind: Kind
    outputs: int
    equal: int
    pcc: float
    max_ulp: int
    mean_ulp: float
    histogram: tuple[tuple[str, int], ...]
    direction: str
    nan: int
    first: Place | None
    box: tuple[tuple[int, int], ...]
    sets: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines())

    @property
    def headline(self) -> str:
        """The class in a few words."""
        if self.kind == "rounding only":
            how = "" if self.direction == "both ways" else f", {self.direction}"
            return f"rounding only: at most {self.max_ulp} ULP{how}"
        if self.kind == "identical":
            return f"identical: all {self.outputs:,} outputs equal"
        differing = self.outputs - self.equal
        return f"{self.kind}: {differing:,} of {self.outputs:,} outputs differ"

    def lines(self) -> list[str]:
        """The report, a line for each statement."""
        lines = [self.headline]
        if self.kind == "identical":
            return lines
        lines.append(
            f"PCC {self.pcc:.6f}; {self.equal:,} of {self.outputs:,} equal; ULP at "
            f"most {self.max_ulp:,}, mean {self.mean_ulp:.3g}"
        )
        counts = ", ".join(f"{what}: {n:,}" for what, n in self.histogram if n)
        lines.append(f"signed ULP (+ is away from zero): {counts}")
        if self.nan:
            lines.append(f"NaN where a number should be: {self.nan:,}")
        lines.append(f"first: {self.first}")
        names = ("images", "rows", "columns", "channels")
        box = ", ".join(
            f"{name} {low}-{high}" if high > low else f"{name[:-1]} {low}"
            for name, (low, high) in zip(names, self.box, strict=True)
        )
        lines.append(f"box: {box}")
        lines += [f"{axis}: {which}" for axis, which in self.sets]
        lines += [f"note: {note}" for note in self.notes]
        return lines


def compare_outputs(
    place: Placement,
    expected: ArrayLike,
    found: ArrayLike,
    magnitude: Float[np.ndarray, "n ho wo c"] | None = None,
) -> Comparison:
    """Compares an output with the one expected.

    Args:
      expected, found: `[N, Ho, Wo, C]`.
      magnitude: sum of the magnitudes of each output's products and bias, by which
        `rounding only` is judged; None to judge by 2 ULP alone.

    Raises:
      ConfigError: an array of another shape than the output's.
    """
    want, got = (np.asarray(v).astype(np.float32) for v in (expected, found))
    for name, values in (("expected", want), ("found", got)):
        if values.shape != place.output_shape:
            raise ConfigError(
                f"`{name}` (={values.shape}) must have the planned shape "
                f"{place.output_shape}, [N, Ho, Wo, C]"
            )
    dtype = output_ulp_type(place.conv)
    want_nan, got_nan = np.isnan(want), np.isnan(got)
    wrong = (got != want) & ~(want_nan & got_nan)
    numbers = ~(want_nan | got_nan)
    signed = np.where(numbers, signed_ulp(want, got, dtype), 0)
    size = np.abs(signed)
    with np.errstate(over="ignore", invalid="ignore"):  # numbers of any size
        correlation = pcc(want, got)
    kind = _kind(wrong, size, want, got, numbers, magnitude, correlation)
    return Comparison(
        kind=kind,
        outputs=wrong.size,
        equal=int(wrong.size - np.count_nonzero(wrong)),
        pcc=correlation,
        max_ulp=int(size.max(initial=0)),
        mean_ulp=float(size[numbers].mean()) if numbers.any() else 0.0,
        histogram=_histogram(signed[numbers], int(np.count_nonzero(~numbers & wrong))),
        direction=_direction(want, got, wrong & numbers),
        nan=int(np.count_nonzero(got_nan & ~want_nan)),
        first=_first(place, wrong, want, got),
        box=_box(wrong),
        sets=_sets(place, wrong),
        notes=_notes(place, wrong),
    )


def _kind(wrong, size, want, got, numbers, magnitude, correlation) -> Kind:
    if not wrong.any():
        return "identical"
    within = size <= ROUNDING_ULP
    if magnitude is not None:
        with np.errstate(invalid="ignore", over="ignore"):
            within |= np.abs(got - want) <= ROUNDING_SHARE * magnitude
    if (within & numbers | ~wrong).all():
        return "rounding only"
    if np.count_nonzero(wrong) <= _SOME * wrong.size:
        return "some places"
    return "everywhere" if abs(correlation) >= _UNRELATED else "unrelated"


def _histogram(signed: Int64[np.ndarray, " n"], nan: int) -> tuple:
    edges = (0, *_STEPS)
    counted = [("0", int(np.count_nonzero(signed == 0)))]
    for low, high in zip(edges, (*_STEPS, np.iinfo(np.int64).max), strict=True):
        name = f"{high}" if high == low + 1 else f"{low + 1} to {high}"
        name = f"over {low}" if high > _STEPS[-1] else name
        for sign, text in ((-1, "-"), (1, "+")):
            inside = (sign * signed > low) & (sign * signed <= high)
            counted.append((f"{text}({name})", int(np.count_nonzero(inside))))
    return (*counted, ("NaN", nan))


def _direction(want, got, where) -> str:
    change = np.abs(got[where]) - np.abs(want[where])
    if not change.size or (change < 0).all():
        return "toward zero"
    return "away from zero" if (change > 0).all() else "both ways"


def core_of(
    place: Placement,
) -> tuple[Int[np.ndarray, " sticks"], Int[np.ndarray, " sticks"]]:
    """Returns for each output stick its NHW shard and its row there."""
    counts = [part.num_outputs for part in place.shard_ranges]
    shard = np.repeat(np.arange(len(counts)), counts)
    row = np.arange(len(shard)) - np.repeat(np.cumsum(counts) - counts, counts)
    return shard, row


def _first(place: Placement, wrong, want, got) -> Place | None:
    if not wrong.any():
        return None
    at = tuple(int(i) for i in np.unravel_index(int(wrong.argmax()), wrong.shape))
    image, row, column, channel = at
    stick = int(np.ravel_multi_index(at[:3], wrong.shape[:3]))
    shards, rows = core_of(place)
    width = place.output_shard.channels
    own_row, own_channel = int(rows[stick]), channel % width
    return Place(
        image=image,
        row=row,
        column=column,
        channel=channel,
        core=int(shards[stick]) * place.num_output_shards + channel // width,
        tile=own_row // TILE * -(-width // TILE) + own_channel // TILE,
        face=own_row % TILE // FACE * 2 + own_channel % TILE // FACE,
        expected=float(want[at]),
        found=float(got[at]),
    )


def _box(wrong: Bool[np.ndarray, "n ho wo c"]) -> tuple[tuple[int, int], ...]:
    found = []
    for axis in range(4):
        others = tuple(i for i in range(4) if i != axis)
        at = np.flatnonzero(wrong.any(axis=others))
        found.append((int(at[0]), int(at[-1])) if at.size else (0, -1))
    return tuple(found)


def by_core(
    place: Placement, values: Bool[np.ndarray, "n ho wo c"]
) -> Int[np.ndarray, "cores 2"]:
    """Counts for every core its outputs, and those for which `values` hold."""
    shards, _ = core_of(place)
    columns = np.arange(values.shape[-1]) // place.output_shard.channels
    sticks = values.reshape(-1, values.shape[-1])
    grid = (place.num_nhw_shards, place.num_output_shards)
    counts = np.zeros((*grid, 2), np.int64)
    firsts = np.flatnonzero(np.diff(columns, prepend=-1))
    by_column = np.add.reduceat(sticks, firsts, axis=1, dtype=np.int64)
    np.add.at(counts[:, : len(firsts), 1], shards, by_column)
    widths = np.bincount(columns, minlength=grid[1])
    counts[:, :, 0] = np.bincount(shards, minlength=grid[0])[:, None] * widths
    return counts.reshape(-1, 2)


def _sets(place: Placement, wrong) -> tuple[tuple[str, str], ...]:
    if not wrong.any():
        return ()
    found = [
        (name, which(wrong.any(axis=tuple(i for i in range(4) if i != axis))))
        for axis, name in enumerate(("images", "rows", "columns", "channels"))
        if wrong.shape[axis] > 1
    ]
    cores = by_core(place, wrong)
    text = which(cores[:, 1] > 0)
    whole = (cores[:, 1] == cores[:, 0]) | (cores[:, 1] == 0)
    if whole.all() and cores[:, 1].any():
        text += ", every output of them"
    found.append(("cores", text))
    faces = which(_faces(place, wrong))
    found.append(("faces of their tiles", faces))
    channels = np.flatnonzero(wrong.any(axis=(0, 1, 2)))
    lanes = np.bincount(channels % FACE, minlength=FACE) > 0
    if not lanes.all() and wrong.shape[3] > FACE:
        found.append((f"channels modulo {FACE}", which(lanes)))
    return tuple(found)


def _faces(place: Placement, wrong) -> Bool[np.ndarray, " 4"]:
    _, rows = core_of(place)
    sticks = wrong.reshape(-1, wrong.shape[-1])
    lower = rows % TILE >= FACE
    channel = np.arange(sticks.shape[1]) % place.output_shard.channels
    right = channel % TILE >= FACE
    return np.array(
        [
            sticks[lower == down][:, right == across].any()
            for down in (False, True)
            for across in (False, True)
        ]
    )


def _notes(place: Placement, wrong) -> tuple[str, ...]:
    if not wrong.any():
        return ()
    notes = []
    sticks = wrong.any(axis=3).ravel()
    border = place.window.touches_padding()
    if not sticks[~border].any() and border.any() and not border.all():
        notes.append("only outputs whose windows reach into the padding")
    channels = wrong.any(axis=(0, 1, 2))
    if not channels.all() and (wrong.all(axis=(0, 1, 2)) == channels).all():
        notes.append("every output of these channels differs")
    if not sticks.all() and (wrong.all(axis=3).ravel() == sticks).all():
        notes.append("every channel of these sticks differs")
    return tuple(notes)


def which(chosen: Bool[np.ndarray, " n"]) -> str:
    """Says which of a row are chosen: `all 64`, `0-3, 7`, `every 16th from 3`."""
    numbers, total = np.flatnonzero(chosen), len(chosen)
    if len(numbers) == total:
        return f"all {total}"
    if not len(numbers):
        return f"none of {total}"
    steps = np.unique(np.diff(numbers))
    if len(numbers) > 2 and len(steps) == 1 and steps[0] > 1:
        return (
            f"every {_ordinal(int(steps[0]))} from {numbers[0]} to {numbers[-1]}, "
            f"{len(numbers)} of {total}"
        )
    texts = _ranges(numbers)
    if len(texts) > _MOST_RANGES:
        rest = len(texts) - _MOST_RANGES
        texts = [*texts[:_MOST_RANGES], f"{rest} ranges more"]
    return f"{', '.join(texts)} ({len(numbers)} of {total})"


def ranges(numbers: Int[np.ndarray, " n"]) -> str:
    """Writes increasing numbers as ranges: `0-3, 7`."""
    return ", ".join(_ranges(numbers))


def _ranges(numbers: Int[np.ndarray, " n"]) -> list[str]:
    parts = np.split(numbers, np.flatnonzero(np.diff(numbers) != 1) + 1)
    return [
        str(part[0]) if len(part) == 1 else f"{part[0]}-{part[-1]}"
        for part in parts
        if len(part)
    ]


def _ordinal(number: int) -> str:
    last = {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{'th' if number % 100 in (11, 12, 13) else last}"


def product_magnitudes(
    conv, x: Float32[np.ndarray, "n h w c"], w, bias
) -> Float32[np.ndarray, "n ho wo c"]:
    """Returns for each output what the magnitudes of its products and bias sum to."""
    plain = dataclasses.replace(conv, activation=None, bias=bias is not None)
    size = None if bias is None else np.abs(bias)
    return reference(plain, np.abs(x), np.abs(w), size).astype(np.float32)
