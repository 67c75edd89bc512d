"""The contenders: each prepares a call for a layer, checked before it is timed."""

import dataclasses
import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bench.harness import (
    Record,
    cpu_cores,
    environment,
    measure_calls,
    peak_bytes,
    timed,
)
from bench.layers import layer_name, output_shape
from jaxdw.judge.compare import judge, pcc
from jaxdw.judge.draws import draw
from jaxdw.judge.reference import reference
from jaxdw.launch.emulator import run
from jaxdw.launch.resident import load
from jaxdw.maps.maps import make_maps
from jaxdw.plan.config import ComputeConfig, ConvConfig, ShardConfig
from jaxdw.plan.planner import make_plan

MOST_ERROR = 1e-5  # of float32 libraries, as a share of the largest output
LEAST_PCC = 0.99  # of the matrix unit


class Prepared(NamedTuple):
    """A layer made ready.

    Attributes:
      call: does the work and waits for it.
      image: turns what `call` returns into `[N, Ho, Wo, C]`.
      facts: what the record shall say, `threads` among it.
    """

    call: Callable[[], Any]
    image: Callable[[Any], np.ndarray]
    facts: Record


class Prepare(Protocol):
    def __call__(
        self, conv: ConvConfig, x: np.ndarray, w: np.ndarray, /
    ) -> Prepared: ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contender:
    """One way to run a layer.

    Attributes:
      prepare: a function of a module, or a partial of one: it goes to other processes.
      compute: how jaxdw computes; None for a library in float32.
      process: contenders of one name share a process, turn by turn on each layer.
      libraries: what must be installed, modules and distributions of that name.
    """

    name: str
    process: str
    prepare: Prepare
    compute: ComputeConfig | None = None
    libraries: tuple[str, ...] = ()

    @property
    def installed(self) -> bool:
        return all(importlib.util.find_spec(name) for name in self.libraries)


def jax_threads() -> int | None:
    """Returns the threads of XLA's pool; None where a GPU does the work."""
    return cpu_cores() if jax.default_backend() == "cpu" else None


def jaxdw(
    conv: ConvConfig,
    x: np.ndarray,
    w: np.ndarray,
    *,
    compute: ComputeConfig,
    shard: ShardConfig,
    arch: str = "wormhole_b0",
    program: str = "depthwise",
    loaded: bool = False,
    synchronous: bool = False,
) -> Prepared:
    """Prepares `run`.

    Args:
      loaded: weights lie in place (`load`).
      synchronous: computes in the thread that calls.
    """
    if synchronous:
        jax.config.update("jax_cpu_enable_async_dispatch", False)
    plan = make_plan(conv, shard, compute, arch, program=program, must_fit=False)
    maps = make_maps(plan)
    inputs, weights = jnp.asarray(x), jnp.asarray(w)
    facts = {
        "threads": jax_threads(),
        "scheme": plan.scheme,
        "grid": plan.grid,
        "cores": plan.num_cores,
        "arch": plan.arch.name,
        "fits": plan.l1.fits,
    }

    launch = load(plan, maps, weights) if loaded else None

    def call() -> jax.Array:
        if launch is not None:
            return jax.block_until_ready(launch(inputs))
        return jax.block_until_ready(run(plan, maps, inputs, weights).output)

    return Prepared(call, np.asarray, facts)


def lax_conv(conv: ConvConfig, x: np.ndarray, w: np.ndarray) -> Prepared:
    top, bottom, left, right = conv.padding
    inputs, kernel = jnp.asarray(x), jnp.asarray(w.transpose(2, 3, 1, 0))

    @jax.jit
    def convolve(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            inputs,
            kernel,
            conv.stride,
            ((top, bottom), (left, right)),
            rhs_dilation=conv.dilation,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=conv.channels,
        )

    def call() -> jax.Array:
        return jax.block_until_ready(convolve(inputs, kernel))

    return Prepared(call, np.asarray, {"threads": jax_threads()})


def torch_conv(
    conv: ConvConfig, x: np.ndarray, w: np.ndarray, *, channels_last: bool
) -> Prepared:
    """Prepares PyTorch on the CPU; padding that differs by side is made in the call."""
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(cpu_cores())
    layout = torch.channels_last if channels_last else torch.contiguous_format
    inputs = torch.from_numpy(x).permute(0, 3, 1, 2).contiguous(memory_format=layout)
    weights = torch.from_numpy(w).contiguous(memory_format=layout)
    top, bottom, left, right = conv.padding
    even = top == bottom and left == right

    @torch.inference_mode()
    def call() -> Any:
        padded = inputs
        if not even:
            padded = torch.nn.functional.pad(inputs, (left, right, top, bottom))
        return torch.nn.functional.conv2d(
            padded,
            weights,
            stride=conv.stride,
            padding=(top, left) if even else 0,
            dilation=conv.dilation,
            groups=conv.channels,
        )

    def image(output: Any) -> np.ndarray:
        return output.permute(0, 2, 3, 1).numpy()

    return Prepared(call, image, _on_cpu(torch.get_num_threads()))


def onnxruntime_conv(conv: ConvConfig, x: np.ndarray, w: np.ndarray) -> Prepared:
    """Prepares a model of one Conv, NCHW."""
    runtime: Any = importlib.import_module("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = cpu_cores()
    options.inter_op_num_threads = 1
    session = runtime.InferenceSession(
        _onnx_model(conv, w), options, providers=["CPUExecutionProvider"]
    )
    inputs = {"x": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}

    def image(outputs: Any) -> np.ndarray:
        return outputs[0].transpose(0, 2, 3, 1)

    return Prepared(lambda: session.run(None, inputs), image, _on_cpu(cpu_cores()))


def _onnx_model(conv: ConvConfig, w: np.ndarray) -> bytes:
    onnx: Any = importlib.import_module("onnx")
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    top, bottom, left, right = conv.padding
    node = helper.make_node(
        "Conv",
        ["x", "w"],
        ["y"],
        group=conv.channels,
        kernel_shape=conv.kernel,
        strides=conv.stride,
        dilations=conv.dilation,
        pads=[top, left, bottom, right],
    )
    graph = helper.make_graph(
        [node],
        "depthwise",
        [helper.make_tensor_value_info("x", float32, None)],
        [helper.make_tensor_value_info("y", float32, None)],
        [onnx.numpy_helper.from_array(w, "w")],
    )
    # versions that any onnxruntime the extra allows can read
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=8)
    return model.SerializeToString()


def numpy_sticks(conv: ConvConfig, x: np.ndarray, w: np.ndarray) -> Prepared:
    """Prepares a loop over output rows and kernel positions, on padded input."""
    top, bottom, left, right = conv.padding
    padded = np.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)])
    kernel = np.ascontiguousarray(w[:, 0].transpose(1, 2, 0))
    shape = output_shape(conv)
    stride, dilation = conv.stride, conv.dilation
    span = (shape[2] - 1) * stride[1] + 1

    def call() -> np.ndarray:
        output = np.zeros(shape, np.float32)
        for image, rows in zip(padded, output, strict=True):
            for y, sticks in enumerate(rows):
                for v, u in np.ndindex(conv.kernel):
                    first = u * dilation[1]
                    row = image[y * stride[0] + v * dilation[0]]
                    sticks += row[first : first + span : stride[1]] * kernel[v, u]
        return output

    return Prepared(call, np.asarray, _on_cpu(1))


def _on_cpu(threads: int) -> Record:
    return {"device": "cpu", "platform": "cpu", "threads": threads}


def check(
    name: str,
    conv: ConvConfig,
    compute: ComputeConfig | None,
    output: np.ndarray,
    want: np.ndarray,
) -> Record:
    """Returns how far an output lies from float64.

    Raises:
      AssertionError: another shape, or further than its arithmetic allows: of float32
        libraries a share of the largest output, of jaxdw what `judge` allows, and a PCC
        of its own.
    """
    if output.shape != want.shape:
        raise AssertionError(
            f"{name} is wrong on {layer_name(conv)}: {output.shape}, not {want.shape}"
        )
    error = float(np.abs(output - want).max() / np.abs(want).max())
    found = {"error": error, "pcc": pcc(want.astype(np.float32), output)}
    if compute is None:
        rule, passed = f"at most {MOST_ERROR}", error <= MOST_ERROR
    else:
        verdict = judge(output, want, conv, compute)
        rule = f"{verdict.rule}; PCC above {LEAST_PCC}"
        passed = verdict.passed and found["pcc"] > LEAST_PCC
    if not passed:
        raise AssertionError(f"{name} is wrong on {layer_name(conv)}: {found} ({rule})")
    return found


@functools.lru_cache(maxsize=1)
def _case(conv: ConvConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns a layer's tensors and its float64 output."""
    x, w, _ = draw(conv, "random", 0)
    return x, w, reference(conv, x, w)


class Ready(NamedTuple):
    """A contender whose first call on a layer was right, and what is known so far."""

    call: Callable[[], Any]
    first_seconds: float
    record: Record


def contend(
    entries: Iterable[tuple[Contender, ConvConfig]],
    runs: int,
    *,
    in_turns: bool = False,
) -> list[Record]:
    """Checks and times contenders on layers in this process.

    Args:
      in_turns: make all ready, then time them round by round. What else the machine
        does falls on all alike, but each finds the caches as another left them.

    Raises:
      AssertionError: from `check`; nothing of that contender is timed on that layer.
    """
    entries = list(entries)
    records = []
    for together in [entries] if in_turns else [[entry] for entry in entries]:
        ready = [_ready(contender, conv) for contender, conv in together]
        calls, first_seconds, known = zip(*ready, strict=True)
        timings = measure_calls(calls, first_seconds, runs=runs)
        for record, timing in zip(known, timings, strict=True):
            disturbed = {"disturbed": timing.disturbed}
            records.append(record | dataclasses.asdict(timing) | disturbed)
    libraries = {name for contender, _ in entries for name in contender.libraries}
    here = environment(*sorted(libraries)) | {"peak_bytes": peak_bytes()}
    return [here | record for record in records]


def _ready(contender: Contender, conv: ConvConfig) -> Ready:
    x, w, want = _case(conv)
    prepared, prepare_seconds = timed(lambda: contender.prepare(conv, x, w))
    call, image, facts = prepared
    output, first_seconds = timed(call)
    found = check(contender.name, conv, contender.compute, image(output), want)
    record = {
        "contender": contender.name,
        "layer": dataclasses.asdict(conv),
        "prepare": prepare_seconds,
        **found,
        **facts,
    }
    return Ready(call, first_seconds, record)
