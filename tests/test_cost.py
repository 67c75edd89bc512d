"""What a run costs, counted: computations, kernels, gathers, bytes, flops."""

import dataclasses
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxdw as jd
from jaxdw.launch import composed
from jaxdw.machine.cores import image_held, static_of
from jaxdw.models import zoo

FLOAT32 = jd.ComputeConfig(arithmetic="float32")
WAYS = {  # operations to a kernel position of an output, and kernels
    "float32": (FLOAT32, 10.5, 3),
    "LoFi": (jd.ComputeConfig(math_fidelity="LoFi"), 22, 12),
    "HiFi4": (jd.ComputeConfig(math_fidelity="HiFi4"), 62, 13),
}


@pytest.fixture
def compilations():
    """Counts what XLA compiles, one entry for each computation."""
    found = []

    def listen(event: str, duration: float, **_):
        if event == "/jax/core/compile/backend_compile_duration":
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    yield found
    jax.monitoring.unregister_event_duration_listener(listen)


def planned(scheme: str, compute: jd.ComputeConfig, **layer):
    conv = jd.ConvConfig(**({"channels": 144, "height": 56, "width": 56} | layer))
    return jd.make_plan(conv, jd.ShardConfig(scheme=scheme), compute, must_fit=False)


def lowered(plan: jd.Plan, form: str, *, strided: bool = False):
    x, w = jnp.ones(plan.conv.input_shape), jnp.ones(plan.conv.weight_shape)
    maps = jd.make_maps(plan)
    leaves, structure = jax.tree.flatten(maps.strided if strided else maps.composed)
    static = static_of(plan)

    def run(leaves, x, w):
        maps = structure.unflatten(leaves)
        return composed.load_and_run(maps, x, w, None, static, form)

    return jax.jit(run).lower(leaves, x, w).compile()


@pytest.mark.parametrize("strided", [True, False])
@pytest.mark.parametrize("scheme", ["height", "width", "block"])
@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_a_few_kernels_and_reads_windows_as_slices(way, scheme, strided):
    """One gather is that of the weights; without slices there is one for each tap."""
    compute, most_operations, most_kernels = WAYS[way]
    plan = planned(scheme, compute, padding=1)
    done = lowered(plan, form="float", strided=strided)
    text, cost = done.as_text(), done.cost_analysis()
    of_taps = 0 if strided else plan.conv.taps
    assert len(re.findall(r"= \S+ gather\(", text)) == of_taps + 1
    assert len(re.findall(r"= \S+ fusion\(", text)) <= most_kernels
    outputs = math.prod(plan.output_shape)
    user_bytes = 4 * (math.prod(plan.conv.input_shape) + outputs)
    assert cost["bytes accessed"] < 4.2 * user_bytes
    assert cost["flops"] < most_operations * outputs * plan.conv.taps
    assert done.memory_analysis().temp_size_in_bytes < 0.4 * user_bytes


@pytest.mark.parametrize(
    ("channels", "size", "held", "most_operations", "most_bytes", "most_memory"),
    [(192, 28, "words", 8, 2, 0.4), (32, 112, "floats", 5, 6.5, 0.6)],
)
@pytest.mark.parametrize("scheme", ["height", "width", "block"])
def test_float32_reads_words_and_floats_with_fewer_operations(
    scheme, channels, size, held, most_operations, most_bytes, most_memory
):
    """Bits take 8.2 operations to a kernel position, and 3.8 times the user's bytes."""
    layer = {"channels": channels, "height": size, "width": size, "padding": 1}
    plan = planned(scheme, FLOAT32, **layer)
    assert image_held(static_of(plan)) == held
    done = lowered(plan, form="float", strided=True)
    text, cost = done.as_text(), done.cost_analysis()
    assert len(re.findall(r"= \S+ gather\(", text)) == 1
    assert len(re.findall(r"= \S+ fusion\(", text)) <= 3
    outputs = math.prod(plan.output_shape)
    user_bytes = 4 * (math.prod(plan.conv.input_shape) + outputs)
    assert cost["flops"] < most_operations * outputs * plan.conv.taps
    assert cost["bytes accessed"] < most_bytes * user_bytes
    assert done.memory_analysis().temp_size_in_bytes < most_memory * user_bytes


def test_the_integer_form_takes_memory_for_a_part_of_the_outputs_only():
    few, many = (
        lowered(planned("height", WAYS["LoFi"][0], batch=n), form="by operands")
        for n in (1, 8)
    )
    outputs = 4 * 144 * 54 * 54  # bytes of one image
    growth = [r.memory_analysis().temp_size_in_bytes for r in (few, many)]
    assert growth[1] - growth[0] < 4 * 7 * outputs


def test_many_taps_at_high_fidelity_do_not_multiply():
    flops = [
        lowered(
            planned("height", WAYS["HiFi4"][0], kernel=k, padding=k // 2, height=14),
            form="float",
        ).cost_analysis()["flops"]
        for k in (3, 7)
    ]
    assert flops[1] < flops[0] * 49 / 9 * 1.1


def test_a_layer_is_one_computation_and_a_second_run_compiles_nothing(compilations):
    for conv in list(zoo.distinct("mobilenet_v2"))[-3:]:
        conv = dataclasses.replace(conv, channels=conv.channels + 1)
        plan = jd.make_plan(conv, jd.ShardConfig(scheme="block"), FLOAT32)
        maps = jd.make_maps(plan)
        x, w = np.ones(conv.input_shape, "f4"), np.ones(conv.weight_shape, "f4")
        bias = np.ones(conv.channels, "f4") if conv.bias else None
        compilations.clear()
        jd.run(plan, maps, x, w, bias)
        assert len(compilations) == 1
        jd.run(plan, jd.make_maps(plan), x, w, bias)
        assert len(compilations) == 1
