"""A launch whose weights lie ready: loaded once, called on many inputs."""

import dataclasses
import functools

from jax.core import Tracer, eval_context
from jax.sharding import Mesh
from jaxtyping import Array, Float, Float32, Shaped

from jaxdw.errors import refuse
from jaxdw.launch.composed import Lanes, load_weights, run_resident
from jaxdw.launch.emulator import is_traced, real, run, run_problems
from jaxdw.launch.slices import ONE_BY_ONE
from jaxdw.machine.cores import static_of
from jaxdw.maps.identity import check_plan
from jaxdw.maps.indexmap import HostOrDevice
from jaxdw.maps.maps import Maps
from jaxdw.plan.names import Backend
from jaxdw.plan.plan import Plan


@dataclasses.dataclass(frozen=True, eq=False, kw_only=True)
class LoadedLaunch:
    """A launch with its weights and bias in place, as `load` returns it.

    Called on `[N, H, W, C]` it returns the output, `[N, Ho, Wo, C]` float32: the bits
    of `run`. It can be called inside `jit`, `vmap` and `grad`.
    """

    plan: Plan
    maps: Maps
    w: Float[Array, "c one kh kw"]
    bias: Float[Array, " c"] | None
    mesh: Mesh | None
    backend: Backend

    @functools.cached_property
    def _lanes(self) -> Lanes:
        maps = self.maps.strided or self.maps.composed
        static = static_of(self.plan, self.backend)
        with eval_context():
            return load_weights(maps, self.w, self.bias, static, look=True)

    @functools.cached_property
    def _is_traced(self) -> bool:
        return is_traced(self.maps, self.w, self.bias)

    def __call__(self, x: Shaped[HostOrDevice, "..."]) -> Float32[Array, "n ho wo c"]:
        if self.mesh is not None or self._is_traced or isinstance(x, Tracer):
            return run(
                self.plan,
                self.maps,
                x,
                self.w,
                self.bias,
                mesh=self.mesh,
                backend=self.backend,
            ).output
        x = real(x, "x")
        if x.shape != self.plan.conv.input_shape:
            refuse(self.plan.conv.tensor_problems(x.shape, self.w.shape, None))
        static = static_of(self.plan, self.backend)
        return run_resident(self.maps, x, self._lanes, static)


def load(
    plan: Plan,
    maps: Maps,
    w: Shaped[HostOrDevice, "..."],
    bias: Shaped[HostOrDevice, "..."] | None = None,
    *,
    mesh: Mesh | None = None,
    backend: Backend = "xla",
) -> LoadedLaunch:
    """Loads weights and bias where cores read them, as on the device.

    Args:
      w: `[C, 1, kh, kw]`; bias: `[C]`, if and only if `plan.conv.bias`.
      mesh, backend: as for `run`.

    Raises:
      ConfigError, UnsupportedError: what `run` refuses of all but the input.
    """
    w = real(w, "w")
    bias = None if bias is None else real(bias, "bias")
    refuse(run_problems(plan, None, w, bias, (), mesh, backend))
    plan.refuse_slices("load", ONE_BY_ONE)
    check_plan(plan, maps)
    launch = LoadedLaunch(
        plan=plan, maps=maps, w=w, bias=bias, mesh=mesh, backend=backend
    )
    if mesh is None and not launch._is_traced:
        _ = launch._lanes  # refuses what maps may not hold
    return launch
