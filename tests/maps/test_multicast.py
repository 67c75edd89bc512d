import dataclasses

import chex
import jax
import numpy as np
import oracles
import pytest
import strategies
from hypothesis import given

import jaxdw as jd
from jaxdw.maps.multicast import INVALID, VALID, handshake, make_multicast, receives


def plan_of(scheme: str, **conv) -> jd.Plan:
    conv = {"channels": 64, "height": 8, "width": 8, "padding": 1, **conv}
    return jd.make_plan(jd.ConvConfig(**conv), jd.ShardConfig(scheme=scheme))


def sources(plan: jd.Plan, **changed) -> list[int]:
    multicast = dataclasses.replace(make_multicast(plan), **changed)
    return handshake(multicast).source.index.tolist()


@given(strategies.convs(), strategies.shards())
def test_every_receiver_is_served_by_its_sender(conv, shard):
    plan = jd.make_plan(conv, shard, must_fit=False)
    multicast = make_multicast(plan)
    want = list(range(plan.num_cores))
    senders = oracles.multicast_receivers(
        shard.scheme, plan.num_nhw_shards, plan.num_channel_shards, shard.grid[0]
    )
    mask = receives(multicast)
    for sender, receivers in senders.items():
        assert np.flatnonzero(mask[sender]).tolist() == receivers
        for receiver in receivers:
            want[receiver] = sender
    delivery = handshake(multicast)
    assert delivery.source.index.tolist() == want
    assert (delivery.receiver_semaphore == VALID).all()
    assert (delivery.sender_semaphore == 0).all()


class HandshakeTest(chex.TestCase):
    @chex.variants(with_jit=True, without_jit=True)
    def test_traced_and_on_the_host_it_says_the_same(self):
        multicast = make_multicast(plan_of("block"))
        traced = self.variant(handshake)(jax.tree.map(jax.numpy.asarray, multicast))
        chex.assert_trees_all_equal(
            jax.tree.map(np.asarray, traced), handshake(multicast)
        )


def test_a_sender_that_waits_for_one_more_serves_nobody():
    plan = plan_of("block")
    poison = plan.num_cores + 1
    num_dests = np.array([2, 1, 0, 0], np.int32)
    assert sources(plan, num_dests=num_dests) == [0, 1, poison, 1]
    multicast = dataclasses.replace(make_multicast(plan), num_dests=num_dests)
    delivery = handshake(multicast)
    assert delivery.receiver_semaphore.tolist() == [VALID, VALID, INVALID, VALID]
    assert delivery.sender_semaphore.tolist() == [1, 0, 0, 0]


def test_a_rectangle_that_stops_short_leaves_its_receiver_without():
    plan = plan_of("block")
    rect = make_multicast(plan).rect.copy()
    rect[1, 3] = 0  # column 1 ends at row 0
    assert sources(plan, rect=rect) == [0, 1, 0, plan.num_cores + 1]


def test_swapped_axes_send_to_the_wrong_cores():
    plan = plan_of("block")
    rect = make_multicast(plan).rect.copy()
    rect[0] = rect[0, [1, 0, 3, 2]]
    assert sources(plan, rect=rect) == [0, 1, plan.num_cores + 1, 1]


def test_naming_the_wrong_sender_stalls_both():
    plan = plan_of("block")
    names = np.array([-1, -1, 1, 1], np.int32)
    multicast = dataclasses.replace(make_multicast(plan), names=names)
    delivery = handshake(multicast)
    assert delivery.source.index.tolist() == [0, 1, 5, 5]
    assert delivery.sender_semaphore.tolist() == [0, 2, 0, 0]


def test_a_core_that_does_not_read_sends_nothing():
    multicast = dataclasses.replace(
        make_multicast(plan_of("block")),
        num_dests=np.array([1, 1, 1, 0], np.int32),
        names=np.array([-1, -1, 0, 2], np.int32),
    )
    assert handshake(multicast).sender_semaphore.tolist() == [0, 0, 1, 0]


def test_of_two_senders_into_one_core_the_first_is_its_source():
    plan = plan_of("block")
    rect = make_multicast(plan).rect.copy()
    rect[1] = 0, 0, 1, 1
    assert sources(plan, rect=rect) == [0, 1, 0, 1]


@pytest.mark.parametrize("scheme", ["height", "width", "block"])
def test_the_plans_example(scheme):
    want = {"height": [0, 0], "width": [0, 1], "block": [0, 1, 0, 1]}
    assert sources(plan_of(scheme)) == want[scheme]
