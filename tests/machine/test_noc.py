import dataclasses

import jax.numpy as jnp
import numpy as np

import jaxdw as jd
from jaxdw.machine import noc
from jaxdw.machine.memory import Memory
from jaxdw.maps.multicast import make_multicast


def test_a_multicast_delivers_what_its_sender_wrote_and_nothing_else():
    conv = jd.ConvConfig(channels=64, height=8, width=8, padding=1)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="block"))
    arguments = dataclasses.replace(
        make_multicast(plan), num_dests=np.array([2, 1, 0, 0], np.int32)
    )
    written = jnp.array([[True], [False], [True], [True]])
    l1 = Memory(jnp.zeros((4, 1, 8), jnp.uint8), written)
    received, _ = noc.multicast(l1, arguments)
    assert received.written.tolist() == [[True], [False], [False], [False]]
    assert (np.asarray(received.data[2]) == 255).all()
