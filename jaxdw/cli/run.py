"""`jaxdw run`: one convolution emulated and judged."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jaxdw.cli.arrays import (
    add_tensor_options,
    read_own,
    refuse_overwriting,
    rounding_notes,
)
from jaxdw.cli.options import (
    add_layer_options,
    announce,
    backend,
    base_address,
    file_to_write,
    named_sizes,
    planned,
)
from jaxdw.errors import ConfigError
from jaxdw.files import whole_file
from jaxdw.plan.units import TILE_BYTES

if TYPE_CHECKING:
    from jaxdw.judge.compare import Verdict
    from jaxdw.judge.comparison import Comparison
    from jaxdw.launch.emulator import Emulation
    from jaxdw.plan.plan import Plan

PASS, FAIL = 0, 1
_DUMPS = ("weights", "tiles", "l1")


def add(commands) -> None:
    """Adds the command to a parser's commands."""
    parser = commands.add_parser(
        "run",
        help="emulate one convolution and compare it with the float64 reference",
        description="Emulates one depthwise conv2d, every stage of its data path, "
        "and says whether the result is right: exit status 0 PASS, 1 FAIL (an output "
        "that is not that of --against, too), 2 refused. A layer that does not fit L1 "
        "is emulated all the same.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add_layer_options(parser)
    add_tensor_options(parser, "--against")
    parser.add_argument(
        "--save", type=file_to_write, metavar="FILE",
        help="write the output as .npy, [N, Ho, Wo, C] float32, which holds the values "
        "of every output dtype",
    )  # fmt: skip
    parser.add_argument(
        "--weights", choices=("random", "pattern"),
        help="random unless given; pattern: every weight is its kernel position + 1",
    )  # fmt: skip
    parser.add_argument(
        "--onnx", metavar="FILE", help="take weights and bias of one of its layers"
    )
    parser.add_argument("--layer", metavar="NAME", help="the layer of the ONNX file")
    parser.add_argument(
        "--input", type=named_sizes, action="append", default=[],
        metavar="NAME=1x3x8x8",
        help="shape of the ONNX file's input; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--dump", choices=_DUMPS, action="append", default=[],
        help="print prepared weights, DRAM tiles or each core's L1, face by face",
    )  # fmt: skip
    parser.add_argument(
        "--json", action="store_true", help="one JSON object, no tables"
    )
    parser.set_defaults(command=_run)


def _run(args: argparse.Namespace) -> int:
    plan = planned(args)
    conv, compute, arch = plan.conv, plan.compute, plan.arch
    if not args.json:
        announce(plan)
    if args.save is not None:
        _check_save(args)
    layer = _layer_weights(args)
    own = read_own(args, plan, "--against", layer)
    notes = own.notes
    if own.operands is not None and args.weights is not None:
        raise ConfigError(
            f"`--weights` (={args.weights!r}) must be left out with `--w`, which has "
            "its own"
        )

    import numpy as np

    from jaxdw.judge.compare import judge
    from jaxdw.judge.comparison import compare_outputs, product_magnitudes
    from jaxdw.judge.draws import as_sent, draw
    from jaxdw.judge.reference import reference
    from jaxdw.launch.emulator import run
    from jaxdw.maps.banks import bank_table
    from jaxdw.maps.maps import make_maps

    rows, columns = plan.weight_tile_grid
    page_bytes = TILE_BYTES[conv.weights_dtype]
    table = bank_table(
        rows * columns, page_bytes, base_address(args, arch.dram_align_bytes), arch
    )
    if own.operands is None:
        operands = draw(conv, args.weights or "random", args.seed or 0, layer)
    else:
        operands = as_sent(conv, own.operands)
        notes += rounding_notes(own.operands, operands)
    x, w, bias = operands
    keep = {"weights": "weights", "tiles": "tiles", "l1": "l1_weights"}
    kept = tuple(keep[dump] for dump in args.dump)
    maps = make_maps(plan)
    result = run(plan, maps, x, w, bias, keep=kept, backend=backend())
    verdict = judge(result.output, reference(conv, x, w, bias), conv, compute)
    output = np.asarray(result.output)
    against = None
    if own.output is not None:
        size = product_magnitudes(conv, x, w, bias)
        against = compare_outputs(plan, output, own.output, size)
    if args.save is not None:
        with whole_file(args.save) as draft, draft.open("wb") as file:
            np.save(file, output)
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
    show = _print_json if args.json else _print_tables
    show(plan, addresses, verdict, result, args.dump, notes, against)
    return PASS if _passed(verdict, against) else FAIL


def _passed(verdict: "Verdict", against: "Comparison | None") -> bool:
    return verdict.passed and (against is None or against.kind == "identical")


def _check_save(args: argparse.Namespace) -> None:
    if not args.save.endswith(".npy"):
        raise ConfigError(f"`--save` (={args.save!r}) must end in .npy; name it so")
    refuse_overwriting(args, args.save, "against", "onnx")


def _layer_weights(args: argparse.Namespace):
    """Returns weights and bias of the layer of a file, None without one."""
    if args.onnx is None and args.layer is None and not args.input:
        return None
    if args.onnx is None or args.layer is None:
        raise ConfigError(
            f"`--layer` (={args.layer!r}) and `--onnx` (={args.onnx!r}) must come "
            "together, and `--input` with both; add the one that is missing"
        )
    if args.weights is not None:
        raise ConfigError(
            f"`--weights` (={args.weights!r}) must be left out with `--onnx`, whose "
            "layer has its own"
        )
    from jaxdw.sweep.space import onnx_layer

    layer = onnx_layer(args.onnx, tuple(args.input), args.layer)
    return layer.weights, layer.bias


def _print_json(
    plan: "Plan", addresses, verdict, result: "Emulation", dumps, notes, against
) -> None:
    from jaxdw.report.facts import plan_facts

    report = {
        "plan": plan_facts(plan),
        "addresses": addresses,
        "traffic": dataclasses.asdict(plan.traffic),
        "findings": [dataclasses.asdict(finding) for finding in plan.findings],
        "result": dataclasses.asdict(verdict),
    }
    if notes:
        report["notes"] = notes
    if against is not None:
        report["against"] = dataclasses.asdict(against)
    if dumps:
        report["dump"] = {d: list(_dump(plan, d, result)) for d in dumps}
    print(json.dumps(report))


def _print_tables(
    plan: "Plan", addresses, verdict, result: "Emulation", dumps, notes, against
) -> None:
    from rich.console import Console

    from jaxdw.report import facts, text

    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    console.print(text.facts_table("Plan", facts.plan_facts(plan)))
    console.print(text.rows_table("Weight tiles in DRAM", addresses))
    console.print(text.facts_table("Traffic", dataclasses.asdict(plan.traffic)))
    for dump in dumps:
        print(*_dump(plan, dump, result), sep="\n")
    for finding in plan.findings:
        console.print(f"FINDING {finding}", markup=False)
    for note in notes:
        console.print(note, markup=False)
    console.print(text.facts_table("Against float64", facts.verdict_facts(verdict)))
    if against is not None:
        console.print("Against the file", style="bold")
        for line in against.lines():
            console.print(line, markup=False)
    console.print("PASS" if _passed(verdict, against) else "FAIL")


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
            for place in range(plan.multiplied_tiles):
                yield from tile_lines(
                    f"Core {plan.core_grid.xy(core)} L1 tile {place} (DRAM tile "
                    f"{ids[place]}):",
                    untilize(tiles[place][None], (32, 32)),
                )
