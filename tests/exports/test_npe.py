"""Transfers for tt-npe: every byte of the plan's traffic, on the chip's coordinates."""

import dataclasses
import itertools
import json
from collections import Counter

import jsonschema
import pytest
from examples import uneven_plan

import jaxdw as jd
from jaxdw.cli import main
from jaxdw.exports.npe import phases, trace, workload, write_npe

# Source: tt-npe cpp/src/ingestWorkload.cpp (2025): fields read, what is dropped.
_COORDINATES = {"type": "integer", "minimum": 0, "maximum": 16}
_UNICAST = {"required": ["dst_x", "dst_y"]}
_RECTANGLE = ("mcast_start_x", "mcast_start_y", "mcast_end_x", "mcast_end_y")
_TYPES = {"enum": ["READ", "WRITE_", "WRITE_MULTICAST"]}
WORKLOAD = {
    "type": "object",
    "required": ["phases"],
    "properties": {
        "phases": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["transfers"],
                "properties": {
                    "transfers": {"type": "array", "items": {"$ref": "#/$defs/one"}}
                },
            },
        }
    },
    "$defs": {
        "one": {
            "type": "object",
            "required": [
                "packet_size", "num_packets", "src_x", "src_y", "injection_rate",
                "phase_cycle_offset", "noc_type", "noc_event_type",
            ],
            "properties": {
                "packet_size": {"type": "integer", "minimum": 1, "maximum": 8192},
                "num_packets": {"type": "integer", "minimum": 1},
                "src_x": _COORDINATES,
                "src_y": _COORDINATES,
                "dst_x": _COORDINATES,
                "dst_y": _COORDINATES,
                **dict.fromkeys(_RECTANGLE, _COORDINATES),
                "injection_rate": {"type": "number"},
                "phase_cycle_offset": {"type": "integer", "minimum": 0},
                "noc_type": {"enum": ["NOC_0", "NOC_1"]},
                "noc_event_type": _TYPES,
            },
            "additionalProperties": False,
            "oneOf": [_UNICAST, {"required": list(_RECTANGLE)}],
        }
    },
}  # fmt: skip
EVENT = {
    "type": "object",
    "required": ["proc", "sx", "sy", "timestamp"],
    "properties": {
        "proc": {"enum": ["BRISC", "NCRISC"]},
        "sx": _COORDINATES,
        "sy": _COORDINATES,
        "timestamp": {"type": "integer", "minimum": 0},
        "type": _TYPES,
        "num_bytes": {"type": "integer", "minimum": 1, "maximum": 8192},
        "zone_phase": {"enum": ["begin", "end"]},
    },
    "oneOf": [{"required": ["zone", "zone_phase"]}, {"required": ["type", "noc"]}],
    "if": {"properties": {"type": {"const": "WRITE_MULTICAST"}}, "required": ["type"]},
    "then": {"required": list(_RECTANGLE)},
}
SCHEMES = ("height", "width", "block")


def plan_of(scheme: str, arch: str | jd.Arch = "wormhole_b0", **more) -> jd.Plan:
    conv = {"channels": 144, "height": 56, "width": 56, "padding": 1, "bias": True}
    shard = jd.ShardConfig(scheme=scheme)
    return jd.make_plan(jd.ConvConfig(**(conv | more)), shard, arch=arch)


@pytest.mark.parametrize("arch", ["wormhole_b0", "blackhole"])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_byte_of_the_traffic_is_transferred(scheme, arch):
    plan = plan_of(scheme, arch)
    found = phases(plan)
    traffic = plan.traffic
    moved = {name: sum(t.num_bytes for t in own) for name, own in found.items()}
    local = {
        name: sum(t.num_bytes for t in own if t.source == t.target)
        for name, own in found.items()
    }
    assert moved["halo"] - local["halo"] == traffic.halo_remote_bytes
    assert local["halo"] == traffic.halo_local_bytes + traffic.halo_padding_bytes
    assert moved["dram"] == sum(traffic.tiles_per_bank) * 2048
    assert moved.get("multicast", 0) == sum(traffic.multicast_sent_bytes)
    for bank, endpoint in enumerate(plan.arch.bank_noc_xy):
        read = sum(t.packets for t in found["dram"] if t.source == endpoint)
        assert read == traffic.tiles_per_bank[bank]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_both_forms_follow_the_schema_and_hold_the_same_transfers(scheme):
    plan = plan_of(scheme)
    events = [event for event in trace(plan) if "type" in event]
    for event in trace(plan):
        jsonschema.validate(event, EVENT)
    total = 0
    for transfers in phases(plan).values():
        file = workload(transfers)
        jsonschema.validate(file, WORKLOAD)
        total += sum(t.num_bytes for t in transfers)
    assert total == sum(event["num_bytes"] for event in events)
    assert len(json.dumps(events)) > 1000


def test_coordinates_are_physical():
    """Row 6 and column 5 of Wormhole hold no workers, 0 and 5 the DRAM."""
    plan = plan_of("height")
    found = phases(plan)
    issuers = {t.issuer for own in found.values() for t in own}
    assert {x for x, _ in issuers} == {1, 2, 3, 4, 6, 7, 8, 9}
    assert {y for _, y in issuers} == {1, 2, 3, 4, 5, 7, 8}
    assert plan.num_cores == 49 or len(issuers) == plan.num_cores
    assert {t.source for t in found["dram"]} <= set(plan.arch.bank_noc_xy)
    sent = found["multicast"]
    assert {t.target for t in sent} == {((1, 1), (9, 8))}
    assert {t.source for t in sent} == {(1, 1)}
    assert plan.arch.physical_noc_xy((4, 5)) == (6, 7)
    with pytest.raises(jd.ConfigError, match=r"`logical` \(=\(8, 0\)\)"):
        plan.arch.physical_noc_xy((8, 0))


def test_a_block_sender_goes_down_its_own_column():
    plan = uneven_plan(scheme="block", grid=(3, 3))
    targets = {t.source: t.target for t in phases(plan)["multicast"]}
    assert targets == {(x, 1): ((x, 1), (x, 3)) for x in (1, 2, 3)}


def test_the_halo_goes_from_who_has_sticks_to_who_needs_them():
    plan = uneven_plan(scheme="block", grid=(3, 3))
    pads, copies = plan.halo_transfers()
    stick = plan.halo_shard.channels * 2
    xs, ys = (1, 2, 3), (1, 2, 3)  # of the first columns and rows of Wormhole's workers
    want: Counter[tuple] = Counter()
    for x in xs:  # a channel shard for each column
        for row, _, length in pads.tolist():
            want[(x, ys[row]), (x, ys[row])] += length * stick
        for source, _, target, _, length in copies.tolist():
            want[(x, ys[source]), (x, ys[target])] += length * stick
    found: Counter[tuple] = Counter()
    nocs: dict[tuple, list[str]] = {}
    for transfer in phases(plan)["halo"]:
        found[transfer.source, transfer.target] += transfer.num_bytes
        nocs.setdefault(transfer.issuer, []).append(transfer.noc)
        assert transfer.issuer == transfer.source
    assert found == want
    for own in nocs.values():  # of one core's runs, each of one packet
        assert own == ["NOC_0", "NOC_1"] * (len(own) // 2) + ["NOC_0"] * (len(own) % 2)


def test_a_trace_names_the_rectangle_and_the_processor_of_each_noc():
    events = [e for e in trace(uneven_plan(scheme="block", grid=(3, 3))) if "type" in e]
    sent = {
        (e["sx"], e["sy"]): tuple(e[name] for name in _RECTANGLE)
        for e in events
        if e["type"] == "WRITE_MULTICAST"
    }
    assert sent == {(x, 1): (x, 1, x, 3) for x in (1, 2, 3)}
    (whole,) = {
        tuple(e[name] for name in _RECTANGLE)
        for e in trace(plan_of("height"))
        if e.get("type") == "WRITE_MULTICAST"
    }
    assert whole == (1, 1, 9, 8)
    processors = {(e["noc"], e["proc"]) for e in events}
    assert processors == {("NOC_0", "BRISC"), ("NOC_1", "NCRISC")}


def test_a_packet_takes_whole_cycles_of_its_link():
    link = 48
    arch = jd.load_arch("wormhole_b0")
    arch = dataclasses.replace(arch, noc_link_bytes_per_cycle=link)
    plan = plan_of("height", arch, channels=8, height=20, width=21)
    own: dict[tuple, list[tuple[int, int]]] = {}
    for event in trace(plan):
        if event.get("type") == "WRITE_":
            key = (event["sx"], event["sy"], event["noc"])
            own.setdefault(key, []).append((event["timestamp"], event["num_bytes"]))
    runs = [run for runs in own.values() for run in itertools.pairwise(runs)]
    assert any(size % link for (_, size), _ in runs)
    for (start, size), (following, _) in runs:
        assert (following - start - 1) * link < size <= (following - start) * link


def test_a_trace_runs_phase_after_phase_and_ends_late():
    plan = plan_of("block")
    events = trace(plan)
    times: dict[str, list[int]] = {}
    for event in events:
        if "type" in event:
            times.setdefault(event["type"], []).append(event["timestamp"])
    assert max(times["WRITE_"]) < min(times["READ"])
    assert max(times["READ"]) < min(times["WRITE_MULTICAST"])
    ends = [e["timestamp"] for e in events if e.get("zone_phase") == "end"]
    begins = [e["timestamp"] for e in events if e.get("zone_phase") == "begin"]
    last = max(max(own) for own in times.values())
    assert set(begins) == {0}
    assert len(set(ends)) == 1
    assert ends[0] >= last + 1000
    issuing = {(e["proc"], e["sx"], e["sy"]) for e in events if "type" in e}
    assert len(ends) == len(begins) == len(issuing)
    by_core: dict[tuple, list[tuple[int, int]]] = {}
    for event in events:
        if event.get("type") == "READ":
            own = by_core.setdefault((event["sx"], event["sy"]), [])
            own.append((event["timestamp"], event["num_bytes"]))
    for own in by_core.values():  # back to back at 32 bytes a cycle
        for (start, size), (following, _) in itertools.pairwise(own):
            assert following - start == size // 32


def test_reads_are_issued_by_the_core_that_gets_the_data():
    plan = plan_of("width")
    for event in trace(plan):
        if event.get("type") == "READ":
            assert (event["dx"], event["dy"]) in plan.arch.bank_noc_xy
            assert event["sx"] in plan.arch.physical_x


def test_the_command_writes_a_trace_and_a_workload_for_each_phase(tmp_path, capsys):
    layer = ["--channels", "96", "--size", "14", "--padding", "1", "--scheme", "block"]
    file = tmp_path / "layer.json"
    assert main(["plan", *layer, "--table", "--npe", str(file)]) == 0
    assert "layer.halo.json" in capsys.readouterr().err
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {
        "layer.json", "layer.halo.json", "layer.dram.json", "layer.multicast.json",
    }  # fmt: skip
    jsonschema.validate(
        json.loads((tmp_path / "layer.halo.json").read_text()), WORKLOAD
    )
    assert isinstance(json.loads(file.read_text()), list)
    assert main(["plan", *layer, "--program", "regular", "--npe", str(file)]) == 2
    assert "transfers of the program 'regular' are not" in capsys.readouterr().err
    assert main(["plan", *layer, "--program", "all", "--npe", str(file)]) == 2


def test_a_layer_without_halo_or_senders_has_neither_phase(tmp_path):
    plan = jd.make_plan(
        jd.ConvConfig(channels=96, height=8, width=8), jd.ShardConfig(scheme="width")
    )
    assert not plan.has_halo
    assert set(phases(plan)) == {"dram"}
    assert [path.name for path in write_npe(plan, tmp_path / "a.json")] == [
        "a.json",
        "a.dram.json",
    ]
