import dataclasses

import pytest
from schedule_examples import program

import jaxdw as jd
from jaxdw.schedule.protocol import READERS_PROTOCOL, Step
from jaxdw.schedule.verdict import judge_schedule


def test_steps_keep_to_their_role():
    with pytest.raises(jd.ConfigError, match=r"`receiver` \(=READ_DRAM\)"):
        program("receiver", [Step.READ_DRAM])
    with pytest.raises(jd.ConfigError, match=r"`sender` \(=INCREMENT_SENDER\)"):
        program("sender", [Step.INCREMENT_SENDER])


@pytest.mark.parametrize("arch", ["n300", "blackhole_11x10"])
def test_a_plan_is_judged_with_the_protocol_of_its_chip(arch, monkeypatch):
    conv = jd.ConvConfig(channels=256, height=16, width=16)
    plan = jd.make_plan(conv, jd.ShardConfig(scheme="block", grid=(4, 4)), arch=arch)
    assert judge_schedule(plan).clean
    unflushed = dataclasses.replace(READERS_PROTOCOL, in_order=False)
    monkeypatch.setattr("jaxdw.schedule.protocol.BLACKHOLE_PROTOCOL", unflushed)
    assert judge_schedule(plan).clean == (arch == "n300")
    assert judge_schedule(plan, protocol=READERS_PROTOCOL).clean
