"""Loads a chip's facts from TOML into one frozen class."""

import dataclasses
import functools
import tomllib
from importlib import resources
from pathlib import Path

from jaxdw.errors import ConfigError, refuse

NAMES = ("wormhole_b0", "blackhole")

_TABLES = {
    "grid": ("x", "y"),
    "noc": ("id_bits", "local_address_bits"),
    "matrix_unit": ("minus_one_unit_exponent_step",),
    "dram": ("align_bytes", "bank_noc_xy", "bank_offset_bytes"),
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """What jaxdw knows of one chip; every figure's source stands in the TOML.

    Invariant: `len(bank_noc_xy) == len(bank_offset_bytes) == num_banks`.
    """

    name: str
    grid: tuple[int, int]  # worker cores, (x, y)
    noc_id_bits: int  # bits of one NoC coordinate
    noc_local_address_bits: int  # bits of an address inside one NoC endpoint
    dram_align_bytes: int  # pages of an interleaved buffer start at multiples of this
    bank_noc_xy: tuple[tuple[int, int], ...]  # NoC 0 endpoint of each DRAM bank
    bank_offset_bytes: tuple[int, ...]  # where a bank begins inside its endpoint
    minus_one_unit_exponent_step: int  # of a 32-bit Dst whose sum is -1 unit

    @property
    def num_banks(self) -> int:
        return len(self.bank_noc_xy)

    def noc_address(self, noc_xy: tuple[int, int], local_address: int) -> int:
        """Returns the 64-bit unicast NoC address of a byte behind one endpoint.

        Source: tt-metal dataflow_api_addrgen.h; tt-isa-documentation
        WormholeB0/NoC/MemoryMap @39304719: address, then x, then y upward.
        """
        noc_x, noc_y = noc_xy
        noc_id = (noc_y << self.noc_id_bits) | noc_x
        return (noc_id << self.noc_local_address_bits) | local_address


def load_arch(arch: str | Path | Arch) -> Arch:
    """Returns the chip named `arch`, or the one a TOML file at that path describes.

    Raises:
      ConfigError: unknown name, unreadable file, missing or unknown entries.
    """
    return arch if isinstance(arch, Arch) else _load(str(arch))


@functools.lru_cache(maxsize=32)
def _load(arch: str) -> Arch:
    if arch in NAMES:
        text = resources.files("jaxdw.arch").joinpath(f"{arch}.toml").read_text("utf-8")
    elif arch.endswith(".toml"):
        try:
            text = Path(arch).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"`arch` (={arch!r}) cannot be read: {error}") from error
    else:
        raise ConfigError(
            f"`arch` (={arch!r}) must be one of {', '.join(NAMES)} or a path to a .toml"
        )
    try:
        return _parse(tomllib.loads(text), arch)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"`arch` (={arch!r}) is not TOML: {error}") from error


def _parse(tables: dict, arch: str) -> Arch:
    problems = []
    for table, keys in _TABLES.items():
        found = tables.get(table, {})
        for key in keys:
            if key not in found:
                problems.append(f"`arch` (={arch!r}) must have `{key}` in [{table}]")
        if "source" not in found:
            problems.append(f"`arch` (={arch!r}) must name a `source` in [{table}]")
        for key in sorted(found.keys() - set(keys) - {"source"}):
            problems.append(f"`arch` (={arch!r}) has an unknown `{key}` in [{table}]")
    for key in sorted(tables.keys() - _TABLES.keys() - {"name"}):
        problems.append(f"`arch` (={arch!r}) has an unknown entry `{key}`")
    if not isinstance(tables.get("name"), str):
        problems.append(f"`arch` (={arch!r}) must have a `name`")
    refuse(problems)
    grid, noc, dram = tables["grid"], tables["noc"], tables["dram"]
    num_xy, num_offsets = len(dram["bank_noc_xy"]), len(dram["bank_offset_bytes"])
    if num_xy != num_offsets or not num_xy:
        problems.append(
            f"`bank_noc_xy` (={num_xy} banks) and `bank_offset_bytes` "
            f"(={num_offsets}) of {arch!r} must name the same banks, at least one"
        )
    for name, value in (
        ("grid.x", grid["x"]),
        ("grid.y", grid["y"]),
        ("dram.align_bytes", dram["align_bytes"]),
    ):
        if type(value) is not int or value < 1:
            problems.append(f"`{name}` (={value!r}) of {arch!r} must be an int >= 1")
    refuse(problems)
    return Arch(
        name=tables["name"],
        grid=(grid["x"], grid["y"]),
        noc_id_bits=noc["id_bits"],
        noc_local_address_bits=noc["local_address_bits"],
        dram_align_bytes=dram["align_bytes"],
        bank_noc_xy=tuple((x, y) for x, y in dram["bank_noc_xy"]),
        bank_offset_bytes=tuple(dram["bank_offset_bytes"]),
        minus_one_unit_exponent_step=(
            tables["matrix_unit"]["minus_one_unit_exponent_step"]
        ),
    )
