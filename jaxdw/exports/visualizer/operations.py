"""One layer as the operations that run it, with what lies in memory at each.

Halo gathers sticks beside the sharded input, move gives the input's room to what halo
made, conv reads that and the weights. A WIDTH layer without padding has conv alone.
"""

import dataclasses
from collections.abc import Iterator

from jaxdw.exports.ttnn import core_ranges
from jaxdw.exports.visualizer import schema
from jaxdw.plan.findings import Finding
from jaxdw.plan.grid import CoreGrid, Shard
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import TILE_BYTES, round_up, stick_elem_bytes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensor:
    """One tensor where it lies.

    Attributes:
      bytes_per_bank: of one core in L1, of the fullest bank in DRAM.
      page_bytes: a stick, or a tile.
      cores: that hold a shard, (x, y) each; empty in DRAM.
      core_set: the same as the library prints it.
    """

    what: str
    shape: tuple[int, ...]
    dtype: str
    layout: str
    memory_config: str
    buffer_type: int
    buffer_layout: int
    address: int
    bytes_per_bank: int
    page_bytes: int
    cores: tuple[tuple[int, int], ...] = ()
    core_set: str = "{}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class CircularBufferAt:
    """A circular buffer of an operation; `on_tensor` ones take no room of their own."""

    name: str
    address: int
    num_bytes: int
    on_tensor: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation and the memory after it.

    Attributes:
      held: every buffer that is allocated after it.
      error: what is known to go wrong with it, None for nothing.
    """

    name: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    held: tuple[Tensor, ...]
    arguments: dict[str, str]
    circular_buffers: tuple[CircularBufferAt, ...] = ()
    cores: str = "{}"
    error: tuple[str, str] | None = None  # its kind, its text


def operations_of(label: str, plan: Plan, weight_address: int) -> list[Operation]:
    """Returns the operations of one layer, of its first launch if it has several.

    Args:
      weight_address: of the weights in every DRAM bank; the bias follows.
    """
    source = plan.input_shard if not plan.has_halo else plan.halo_shard
    weights = list(_in_dram(plan, weight_address))
    conv_input = _sticks(plan, "halo output" if plan.has_halo else "input", source)
    where = plan.l1.of("source")
    if where is not None:
        conv_input = dataclasses.replace(
            conv_input, address=where.address, bytes_per_bank=where.num_bytes
        )
    output = _output(plan)
    found = []
    if plan.has_halo:
        given = _sticks(plan, "input", plan.input_shard)
        given = dataclasses.replace(
            given, address=plan.arch.l1_top_bytes - given.bytes_per_bank
        )
        gathered = dataclasses.replace(
            conv_input, address=given.address - conv_input.bytes_per_bank
        )
        traffic = plan.traffic
        found.append(
            Operation(
                name=f"halo {label}",
                inputs=(given,),
                outputs=(gathered,),
                held=(given, gathered, *weights),
                arguments={
                    "memory_config": gathered.memory_config,
                    "padding": str(plan.conv.padding),
                    "bytes to other cores": str(traffic.halo_remote_bytes),
                    "bytes inside cores": str(traffic.halo_local_bytes),
                    "bytes of padding": str(traffic.halo_padding_bytes),
                    "cycles, lower bound": str(plan.cycles.halo),
                },
                cores=_cores(plan.core_grid),
            )
        )
        found.append(
            Operation(
                name=f"move {label}",
                inputs=(gathered,),
                outputs=(conv_input,),
                held=(conv_input, *weights),
                arguments={"memory_config": conv_input.memory_config},
                cores=_cores(plan.core_grid),
            )
        )
    small = list(_config_tensors(plan))
    found.append(
        Operation(
            name=f"conv {label}",
            inputs=(conv_input, *weights),
            outputs=(output,),
            held=(conv_input, output, *weights, *small),
            arguments=_arguments(plan, output),
            circular_buffers=tuple(_circular_buffers(plan)),
            cores=_cores(plan.core_grid),
            error=_error(plan),
        )
    )
    return found


def _cores(grid: CoreGrid) -> str:
    return schema.core_set(core_ranges(grid))


def _places(grid: CoreGrid) -> tuple[tuple[int, int], ...]:
    return tuple(grid.xy(core) for core in range(grid.num_cores))


def _sticks(plan: Plan, what: str, shard: Shard) -> Tensor:
    """Returns a row-major tensor sharded over the cores of the input, nowhere yet."""
    stick = shard.channels * stick_elem_bytes(plan.conv.dtype)
    rows = shard.rows * plan.num_nhw_shards
    cores = _cores(plan.core_grid)
    return Tensor(
        what=what,
        shape=(1, 1, rows, plan.conv.channels),
        dtype="FLOAT32" if plan.conv.dtype == "float32" else "BFLOAT16",
        layout="ROW_MAJOR",
        memory_config=schema.memory_config(
            schema.L1, plan.scheme, cores, shard, plan.core_grid.orientation
        ),
        buffer_type=schema.L1,
        buffer_layout=schema.LAYOUTS[plan.scheme],
        address=0,
        bytes_per_bank=round_up(shard.rows * stick, plan.arch.l1_align_bytes),
        page_bytes=stick,
        cores=_places(plan.core_grid),
        core_set=cores,
    )


def _output(plan: Plan) -> Tensor:
    held = plan.l1.of("output")
    assert held is not None
    conv, shard, tiled = (
        plan.conv,
        plan.output_shard,
        plan.shard.output_layout == "tile",
    )
    cores = _cores(plan.output_grid)
    return Tensor(
        what="output",
        shape=(1, 1, plan.window.num_outputs, conv.channels),
        dtype=conv.output_dtype.upper(),
        layout="TILE" if tiled else "ROW_MAJOR",
        memory_config=schema.memory_config(
            schema.L1, plan.scheme, cores, shard, plan.output_grid.orientation
        ),
        buffer_type=schema.L1,
        buffer_layout=schema.LAYOUTS[plan.scheme],
        address=held.address,
        bytes_per_bank=held.num_bytes,
        page_bytes=held.page_bytes,
        cores=_places(plan.output_grid),
        core_set=cores,
    )


def _in_dram(plan: Plan, address: int) -> Iterator[Tensor]:
    """Yields prepared weights and bias, tiles dealt over all banks."""
    page = round_up(TILE_BYTES[plan.conv.weights_dtype], plan.arch.dram_align_bytes)
    rows, columns = plan.weight_matrix_shape
    found = [("weights", (1, 1, rows, columns))]
    if plan.conv.bias:
        found.append(("bias", (1, 1, 32, plan.bias_columns)))
    for what, shape in found:
        tiles = shape[2] // 32 * shape[3] // 32
        size = -(-tiles // plan.arch.num_banks) * page
        yield Tensor(
            what=what,
            shape=shape,
            dtype=plan.conv.weights_dtype.upper(),
            layout="TILE",
            memory_config=schema.memory_config(schema.DRAM),
            buffer_type=schema.DRAM,
            buffer_layout=schema.INTERLEAVED,
            address=address,
            bytes_per_bank=size,
            page_bytes=page,
        )
        address += size


def _config_tensors(plan: Plan) -> Iterator[Tensor]:
    """Yields what lies in the small region: the readers' indices."""
    for buffer in plan.l1.buffers:
        if buffer.place == "small L1":
            yield Tensor(
                what=buffer.name,
                shape=(plan.num_cores, buffer.num_bytes // 2),
                dtype="UINT16",
                layout="ROW_MAJOR",
                memory_config="",
                buffer_type=schema.L1_SMALL,
                buffer_layout=schema.HEIGHT,
                address=buffer.address,
                bytes_per_bank=buffer.num_bytes,
                page_bytes=buffer.page_bytes,
                cores=_places(plan.core_grid),
                core_set=_cores(plan.core_grid),
            )


def _circular_buffers(plan: Plan) -> Iterator[CircularBufferAt]:
    for buffer in plan.l1.buffers:
        yield CircularBufferAt(
            name=buffer.name,
            address=buffer.address,
            num_bytes=buffer.num_bytes,
            on_tensor=buffer.on_buffer,
        )


def _arguments(plan: Plan, output: Tensor) -> dict[str, str]:
    conv, cycles, l1 = plan.conv, plan.cycles, plan.l1
    found = {
        "memory_config": output.memory_config,
        "planned by": f"jaxdw, not measured: program {plan.program} of {plan.tree}",
        "arch": plan.arch.name,
        "channels": str(conv.channels),
        "input": str(list(conv.input_shape)),
        "kernel, stride, padding, dilation": (
            f"{conv.kernel}, {conv.stride}, {conv.padding}, {conv.dilation}"
        ),
        "bias, activation": f"{conv.bias}, {conv.activation}",
        "scheme": plan.scheme,
        "cores": f"{plan.num_cores} on {plan.grid[0]}x{plan.grid[1]}",
        "math_fidelity": plan.compute.math_fidelity,
        "cycles, lower bound": f"{cycles.total}, bound by {cycles.binding}",
        "L1": (
            f"circular buffers end at {l1.region_end}, the lowest buffer is "
            f"{l1.lowest_buffer}, {l1.free_bytes} bytes free"
        ),
        "circular buffers": "; ".join(
            f"{b.name}: {b.num_bytes} bytes at {b.address} ({b.place})"
            for b in l1.buffers
        ),
    }
    if plan.slices > 1:
        found["launches"] = f"{plan.slices}, of which this is the first"
    if plan.upstream_program != plan.program:
        found["runs by"] = f"{plan.tree} gives this layer to {plan.upstream_program}"
    for finding in plan.findings:
        found[_title(finding)] = finding.text
    return found


def _title(finding: Finding) -> str:
    return f"{finding.code} {finding.severity} ({finding.basis})"


def _error(plan: Plan) -> tuple[str, str] | None:
    """Returns what stops the layer, or makes its values wrong."""
    wrong = [f for f in plan.findings if f.fails("wrong values")]
    texts = [f"{_title(finding)}: {finding.text}" for finding in wrong]
    if not plan.l1.fits:
        said = plan.l1.problems()
        said += [plan.l1.message] if plan.l1.message else []
        return "L1 out of memory", "\n".join([*said, *texts])
    return (wrong[0].severity, "\n".join(texts)) if wrong else None
