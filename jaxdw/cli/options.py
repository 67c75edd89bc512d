"""The options that commands share, and the configs they make."""

import argparse
import contextlib
import dataclasses
import os
import signal
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from jaxdw.cli.parser import take_layer
from jaxdw.cli.vocabulary import PLANS_BASE_ADDRESS, UNUSED
from jaxdw.errors import (
    ConfigError,
    range_problem,
    refuse,
)
from jaxdw.plan import config
from jaxdw.sweep.axes import joined
from jaxdw.sweep.workers import ends_by_sigterm

if TYPE_CHECKING:
    from jaxdw.arch.arch import Arch
    from jaxdw.plan.plan import Plan


def add_layer_options(
    parser: argparse.ArgumentParser, *, required: bool = True
) -> None:
    """Adds what describes one layer, its sharding, its chip and its arithmetic."""
    take_layer(parser, required=required)


def configs(
    args: argparse.Namespace,
) -> tuple[config.ConvConfig, config.ShardConfig, config.ComputeConfig]:
    """Returns the configs that the options of `add_layer_options` describe.

    Every field but height and width has an option of its name;
    `jaxdw.sweep.repeat.layer_words` is the way back.
    """
    if len(args.size) != 2:
        raise ConfigError(
            f"`--size` (={joined(args.size)}) must be HxW or one number; try 8x8"
        )
    given = vars(args) | {"height": args.size[0], "width": args.size[1]}

    def made(cls):
        return cls(
            **{field.name: given[field.name] for field in dataclasses.fields(cls)}
        )

    return (
        made(config.ConvConfig),
        made(config.ShardConfig),
        made(config.ComputeConfig),
    )


def notes(args: argparse.Namespace, given: Sequence[str]) -> list[str]:
    """Returns a sentence for each option given that changes nothing of the answer."""
    found = [
        f"{option} does not change what `jaxdw {args.verb}` answers"
        for option in dict.fromkeys(given)
        if option in UNUSED.get(args.verb, ()) and not getattr(args, "html", None)
    ]
    if "--reshard-if-not-optimal" in given and args.input_shard is None:
        found.append("--reshard-if-not-optimal has no effect without --input-shard")
    if "--orientation" in given and args.scheme in ("height", "width"):
        found.append(f"--orientation has no effect on --scheme {args.scheme}")
    if "--math-fidelity" in given and args.arithmetic == "float32":
        found.append("--math-fidelity has no effect on the numbers of float32")
    return found


def refuse_void(args: argparse.Namespace, options: tuple[str, ...], needs: str) -> None:
    """Refuses options that say nothing without another.

    Raises:
      ConfigError: any of them was given.
    """
    given = [name for name in options if name in getattr(args, "given", ())]
    refuse([f"`{name}` must come with {needs}; add it" for name in given])


def refuse_beside(
    args: argparse.Namespace, options: Collection[str], what: str
) -> None:
    """Refuses options beside another that leaves them without meaning.

    Args:
      what: the other, why, and the way out.

    Raises:
      ConfigError: any of them was given.
    """
    given = [name for name in dict.fromkeys(args.given) if name in options]
    if given:
        names = ", ".join(f"`{name}`" for name in given)
        raise ConfigError(f"{names} must be left out with {what}")


def core_xy(args: argparse.Namespace, plan: "Plan") -> tuple[int, ...]:
    """Returns the logical coordinates of `--core`, given so or by its number."""
    if isinstance(args.core, tuple):
        return args.core
    refuse(range_problem("core", args.core, plan.num_cores))
    return plan.core_grid.xy(args.core)


def core_number(args: argparse.Namespace, plan: "Plan") -> int | None:
    """Returns the number of `--core`, given so or by logical coordinates."""
    if not isinstance(args.core, tuple):
        return args.core
    cores = {plan.core_grid.xy(core): core for core in range(plan.num_cores)}
    if args.core not in cores:
        raise ConfigError(
            f"`--core` (={','.join(map(str, args.core))}) must be one of the "
            f"{plan.num_cores} of this plan; use 0,0 for one"
        )
    return cores[args.core]


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


def base_address(args: argparse.Namespace, *chips: "Arch") -> int:
    """Returns the weights' address: the one given, or that of the plans, aligned."""
    align_bytes = max(chip.dram_align_bytes for chip in chips)
    reach = 1 << min(chip.noc_local_address_bits for chip in chips)
    if args.base_address is not None:
        if args.base_address >= reach:
            raise ConfigError(
                f"`--base-address` (={args.base_address:#x}) must lie below {reach:#x},"
                " the reach of a NoC address; use a lower one"
            )
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


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Lets SIGINT and SIGTERM inside arrive as KeyboardInterrupt, to save what is done.

    Of SIGTERM it is `jaxdw.sweep.workers.Terminated`.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with ends_by_sigterm():
            yield
    finally:
        signal.signal(signal.SIGINT, before)


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
