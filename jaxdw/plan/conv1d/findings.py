"""Known defects of the 1D depthwise program."""

from jaxdw.plan.conv1d.blocks import block_config, on_sfpu
from jaxdw.plan.conv1d.weights import weight_matrix
from jaxdw.plan.findings import Defect
from jaxdw.plan.lofi import lofi_gain
from jaxdw.plan.options import Option, never, unheeded
from jaxdw.plan.ttnn.blocks import block_height, num_height_blocks
from jaxdw.plan.ttnn.options import BOTH
from jaxdw.plan.ttnn.placed import Placed

_COMPUTE = "compute_depthwise_conv1d.cpp of ttnn 0.81.1"
_READER = "reader_depthwise_conv1d.cpp of ttnn 0.81.1"


def _dropped_activation(at: Placed) -> str | None:
    """The activation is dropped.

    The compute kernel of conv1d never applies one, and nothing refuses it.

    Do: apply it afterwards.
    """
    if at.conv.activation is None:
        return None
    return (
        f"conv1d drops the activation {at.conv.activation!r}: its kernel never applies "
        "one; apply it afterwards"
    )


def _indices_in_dram(at: Placed) -> str | None:
    """Config tensors in DRAM are never fetched.

    The reader of conv1d has no code for it, and walks uninitialised L1 as indices.

    Do: use config_tensors_in_dram=False.
    """
    if not at.shard.config_tensors_in_dram:
        return None
    return (
        "config_tensors_in_dram: the reader of conv1d never fetches its indices and "
        "walks uninitialised L1; use config_tensors_in_dram=False"
    )


def _dilation(at: Placed) -> str | None:
    """Taps are one stick apart, whatever the dilation.

    Sizes and halo are planned with it; the reader steps by one stick.

    Do: use dilation 1, or the 2D conv.
    """
    dilation, taps = at.conv.dilation[1], at.conv.kernel[1]
    if dilation == 1 or taps == 1:
        return None
    return (
        f"dilation {dilation} decides sizes and halo, but the reader steps its {taps} "
        "taps by one stick"
    )


def _block_sharded(at: Placed) -> str | None:
    """BLOCK multiplies taps by columns of channels.

    The kernels get as many taps as the kernel has times the cores along the channels.

    Do: use HEIGHT.
    """
    if at.scheme != "block":
        return None
    taps = at.conv.kernel[1]
    return (
        f"BLOCK takes the kernels of conv1d with {taps * at.input_columns} taps for "
        f"{taps}, {at.input_columns} columns of channels: the result means nothing; "
        "use HEIGHT"
    )


def _width_sharded(at: Placed) -> str | None:
    """WIDTH takes the dense matmul's activations.

    WIDTH runs as the dense matmul, while weights are prepared for conv1d.

    Do: use HEIGHT.
    """
    if at.scheme != "width":
        return None
    rows = weight_matrix(at, block_config(at)).rows
    activations = at.padded_channels * at.conv.kernel[1]
    return (
        f"WIDTH is the dense matmul's, with activations {activations} wide; weights "
        f"are prepared for conv1d, {rows} high: ttnn "
        f"{'refuses' if rows != activations else 'multiplies'} them; use HEIGHT"
    )


def _prepared_weights(at: Placed) -> str | None:
    """Prepared weights are for one height of blocks only.

    They are repeated for every tile of a block's height.

    Do: prepare the weights with the arguments of the call.
    """
    tiles = block_height(at)
    if tiles == 1:
        return None
    return (
        f"prepared weights are for blocks of {tiles} tiles only; prepare them with the "
        "arguments of the call"
    )


def _keeps_all_weights(at: Placed) -> bool:
    blocks = block_config(at)
    return blocks.coalesced or num_height_blocks(at, blocks) > 1


OPTIONS = (
    *BOTH,
    Option("full_inner_dim", never, "conv1d has kernels of one row"),
    Option("force_split_reader", never, "conv1d has one reader"),
    Option("packer_l1_acc", never, "conv1d adds in Dst"),
    Option(
        "enable_weights_double_buffer",
        lambda at: not _keeps_all_weights(at),
        "taps read at once, and several blocks, keep all weights in L1",
    ),
    Option(
        "math_fidelity",
        lambda at: not on_sfpu(at),
        "float32 products are the SFPU's, which has no phases",
    ),
)

DEFECTS = (
    unheeded(
        OPTIONS,
        basis="observed",
        source=f"ttnn 0.81.1 on a mock device; {_COMPUTE}",
    ),
    lofi_gain("conv1d"),
    Defect(
        code="JDW040",
        severity="wrong values",
        basis="observed",
        source=f"tt-metal issue #55272; {_COMPUTE}",
        meets=_dropped_activation,
    ),
    Defect(
        code="JDW041",
        severity="hang",
        basis="observed",
        source=f"tt-metal issue #47799; {_READER}",
        meets=_indices_in_dram,
    ),
    Defect(
        code="JDW042",
        severity="wrong values",
        basis="read",
        source=f"{_READER}; tt-metal PR #49694",
        meets=_dilation,
    ),
    Defect(
        code="JDW043",
        severity="wrong values",
        basis="read",
        source="kernel arguments of ttnn 0.81.1 on a mock device",
        meets=_block_sharded,
    ),
    Defect(
        code="JDW044",
        severity="wrong values",
        basis="observed",
        source="ttnn 0.81.1 on a mock device",
        meets=_width_sharded,
    ),
    Defect(
        code="JDW045",
        severity="performance",
        basis="observed",
        source="ttnn 0.81.1, prepare_conv_weights",
        meets=_prepared_weights,
    ),
)
