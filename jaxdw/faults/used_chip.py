"""A launch on a chip that worked before: memory holds what an earlier launch left.

A mistake often reads memory that this launch never wrote. Here that memory is laid out:
behind the weights in DRAM lie those of an earlier launch, behind a core's input shard a
stick of ones and the shard it held before, and so on. An intact launch reads none of
it. A fault changes the maps, the plan, the host's conversion or what the cores do.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import eval_context
from jaxtyping import Array, Bool, Float32, Int, Int32

from jaxdw.judge.draws import Operands
from jaxdw.launch.composed import compiled, load_and_run, run_composed
from jaxdw.machine.cores import float_first, static_of
from jaxdw.maps.banks import bank_table, deal_map
from jaxdw.maps.indexmap import IndexMap, as_table, compose, make_index_map
from jaxdw.maps.maps import NO_READ, ComposedMaps, DramMaps, Maps, make_maps
from jaxdw.maps.tiles import tilize_map
from jaxdw.numerics.formats import MAGNITUDE_BITS
from jaxdw.numerics.fpu import Form
from jaxdw.plan.plan import Plan
from jaxdw.plan.units import FACE_ROWS, round_up

Output = Float32[np.ndarray, "n ho wo c"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """One launch as arrays and functions, each of which a fault may change.

    Attributes:
      maps: as `make_maps` gives them, with memory of an earlier launch behind; sources
        of `shard` are its sticks, one stick of ones, those of the earlier launch;
        those of `weights.prepare` count as `weight_sources`.
      known: whether the earlier launch's memory holds values; if not, it is poison and
        outputs that depend on it are NaN.
      host: what the host makes of the tensors before they are moved.
      cores: what they make of the memories: `[outputs, channels]`.
      save: what becomes of the output on its way into a file.
      bias_last: whether `cores` add the bias after the activation.
    """

    plan: Plan
    maps: Maps
    known: bool
    host: Callable[[Plan, Operands], Operands]
    cores: Callable[["Launch", Operands], Float32[Array, "..."]]
    save: Callable[[Plan, Output], Output]
    bias_last: bool = False


def lay_out(plan: Plan, *, known: bool = True) -> Launch:
    """Returns the intact launch of a plan.

    Rows of a core's input: its shard, a stick of ones, the shard it held before. What
    memory held before is laid out for program `depthwise` only: others are as
    `make_maps` gives them.
    """
    maps = make_maps(plan)
    if plan.program != "depthwise":
        return _launch(plan, maps, known, emulate)
    num_shards, rows = maps.shard.index.shape
    sticks = plan.window.num_inputs
    own, earlier = (
        compose(maps.shard, make_index_map(first + np.arange(sticks), 2 * sticks + 1))
        for first in (0, sticks + 1)
    )
    ones = np.full((num_shards, 1), sticks)
    shard = np.concatenate([own.index, ones, earlier.index], axis=1)
    row = np.arange(num_shards)[:, None] * (2 * rows + 1) + np.arange(rows)
    halo = compose(maps.halo, make_index_map(row.ravel(), shard.size))
    halo_index = np.pad(halo.index, [(0, 0), (0, 1)], constant_values=halo.poison)
    top_left, size = maps.top_left.index, maps.top_left.size + 1
    uncomputed = top_left == maps.top_left.poison
    maps = dataclasses.replace(
        maps,
        weights=lay_weights(
            plan, as_table(maps.weights.prepare, "spoilt"), known=known
        ),
        shard=make_index_map(shard, own.size),
        halo=IndexMap(halo_index, halo.size),
        top_left=make_index_map(
            np.where(uncomputed, 0 if known else size + 1, top_left), size
        ),
    )
    stale = stale_rows(maps, known=known)
    halo_index = np.where(halo_index == halo.poison, stale, halo_index)
    maps = dataclasses.replace(maps, halo=make_index_map(halo_index, halo.size))
    return _launch(plan, maps, known, emulate_sticks)


def _launch(plan: Plan, maps: Maps, known: bool, cores) -> Launch:
    return Launch(
        plan=plan,
        maps=maps,
        known=known,
        host=lambda plan, operands: operands,
        cores=cores,
        save=lambda plan, output: output,
    )


def with_maps(launch: Launch, **stages) -> Launch:
    """Returns the launch with these of its maps."""
    return dataclasses.replace(launch, maps=dataclasses.replace(launch.maps, **stages))


def index_of(index_map: IndexMap) -> Int32[np.ndarray, "..."]:
    return np.asarray(index_map.index)


def stale_rows(maps: Maps, *, known: bool) -> Int[np.ndarray, "shards halo_rows"]:
    """Returns for each row after halo the row that its memory held before."""
    num_shards, rows = maps.shard.index.shape
    if not known:
        return np.full(maps.halo.index.shape, maps.halo.poison)
    held = rows // 2 + 1 + np.arange(maps.halo.index.shape[1]) % (rows // 2)
    return np.arange(num_shards)[:, None] * rows + held


def page_ids(plan: Plan) -> Int[np.ndarray, "cores tiles"]:
    """Returns the weight tiles that each core reads itself; `NO_READ` for none."""
    pages = np.array([plan.weight_tile_ids(core) for core in range(plan.num_cores)])
    return np.where(_reads(plan)[:, None], pages, NO_READ)


def _reads(plan: Plan) -> Bool[np.ndarray, " cores"]:
    return np.isin(np.arange(plan.num_cores), plan.weight_readers)


def weight_sources(
    plan: Plan, weights: Int[np.ndarray, " n"], *, earlier: bool = False
) -> Int[np.ndarray, " n"]:
    """Returns where OIHW weights lie among those of both launches.

    Each channel's earlier kernel positions follow its own.
    """
    channel, tap = np.divmod(weights, plan.conv.taps)
    return (2 * channel + earlier) * plan.conv.taps + tap


def lay_weights(plan: Plan, prepare: IndexMap, *, known: bool) -> DramMaps:
    """Returns the way of prepared weights, with earlier ones behind in every bank.

    Pages keep counting through the banks past the buffer's end; there lies the earlier
    launch's buffer, again and again.
    """
    weights = np.arange(prepare.size)
    own, earlier = (
        compose(
            prepare,
            make_index_map(
                weight_sources(plan, weights, earlier=then), 2 * prepare.size
            ),
        ).index
        for then in (False, True)
    )
    matrix = np.concatenate([own, earlier])
    tilize = tilize_map(*matrix.shape)
    num_tiles = len(tilize.index) // 2
    pitch = round_up(num_tiles, plan.arch.num_banks)
    pages = page_ids(plan)
    reach = int((pages.max() + 1) * (plan.arch.num_banks + 1)) + pitch
    page = np.arange(reach)
    behind = num_tiles + page % pitch % num_tiles if known else 2 * num_tiles + 1
    tile = np.where(page < num_tiles, page, behind)
    table = bank_table(reach, 32, 0, plan.arch)
    deal = compose(deal_map(table), make_index_map(tile, 2 * num_tiles))
    maps = DramMaps(
        prepare=make_index_map(matrix, 2 * prepare.size),
        tilize=tilize,
        deal=deal,
        read=IndexMap(np.empty(0, np.int32), deal.index.size),
    )
    return read_pages(maps, pages)


def read_pages(weights: DramMaps, pages: Int[np.ndarray, "cores tiles"]) -> DramMaps:
    """Returns the same weights with each core reading other pages."""
    banks, slots = weights.deal.index.shape
    place = pages % banks * slots + pages // banks
    place = np.where(pages == NO_READ, banks * slots + 1, place)
    read = make_index_map(place, banks * slots)
    return dataclasses.replace(weights, read=read)


def pages_to_earlier(launch: Launch) -> int:
    """Returns how many pages behind each weight tile the earlier launch's lies."""
    num_tiles = launch.maps.weights.tilize.destinations // FACE_ROWS // 2
    return round_up(num_tiles, launch.plan.arch.num_banks)


def run_launch(
    launch: Launch, operands: Operands, earlier: Operands | None = None
) -> Output:
    """Runs a launch after an earlier one on the same plan.

    Args:
      earlier: what memory still holds; zeros if None, for launches not `known`.
    """
    plan = launch.plan
    laid = laid_operands(launch, operands, earlier)
    with eval_context():
        output = np.asarray(launch.cores(launch, laid))
    return launch.save(plan, output.reshape(plan.output_shape))


def laid_operands(
    launch: Launch, operands: Operands, earlier: Operands | None = None
) -> Operands:
    """Returns what the host makes of tensors, with an earlier launch's behind."""
    operands = launch.host(launch.plan, operands)
    if launch.plan.program == "depthwise":
        operands = _behind(operands, earlier, launch.plan.conv.channels)
    return operands


def _behind(operands: Operands, earlier: Operands | None, channels: int) -> Operands:
    """Returns host tensors with those of an earlier launch behind them."""
    if earlier is None:
        earlier = Operands(np.zeros_like(operands.x), np.zeros_like(operands.w), None)
    own, held = (o.x.reshape(-1, channels) for o in (operands, earlier))
    return Operands(
        x=np.concatenate([own, np.ones((1, channels), np.float32), held]),
        w=np.concatenate([operands.w, earlier.w], axis=2),
        bias=operands.bias,
    )


def emulate(launch: Launch, operands: Operands) -> Float32[Array, "..."]:
    """Runs the emulator, as its maps are."""
    return run_composed(launch.maps, *on_device(operands), static_of(launch.plan))


def on_device(operands: Operands) -> tuple[Array, Array, Array | None]:
    """Returns x, w and bias as arrays of JAX."""
    bias = None if operands.bias is None else jnp.asarray(operands.bias)
    return jnp.asarray(operands.x), jnp.asarray(operands.w), bias


def emulate_sticks(launch: Launch, laid: Operands) -> Float32[Array, "outputs c"]:
    """Runs the emulator's own cores."""
    plan = launch.plan
    maps = without_poison(even_shapes(launch.maps.composed, plan), plan)
    run = compiled(load_and_run, jax.default_backend())
    operands, static = on_device(laid), static_of(plan)

    def way(form: Form) -> tuple[Float32[Array, "..."], Int32[Array, ""] | None]:
        return run(maps, *operands, static=static, form=form)

    output = float_first(way)
    return output.reshape(-1, output.shape[-1])


def without_poison(maps: ComposedMaps, plan: Plan) -> ComposedMaps:
    """Reads zeros where memory is unknown; what depends on it is NaN all the same.

    So the float form takes the operands. A block that shares an exponent with unknown
    values keeps them: those that are known depend on it.
    """
    if plan.conv.weights_dtype in MAGNITUDE_BITS:
        return maps

    def known(index_map: IndexMap) -> IndexMap:
        return IndexMap(np.minimum(index_map.index, index_map.padding), index_map.size)

    return dataclasses.replace(
        maps, weights=known(maps.weights), sticks=known(maps.sticks)
    )


def even_shapes(maps: ComposedMaps, plan: Plan) -> ComposedMaps:
    """Spells out what composed maps leave out.

    So maps of one plan have the same shapes and run one computation, whatever fault
    they hold.
    """
    shards, rows = maps.sticks.index.shape[0], maps.sticks.index.shape[-1]
    grid = (shards, plan.num_channel_shards)

    def over_grid(index_map: IndexMap, lane_axes: int) -> IndexMap:
        shape = (*grid, *index_map.index.shape[-lane_axes:])
        return IndexMap(np.broadcast_to(index_map.index, shape), index_map.size)

    def or_all(written, shape: tuple[int, ...]):
        return np.broadcast_to(True if written is None else written, shape)

    outputs: Int32[np.ndarray, " n"] = np.arange(plan.window.num_outputs, dtype="i4")
    return ComposedMaps(
        weights=over_grid(maps.weights, 2),
        blocks=maps.blocks,
        bias=None if maps.bias is None else over_grid(maps.bias, 1),
        sticks=maps.sticks,
        channels_written=or_all(
            maps.channels_written,
            (shards, plan.num_channel_shards * plan.input_shard.channels),
        ),
        windows_written=or_all(maps.windows_written, (shards, rows)),
        collect=maps.collect or IndexMap(outputs, shards * rows),
        lanes=maps.lanes,
    )
