"""What is known to go wrong with ttnn 0.81.1's programs, as data.

Severities are those of `jaxdw.plan.findings`. A layer that the library refuses counts
as bad as wrong values: a gate that wants right values must stop, as there are none. A
setting that costs time without keeping what it promises counts as performance.
"""

from collections.abc import Callable

from jaxdw.plan.findings import Finding


def elsewhere(program: str, upstream: str) -> Finding:
    """The library runs the layer with another program.

    Its rule takes conv1d for one row without bias, else regular.

    Do: plan the program that runs: program='ttnn'.
    """
    return Finding(
        code="JDW021",
        severity="wrong values",
        basis="observed",
        text=f"ttnn 0.81.1 runs this layer with its {upstream} program, not with "
        f"{program}, which is planned here",
        source="ttnn 0.81.1, `is_1d_depthwise_conv` disassembled; run on a mock device",
    )


def sliced(num_launches: int) -> Finding:
    """The layer runs in several launches.

    It does not fit L1 at once; each slice has its own halo and loads all weights.

    Do: nothing is wrong with the values; a smaller batch or more cores cost less.
    """
    return Finding(
        code="JDW033",
        severity="performance",
        basis="observed",
        text=f"the layer does not fit L1 at once and runs in {num_launches} launches, "
        "each with its own halo and weights",
        source="ttnn 0.81.1 on a mock device; tt-metal op_slicing.cpp @0205dffd",
    )


def refused(message: str, num_launches: int) -> Finding:
    """The library refuses the layer.

    Its own sentence stands in the finding. A gate that wants right values stops, as
    there are none.

    Do: take the way out that the sentence names, or memory='dram'.

    Args:
      num_launches: that the default path would take instead; 0 for none.
    """
    instead = f"; memory='dram' runs it in {num_launches} launches"
    return Finding(
        code="JDW034",
        severity="wrong values",
        basis="observed",
        text=f"ttnn refuses this layer: {message.removesuffix('.')}"
        + (instead if num_launches else ""),
        source="ttnn 0.81.1 on a mock device",
    )


def unprepared(channels: int) -> Finding:
    """Weights are prepared for conv1d, the call goes to the matmul: refused.

    A 1x1 kernel on one row without bias is a matmul for the call and a depthwise conv
    for the preparation.

    Do: use a later tt-metal, which mends it, or add a bias.
    """
    return Finding(
        code="JDW035",
        severity="wrong values",
        basis="observed",
        text=f"ttnn refuses a 1x1 kernel on one row of {channels} channels without "
        "bias: weights are prepared for conv1d, the call goes to the matmul",
        source="ttnn 0.81.1 on a mock device; mended in a later conv2d.cpp of tt-metal",
    )


def by_matmul() -> Finding:
    """The library runs the layer with its matmul.

    A kernel of one position, stride 1 and no padding needs no windows.

    Do: nothing is wrong; the figures planned here are not of what runs.
    """
    return Finding(
        code="JDW036",
        severity="performance",
        basis="observed",
        text="ttnn runs this layer with its matmul, which is not planned here",
        source="ttnn 0.81.1 on a mock device",
    )


# what each says of one layer
SAID: dict[Callable[..., Finding], tuple[object, ...]] = {
    elsewhere: ("regular", "conv1d"),
    sliced: (2,),
    refused: ("a sentence", 0),
    unprepared: (8,),
    by_matmul: (),
}
