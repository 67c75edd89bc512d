"""Depthwise layers along a sequence: one row of pixels, a kernel one row high."""

from collections.abc import Iterator

from jaxdw.plan.config import ConvConfig

# Mamba-like: 4 positions, the last 3 before each among them; the bias, and SiLU after
# it, are ops of their own, as conv1d of ttnn takes neither. Channels are those of one
# or half a layer of the 2.8B model (2 * 2560), and twice as many.
# Source: Gu and Dao, Mamba, arXiv:2312.00752, section 3.4; tt-metal
# models/demos/wormhole/mamba/tt/mamba_conv.py @04f132b8, mamba_block.py @0a866e59.
_MAMBA_CHANNELS = (2560, 5120, 10_240)
_MAMBA_LENGTHS = (12, 128, 1024, 4096)  # positions of one sequence
_MAMBA_KERNEL = 4


def mamba_like() -> Iterator[tuple[str, ConvConfig]]:
    """Yields each layer's name and convolution, zeros before the first position."""
    for channels in _MAMBA_CHANNELS:
        for length in _MAMBA_LENGTHS:
            conv = ConvConfig(
                channels=channels,
                height=1,
                width=length,
                kernel=(1, _MAMBA_KERNEL),
                padding=(0, 0, _MAMBA_KERNEL - 1, 0),
            )
            yield f"conv1d.{channels}.{length}", conv
