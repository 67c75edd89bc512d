"""The rules of a layout, each checked by enumeration.

Each rule compares one map, or a whole chain of them, with `Definition` and with what
the device program states of its weights.
"""

from collections.abc import Iterator

from jaxdw.layouts.counterexample import Failure, equal
from jaxdw.layouts.definition import Definition
from jaxdw.layouts.stick_rules import check_sticks
from jaxdw.layouts.weight_rules import WeightStatement, check_bias, check_weights
from jaxdw.maps.maps import Maps

RULES = {
    "channels": "a core holds an equal share of the output's channels, in whole tiles; "
    "windows have those of all shards of the input",
    "prepare": "the matrix holds each weight (once; conv1d: in every row of a block) "
    "where the cores that own its channel multiply it with its kernel position, and "
    "zeros elsewhere",
    "tilize": "tiles hold the matrix face by face, row by row in each",
    "deal": "page p lies in bank p mod banks, slot p div banks",
    "read": "a reader gets the tiles of its channel shard, row by row, and no others",
    "multicast": "a core that does not read names the reader of its channel shard, "
    "which waits for just these and writes just these of the program's cores",
    "weights": "all of the above together: each weight reaches just the cores that own "
    "its channel, once; every other lane that they multiply is zero",
    "pairing": "each window element meets the element of the tiles in its core's L1 "
    "that the device program multiplies it with",
    "bias prepare": "row 0 holds the bias in channel order, all else is zero",
    "bias tilize": "as tilize",
    "bias deal": "as deal",
    "bias read": "every core gets the tiles of its channel shard, and no others",
    "bias": "as weights, for the bias",
    "taps": "a kernel position lies y * padded width + x sticks, both dilated, after "
    "its window's start",
    "top_left": "an output's row has its window's start, other rows none",
    "shard": "stick s lies in shard s div rows, row s mod rows; other rows are zero",
    "halo": "a haloed shard holds the padded images from its first window's start to "
    "its last window's end, and nothing else",
    "collect": "each output is taken from the row that computed it, and no row twice",
    "outputs": "all of the above together: every window element of every output comes "
    "from its own pixel, or from zero padding",
}


def check_layout(
    definition: Definition, statement: WeightStatement, maps: Maps, num_banks: int
) -> Iterator[Failure]:
    """Checks all of `RULES`; `maps` hold NumPy arrays."""
    channels = definition.channels_per_core
    yield from equal("channels", "of one core", channels, maps.channels_per_core)
    lanes = definition.input_channels
    yield from equal("channels", "of all windows", lanes, maps.lanes)
    yield from check_weights(definition, statement, maps, num_banks)
    yield from check_bias(definition, statement, maps, num_banks)
    yield from check_sticks(definition, maps)
