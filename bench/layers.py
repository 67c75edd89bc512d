"""The layers that the benchmarks run."""

from jaxdw.plan.config import ConvConfig

# (channels, height and width, stride), 3x3, padding 1, in order of appearance.
# Source: Sandler et al., MobileNetV2, arXiv:1801.04381, table 2, at 224x224.
MOBILENET_V2 = (
    (32, 112, 1),
    (96, 112, 2),
    (144, 56, 1),
    (144, 56, 2),
    *[(192, 28, 1)] * 2,
    (192, 28, 2),
    *[(384, 14, 1)] * 4,
    *[(576, 14, 1)] * 2,
    (576, 14, 2),
    *[(960, 7, 1)] * 3,
)


def mobilenet_v2() -> dict[ConvConfig, int]:
    """Returns the distinct depthwise layers and how often each appears; 17 in all."""
    counts: dict[ConvConfig, int] = {}
    for channels, size, stride in MOBILENET_V2:
        conv = ConvConfig(
            channels=channels,
            height=size,
            width=size,
            stride=(stride, stride),
            padding=(1, 1, 1, 1),
        )
        counts[conv] = counts.get(conv, 0) + 1
    return counts
