"""The operations that ttnn 0.81.1 runs for one layer, by name, first launch only.

Source: ttnn 0.81.1 on a mock device, a host tensor in L1 and the default path; Assumed:
a launch without halo moves nothing.
"""

from jaxdw.plan.ttnn.placed import Placed
from jaxdw.plan.ttnn.plan import Launch, TtnnPlan
from jaxdw.plan.units import TILE


def operations(plan: TtnnPlan) -> tuple[str, ...]:
    """Returns the operations up to the one that the library refuses."""
    if plan.route in ("matmul", "refused"):
        return ("Tilize", "Matmul")
    launch = plan.launch
    if launch is None:
        return ()
    if launch.allocation_failure is not None:
        if launch.allocation_failure.tensor == "input":
            return ()
        if launch.allocation_failure.tensor == "halo":
            return (*_before(plan, launch), "Halo")
    halo = ("Halo", "Move") if launch.at.has_halo else ()
    after = () if plan.message is not None else _after(plan)
    return (*_before(plan, launch), *halo, "Conv2d", *after)


def _before(plan: TtnnPlan, launch: Launch) -> tuple[str, ...]:
    """Returns how the input gets into the shards of L1."""
    if plan.slicing is not None:
        return ("PaddedSlice" if plan.num_launches > 1 else "InterleavedToSharded",)
    return _from_host(launch.at)


def _from_host(at: Placed) -> tuple[str, ...]:
    if at.shard.input_layout == "tile" or at.scheme == "height":
        return ()
    if at.padded_channels != at.conv.channels:
        return ("InterleavedToSharded",)
    rows = at.input_shard.rows * at.num_nhw_shards
    return ("Pad",) if rows != at.window.num_inputs else ()


def _after(plan: TtnnPlan) -> tuple[str, ...]:
    """Returns how the output gets back to DRAM."""
    if plan.slicing is None:
        return ()
    if plan.num_launches == 1:
        return ("ShardedToInterleaved",)
    if plan.shard.output_layout == "row_major":
        return ("Untilize", "SliceWrite")
    _, height, width, _ = plan.output_shape
    # rows of images are padded apart, and joined here
    joined = plan.conv.batch * height > 1 and width % TILE
    return ("SliceWrite", "ReshapeView") if joined else ("SliceWrite",)
