"""The options that commands share, and the configs they make."""

import argparse
import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.plan import config
from jaxdw.sweep.axes import DTYPES, PROGRAMS, parted

if TYPE_CHECKING:
    from jaxdw.plan.plan import Plan

# Source: DEPTHWISE_CONV2D_WIDTH_SHARDED_PLAN.md @6f883191, its own run's weights.
PLANS_BASE_ADDRESS = 0x1D4DA0


def sizes(text: str) -> tuple[int, ...]:
    """Returns integers joined by x."""
    try:
        return parted(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def named_sizes(text: str) -> tuple[str, tuple[int, ...]]:
    """Returns a name and its integers joined by x."""
    name, equals, shape = text.rpartition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError(f"{text!r} must be NAME=1x3x224x224")
    return name, sizes(shape)


def seed(text: str) -> int:
    """Returns the seed of a random generator."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be an integer >= 0; try 0")
    return int(text)


def file_to_write(path: str) -> str:
    """Returns a path whose folder exists: better refused now than after the work."""
    if not Path(path).absolute().parent.is_dir():
        raise argparse.ArgumentTypeError(
            f"{path!r} must lie in a folder that exists; make it or name another"
        )
    return path


def file_to_read(path: str) -> str:
    """Returns the path of a file that exists."""
    if not Path(path).is_file():
        raise argparse.ArgumentTypeError(f"{path!r} must be a file that exists")
    return path


def _pair(text: str) -> tuple[int, ...]:
    found = sizes(text)
    return found * 2 if len(found) == 1 else found


def _count_or_grid(text: str) -> int | tuple[int, ...]:
    found = sizes(text)
    return found[0] if len(found) == 1 else found


def dtype(text: str) -> str:
    """Returns the full name of a dtype given short, `bfp8` for one."""
    return DTYPES.get(text.lower(), text.lower())


def add_layer_options(
    parser: argparse.ArgumentParser, *, required: bool = True
) -> None:
    """Adds what describes one layer, its sharding, its chip and its arithmetic."""
    conv = parser.add_argument_group("convolution")
    conv.add_argument(
        "--from", metavar="TEXT|FILE|-", dest="source",
        help="take the layer from a paste: pytest node id or parametrize row of "
        "tt-metal, ttnn.conv2d(...) call, TTIR or TTNN text, graph capture; options "
        "given beside it win",
    )  # fmt: skip
    conv.add_argument(
        "--pick", metavar="N", help="with --from, the layer of several to take"
    )
    conv.add_argument("--channels", type=int, required=required)
    conv.add_argument(
        "--size", type=_pair, required=required, help="HxW, or one number"
    )
    conv.add_argument("--batch", type=int, default=1)
    conv.add_argument("--kernel", type=_pair, default=(3, 3), help="HxW")
    conv.add_argument("--stride", type=_pair, default=(1, 1), help="HxW")
    conv.add_argument(
        "--padding", type=sizes, default=(0,), help="P, HxW, or TOPxBOTTOMxLEFTxRIGHT"
    )
    conv.add_argument("--dilation", type=_pair, default=(1, 1), help="HxW")
    conv.add_argument("--dtype", type=dtype, default="bfloat16", help="activations")
    conv.add_argument(
        "--weights-dtype", type=dtype, default="bfloat16", help="or bfp8, bfp4, fp32"
    )
    conv.add_argument("--output-dtype", type=dtype, default="bfloat16")
    conv.add_argument("--bias", action="store_true")
    conv.add_argument("--activation", choices=get_args(config.Activation))
    chip = parser.add_argument_group("sharding and chip")
    chip.add_argument(
        "--scheme", default="height", help="height, width, block, or auto: the best"
    )
    chip.add_argument("--grid", type=sizes, help="largest core grid allowed, XxY")
    chip.add_argument(
        "--cores", type=_count_or_grid, help="these cores, no search: a number, or XxY"
    )
    chip.add_argument("--orientation", default="row_major", help="or col_major (BLOCK)")
    chip.add_argument("--act-block-h-override", type=int, default=0)
    chip.add_argument(
        "--input-shard", type=sizes, help="ROWSxCHANNELS of an input already sharded"
    )
    chip.add_argument("--reshard-if-not-optimal", action="store_true")
    chip.add_argument("--output-layout", default="tile", help="or row_major")
    chip.add_argument("--enable-act-double-buffer", action="store_true")
    chip.add_argument("--enable-weights-double-buffer", action="store_true")
    chip.add_argument(
        "--program-cache", action="store_true",
        help="the program is called again with tensors at other addresses",
    )  # fmt: skip
    chip.add_argument("--weight-layout", default="final")
    chip.add_argument("--arch", default="wormhole_b0", help="a name or a TOML file")
    chip.add_argument(
        "--program", default="depthwise",
        help=f"device program: {', '.join(PROGRAMS)}, or ttnn: the one of the last two "
        "that ttnn 0.81.1 takes",
    )  # fmt: skip
    chip.add_argument(
        "--base-address", type=lambda text: int(text, 0),
        help="of the weights in every DRAM bank, for the addresses shown; default: "
        f"that of the plans, {PLANS_BASE_ADDRESS:#x}, aligned to the chip",
    )  # fmt: skip
    ttnn = parser.add_argument_group("options of ttnn 0.81.1's programs only")
    ttnn.add_argument("--input-layout", default="row_major", help="or tile")
    ttnn.add_argument(
        "--memory", default="l1", help="or dram: in slices until a launch fits"
    )
    ttnn.add_argument(
        "--act-block-w-div", type=int, default=1, help="blocks of a core (WIDTH)"
    )
    for option, text in (
        ("--config-tensors-in-dram", "the reader's indices come from DRAM"),
        ("--full-inner-dim", "all kernel rows in one block (BLOCK)"),
        ("--force-split-reader", "two readers wherever they can be"),
        ("--enable-activation-reuse", "keep sticks for the next row (HEIGHT)"),
        ("--packer-l1-acc", "the packer adds up blocks of a long sum"),
    ):
        ttnn.add_argument(option, action="store_true", help=text)
    compute = parser.add_argument_group("compute")
    compute.add_argument("--arithmetic", default="fpu", help="fpu or float32")
    compute.add_argument(
        "--math-fidelity", default="LoFi", help="LoFi to HiFi4, which ttnn defaults to"
    )
    compute.add_argument("--fp32-dest-acc", action="store_true")


def configs(
    args: argparse.Namespace,
) -> tuple[config.ConvConfig, config.ShardConfig, config.ComputeConfig]:
    """Returns the configs that the options of `add_layer_options` describe.

    Every field but height and width has an option of its name;
    `jaxdw.sweep.repeat.layer_words` is the way back.
    """
    if len(args.size) != 2:
        raise ConfigError(f"`--size` (={args.size}) must be HxW or one number; try 8x8")
    given = vars(args) | {"height": args.size[0], "width": args.size[1]}
    if len(args.padding) == 1:
        given["padding"] = args.padding[0]

    def made(cls):
        return cls(
            **{field.name: given[field.name] for field in dataclasses.fields(cls)}
        )

    return (
        made(config.ConvConfig),
        made(config.ShardConfig),
        made(config.ComputeConfig),
    )


def planned(args: argparse.Namespace, *, must_fit: bool = False) -> "Plan":
    """Returns the plan that the options describe, by the program that they name."""
    from jaxdw.plan.planner import make_plan

    return make_plan(*configs(args), args.arch, program=args.program, must_fit=must_fit)


def announce(plan: "Plan") -> None:
    """Prints, before anything else, that the layer runs by no program planned here."""
    from jaxdw.report.facts import elsewhere

    notice = elsewhere(plan)
    if notice is not None:
        print(notice)


def refuse_other_programs(plan: "Plan", command: str) -> None:
    """Refuses a program that a command knows nothing of.

    Raises:
      UnsupportedError: a plan of another program than depthwise.
    """
    if plan.program != "depthwise":
        raise UnsupportedError(
            f"`--program` (={plan.program!r}) must be depthwise for `jaxdw {command}`, "
            "whose faults are made for that program; leave it out"
        )


def load_array(name: str, path: str) -> Any:
    """Returns the array of a .npy file; nothing in it is run."""
    import numpy as np

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ConfigError(
            f"`{name}` (={path!r}) must be a .npy file of numbers: {error}; write one "
            "with numpy.save"
        ) from error


def base_address(args: argparse.Namespace, align_bytes: int) -> int:
    """Returns the weights' address: the one given, or that of the plans, aligned."""
    if args.base_address is not None:
        if args.base_address < 0 or args.base_address % align_bytes:
            near = max(0, args.base_address) // align_bytes * align_bytes
            raise ConfigError(
                f"`--base-address` (={args.base_address:#x}) must be a multiple of the "
                f"chip's {align_bytes} bytes; try {near:#x}"
            )
        return args.base_address
    return PLANS_BASE_ADDRESS - PLANS_BASE_ADDRESS % align_bytes


def backend() -> Literal["xla", "pallas"]:
    """Returns the backend of `run` that `JAXDW_PALLAS` in the environment asks for."""
    asked = os.environ.get("JAXDW_PALLAS") or "0"
    if asked not in ("0", "1"):
        raise ConfigError(
            f"`JAXDW_PALLAS` (={asked!r}) must be 1 for the Pallas kernel, 0 for XLA; "
            "unset it"
        )
    return "pallas" if asked == "1" else "xla"


def refuse_pallas(command: str) -> None:
    """Refuses the Pallas kernel for a command whose cores run on XLA.

    Raises:
      ConfigError: `JAXDW_PALLAS` asks for it.
    """
    if backend() == "pallas":
        raise ConfigError(
            f"`JAXDW_PALLAS` (=1) must be 0 for `jaxdw {command}`, which runs on XLA; "
            "unset it"
        )
