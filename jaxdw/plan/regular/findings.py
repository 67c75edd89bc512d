"""Known defects of the dense matmul."""

import dataclasses

from jaxdw.plan.conv1d import weights as conv1d_weights
from jaxdw.plan.conv1d.blocks import block_config as conv1d_blocks
from jaxdw.plan.findings import Defect
from jaxdw.plan.lofi import lofi_gain
from jaxdw.plan.options import Option, unheeded
from jaxdw.plan.regular.blocks import block_config, num_k_blocks
from jaxdw.plan.regular.buffers import l1_accumulates
from jaxdw.plan.regular.weights import weight_matrix
from jaxdw.plan.ttnn.blocks import num_height_blocks
from jaxdw.plan.ttnn.matrix import WeightMatrix
from jaxdw.plan.ttnn.options import BOTH
from jaxdw.plan.ttnn.placed import Placed, place
from jaxdw.plan.units import TILE, TILE_BYTES


def _bytes(matrix: WeightMatrix) -> int:
    tile = TILE_BYTES[matrix.at.conv.weights_dtype]
    return matrix.rows * matrix.columns // TILE**2 * tile


def _bias_on_one_row(at: Placed) -> str | None:
    """A bias keeps a layer of one row from conv1d.

    The library's rule takes conv1d only without a bias; the dense matmul has weights
    for every pair of channels in a tile.

    Do: leave the bias out and add it afterwards.
    """
    conv = at.conv
    if not conv.bias or conv.kernel[0] != 1 or conv.height != 1:
        return None
    plain = dataclasses.replace(conv, bias=False)
    other = place(plain, at.shard, at.compute, at.arch, "height")
    dense = _bytes(weight_matrix(at))
    sparse = _bytes(conv1d_weights.weight_matrix(other, conv1d_blocks(other)))
    return (
        f"a bias keeps this one-row layer from conv1d: {dense} bytes of weights "
        f"against {sparse}, {dense / sparse:.1f} times as many; add it afterwards"
    )


def _rounded_partials(at: Placed) -> str | None:
    """A 32-bit Dst is packed to the output's format after each block.

    The partial sums of blocks wait in a circular buffer of the output's format, unless
    the packer adds up in L1.

    Do: use a float32 output or packer_l1_acc=True.
    """
    count = num_k_blocks(at)
    if (
        not at.compute.fp32_dest_acc
        or at.conv.output_dtype == "float32"
        or count == 1
        or l1_accumulates(at, block_config(at))
    ):
        return None
    way_out = "packer_l1_acc=True"
    if at.compute.packer_l1_acc:
        way_out = "a bias, without which packer_l1_acc needs more blocks"
    return (
        "a 32-bit Dst costs subblocks and tilising, yet its sums are packed to "
        f"{at.conv.output_dtype} after each of {count} blocks; use a float32 output "
        f"or {way_out}"
    )


def _prepared_weights(at: Placed) -> str | None:
    """Prepared weights are for one layout of the input only.

    The alignment of channels hangs on the input's layout, and with it the rows of the
    matrix.

    Do: prepare the weights with the arguments of the call.
    """
    other = "tile" if at.shard.input_layout == "row_major" else "row_major"
    shard = dataclasses.replace(at.shard, input_layout=other, input_shard=None)
    there = weight_matrix(place(at.conv, shard, at.compute, at.arch, at.scheme))
    here = weight_matrix(at)
    if here.rows == there.rows:
        return None
    return (
        f"prepared weights are for a {at.shard.input_layout} input only: "
        f"[{here.rows}, {here.columns}] here, [{there.rows}, {there.columns}] for "
        f"{other}; prepare them with the arguments of the call"
    )


OPTIONS = (
    *BOTH,
    Option(
        "full_inner_dim",
        lambda at: at.scheme == "block" and at.conv.kernel[0] > 1,
        "only BLOCK cuts its sums by kernel rows, of which there must be several",
    ),
    Option(
        "force_split_reader",
        lambda at: block_config(at).split_reader,
        "two readers share the rows of a block, never WIDTH's nor those of one tile",
    ),
    Option(
        "enable_act_double_buffer",
        lambda at: (
            at.scheme != "width" or not at.input_columns == at.output_columns == 1
        ),
        "a lone core of WIDTH has no buffer that others send to",
    ),
    Option(
        "enable_weights_double_buffer",
        lambda at: (
            at.scheme != "height" or num_height_blocks(at, block_config(at)) == 1
        ),
        "several blocks of HEIGHT keep all weights in L1",
    ),
    Option(
        "packer_l1_acc",
        lambda at: l1_accumulates(at, block_config(at)),
        "sums of more than two blocks are needed, with a bias of more than one",
    ),
)

DEFECTS = (
    unheeded(OPTIONS, basis="observed", source="ttnn 0.81.1 on a mock device"),
    lofi_gain("regular"),
    Defect(
        code="JDW030",
        severity="performance",
        basis="observed",
        source="ttnn 0.81.1 on a mock device, `is_1d_depthwise_conv` disassembled",
        meets=_bias_on_one_row,
    ),
    Defect(
        code="JDW031",
        severity="performance",
        basis="observed",
        source="conv_bmm_tilize.cpp of ttnn 0.81.1 run in tenstorrent/ttsim @56694c8a",
        meets=_rounded_partials,
    ),
    Defect(
        code="JDW032",
        severity="performance",
        basis="observed",
        source="ttnn 0.81.1, prepare_conv_weights",
        meets=_prepared_weights,
    ),
)
