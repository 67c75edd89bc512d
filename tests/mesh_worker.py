"""Runs layers on meshes and compares them with one device, bit for bit.

`python mesh_worker.py CASES [PROCESS PROCESSES PORT]`: the cases as JSON; prints one
JSON line for each.
"""

import dataclasses
import json
import sys

import jax
import numpy as np

import jaxdw as jd
from jaxdw.maps.indexmap import make_index_map

PROCESS, PROCESSES, PORT = map(int, sys.argv[2:] or (0, 1, 0))


def poisoned(maps: jd.Maps, fault: str) -> jd.Maps:
    """Spoils maps so that outputs, or the weights of one core, are never written.

    Of `collect`, one output is never written and another is padding.
    """
    if fault == "multicast":
        few = maps.multicast.num_dests - (maps.multicast.num_dests > 1)
        rect = maps.multicast.rect[:, [1, 0, 3, 2]]
        spoiled = dataclasses.replace(maps.multicast, num_dests=few, rect=rect)
        return dataclasses.replace(maps, multicast=spoiled)
    if fault == "collect":
        index = maps.collect.index.copy()
        index[3], index[4] = maps.collect.poison, maps.collect.size
        return dataclasses.replace(
            maps, collect=make_index_map(index, maps.collect.size)
        )
    index = maps.halo.index.copy()
    index[-1, 3] = maps.halo.poison
    index[0, 2] = maps.halo.size - 1  # a stick of the last shard, far away
    return dataclasses.replace(maps, halo=make_index_map(index, maps.halo.size))


def run(case: dict) -> dict:
    conv = jd.ConvConfig(**case["conv"])
    if "program" in case:
        compute = jd.ComputeConfig(**case["compute"])
        shard = jd.ShardConfig(**case["shard"])
    else:
        compute = jd.ComputeConfig(arithmetic=case["arithmetic"])
        shard = jd.ShardConfig(scheme=case["scheme"])
    program = case.get("program", "depthwise")
    plan = jd.make_plan(conv, shard, compute, program=program, must_fit=False)
    maps = jd.make_maps(plan)
    if case["fault"]:
        maps = poisoned(maps, case["fault"])
    rng = np.random.default_rng(0)
    x, w, bias = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in (conv.input_shape, conv.weight_shape, (conv.channels,))
    )
    x[0, 0, 0, 0] = case.get("first", 1.0)
    shape = tuple(case["mesh"])
    devices = np.array(jax.devices()[: np.prod(shape)]).reshape(shape)
    mesh = jax.sharding.Mesh(devices, ("first", "second")[: len(shape)])
    bias = bias if conv.bias else None
    got = jd.run(plan, maps, x, w, bias, mesh=mesh).output
    want = np.asarray(jd.run(plan, maps, x, w, bias).output)
    (send,) = (laid.send for laid in maps.by_mesh.values())
    return {
        "equal": bool(np.array_equal(np.asarray(got), want, equal_nan=True)),
        "nan": int(np.isnan(want).sum()),
        "devices": len(got.sharding.device_set),
        "exchanged": int((send.index < send.size).sum()) if PROCESSES == 1 else None,
    }


if PROCESSES > 1:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{PORT}", PROCESSES, PROCESS)
for case in json.loads(sys.argv[1]):
    try:
        found = run(case)
    except jd.UnsupportedError as error:
        found = {"refused": str(error)}
    print(json.dumps(found), flush=True)
