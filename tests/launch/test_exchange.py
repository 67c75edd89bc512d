import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdw.launch.exchange import make_exchange
from jaxdw.maps.indexmap import make_index_map


@settings(max_examples=100)
@given(st.data())
def test_every_window_finds_its_stick_on_its_own_device(data):
    shards, taps, outputs, rows, devices = (
        data.draw(st.integers(1, most)) for most in (9, 4, 5, 6, 5)
    )
    size = data.draw(st.integers(max(1, shards * rows - rows), shards * rows))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**20)))
    index = rng.integers(0, size + 2, (shards, taps, outputs))
    exchange = make_exchange(make_index_map(index, size), rows, devices)

    per_device = -(-shards // devices)
    own = exchange.send.size
    assert own == per_device * rows
    held = [
        [g if g < size else "past" for g in range(device * own, (device + 1) * own)]
        for device in range(devices)
    ]
    l1 = []
    for device in range(devices):
        received = [
            "unsent" if row == own else held[source][row]
            for source in range(devices)
            for row in exchange.send.index[source, device]
        ]
        l1.append([*held[device], *received, "zero", "poison"])
    found = exchange.sticks.index.reshape(devices, per_device, taps, outputs)
    names = {size: "zero", size + 1: "poison"}
    for shard in range(devices * per_device):
        device, place = divmod(shard, per_device)
        for tap, output in np.ndindex(taps, outputs):
            want = "zero"
            if shard < shards:
                want = names.get(index[shard, tap, output], index[shard, tap, output])
            assert l1[device][found[device, place, tap, output]] == want


def test_a_device_is_sent_each_stick_once_and_none_that_it_holds():
    index = np.array([[[0, 5, 5, 4]], [[0, 1, 5, 4]]])  # two shards of three sticks
    exchange = make_exchange(make_index_map(index, 6), 3, 2)
    assert exchange.send.index.tolist() == [[[3, 3], [0, 1]], [[1, 2], [3, 3]]]
