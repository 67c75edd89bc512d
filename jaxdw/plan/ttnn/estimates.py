"""The library's own estimates of reads and of tilising, in cycles.

Source: tt-metal conv2d_op_program_factory_common.cpp @f3c1ee7e; the figures stand in
`jaxdw/arch/*.toml`.
"""

import functools

from jaxdw.arch.arch import Arch
from jaxdw.plan.ttnn.placed import Placed

_LEAST_PIECE = 16  # bytes


def read_cycles(
    num_bytes: int, piece: int, rate: tuple[int, int, int], arch: Arch
) -> float:
    """Returns the cycles of reading `num_bytes` in pieces.

    The rate in MB/s grows linearly with the bytes of a piece, up to a limit.
    """
    limit, low, high = rate
    within = min(max(piece, _LEAST_PIECE), limit) - _LEAST_PIECE
    speed = low + (high - low) / (limit - _LEAST_PIECE) * within
    return num_bytes * arch.clock_hz / (speed * 1e6)


def tilize_cycles(at: Placed) -> int:
    """Returns the cycles of tilising one tile into the output's format.

    Raises:
      KeyError: the chip's table has no such pair of formats.
    """
    source = "float32" if at.conv.dtype == "float32" else "bfloat16"
    table = _table(at.arch.tilize_cycles)
    return table[source, at.conv.output_dtype][at.compute.fp32_dest_acc]


@functools.lru_cache(maxsize=32)
def _table(
    rows: tuple[tuple[str, str, int, int], ...],
) -> dict[tuple[str, str], tuple[int, int]]:
    return {(source, target): (half, full) for source, target, half, full in rows}
