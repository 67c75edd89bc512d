"""Tenstorrent's sharded depthwise conv2d, emulated in JAX.

Names arrive on first use, so that importing the package (and `jaxdw --help`) does not
import JAX.
"""

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jaxdw.arch.arch import Arch, load_arch
    from jaxdw.errors import ConfigError, UnsupportedError
    from jaxdw.faults.diagnose import Diagnosis, diagnose
    from jaxdw.faults.laboratory import laboratory
    from jaxdw.inputs.jax_layers import depthwise_layers
    from jaxdw.judge.compare import Verdict, gain, judge, pcc, snr_db, ulp_distance
    from jaxdw.judge.reference import reference
    from jaxdw.launch.cache import enable_cache
    from jaxdw.launch.emulator import Emulation, emulate, prepare_weights, run
    from jaxdw.launch.resident import LoadedLaunch, load
    from jaxdw.layouts.certificate import Certificate, certify
    from jaxdw.layouts.identify import identify
    from jaxdw.layouts.misread import misread
    from jaxdw.machine.sticks import core_sticks
    from jaxdw.maps.banks import BankTable, bank_table
    from jaxdw.maps.maps import Maps, make_maps
    from jaxdw.maps.tiles import tilize, untilize
    from jaxdw.networks.traced import accuracy, on_chip
    from jaxdw.numerics.formats import pack, unpack
    from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
    from jaxdw.plan.findings import Finding
    from jaxdw.plan.l1 import L1OutOfMemory
    from jaxdw.plan.plan import Plan
    from jaxdw.plan.planner import make_plan, rank_plans
    from jaxdw.schedule.verdict import ScheduleVerdict, judge_schedule
    from jaxdw.sweep.results import read_rows
    from jaxdw.sweep.runner import run_sweep
    from jaxdw.sweep.space import Space
    from jaxdw.trace.weight import explain_weight

from jaxdw import shown

shown.DRAWER.append("jaxdw.report.notebook")
_ROOMS = {
    "Arch": "arch.arch",
    "BankTable": "maps.banks",
    "Certificate": "layouts.certificate",
    "ComputeConfig": "plan.config",
    "ConfigError": "errors",
    "ConvConfig": "plan.config",
    "Diagnosis": "faults.diagnose",
    "Emulation": "launch.emulator",
    "Finding": "plan.findings",
    "L1OutOfMemory": "plan.l1",
    "LoadedLaunch": "launch.resident",
    "Maps": "maps.maps",
    "Plan": "plan.plan",
    "ScheduleVerdict": "schedule.verdict",
    "ShardConfig": "plan.config",
    "Space": "sweep.space",
    "UnsupportedError": "errors",
    "Verdict": "judge.compare",
    "accuracy": "networks.traced",
    "bank_table": "maps.banks",
    "certify": "layouts.certificate",
    "core_sticks": "machine.sticks",
    "depthwise_layers": "inputs.jax_layers",
    "diagnose": "faults.diagnose",
    "emulate": "launch.emulator",
    "enable_cache": "launch.cache",
    "explain_weight": "trace.weight",
    "gain": "judge.compare",
    "identify": "layouts.identify",
    "judge": "judge.compare",
    "judge_schedule": "schedule.verdict",
    "laboratory": "faults.laboratory",
    "load": "launch.resident",
    "load_arch": "arch.arch",
    "make_maps": "maps.maps",
    "make_plan": "plan.planner",
    "misread": "layouts.misread",
    "on_chip": "networks.traced",
    "pack": "numerics.formats",
    "pcc": "judge.compare",
    "prepare_weights": "launch.emulator",
    "rank_plans": "plan.planner",
    "read_rows": "sweep.results",
    "reference": "judge.reference",
    "run": "launch.emulator",
    "run_sweep": "sweep.runner",
    "snr_db": "judge.compare",
    "tilize": "maps.tiles",
    "ulp_distance": "judge.compare",
    "unpack": "numerics.formats",
    "untilize": "maps.tiles",
}

__all__ = [  # noqa: RUF022
    "ConvConfig", "ShardConfig", "ComputeConfig", "Arch", "load_arch",
    "ConfigError", "UnsupportedError", "L1OutOfMemory",
    "Plan", "make_plan", "rank_plans", "Finding",
    "Maps", "make_maps", "Emulation", "run", "emulate", "load", "LoadedLaunch",
    "prepare_weights", "core_sticks", "tilize", "untilize", "pack", "unpack",
    "BankTable", "bank_table", "pcc", "gain", "snr_db", "ulp_distance", "reference",
    "judge", "Verdict", "enable_cache",
    "explain_weight", "certify", "Certificate", "judge_schedule", "ScheduleVerdict",
    "identify", "misread", "laboratory", "diagnose", "Diagnosis",
    "Space", "run_sweep", "read_rows", "depthwise_layers",
    "accuracy", "on_chip",
]  # fmt: skip


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        value = version("jaxdw")
    elif name in _ROOMS:
        value = getattr(importlib.import_module(f"jaxdw.{_ROOMS[name]}"), name)
    else:
        raise AttributeError(f"module 'jaxdw' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
