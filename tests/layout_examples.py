"""Layouts with one map, or one line of its builder, spoilt on purpose."""

import dataclasses
import inspect

import numpy as np

import jaxdw as jd
from jaxdw.layouts.certificate import certify
from jaxdw.layouts.rules import RULES
from jaxdw.maps import banks, bias, halo, multicast, tiles
from jaxdw.maps import maps as all_maps
from jaxdw.maps.indexmap import IndexMap

MAP_BUILDERS = {  # that all device programs share, by their names in the source
    "bank_table": banks.bank_table,
    "deal_map": banks.deal_map,
    "read_map": banks.read_map,
    "tilize_map": tiles.tilize_map,
    "bias_prepare_map": bias.bias_prepare_map,
    "make_multicast": multicast.make_multicast,
    "shard_map": halo.shard_map,
    "halo_map": halo.halo_map,
    "top_left_map": halo.top_left_map,
    "collect_map": halo.collect_map,
    "_weight_maps": all_maps._weight_maps,
    "_bias_maps": all_maps._bias_maps,
    "make_maps": all_maps.make_maps,
}


def spoil(maps: jd.Maps, stage: str, change) -> jd.Maps:
    """Replaces one map by `change(index, size)`."""
    part, _, field = stage.rpartition(".")
    holder = getattr(maps, part) if part else maps
    index_map = getattr(holder, field)
    index = change(index_map.index.copy(), index_map.size)
    changed = IndexMap(np.asarray(index, np.int32), index_map.size)
    holder = dataclasses.replace(holder, **{field: changed})
    return dataclasses.replace(maps, **{part: holder}) if part else holder


def mutate(monkeypatch, builder, change) -> None:
    """Changes the source of a map builder, there where `make_maps` finds it."""
    module, name = inspect.getmodule(builder), builder.__name__
    namespace = dict(vars(module))
    exec(change(inspect.getsource(inspect.unwrap(builder))), namespace)
    changed = namespace[name]
    for room in (module, all_maps):
        if hasattr(room, name):
            monkeypatch.setattr(room, name, changed)
    for program, maps in all_maps.PROGRAMS.items():
        own = maps._asdict()
        own |= {field: changed for field, made in own.items() if made is builder}
        monkeypatch.setitem(all_maps.PROGRAMS, program, type(maps)(**own))


def mutate_line(monkeypatch, builder, old: str, new: str) -> None:
    def change(source: str) -> str:
        assert source.count(old) == 1
        return source.replace(old, new)

    mutate(monkeypatch, builder, change)


def first_rule(monkeypatch, plan: jd.Plan, builder, old: str, new: str) -> str:
    """Returns the rule that is named first where a line of a builder is changed."""
    assert certify(plan).holds
    mutate_line(monkeypatch, builder, old, new)
    certificate = certify(plan, all_maps.make_maps(plan))
    found = [failure.rule for failure in certificate.failures]
    assert {*found} <= {*RULES}
    return found[0]
