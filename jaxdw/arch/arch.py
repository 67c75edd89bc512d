"""Loads a chip's facts from TOML into one frozen class."""

import dataclasses
import functools
import itertools
import re
import reprlib
import tomllib
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from jaxdw.errors import ConfigError, refuse
from jaxdw.words import meant, nearest

MOST = 2**63 - 1  # of any number of a chip
NAMES = ("wormhole_b0", "n150", "n300", "blackhole", "p150", "blackhole_11x10")

_POSITIVE = "an integer >= 1"
_NATURAL = "an integer >= 0"
_ALIGNMENT = "a power of two"
_BITS = "an integer 1 to 60"
_STEP = "an integer -255 to 255"
_INTS = "a list of integers >= 0"
_PAIRS = "a list of [x, y], integers >= 0"
_BOOL = "true or false"
_RATE = "three integers: bytes above 16, MB/s, MB/s"
_CYCLES = "a list of [format, format, cycles, cycles]"
_COORDINATES = ("worker_x", "worker_y", "physical_x", "physical_y")
_TABLES = {
    "grid": {"x": _POSITIVE, "y": _POSITIVE},
    "noc": {
        "id_bits": _BITS,
        "local_address_bits": _BITS,
        "link_bytes_per_cycle": _POSITIVE,
        "ordered_writes": _BOOL,
        "worker_x": _INTS,
        "worker_y": _INTS,
        "physical_x": _INTS,
        "physical_y": _INTS,
    },
    "clock": {"hz": _POSITIVE},
    "l1": {
        "size_bytes": _POSITIVE,
        "unreserved_base_bytes": _NATURAL,
        "small_bytes": _NATURAL,
        "align_bytes": _ALIGNMENT,
    },
    "dram": {
        "align_bytes": _ALIGNMENT,
        "bank_noc_xy": _PAIRS,
        "bank_offset_bytes": _INTS,
        "bank_bytes_per_second": _POSITIVE,
    },
    "matrix_unit": {
        "elwmul_elements_per_cycle": _POSITIVE,
        "gapool_rows_per_cycle": _POSITIVE,
        "minus_one_unit_exponent_step": _STEP,
    },
    "ttnn": {
        "circular_buffer_align_bytes": _ALIGNMENT,
        "noc_burst_bytes": _POSITIVE,
        "local_read_rate": _RATE,
        "bank_read_rate": _RATE,
        "multicast_rate": _RATE,
        "tilize_cycles": _CYCLES,
    },
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Arch:
    """What jaxdw knows of one chip; every figure's source stands in the TOML.

    Invariants: `len(bank_noc_xy) == len(bank_offset_bytes) == num_banks`; `worker_x`,
    `worker_y`, `physical_x` and `physical_y` cover the grid.
    """

    name: str
    grid: tuple[int, int]  # worker cores, (x, y)
    noc_id_bits: int  # bits of one NoC coordinate
    noc_local_address_bits: int  # bits of an address inside one NoC endpoint
    noc_link_bytes_per_cycle: int  # of one NoC, in each direction
    noc_ordered_writes: bool  # whether a core's writes leave as issued, without a flush
    worker_x: tuple[int, ...]  # NoC column of each logical column, translated
    worker_y: tuple[int, ...]  # NoC row of each logical row, translated
    physical_x: tuple[int, ...]  # the same on NoC 0, not translated
    physical_y: tuple[int, ...]
    clock_hz: int
    l1_size_bytes: int  # of one core
    l1_unreserved_base_bytes: int  # circular buffers begin here
    l1_small_bytes: int  # at the top, for config tensors
    l1_align_bytes: int
    dram_align_bytes: int  # pages of an interleaved buffer start at multiples of this
    bank_noc_xy: tuple[tuple[int, int], ...]  # NoC 0 endpoint of each DRAM bank
    bank_offset_bytes: tuple[int, ...]  # where a bank begins inside its endpoint
    bank_bytes_per_second: int  # of one DRAM bank, the theoretical rate
    elwmul_elements_per_cycle: int  # of one core's matrix unit, in one phase
    gapool_rows_per_cycle: int  # rows of one 16-wide face, in one phase
    minus_one_unit_exponent_step: int  # of a 32-bit Dst whose sum is -1 unit
    circular_buffer_align_bytes: int  # ttnn starts circular and L1 buffers at multiples
    noc_burst_bytes: int  # ttnn 0.81.1 reads no more at once
    local_read_rate: tuple[int, int, int]  # ttnn's estimate: bytes, MB/s, MB/s
    bank_read_rate: tuple[int, int, int]
    multicast_rate: tuple[int, int, int]
    tilize_cycles: tuple[tuple[str, str, int, int], ...]  # from, to, 16- and 32-bit Dst

    @property
    def num_banks(self) -> int:
        return len(self.bank_noc_xy)

    @property
    def l1_top_bytes(self) -> int:
        """Where L1 buffers end: below the small region."""
        return self.l1_size_bytes - self.l1_small_bytes

    @property
    def l1_capacity_bytes(self) -> int:
        """Bytes of one core for circular buffers and L1 buffers together."""
        return self.l1_top_bytes - self.l1_unreserved_base_bytes

    def worker_noc_xy(self, logical: tuple[int, int]) -> tuple[int, int]:
        """Returns the translated NoC coordinates of a worker core.

        Raises:
          ConfigError: a core outside the grid.
        """
        x, y = self._checked(logical)
        return self.worker_x[x], self.worker_y[y]

    def physical_noc_xy(self, logical: tuple[int, int]) -> tuple[int, int]:
        """Returns the NoC 0 coordinates of a worker core, before translation.

        Raises:
          ConfigError: a core outside the grid.
        """
        x, y = self._checked(logical)
        return self.physical_x[x], self.physical_y[y]

    def _checked(self, logical: tuple[int, int]) -> tuple[int, int]:
        x, y = logical
        if not (0 <= x < self.grid[0] and 0 <= y < self.grid[1]):
            raise ConfigError(
                f"`logical` (={logical}) must lie inside the {self.grid[0]}x"
                f"{self.grid[1]} cores of {self.name}; use x below {self.grid[0]} and "
                f"y below {self.grid[1]}"
            )
        return logical

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

    A TOML with `base = NAME` takes from that chip every table it does not have.

    Raises:
      ConfigError: unknown name, unreadable file, missing or unknown entries, entries
        of another type.
    """
    return arch if isinstance(arch, Arch) else _load(str(meant("arch", arch, NAMES)))


@functools.lru_cache(maxsize=32)
def _load(arch: str) -> Arch:
    text = ""
    if arch in NAMES:
        tables = _named_tables(arch)
    elif arch.endswith(".toml"):
        try:
            text = Path(arch).read_text("utf-8")
        except (OSError, ValueError) as error:
            raise ConfigError(f"`arch` (={arch!r}) cannot be read: {error}") from error
        try:
            tables = tomllib.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"`arch` (={arch!r}) is not TOML: {error}") from error
    else:
        raise ConfigError(
            f"`arch` (={arch!r}) must be one of {', '.join(NAMES)} or a path to a "
            f".toml; try {nearest(arch, NAMES)!r}"
        )
    return _parse(_on_base(tables, arch), _Place(arch, text))


def _named_tables(name: str) -> dict:
    return tomllib.loads(
        resources.files("jaxdw.arch").joinpath(f"{name}.toml").read_text("utf-8")
    )


def _on_base(tables: dict, arch: str) -> dict:
    base = tables.pop("base", None)
    if base is None:
        return tables
    if not isinstance(base, str) or base not in NAMES:
        raise ConfigError(
            f"`base` (={base!r}) of {arch!r} must be one of {', '.join(NAMES)}"
        )
    return _on_base(_named_tables(base), base) | tables


class _Place(NamedTuple):
    """A file of a chip, and where in it an entry stands."""

    arch: str
    text: str

    def of(self, table: str, key: str) -> str:
        """Returns the file, and the line of an entry if it is the file's own."""
        current = ""
        for number, line in enumerate(self.text.splitlines(), 1):
            header = re.match(r"\s*\[([^\[\]]+)\]", line)
            current = header[1].strip() if header else current
            if current == table and re.match(rf"\s*{re.escape(key)}\s*=", line):
                return f"{self.arch!r}, line {number}"
        return repr(self.arch)


def _parse(tables: dict, place: _Place) -> Arch:
    problems, arch = [], place.arch
    for table, rules in _TABLES.items():
        found = tables.get(table, {})
        if not isinstance(found, dict):
            problems.append(f"`{table}` (={found!r}) of {arch!r} must be a table")
            continue
        for key, rule in rules.items():
            if key not in found:
                problems.append(f"`arch` (={arch!r}) must have `{key}` in [{table}]")
            elif not _follows(rule, found[key]):
                problems.append(
                    f"`{table}.{key}` (={reprlib.repr(found[key])}) of "
                    f"{place.of(table, key)} must be {rule}"
                )
        if "source" not in found:
            problems.append(f"`arch` (={arch!r}) must name a `source` in [{table}]")
        for key in sorted(found.keys() - rules.keys() - {"source"}):
            problems.append(f"`arch` (={arch!r}) has an unknown `{key}` in [{table}]")
    for key in sorted(tables.keys() - _TABLES.keys() - {"name"}):
        problems.append(f"`arch` (={arch!r}) has an unknown entry `{key}`")
    if not isinstance(tables.get("name"), str):
        problems.append(f"`arch` (={arch!r}) must have a `name`")
    refuse(problems)
    refuse(_sizes_problems(tables, place))
    grid, noc, l1, dram = (tables[name] for name in ("grid", "noc", "l1", "dram"))
    unit, ttnn = tables["matrix_unit"], tables["ttnn"]
    return Arch(
        name=tables["name"],
        grid=(grid["x"], grid["y"]),
        noc_id_bits=noc["id_bits"],
        noc_local_address_bits=noc["local_address_bits"],
        noc_link_bytes_per_cycle=noc["link_bytes_per_cycle"],
        noc_ordered_writes=noc["ordered_writes"],
        worker_x=tuple(noc["worker_x"]),
        worker_y=tuple(noc["worker_y"]),
        physical_x=tuple(noc["physical_x"]),
        physical_y=tuple(noc["physical_y"]),
        clock_hz=tables["clock"]["hz"],
        l1_size_bytes=l1["size_bytes"],
        l1_unreserved_base_bytes=l1["unreserved_base_bytes"],
        l1_small_bytes=l1["small_bytes"],
        l1_align_bytes=l1["align_bytes"],
        dram_align_bytes=dram["align_bytes"],
        bank_noc_xy=tuple((x, y) for x, y in dram["bank_noc_xy"]),
        bank_offset_bytes=tuple(dram["bank_offset_bytes"]),
        bank_bytes_per_second=dram["bank_bytes_per_second"],
        elwmul_elements_per_cycle=unit["elwmul_elements_per_cycle"],
        gapool_rows_per_cycle=unit["gapool_rows_per_cycle"],
        minus_one_unit_exponent_step=unit["minus_one_unit_exponent_step"],
        circular_buffer_align_bytes=ttnn["circular_buffer_align_bytes"],
        noc_burst_bytes=ttnn["noc_burst_bytes"],
        local_read_rate=tuple(ttnn["local_read_rate"]),
        bank_read_rate=tuple(ttnn["bank_read_rate"]),
        multicast_rate=tuple(ttnn["multicast_rate"]),
        tilize_cycles=tuple(tuple(row) for row in ttnn["tilize_cycles"]),
    )


def _follows(rule: str, value: object) -> bool:
    if rule == _BOOL:
        return type(value) is bool
    if rule == _PAIRS:
        return isinstance(value, list) and all(
            _follows(_INTS, pair) and len(pair) == 2 for pair in value
        )
    if rule == _RATE:
        if not isinstance(value, list) or not _follows(_INTS, value):
            return False
        return len(value) == 3 and value[0] > 16 and min(value) > 0
    if rule == _CYCLES:
        return isinstance(value, list) and all(
            isinstance(row, list)
            and [type(v) for v in row] == [str, str, int, int]
            and _follows(_INTS, row[2:])
            for row in value
        )
    if rule == _INTS:
        return isinstance(value, list) and all(_follows(_NATURAL, v) for v in value)
    least, most = {_POSITIVE: (1, MOST), _BITS: (1, 60), _STEP: (-255, 255)}.get(
        rule, (0, MOST)
    )
    if type(value) is not int or not least <= value <= most:
        return False
    return rule != _ALIGNMENT or value.bit_count() == 1


def _address_problems(noc: dict, dram: dict, place: _Place) -> list[str]:
    """Returns a sentence for each list whose numbers do not fit their bits."""
    problems = []
    bits = 2 * noc["id_bits"] + noc["local_address_bits"]
    if bits > 64:
        problems.append(
            f"`noc.local_address_bits` of {place.of('noc', 'local_address_bits')} must "
            f"leave room for two coordinates in 64 bits (={bits}); use "
            f"{max(1, 64 - 2 * noc['id_bits'])}"
        )
    pairs = [value for pair in dram["bank_noc_xy"] for value in pair]
    for table, key, values, bits in (
        *(("noc", key, noc[key], noc["id_bits"]) for key in _COORDINATES),
        ("dram", "bank_noc_xy", pairs, noc["id_bits"]),
        ("dram", "bank_offset_bytes", dram["bank_offset_bytes"],
         noc["local_address_bits"]),
    ):  # fmt: skip
        past = [value for value in values if value >> bits]
        if past:
            problems.append(
                f"`{table}.{key}` (={past[0]}) of {place.of(table, key)} must lie "
                f"inside its {bits} bits; use at most {(1 << bits) - 1}"
            )
    return problems


def _sizes_problems(tables: dict, place: _Place) -> list[str]:
    """Returns a sentence for each pair of entries that contradict each other."""
    arch = place.arch
    grid, noc, l1, dram = (tables[name] for name in ("grid", "noc", "l1", "dram"))
    problems = _address_problems(noc, dram, place)
    num_xy, num_offsets = len(dram["bank_noc_xy"]), len(dram["bank_offset_bytes"])
    if num_xy != num_offsets or not num_xy:
        problems.append(
            f"`bank_noc_xy` (={num_xy} banks) and `bank_offset_bytes` "
            f"(={num_offsets}) of {arch!r} must name the same banks, at least one"
        )
    for key in _COORDINATES:
        axis, covered = key[-1], len(noc[key])
        if covered < grid[axis]:
            problems.append(
                f"`{key}` (={covered} coordinates) of {arch!r} must cover the "
                f"grid (={grid[axis]} along {axis})"
            )
    formats = ("bfloat16", "float32")
    tilized = [tuple(row[:2]) for row in tables["ttnn"]["tilize_cycles"]]
    for pair in itertools.product(formats, (*formats, "bfloat8_b")):
        if tilized.count(pair) != 1:
            problems.append(
                f"`tilize_cycles` of {arch!r} must have one row for {' to '.join(pair)}"
            )
    used = l1["unreserved_base_bytes"] + l1["small_bytes"]
    if used >= l1["size_bytes"]:
        problems.append(
            f"`l1.size_bytes` (={l1['size_bytes']}) of {arch!r} must exceed what is "
            f"reserved (={used})"
        )
    return problems
