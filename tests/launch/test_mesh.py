import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

import jaxdw as jd

WORKER = Path(__file__).parents[1] / "mesh_worker.py"
CONV = {
    "batch": 2,
    "channels": 100,
    "height": 9,
    "width": 7,
    "padding": 1,
    "bias": True,
    "activation": "relu6",
}


def case(scheme: str, mesh: tuple[int, ...], **changes) -> dict:
    arithmetic = changes.pop("arithmetic", "float32")
    fault = changes.pop("fault", None)
    rest = {"scheme": scheme, "mesh": mesh, "arithmetic": arithmetic, "fault": fault}
    return rest | {"conv": CONV} | changes


def start(cases: list[dict], *processes: int) -> subprocess.Popen:
    """Starts a worker that sees eight devices, half of them those of its peer."""
    command = [sys.executable, WORKER, json.dumps(cases), *map(str, processes)]
    own = 4 if processes else 8
    flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={own}"}
    environment = os.environ | flags
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def finish(worker: subprocess.Popen) -> list[dict]:
    lines = worker.communicate(timeout=600)[0].splitlines()
    assert worker.returncode == 0
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.parametrize("scheme", ["height", "width", "block"])
def test_any_number_of_devices_gives_the_same_bits(scheme):
    meshes = [(1,), (2,), (4,), (8,), (2, 4)]
    found = finish(start([case(scheme, mesh) for mesh in meshes]))
    assert [one["equal"] for one in found] == [True] * len(meshes)
    assert [one["devices"] for one in found] == [1, 2, 4, 8, 8]
    exchanged = [one["exchanged"] for one in found]
    if scheme == "width":
        assert exchanged == [0] * len(meshes)  # one NHW shard has no neighbour
    else:
        assert exchanged[0] == 0
        assert 0 < exchanged[1] < exchanged[2]


def test_the_matrix_unit_takes_either_form_on_each_device():
    cases = [case("height", (4,), arithmetic="fpu")]
    cases += [case("block", (2, 2), arithmetic="fpu", first=2.0**60)]
    assert [one["equal"] for one in finish(start(cases))] == [True, True]


def test_what_nobody_wrote_is_the_same_on_a_mesh():
    cases = [
        case(scheme, mesh, fault=fault)
        for scheme in ("height", "block")
        for mesh in [(4,), (2, 2)]
        for fault in ("halo", "multicast")
    ]
    cases += [case("height", (8,), fault="collect")]
    cases += [case("block", (2, 2), fault="multicast", arithmetic="fpu")]
    found = finish(start(cases))
    assert [one["equal"] for one in found] == [True] * len(cases)
    assert all(one["nan"] for one in found)


def test_two_processes_give_the_same_bits():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    cases = [case("height", (8,)), case("block", (4, 2)), case("width", (8,))]
    workers = [start(cases, process, 2, port) for process in range(2)]
    for worker in workers:
        assert [one["equal"] for one in finish(worker)] == [True] * len(cases)


def test_a_mesh_of_three_axes_and_memories_are_refused_together():
    conv = jd.ConvConfig(channels=32, height=4, width=4)
    plan = jd.make_plan(conv)
    x, w = np.ones(conv.input_shape), np.ones(conv.weight_shape)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]).reshape(1, 1, 1), tuple("abc"))
    with pytest.raises(jd.ConfigError, match=r"(?s)`mesh` .*one axis or two.*`keep`"):
        jd.run(plan, jd.make_maps(plan), x, w, mesh=mesh, keep=("dram",))


def test_traced_arrays_are_refused_on_a_mesh():
    conv = jd.ConvConfig(channels=32, height=4, width=4)
    plan = jd.make_plan(conv)
    maps = jd.make_maps(plan)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:1]), ("a",))
    w = np.ones(conv.weight_shape)
    with pytest.raises(jd.UnsupportedError, match="outside jit, grad, vmap"):
        jax.jit(lambda x: jd.run(plan, maps, x, w, mesh=mesh).output)(
            np.ones(conv.input_shape)
        )
