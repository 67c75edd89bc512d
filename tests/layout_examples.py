"""Layouts with one map spoilt on purpose."""

import dataclasses

import numpy as np

import jaxdw as jd
from jaxdw.maps.indexmap import IndexMap


def spoil(maps: jd.Maps, stage: str, change) -> jd.Maps:
    """Replaces one map by `change(index, size)`."""
    part, _, field = stage.rpartition(".")
    holder = getattr(maps, part) if part else maps
    index_map = getattr(holder, field)
    index = change(index_map.index.copy(), index_map.size)
    changed = IndexMap(np.asarray(index, np.int32), index_map.size)
    holder = dataclasses.replace(holder, **{field: changed})
    return dataclasses.replace(maps, **{part: holder}) if part else holder
