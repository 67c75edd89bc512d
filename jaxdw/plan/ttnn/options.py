"""Options of ttnn 0.81.1 that have no effect on some launches, alike in both programs.

Source: tt-metal conv2d_utils.cpp @71ff3c1d; ttnn 0.81.1 on a mock device.
"""

from jaxdw.plan.options import EVERYWHERE, Option, never
from jaxdw.plan.ttnn.blocks import block_height
from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.units import TILE


def _rows(at: Placed) -> int:
    return block_height(at) * TILE


BOTH = (
    *EVERYWHERE,
    Option(
        "input_shard",
        lambda at: at.shard.keeps_cores,
        lambda at: f"the input is resharded to {tuple(at.input_shard)}",
    ),
    Option(
        "act_block_h_override",
        lambda at: _rows(at) == at.shard.act_block_h_override,
        lambda at: (
            f"a core has blocks of {_rows(at)} of its {at.output_shard.rows} "
            "rows, the largest that divides them"
        ),
    ),
    Option(
        "act_block_w_div",
        lambda at: at.scheme == "width",
        "only WIDTH cuts a core's channels",
    ),
    Option(
        "enable_activation_reuse",
        lambda at: at.scheme != "width",
        "only HEIGHT reuses activations",
    ),
    Option("program_cache", never, "no defect known depends on it"),
)
