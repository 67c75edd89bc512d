"""Emulates one launch: the public `run`, and what it leaves behind."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer, eval_context
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Shaped

from jaxdw.arch.arch import Arch
from jaxdw.errors import ConfigError, UnsupportedError, refuse
from jaxdw.launch.composed import run_composed, trace_composed
from jaxdw.launch.host import host_tensor
from jaxdw.launch.mesh import mesh_problems, run_on_mesh
from jaxdw.launch.slices import ONE_BY_ONE, run_slices
from jaxdw.launch.staged import MEMORIES, run_staged
from jaxdw.machine.cores import float_first, static_of
from jaxdw.maps.identity import check_plan
from jaxdw.maps.indexmap import HostOrDevice, IndexMap, gather, poison_outside
from jaxdw.maps.maps import PROGRAMS, Maps, check_maps, make_maps
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.names import Backend, name_problem
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan
from jaxdw.plan.traffic import Traffic
from jaxdw.shown import Shown


@dataclasses.dataclass(frozen=True, kw_only=True, repr=False)
class Emulation(Shown):
    """What one emulated launch left behind.

    Attributes:
      output: `[N, Ho, Wo, C]` float32, values of the output dtype.
      memories: the arrays asked for with `keep`. `weights`, `bias` are the prepared
        matrices, `tiles`, `bias_tiles` `[tiles, 1024]`, `dram`, `bias_dram` raw bytes
        `[banks, slots, page bytes]`, `l1_weights`, `l1_bias` values `[cores, tiles,
        1024]`, the semaphores `[cores]`, the shards `[cores, rows, channels]`.
        Memory that nobody wrote is NaN, or 255 in bytes.
    """

    plan: Plan
    output: Float32[Array, "n ho wo c"]
    memories: Mapping[str, Shaped[Array, "..."]]

    @property
    def traffic(self) -> Traffic:
        return self.plan.traffic

    def __repr__(self) -> str:
        kept = f", kept {', '.join(self.memories)}" if self.memories else ""
        shape = "x".join(map(str, self.output.shape))
        return f"<Emulation output {shape}{kept}, of {self.plan!r}>"

    def __getstate__(self) -> dict:
        return vars(self) | {"memories": dict(self.memories)}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state, memories=MappingProxyType(state["memories"]))


def run(
    plan: Plan,
    maps: Maps,
    x: Shaped[HostOrDevice, "..."],
    w: Shaped[HostOrDevice, "..."],
    bias: Shaped[HostOrDevice, "..."] | None = None,
    *,
    keep: Sequence[str] = (),
    mesh: Mesh | None = None,
    backend: Backend = "xla",
) -> Emulation:
    """Emulates one launch: every byte through the maps, every core.

    Without `keep` the maps of consecutive stages are run together; with it (and for
    maps traced by an outer jit) every memory is made. Both give the same bits.

    The matrix unit has a float form for operands of ordinary size, and an integer form
    for all. The float form is run first, and tells whether it took its operands; the
    integer form is compiled and run only if it did not. So an fpu run waits for its
    output; inside `jit` both forms are compiled, and nothing waits.

    glibc is told to keep what this process frees, 64 MB at the end of the heap, 2 GB
    from an output of 8 MB on, or each call would pay for new pages, up to three times
    the time; `JAXDW_KEEP_MEMORY=0` in the environment leaves glibc as it is.

    Derivatives with respect to `x`, `w` and `bias` are those of the float32 convolution
    with the true activation, at the values given: they go straight through every
    rounding, block format and fidelity (straight-through estimator).

    Args:
      x: `[N, H, W, C]`, rounded to the activations' dtype as the host does.
      w: `[C, 1, kh, kw]`; bias: `[C]`, if and only if `plan.conv.bias`.
      keep: names of `MEMORIES` to hold on to.
      mesh: devices to spread the core grid over, the same bits on any number: one axis
        takes NHW shards (channel shards if there is one NHW shard), a second takes
        channel shards. The output lies whole on each device.
      backend: `pallas` runs the float form of all cores as one GPU kernel (on a CPU
        interpreted), the same bits; the integer form and derivatives take XLA.

    Raises:
      ConfigError: an array of another shape than planned or not of real numbers, a
        bias missing or not planned, in `keep` a name that is unknown or of a bias that
        is not planned, `keep` with a mesh, a mesh of more axes, an unknown backend,
        maps of another plan, an index that its map does not have (maps traced by an
        outer jit cannot be checked: there such an index is poison, and outputs that
        depend on it are NaN).
      UnsupportedError: a derivative with `keep` or with traced maps, anything traced
        with a mesh, a launch too large for the Pallas kernel, weights that a dense
        program multiplies with other channels than their own.
    """
    if not isinstance(keep, str):
        keep = tuple(keep)
    x, w = real(x, "x"), real(w, "w")
    bias = None if bias is None else real(bias, "bias")
    conv, given = plan.conv, None if bias is None else bias.shape
    planned = (conv.channels,) if conv.bias else None
    shapes = conv.input_shape, conv.weight_shape, planned
    usual = keep == () and mesh is None and backend == "xla"
    if not usual or (x.shape, w.shape, given) != shapes:
        refuse(run_problems(plan, x, w, bias, keep, mesh, backend))
    plan.refuse_slices("run", ONE_BY_ONE)
    check_plan(plan, maps)
    if keep and not isinstance(maps.weights.prepare, IndexMap):
        raise UnsupportedError(_too_large(plan))
    static = static_of(plan, backend)
    memories = _NO_MEMORIES
    traced = is_traced(maps, x, w, bias)
    if mesh is not None:
        if traced:
            raise UnsupportedError(
                "a run on a mesh takes arrays at hand; call it outside jit, grad, vmap"
            )
        with eval_context():  # an outer jit takes it as a constant
            output = run_on_mesh(plan, maps, x, w, bias, static, mesh)
    elif keep or isinstance(maps.shard.index, Tracer):
        shared = dataclasses.replace(maps, facts=None)
        if isinstance(maps.shard.index, Tracer):
            shared = poison_outside(shared)
        else:
            check_maps(jax.tree.map(np.asarray, maps))
        if traced:
            staged = functools.partial(run_staged, shared, x, w, bias, static, keep)
            output, found = staged("by operands")[0]
        else:
            staged = functools.partial(
                run_staged, jax.device_put(shared), x, w, bias, static, keep
            )
            # memory that nobody wrote is NaN on purpose
            with eval_context(), jax.debug_nans(False):
                output, found = float_first(staged)
        memories = MappingProxyType(found)
    elif traced:
        output = trace_composed(maps.composed, x, w, bias, static)
    else:
        output = run_composed(maps, x, w, bias, static)
    return Emulation(plan=plan, output=output, memories=memories)


_NO_MEMORIES: Mapping[str, Array] = MappingProxyType({})


def is_traced(maps: Maps, *tensors: Shaped[HostOrDevice, "..."] | None) -> bool:
    """Whether a transformation of JAX traces maps or tensors."""
    for values in (*tensors, maps.shard.index):
        if isinstance(values, Tracer):
            return True
    return False


def real(values: Shaped[HostOrDevice, "*shape"], name: str) -> Float[Array, "*shape"]:
    """Returns values as an array of floats; those of a device as they are.

    Raises:
      ConfigError: values that are no real numbers, called by `name`.
    """
    if not isinstance(values, jax.Array):
        values = np.asarray(values)
        if values.dtype.kind not in "biufV":  # V: bf16 and other types of ml_dtypes
            raise ConfigError(
                f"`{name}` (={values.dtype}) must hold real numbers; take the real part"
            )
        if values.dtype.kind in "biuf":  # rounded here: XLA may flush denormals
            values = values.astype(np.float32, copy=False)
        # compiles nothing, where `jnp.asarray` may
        values = cast(Array, jax.device_put(values))
    return values if _is_floating(values.dtype) else values.astype(jnp.float32)


@functools.cache
def _is_floating(dtype: np.dtype) -> bool:
    return jnp.issubdtype(dtype, jnp.floating)


def run_problems(
    plan: Plan, x, w, bias, keep: Sequence[str], mesh: Mesh | None, backend: str
) -> list[str]:
    """Returns one sentence for each rule of `run` that its arguments break.

    Args:
      x: None if there is no input yet.
    """
    conv = plan.conv
    given = bias.shape if conv.bias and bias is not None else None
    found = conv.tensor_problems(None if x is None else x.shape, w.shape, given)
    if conv.bias and bias is None:
        found.append(
            "`bias` (=None) must be given for a plan with bias; pass an array "
            f"({conv.channels},) or plan with bias=False"
        )
    elif bias is not None and not conv.bias:
        found.append(
            f"`bias` (={bias.shape}) must be planned for; use ConvConfig(bias=True)"
        )
    if keep and plan.slices > 1:
        found.append(
            f"`keep` (={', '.join(keep)}) must be empty for {plan.slices} launches; "
            "run one of `plan.slice_plans` to look at memories"
        )
    unknown = [name for name in keep if name not in MEMORIES]
    absent = [name for name in keep if "bias" in name and not conv.bias]
    if isinstance(keep, str):
        found.append(f"`keep` (={keep!r}) must be a tuple of names; use ({keep!r},)")
    elif absent:
        found.append(
            f"`keep` (={', '.join(absent)}) must name memories of this plan, which has "
            f"no bias; leave them out or use ConvConfig(bias=True)"
        )
    elif unknown:
        found.append(
            f"`keep` (={', '.join(unknown)}) must name memories; "
            f"use any of {', '.join(MEMORIES)}"
        )
    found += name_problem("backend", backend)
    if mesh is not None:
        found += mesh_problems(mesh)
        if keep:
            found.append(
                f"`keep` (={', '.join(keep)}) must be empty with a mesh; run on one "
                f"device to look at memories"
            )
    return found


def emulate(
    conv: ConvConfig,
    shard: ShardConfig | None,
    x: Shaped[HostOrDevice, "..."],
    w: Shaped[HostOrDevice, "..."],
    bias: Shaped[HostOrDevice, "..."] | None = None,
    *,
    compute: ComputeConfig | None = None,
    arch: str | Path | Arch = "wormhole_b0",
    program: str = "depthwise",
    keep: Sequence[str] = (),
    backend: Backend = "xla",
) -> Emulation:
    """Plans, builds the maps and runs; `run` says what it takes and refuses.

    A layer that does not fit L1 is emulated all the same; `plan.l1.fits` tells. One
    that runs in slices is run slice by slice.

    Args:
      program: as for `make_plan`.
    """
    plan = make_plan(conv, shard, compute, arch, program=program, must_fit=False)
    if plan.slices <= 1:
        return run(plan, make_maps(plan), x, w, bias, keep=keep, backend=backend)
    refuse(run_problems(plan, np.asarray(x), np.asarray(w), bias, keep, None, backend))

    def run_launch(launch: Plan, image):
        maps = make_maps(launch)
        return run(launch, maps, image, w, bias, backend=backend).output

    output = cast(Array, run_slices(plan, x, run_launch))
    return Emulation(plan=plan, output=output, memories=MappingProxyType({}))


def prepare_weights(
    plan: Plan, w: Shaped[HostOrDevice, "..."]
) -> Float[Array, "rows columns"]:
    """Returns the row-major prepared matrix of OIHW weights, before tilization.

    Raises:
      ConfigError: weights of another shape than planned.
      UnsupportedError: a matrix too large to build.
    """
    w = real(w, "w")
    refuse(plan.conv.tensor_problems(None, w.shape, None))
    prepare = PROGRAMS[plan.program].prepare(plan)
    if not isinstance(prepare, IndexMap):
        raise UnsupportedError(_too_large(plan))
    return _gather(host_tensor(w, static_of(plan)), prepare)


def _too_large(plan: Plan) -> str:
    rows, columns = plan.weight_matrix_shape
    return (
        f"the prepared weights (={rows} x {columns} elements) are known by formula "
        "only; run without `keep`, or take fewer channels"
    )


_gather = jax.jit(gather)
