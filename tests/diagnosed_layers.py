"""Twelve layers, small, that between them have every scheme, chip, program, format."""

import functools

import jaxdw as jd

_SMALL = {"channels": 64, "height": 10, "width": 9, "kernel": 3, "padding": 1}
_FULL = _SMALL | {"bias": True, "activation": "relu"}


def _layer(
    scheme="height",
    arch="wormhole_b0",
    program="depthwise",
    grid=None,
    compute=None,
    **fields,
):
    conv = jd.ConvConfig(**(_SMALL | fields))
    shard = jd.ShardConfig(scheme=scheme, grid=grid)
    return functools.partial(
        jd.make_plan,
        conv,
        shard,
        jd.ComputeConfig(**(compute or {})),
        arch,
        program=program,
    )


LAYERS = {
    "height": _layer(grid=(3, 1)),
    "width": _layer("width", **_FULL),
    "block": _layer("block", grid=(2, 3), bias=True, activation="relu6"),
    "blackhole": _layer("block", "blackhole", grid=(2, 2), channels=96, bias=True),
    "two images": _layer(batch=2, stride=2, height=13, width=12, grid=(4, 1)),
    "25 taps": _layer("height", grid=(2, 1), kernel=5, padding=2, channels=160),
    "bfp8": _layer("width", weights_dtype="bfloat8_b", grid=(2, 1), bias=True),
    "HiFi2": _layer(
        compute={"math_fidelity": "HiFi2", "fp32_dest_acc": True},
        height=1,
        width=96,
        kernel=(1, 3),
        padding=(0, 1),
    ),
    "float32": _layer(
        "block",
        compute={"arithmetic": "float32"},
        dtype="float32",
        weights_dtype="float32",
        output_dtype="float32",
        grid=(2, 2),
        bias=True,
    ),
    "silu": _layer("width", activation="silu", bias=True, padding=(1, 1, 0, 2)),
    "regular": _layer("block", program="regular", grid=(2, 3), **_FULL),
    "conv1d": _layer(
        program="conv1d", height=1, width=96, kernel=(1, 3), padding=(0, 1)
    ),
}


@functools.cache
def layer(name: str) -> jd.Plan:
    return LAYERS[name]()
