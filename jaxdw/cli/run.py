"""The command `jaxdw`. JAX is imported after the arguments are parsed."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, get_args

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.plan import config

if TYPE_CHECKING:
    from jaxdw.machine.emulator import Emulation
    from jaxdw.plan.plan import Plan

PASS, FAIL, REFUSED = 0, 1, 2

# Source: DEPTHWISE_CONV2D_WIDTH_SHARDED_PLAN.md @6f883191, its own run's weights.
PLANS_BASE_ADDRESS = 0x1D4DA0

_SCHEMES = get_args(config.Scheme)
_DUMPS = ("weights", "tiles", "l1")
_DTYPES = {
    "bf16": "bfloat16",
    "fp32": "float32",
    "bfp8": "bfloat8_b",
    "bfp4": "bfloat4_b",
}


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.lower().replace(",", "x").split("x"))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be integers joined by x; try 3x3"
        ) from None


def _pair(text: str) -> tuple[int, ...]:
    sizes = _sizes(text)
    return sizes * 2 if len(sizes) == 1 else sizes


def _dtype(text: str) -> str:
    return _DTYPES.get(text.lower(), text.lower())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jaxdw",
        description="Emulates Tenstorrent's sharded depthwise conv2d, byte by byte.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser(
        "run",
        help="emulate one convolution and compare it with the float64 reference",
        description="Emulates one depthwise conv2d, every stage of its data path, "
        "and says whether the result is right: exit status 0 PASS, 1 FAIL, 2 refused.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    _add_conv_arguments(run)
    run.add_argument("--seed", type=int, default=0, help="of inputs and weights")
    run.add_argument(
        "--weights",
        choices=("random", "pattern"),
        default="random",
        help="pattern: every weight equals its kernel position + 1",
    )
    run.add_argument(
        "--dump", choices=_DUMPS, action="append", default=[],
        help="print prepared weights, DRAM tiles or each core's L1, face by face",
    )  # fmt: skip
    run.add_argument("--json", action="store_true", help="one JSON object, no tables")
    return parser


def _add_conv_arguments(parser: argparse.ArgumentParser) -> None:
    conv = parser.add_argument_group("convolution")
    conv.add_argument("--channels", type=int, required=True)
    conv.add_argument("--size", type=_pair, required=True, help="HxW, or one number")
    conv.add_argument("--batch", type=int, default=1)
    conv.add_argument("--kernel", type=_pair, default=(3, 3), help="HxW")
    conv.add_argument("--stride", type=_pair, default=(1, 1), help="HxW")
    conv.add_argument(
        "--padding", type=_sizes, default=(0,), help="P, HxW, or TOPxBOTTOMxLEFTxRIGHT"
    )
    conv.add_argument("--dilation", type=_pair, default=(1, 1), help="HxW")
    conv.add_argument("--dtype", type=_dtype, default="bfloat16", help="activations")
    conv.add_argument(
        "--weights-dtype",
        type=_dtype,
        default="bfloat16",
        help="or bfp8, bfp4, fp32",
    )
    conv.add_argument("--output-dtype", type=_dtype, default="bfloat16")
    conv.add_argument("--bias", action="store_true")
    conv.add_argument("--activation", choices=get_args(config.Activation))
    chip = parser.add_argument_group("sharding and chip")
    chip.add_argument("--scheme", default="height", help=", ".join(_SCHEMES))
    chip.add_argument("--grid", type=_sizes, help="largest core grid allowed, XxY")
    chip.add_argument("--act-block-h-override", type=int, default=0)
    chip.add_argument("--weight-layout", default="final")
    chip.add_argument("--arch", default="wormhole_b0", help="a name or a TOML file")
    chip.add_argument(
        "--base-address", type=lambda text: int(text, 0),
        help="of the weights in every DRAM bank, for the addresses shown; default: "
        f"that of the plans, {PLANS_BASE_ADDRESS:#x}, aligned to the chip",
    )  # fmt: skip
    compute = parser.add_argument_group("compute")
    compute.add_argument("--arithmetic", default="fpu", help="fpu or float32")
    compute.add_argument("--math-fidelity", default="LoFi", help="LoFi to HiFi4")
    compute.add_argument("--fp32-dest-acc", action="store_true")


def _configs(
    args: argparse.Namespace,
) -> tuple[config.ConvConfig, config.ShardConfig, config.ComputeConfig]:
    if len(args.size) != 2:
        raise ConfigError(f"`--size` (={args.size}) must be HxW or one number; try 8x8")
    padding = args.padding[0] if len(args.padding) == 1 else args.padding
    conv = config.ConvConfig(
        batch=args.batch,
        channels=args.channels,
        height=args.size[0],
        width=args.size[1],
        kernel=args.kernel,
        stride=args.stride,
        padding=padding,
        dilation=args.dilation,
        dtype=args.dtype,
        weights_dtype=args.weights_dtype,
        output_dtype=args.output_dtype,
        bias=args.bias,
        activation=args.activation,
    )
    shard = config.ShardConfig(
        scheme=args.scheme,
        grid=args.grid,
        act_block_h_override=args.act_block_h_override,
        weight_layout=args.weight_layout,
    )
    compute = config.ComputeConfig(
        arithmetic=args.arithmetic,
        math_fidelity=args.math_fidelity,
        fp32_dest_acc=args.fp32_dest_acc,
    )
    return conv, shard, compute


def _run(args: argparse.Namespace) -> int:
    conv, shard, compute = _configs(args)
    from jaxdw.plan.plan import make_plan

    plan = make_plan(conv, shard, compute, args.arch)
    arch = plan.arch

    from jaxdw.machine.emulator import run
    from jaxdw.maps.banks import bank_table
    from jaxdw.maps.maps import make_maps
    from jaxdw.verify.compare import judge, reference

    rows, columns = plan.weight_tile_grid
    base_address = args.base_address
    if base_address is None:
        base_address = PLANS_BASE_ADDRESS - PLANS_BASE_ADDRESS % arch.dram_align_bytes
    page_bytes = config.TILE_BYTES[conv.weights_dtype]
    table = bank_table(rows * columns, page_bytes, base_address, arch)
    x, w, bias = _draw(conv, args)
    keep = {"weights": "weights", "tiles": "tiles", "l1": "l1_weights"}
    kept = tuple(keep[dump] for dump in args.dump)
    result = run(plan, make_maps(plan), x, w, bias, keep=kept)
    verdict = judge(result.output, reference(conv, x, w, bias), conv, compute)
    shown = min(len(table.bank), arch.num_banks)
    addresses = [
        {
            "tile": tile,
            "bank": int(table.bank[tile]),
            "slot": int(table.slot[tile]),
            "local_address": hex(table.local_address[tile]),
            "noc_address": hex(table.noc_address[tile]),
        }
        for tile in range(shown)
    ]
    if args.json:
        _print_json(plan, addresses, verdict, result, args.dump)
    else:
        _print_tables(plan, addresses, verdict, result, args.dump)
    return PASS if verdict.passed else FAIL


def _draw(conv: config.ConvConfig, args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Draws values that bf16 holds, as tt-metal's own test does."""
    import ml_dtypes
    import numpy as np

    rng = np.random.default_rng(args.seed)

    def normal(*shape: int):
        values = rng.standard_normal(shape).astype(ml_dtypes.bfloat16)
        return values.astype(np.float32)

    x, w, bias = normal(*conv.input_shape), normal(*conv.weight_shape), None
    if conv.bias:
        bias = (normal(conv.channels) * 10).astype(ml_dtypes.bfloat16)
        bias = bias.astype(np.float32)
    if args.weights == "pattern":
        position = np.arange(1, conv.taps + 1, dtype=np.float32).reshape(conv.kernel)
        w = np.broadcast_to(position, conv.weight_shape)
    return x, w, bias


def _print_json(plan: "Plan", addresses, verdict, result: "Emulation", dumps) -> None:
    from jaxdw.report import text

    report = {
        "plan": text.plan_facts(plan),
        "addresses": addresses,
        "traffic": dataclasses.asdict(plan.traffic),
        "findings": [dataclasses.asdict(finding) for finding in plan.findings],
        "result": dataclasses.asdict(verdict),
    }
    if dumps:
        report["dump"] = {d: list(_dump(plan, d, result)) for d in dumps}
    print(json.dumps(report))


def _print_tables(plan: "Plan", addresses, verdict, result: "Emulation", dumps) -> None:
    from rich.console import Console

    from jaxdw.report import text

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(text.facts_table("Plan", text.plan_facts(plan)))
    console.print(text.rows_table("Weight tiles in DRAM", addresses))
    console.print(text.facts_table("Traffic", dataclasses.asdict(plan.traffic)))
    for dump in dumps:
        print(*_dump(plan, dump, result), sep="\n")
    for finding in plan.findings:
        console.print(f"FINDING {finding}", markup=False)
    console.print(text.facts_table("Against float64", text.verdict_facts(verdict)))
    console.print("PASS" if verdict.passed else "FAIL")


def _dump(plan: "Plan", dump: str, result: "Emulation") -> Iterator[str]:
    import numpy as np

    from jaxdw.maps.tiles import untilize
    from jaxdw.report.text import face_view

    def tile_lines(name: str, values) -> Iterator[str]:
        yield name
        yield from face_view(np.asarray(values, np.float32))

    columns = plan.weight_tile_grid[1]
    if dump == "weights":
        matrix = np.asarray(result.memories["weights"], np.float32)
        for tile in range(matrix.size // 1024):
            row, column = divmod(tile, columns)
            yield from tile_lines(
                f"Matrix rows {32 * row}-{32 * row + 31}, "
                f"columns {32 * column}-{32 * column + 31}:",
                matrix[32 * row :, 32 * column :][:32, :32],
            )
    elif dump == "tiles":
        for tile, values in enumerate(result.memories["tiles"]):
            row, column = divmod(tile, columns)
            bank, slot = tile % plan.arch.num_banks, tile // plan.arch.num_banks
            yield from tile_lines(
                f"Tile {tile} (tile row {row}, column {column}; bank {bank}, slot "
                f"{slot}):",
                untilize(values[None], (32, 32)),
            )
    else:
        for core, tiles in enumerate(result.memories["l1_weights"]):
            ids = plan.weight_tile_ids(core)
            for place in range(plan.effective_tiles):
                yield from tile_lines(
                    f"Core {plan.core_grid.xy(core)} L1 tile {place} (DRAM tile "
                    f"{ids[place]}):",
                    untilize(tiles[place][None], (32, 32)),
                )


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    args = _parser().parse_args(argv)
    try:
        return _run(args)
    except (ConfigError, UnsupportedError) as error:
        print(f"jaxdw: {error}", file=sys.stderr)
        return REFUSED


if __name__ == "__main__":
    sys.exit(main())
