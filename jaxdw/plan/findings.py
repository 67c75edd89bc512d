"""Known defects of the real system that a configuration meets, as data.

The emulator computes what the op should: a finding says where tt-metal's branch does
not. Two defects of the sources are no configuration's: host weights of another dtype
than bf16 and float32 cannot be prepared, and prepared weights of another sharding are
not recognised.
"""

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from jaxdw.plan.depthwise.layout import make_weight_layout

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan

Severity = Literal["hang", "memory corruption", "wrong values", "performance"]
SEVERITIES = ("performance", "wrong values", "memory corruption", "hang")
Basis = Literal["observed", "read", "assumed"]

_FACTORY = "tt-metal conv2d_op_depthwise_program_factory.cpp @002a3f41"
_READER = "tt-metal reader_pool_2d.cpp @ff6ab496"
_COMPUTE = "tt-metal compute_pool_2d.cpp @002a3f41"
_WEIGHTS = "tt-metal prepare_conv2d_weights.cpp @002a3f41"
_SLIDING = "tt-metal sliding_window.cpp @00002df2"

_INDEX_LIMIT = 1 << 16
_OLD_PAGE_CAP = 3


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One known defect. `code` is stable; `text` is one sentence.

    Attributes:
      basis: `observed` on a chip, in a simulator or by upstream's own tests; `read` in
        upstream's code; `assumed` where the version that decides was not found, or
        where upstream's passing tests speak against it.
    """

    code: str
    severity: Severity
    basis: Basis
    text: str
    source: str

    def __str__(self) -> str:
        return (
            f"{self.code} {self.severity} ({self.basis}): {self.text} [{self.source}]"
        )

    def fails(self, severity: Severity) -> bool:
        """Whether a gate at `severity` stops here: as bad or worse, and not assumed."""
        bad_enough = SEVERITIES.index(self.severity) >= SEVERITIES.index(severity)
        return bad_enough and self.basis != "assumed"


_Meets = Callable[["Plan"], str | None]
_DEFECTS: list[tuple[str, Severity, Basis, str, _Meets]] = []


def _defect(
    code: str, severity: Severity, basis: Basis, source: str
) -> Callable[[_Meets], _Meets]:
    """Registers a function that returns a finding's text for a plan, or None."""

    def register(meets: _Meets) -> _Meets:
        _DEFECTS.append((code, severity, basis, source, meets))
        return meets

    return register


def find(plan: "Plan") -> tuple[Finding, ...]:
    """Returns the defects that a plan meets, in the order of their codes.

    Of a layer that tt-metal gives to another program only that is said.
    """
    return tuple(
        Finding(code=code, severity=severity, basis=basis, text=text, source=source)
        for code, severity, basis, source, meets in _DEFECTS
        if (plan.upstream_program == "depthwise") != (meets is _other_program)
        and (text := meets(plan)) is not None
    )


@_defect(
    "JDW001",
    "wrong values",
    "observed",
    "tt-metal DEPTHWISE_CONV2D_WIDTH_SHARDED_PLAN.md @6f883191",
)
def _older_layout(plan: "Plan") -> str | None:
    layout, conv = plan.weight_layout, plan.conv
    num_shards = len(layout.shard_channels)
    final = make_weight_layout(
        "final", channels=conv.channels, taps=conv.taps, num_shards=num_shards
    )
    tiles_per_shard = -(-conv.taps * layout.stick_elems // 1024)
    placed_alike = (
        layout.shard_channels == final.shard_channels
        and layout.stick_elems == final.stick_elems
        and layout.columns == final.columns
        and (num_shards == 1 or layout.row_elems == final.row_elems)
        and tiles_per_shard <= final.tiles_per_row
    )
    if layout.name == "final" or placed_alike:
        return None
    return (
        f"weight layout {layout.name!r} puts weights where the cores do not read them "
        f"({conv.channels} channels over {num_shards} shards, {conv.taps} kernel "
        f"positions: {layout.stick_elems} elements to a stick against "
        f"{final.stick_elems}, matrix [{layout.rows}, {layout.columns}] against "
        f"[{final.rows}, {final.columns}])"
    )


@_defect("JDW002", "hang", "read", f"{_READER}; {_COMPUTE}")
def _large_kernel_hangs(plan: "Plan") -> str | None:
    if not plan.is_large_kernel:
        return None
    return (
        f"{plan.conv.taps} kernel positions: the reader pushes one page for every 32 "
        f"sticks while compute waits for {plan.effective_tiles}"
    )


@_defect("JDW003", "wrong values", "read", _WEIGHTS)
def _large_kernel_overruns(plan: "Plan") -> str | None:
    if not plan.is_large_kernel:
        return None
    return (
        f"{plan.conv.taps} kernel positions need {plan.effective_tiles} weight "
        f"tiles, a tile row has {plan.channel_tiles}: the layout runs into the next "
        "shard's columns or aliases the next row"
    )


@_defect(
    "JDW004",
    "wrong values",
    "observed",
    f"{_READER}; three failing nightly tests of the branch",
)
def _wide_reduction(plan: "Plan") -> str | None:
    if not plan.is_wide_reduction:
        return None
    return (
        f"{plan.input_shard.channels} channels per core: sticks are read in blocks of "
        f"{32 * plan.tiles_per_reduction} channels, weights lie linear"
    )


@_defect(
    "JDW005",
    "wrong values",
    "observed",
    f"{_COMPUTE}; the low-level kernels in the functional simulator",
)
def _stale_rows(plan: "Plan") -> str | None:
    taps, tiles = plan.conv.taps, plan.channel_tiles
    if taps <= 16 or plan.is_large_kernel or plan.effective_tiles >= tiles:
        return None
    return (
        f"{taps} kernel positions of {plan.input_shard.channels} padded channels: the "
        f"reduction reads 32 rows ({tiles} tiles), only {plan.effective_tiles} were "
        "written; the rest are the last stick's products or raw weights"
    )


@_defect("JDW006", "wrong values", "read", _FACTORY)
def _dilation(plan: "Plan") -> str | None:
    pairs = zip(plan.conv.dilation, plan.conv.kernel, strict=True)
    if not any(dilation > 1 and kernel > 1 for dilation, kernel in pairs):
        return None
    return (
        f"dilation {plan.conv.dilation} decides sizes and halo, but the kernel gathers "
        "its windows undilated"
    )


@_defect("JDW007", "memory corruption", "read", _FACTORY)
def _stray_multicast(plan: "Plan") -> str | None:
    stray = sum(b.rect.area - 1 - b.num_dests for b in plan.core_grid.broadcasts())
    if not stray:
        return None
    return (
        f"weights are multicast to the bounding box of {plan.num_cores} cores: {stray} "
        "idle cores are overwritten and acknowledge too"
    )


@_defect("JDW008", "wrong values", "read", _FACTORY)
def _column_major(plan: "Plan") -> str | None:
    if plan.core_grid.orientation == "row_major" or plan.num_cores == 1:
        return None
    return "BLOCK with COL_MAJOR shards gets the reader arguments of ROW_MAJOR"


@_defect(
    "JDW009",
    "wrong values",
    "observed",
    f"{_FACTORY}; MobileNetV2 passes only without the program cache",
)
def _stale_addresses(plan: "Plan") -> str | None:
    if not plan.shard.program_cache:
        return None
    return (
        "on a program-cache hit the addresses of weights and bias are those of the "
        "first call"
    )


@_defect(
    "JDW010", "wrong values", "assumed", f"{_SLIDING}, construct_on_host_config_tensor"
)
def _unequal_lists(plan: "Plan") -> str | None:
    lengths = {
        plan.index_list_length(core)
        for core in range(0, plan.num_cores, plan.num_channel_shards)
    }
    if len(lengths) == 1:
        return None
    return (
        f"reader index lists of {min(lengths)} to {max(lengths)} entries mis-shape the "
        "config tensor unless the caller pads them"
    )


@_defect("JDW011", "wrong values", "read", f"{_SLIDING}, uint16 indices")
def _index_overflow(plan: "Plan") -> str | None:
    if plan.halo_shard.rows < _INDEX_LIMIT:
        return None
    return (
        f"{plan.halo_shard.rows} sticks in a haloed shard do not fit the 16 bits of a "
        "reader index"
    )


@_defect(
    "JDW012",
    "hang",
    "assumed",
    f"{_READER}, `num_dests > 0`; the reader @002a3f41 was not found",
)
def _no_receivers(plan: "Plan") -> str | None:
    if plan.scheme == "width" or plan.num_nhw_shards > 1:
        return None
    return (
        "a sender has no receivers: a multicast to none breaks the NoC's contract and "
        "may hang; the reader found guards it"
    )


@_defect(
    "JDW013",
    "wrong values",
    "assumed",
    f"{_READER}; the reader @002a3f41 was not found",
)
def _page_cap(plan: "Plan") -> str | None:
    if plan.effective_tiles <= _OLD_PAGE_CAP:
        return None
    return (
        f"{plan.effective_tiles} weight tiles per core: readers up to the newest one "
        f"found multiply only the first {_OLD_PAGE_CAP}"
    )


@_defect("JDW014", "wrong values", "read", f"{_READER}, BYTES_PER_ELEM")
def _float32_wide(plan: "Plan") -> str | None:
    if plan.conv.dtype != "float32" or not plan.is_wide_reduction:
        return None
    return "the reader's block constants count 2 bytes to an element of float32"


@_defect("JDW015", "performance", "read", f"{_COMPUTE}, num_pages_to_8")
def _unbatched_reads(plan: "Plan") -> str | None:
    if plan.effective_tiles < 2:
        return None
    return (
        f"{plan.effective_tiles} tiles of a stick are packed one page at a time: "
        "batching of 8 is switched off"
    )


@_defect("JDW016", "performance", "read", _COMPUTE)
def _filler_rows(plan: "Plan") -> str | None:
    if plan.conv.activation is None:
        return None
    return (
        "the activation runs over whole tiles of Dst, of which one row in 16 is packed"
    )


@_defect("JDW017", "performance", "read", _FACTORY)
def _double_buffers(plan: "Plan") -> str | None:
    asked = [
        name
        for name in ("enable_act_double_buffer", "enable_weights_double_buffer")
        if getattr(plan.shard, name)
    ]
    if not asked:
        return None
    return f"{' and '.join(asked)} have no effect: the depthwise program ignores them"


@_defect(
    "JDW018",
    "performance",
    "read",
    "tt-metal conv2d_utils.cpp @002a3f41, shard_or_reshard",
)
def _resharded(plan: "Plan") -> str | None:
    if plan.shard.input_shard is None or plan.shard.keeps_cores:
        return None
    return (
        f"the input lies in shards of {plan.shard.input_shard} and is resharded to "
        f"{tuple(plan.input_shard)}"
    )


@_defect("JDW019", "wrong values", "read", f"{_FACTORY}, in_c_per_shard_ceil")
def _empty_shards(plan: "Plan") -> str | None:
    shards, channels = plan.num_channel_shards, plan.conv.channels
    padded = plan.input_shard.channels
    if shards == 1 or (shards - 1) * padded < channels:
        return None
    return (
        f"{channels} channels leave some of {shards} shards of {padded} empty: the "
        "factory's channels per shard then no longer match the weights"
    )


@_defect("JDW020", "hang", "read", _FACTORY)
def _column_major_oblong(plan: "Plan") -> str | None:
    x, y = plan.grid
    if plan.core_grid.orientation == "row_major" or x == y or plan.num_nhw_shards == 1:
        return None
    return (
        f"BLOCK with COL_MAJOR shards on {x}x{y} cores: the multicast rectangles of "
        "ROW_MAJOR leave out cores that wait for weights"
    )


@_defect("JDW021", "performance", "read", "tt-metal conv2d_utils.cpp @002a3f41")
def _other_program(plan: "Plan") -> str | None:
    return (
        f"tt-metal runs this layer with its {plan.upstream_program} program, which is "
        "not the one planned here"
    )


@_defect("JDW022", "wrong values", "read", f"{_WEIGHTS}; {_FACTORY}")
def _one_channel(plan: "Plan") -> str | None:
    if plan.conv.channels > 1:
        return None
    return (
        "one channel: the weight preparation asks for more than one group, the "
        "program does not, so that weights lie as those of another conv"
    )
