"""`jaxdw run`: one convolution emulated and judged."""

import argparse
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from jaxdw.cli.arrays import (
    TENSORS,
    read_own,
    rounding_notes,
)
from jaxdw.cli.of_model import WITH_WEIGHTS, layer_weights
from jaxdw.cli.options import (
    add_layer_options,
    announce,
    backend,
    base_address,
    planned,
)
from jaxdw.cli.parser import take
from jaxdw.cli.screen import make_console, show
from jaxdw.errors import ConfigError
from jaxdw.escapes import json_text
from jaxdw.files import whole_file
from jaxdw.launch.cache import check_platform
from jaxdw.plan.units import TILE_BYTES

if TYPE_CHECKING:
    from jaxdw.judge.compare import Verdict
    from jaxdw.judge.comparison import Comparison
    from jaxdw.launch.emulator import Emulation
    from jaxdw.plan.plan import Plan

PASS, FAIL = 0, 1


def add(commands) -> None:
    """Adds the command to a parser's commands."""
    parser = commands.add_parser(
        "run",
        help="emulate one convolution and compare it with the float64 reference",
        description="Emulates one depthwise conv2d, every stage of its data path, "
        "and says whether the result is right: exit status 0 PASS, 1 FAIL (an output "
        "that is not that of --against, too), 2 refused. A layer that does not fit L1 "
        "is emulated all the same.",
    )
    take(parser, *TENSORS, "--against", "--save")
    take(parser, "--draw", was="--weights")
    take(parser, "--models", was="--onnx", text=WITH_WEIGHTS)
    take(parser, "--dump", "--base-address", "--json")
    add_layer_options(parser)
    parser.set_defaults(command=_run)


def _run(args: argparse.Namespace) -> int:
    plan = planned(args)
    conv, compute, arch = plan.conv, plan.compute, plan.arch
    if not args.json:
        announce(plan)
    if args.save is not None and not args.save.endswith(".npy"):
        raise ConfigError(f"`--save` (={args.save!r}) must end in .npy; name it so")
    layer = layer_weights(args)
    own = read_own(args, plan, "--against", layer)
    notes = own.notes
    if own.operands is not None and "--draw" in args.given:
        raise ConfigError(
            f"`--draw` (={args.draw}) must be left out with `--w`, which has its own"
        )

    check_platform()

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
    table = bank_table(rows * columns, page_bytes, base_address(args, arch), arch)
    if own.operands is None:
        operands = draw(conv, args.draw, args.seed, layer)
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
    print(json_text(report))


def _print_tables(
    plan: "Plan", addresses, verdict, result: "Emulation", dumps, notes, against
) -> None:
    from jaxdw.report import facts, text

    console = make_console()
    show(console, text.facts_table("Plan", facts.plan_facts(plan)))
    show(console, text.rows_table("Weight tiles in DRAM", addresses))
    show(console, text.facts_table("Traffic", dataclasses.asdict(plan.traffic)))
    for dump in dumps:
        print(*_dump(plan, dump, result), sep="\n")
    for finding in plan.findings:
        print(f"FINDING {finding}")
    print(*notes, sep="\n", end="\n" * bool(notes))
    show(console, text.facts_table("Against float64", facts.verdict_facts(verdict)))
    print(facts.meaning(plan, verdict))
    if against is not None:
        print("Against the file:", *against.lines(), sep="\n")
    print("PASS" if _passed(verdict, against) else "FAIL")


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
