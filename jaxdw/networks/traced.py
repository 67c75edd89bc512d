"""A function of JAX whose depthwise convolutions are computed on the chip.

Its jaxpr is evaluated anew: `conv_general_dilated` with one input and one output
channel to a group becomes an emulated launch, all other primitives stay. Calls, jit,
checkpoint and custom derivatives are looked into; loops and branches are not, and what
they hold is named.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import Array, Float, PyTree

from jaxdw.errors import ConfigError
from jaxdw.judge.reference import reference
from jaxdw.launch.emulator import run
from jaxdw.maps.maps import make_maps
from jaxdw.networks.figures import layer_figures, output_figures
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig, WeightsDtype
from jaxdw.plan.planner import make_plan

_CONV = "conv_general_dilated"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TracedLayer:
    """A depthwise convolution of a function, in its order.

    Attributes:
      conv: without bias, which is another primitive.
      name: of the function's stack where it stands, numbered.
    """

    name: str
    conv: ConvConfig


@dataclasses.dataclass(frozen=True, kw_only=True)
class Accuracy:
    """What the chip makes of a function.

    Attributes:
      outputs: a row for each sample and leaf of the output: PCC, gain, SNR, argmax.
      layers: a row for each layer and sample, by itself on what it reads in float32.
      skipped: depthwise convolutions that were left as they are, and why.
    """

    outputs: tuple[dict[str, Any], ...]
    layers: tuple[dict[str, Any], ...]
    skipped: tuple[str, ...]


# computes a layer of an image [N, H, W, C] and weights [C, 1, kh, kw]
_Compute = Callable[[TracedLayer, Array, Array], Array]


def on_chip(
    fn: Callable[..., PyTree],
    *,
    shard: ShardConfig | None = None,
    compute: ComputeConfig | None = None,
    weights_dtype: WeightsDtype = "bfloat16",
    arch: str = "wormhole_b0",
    program: str = "depthwise",
) -> Callable[..., PyTree]:
    """Returns a function like `fn` with its depthwise convolutions emulated.

    It can be jitted. Each convolution is planned by its own shapes; the rest is
    computed as `fn` does.
    """

    def emulate(layer: TracedLayer, x: Array, w: Array) -> Array:
        conv = dataclasses.replace(layer.conv, weights_dtype=weights_dtype)
        plan = make_plan(conv, shard, compute, arch, program=program, must_fit=False)
        plan.refuse_slices("on_chip", "use memory='l1'")
        return run(plan, make_maps(plan), x, w).output

    def changed(*arguments: Any) -> PyTree:
        return _Walk(emulate).call(fn, *arguments)

    return changed


def accuracy(
    fn: Callable[[PyTree, Any], PyTree],
    params: PyTree,
    samples: Sequence[Any],
    *,
    shard: ShardConfig | None = None,
    compute: ComputeConfig | None = None,
    weights_dtype: WeightsDtype = "bfloat16",
    arch: str = "wormhole_b0",
    program: str = "depthwise",
) -> Accuracy:
    """Returns what the chip's numerics do to `fn(params, sample)`, sample by sample.

    Args:
      samples: what `fn` takes beside its parameters, all of the same shapes.

    Raises:
      ConfigError: no sample, or no depthwise convolution; as `make_plan`.
    """
    if not samples:
        raise ConfigError("`samples` (=()) must hold at least one; give what fn takes")
    setting = {"shard": shard, "arch": arch, "program": program}
    chip = jax.jit(on_chip(fn, compute=compute, weights_dtype=weights_dtype, **setting))
    seen: list[TracedLayer] = []
    skipped: list[str] = []

    def in_float(params: PyTree, sample: Any) -> PyTree:
        read = []

        def keep(layer: TracedLayer, x: Array, w: Array) -> Array:
            read.append((layer, x, w))
            return _in_float32(layer.conv, x, w)

        walk = _Walk(keep)
        output = walk.call(fn, params, sample)
        seen[:] = [layer for layer, _, _ in read]
        skipped[:] = walk.skipped
        return output, [(x, w) for _, x, w in read]

    plain = jax.jit(in_float)
    outputs, layers = [], []
    for number, sample in enumerate(samples):
        want, read = plain(params, sample)
        if not read:
            raise ConfigError(
                "`fn` must hold a depthwise convolution, conv_general_dilated with "
                "feature_group_count == in channels == out channels"
                + "".join(f"; {line}" for line in skipped)
            )
        got = chip(params, sample)
        for (path, one), other in zip(
            jax.tree_util.tree_leaves_with_path(want), jax.tree.leaves(got), strict=True
        ):
            figures = output_figures(np.asarray(one), np.asarray(other))
            name = jax.tree_util.keystr(path)
            outputs.append({"sample": number, "output": name, **figures})
        for layer, (x, w) in zip(seen, read, strict=True):
            conv = dataclasses.replace(layer.conv, weights_dtype=weights_dtype)
            row = _layer_row(conv, x, w, compute, setting)
            layers.append({"sample": number, "layer": layer.name, **row})
    return Accuracy(
        outputs=tuple(outputs), layers=tuple(layers), skipped=tuple(skipped)
    )


def _layer_row(
    conv: ConvConfig,
    x: Array,
    w: Array,
    compute: ComputeConfig | None,
    setting: dict[str, Any],
) -> dict[str, Any]:
    own = dict(setting)
    shard = own.pop("shard")
    plan = make_plan(conv, shard, compute, must_fit=False, **own)
    image, weights = (np.asarray(a.astype(jnp.bfloat16), np.float32) for a in (x, w))
    if conv.weights_dtype != "bfloat16":
        weights = np.asarray(w, np.float32)
    output = run(plan, make_maps(plan), image, weights).output
    want = reference(conv, image, weights)
    row = layer_figures(np.asarray(output), want, conv, plan.compute)
    return row | {"cycles": plan.cycles.total}


def _in_float32(
    conv: ConvConfig, x: Float[Array, "n h w c"], w: Float[Array, "c one kh kw"]
) -> Array:
    top, bottom, left, right = conv.padding
    return jax.lax.conv_general_dilated(
        x,
        w,
        conv.stride,
        ((top, bottom), (left, right)),
        rhs_dilation=conv.dilation,
        dimension_numbers=("NHWC", "OIHW", "NHWC"),
        feature_group_count=conv.channels,
        precision="highest",
    )


class _Walk:
    """Evaluates a jaxpr, its depthwise convolutions by a function of one's own."""

    def __init__(self, compute: _Compute):
        self.compute = compute
        self.skipped: list[str] = []
        self.count = 0

    def call(self, fn: Callable[..., PyTree], *arguments: Any) -> PyTree:
        closed, shape = jax.make_jaxpr(fn, return_shape=True)(*arguments)
        leaves = jax.tree.leaves(arguments)
        found = self.evaluate(closed.jaxpr, closed.consts, leaves)
        return jax.tree.unflatten(jax.tree.structure(shape), found)

    def evaluate(
        self, jaxpr: Jaxpr, consts: Sequence[Any], arguments: Sequence[Any]
    ) -> list[Any]:
        values: dict[Any, Any] = {}

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else values[atom]

        values.update(zip(jaxpr.constvars, consts, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))
        for eqn in jaxpr.eqns:
            inputs = [read(atom) for atom in eqn.invars]
            found = self._apply(eqn, inputs)
            values.update(zip(eqn.outvars, found, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _apply(self, eqn: Any, inputs: list[Any]) -> list[Any]:
        inner = called(eqn)
        if inner is not None and holds_depthwise(inner.jaxpr):
            return self.evaluate(inner.jaxpr, inner.consts, inputs)
        if eqn.primitive.name == _CONV and is_depthwise(eqn):
            layer = self._layer(eqn)
            if isinstance(layer, TracedLayer):
                return [self._convolved(eqn, layer, *inputs)]
            self.skipped.append(layer)
        elif inner is None and any(map(holds_depthwise, inner_jaxprs(eqn))):
            self.skipped.append(f"{eqn.primitive.name}: a depthwise conv in its body")
        params = eqn.primitive.get_bind_params(eqn.params)
        found = eqn.primitive.bind(*inputs, **params)
        return list(found) if eqn.primitive.multiple_results else [found]

    def _layer(self, eqn: Any) -> TracedLayer | str:
        """Returns a convolution as one of ours, or why it is none."""
        lhs, rhs = (var.aval for var in eqn.invars)
        stack = str(eqn.source_info.name_stack) or _CONV
        name = f"{stack}.{self.count}"
        self.count += 1
        spec, params = eqn.params["dimension_numbers"], eqn.params
        axes = len(lhs.shape) - 2
        if axes not in (1, 2):
            return f"{name}: a kernel of {axes} axes"
        if any(size != 1 for size in params["lhs_dilation"]):
            return f"{name}: a transposed convolution"
        row: Any = (1,) * (2 - axes)
        sizes = [lhs.shape[axis] for axis in spec.lhs_spec]
        pads = [pad for pair in params["padding"] for pad in pair]
        padding: Any = (*(0, 0) * len(row), *pads)
        height, width = row + tuple(sizes[2:])
        conv = ConvConfig(
            batch=sizes[0],
            channels=sizes[1],
            height=height,
            width=width,
            kernel=row + tuple(rhs.shape[axis] for axis in spec.rhs_spec[2:]),
            stride=row + tuple(params["window_strides"]),
            padding=padding,
            dilation=row + tuple(params["rhs_dilation"]),
        )
        problems = conv.problems()
        if problems:
            return f"{name}: {problems[0]}"
        return TracedLayer(name=name, conv=conv)

    def _convolved(self, eqn: Any, layer: TracedLayer, x: Any, w: Any) -> Array:
        spec = eqn.params["dimension_numbers"]
        axes = len(spec.lhs_spec) - 2
        # batch, channels, axes of the image -> batch, axes, channels
        image = jnp.transpose(
            x, (spec.lhs_spec[0], *spec.lhs_spec[2:], spec.lhs_spec[1])
        )
        kernel = jnp.transpose(w, spec.rhs_spec)
        if axes == 1:
            image, kernel = image[:, None], kernel[:, :, None]
        output = self.compute(
            layer, image.astype(jnp.float32), kernel.astype(jnp.float32)
        )
        output = output[:, 0] if axes == 1 else output
        order = (spec.out_spec[0], *spec.out_spec[2:], spec.out_spec[1])
        back = [order.index(axis) for axis in range(len(order))]
        return jnp.transpose(output, back).astype(eqn.outvars[0].aval.dtype)


def called(eqn: Any) -> ClosedJaxpr | None:
    """Returns what a primitive calls once with its own inputs, None for any other."""
    if eqn.primitive.name in ("scan", "while", "cond"):
        return None
    for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"):
        found = eqn.params.get(name)
        if isinstance(found, ClosedJaxpr):
            return found
        if isinstance(found, Jaxpr):
            return ClosedJaxpr(found, ())
    return None


def inner_jaxprs(eqn: Any) -> Iterator[Jaxpr]:
    """Yields every jaxpr among the parameters of a primitive."""
    for value in eqn.params.values():
        for part in value if isinstance(value, list | tuple) else (value,):
            if isinstance(part, ClosedJaxpr):
                yield cast(Jaxpr, part.jaxpr)
            elif isinstance(part, Jaxpr):
                yield part


def holds_depthwise(jaxpr: Jaxpr) -> bool:
    """Whether a jaxpr holds a depthwise convolution, at any depth."""
    return any(
        is_depthwise(eqn) or any(map(holds_depthwise, inner_jaxprs(eqn)))
        for eqn in jaxpr.eqns
    )


def is_depthwise(eqn: Any) -> bool:
    """Whether an equation is a convolution with one channel in and out of a group."""
    if eqn.primitive.name != _CONV or eqn.params["batch_group_count"] != 1:
        return False
    groups, spec = eqn.params["feature_group_count"], eqn.params["dimension_numbers"]
    lhs, rhs = (var.aval.shape for var in eqn.invars)
    channels = lhs[spec.lhs_spec[1]]
    return groups > 1 and groups == channels == rhs[spec.rhs_spec[0]]
