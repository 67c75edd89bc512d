"""Known defects of the real system that a configuration meets, as data."""

import dataclasses
from typing import Literal

from jaxdw.plan.layout import WeightLayout, make_weight_layout

Severity = Literal["hang", "memory corruption", "wrong values", "performance"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One known defect. `code` is stable; `text` is one sentence."""

    code: str
    severity: Severity
    text: str
    source: str

    def __str__(self) -> str:
        return f"{self.code} {self.severity}: {self.text} [{self.source}]"


def layout_findings(
    layout: WeightLayout, *, channels: int, taps: int
) -> tuple[Finding, ...]:
    """Returns a finding if an older weight layout puts weights where no core looks."""
    num_shards = len(layout.shard_channels)
    final = make_weight_layout(
        "final", channels=channels, taps=taps, num_shards=num_shards
    )
    tiles_per_shard = -(-taps * layout.stick_elems // 1024)
    placed_alike = (
        layout.shard_channels == final.shard_channels
        and layout.stick_elems == final.stick_elems
        and layout.columns == final.columns
        and (num_shards == 1 or layout.row_elems == final.row_elems)
        and tiles_per_shard <= final.tiles_per_row
    )
    if layout.name == "final" or placed_alike:
        return ()
    return (
        Finding(
            code="JDW001",
            severity="wrong values",
            text=(
                f"weight layout {layout.name!r} puts weights where the cores do not "
                f"read them ({channels} channels over {num_shards} shards, {taps} "
                f"kernel positions: {layout.stick_elems} elements to a stick against "
                f"{final.stick_elems}, matrix [{layout.rows}, {layout.columns}] "
                f"against [{final.rows}, {final.columns}])"
            ),
            source="tt-metal DEPTHWISE_CONV2D_WIDTH_SHARDED_PLAN.md @6f883191",
        ),
    )
