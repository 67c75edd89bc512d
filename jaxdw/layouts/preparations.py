"""Weights prepared as another device program, or for another sharding, wants them."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import get_args

import numpy as np
from jaxtyping import Int

from jaxdw.errors import ConfigError, UnsupportedError
from jaxdw.maps.indexmap import as_table
from jaxdw.maps.maps import PROGRAMS
from jaxdw.maps.regular import MOST_ELEMS
from jaxdw.plan.config import InputLayout, Scheme
from jaxdw.plan.plan import Plan
from jaxdw.plan.planner import make_plan
from jaxdw.plan.ttnn.plan import TtnnPlan
from jaxdw.plan.units import TILE

SourceIndex = Int[np.ndarray, "..."]
MatrixShape = tuple[int, int]
# The name, shape and index of a matrix.
Arrangement = tuple[str, MatrixShape, Callable[[], SourceIndex]]


def matrix_of(plan: Plan) -> SourceIndex:
    """Returns the weight in each element of a plan's prepared matrix.

    Raises:
      UnsupportedError: a matrix too large for a table.
    """
    prepared = PROGRAMS[plan.program].prepare(plan)
    return np.asarray(as_table(prepared, "compared").index)


def other_preparations(plan: Plan, size: int | None) -> Iterator[Arrangement]:
    """Yields the matrices that ttnn's programs prepare of a plan's weights.

    They are those of other schemes, layouts of the input and block heights. One that
    differs from the plan in more than another with the same matrix is left out.

    Args:
      size: elements that a matrix must have; None for any.
    """
    yield from _block_heights(plan, size)
    seen: list[tuple[set[str], SourceIndex]] = []
    for differences, other in sorted(
        _variations(plan), key=lambda found: len(found[0])
    ):
        rows, columns = other.weight_matrix_shape
        if size not in (None, rows * columns) or rows * columns > MOST_ELEMS:
            continue
        index = matrix_of(other)
        if any(
            fewer <= differences and np.array_equal(index, same) for fewer, same in seen
        ):
            continue
        seen.append((differences, index))
        name = f"prepared with {', '.join(sorted(differences))}"
        yield name, (rows, columns), lambda index=index: index


def _variations(plan: Plan) -> Iterator[tuple[set[str], Plan]]:
    """Yields plans of ttnn's programs, and in what each differs from the plan."""
    own = plan.program, plan.scheme, plan.shard.input_layout, plan.shard.full_inner_dim
    names = "program", "scheme", "input_layout", "full_inner_dim"
    programs = "regular", "conv1d"
    for values in itertools.product(
        programs, get_args(Scheme), get_args(InputLayout), (False, True)
    ):
        program, scheme, input_layout, full_inner_dim = values
        if values == own or (full_inner_dim and scheme != "block"):
            continue
        if program == "conv1d" and scheme != "height":
            continue
        shard = dataclasses.replace(
            plan.shard,
            scheme=scheme,
            input_layout=input_layout,
            full_inner_dim=full_inner_dim,
            weight_layout="final",
            act_block_w_div=1,
        )
        if scheme != plan.scheme:
            shard = dataclasses.replace(shard, cores=None, input_shard=None)
        try:
            other = make_plan(
                plan.conv,
                shard,
                plan.compute,
                plan.arch,
                program=program,
                must_fit=False,
            )
        except (ConfigError, UnsupportedError):
            continue  # nobody could have prepared weights so
        yield (
            {
                f"{name}={value!r}"
                for name, value, mine in zip(names, values, own, strict=True)
                if value != mine
            },
            other,
        )


def _block_heights(plan: Plan, size: int | None) -> Iterator[Arrangement]:
    """Yields what conv1d prepares for blocks of other heights."""
    if not isinstance(plan, TtnnPlan) or plan.program != "conv1d":
        return
    own, taps = plan.act_block[0], plan.conv.taps
    columns = plan.weight_matrix_shape[1]

    def repeated(height: int) -> SourceIndex:
        return np.repeat(matrix_of(plan)[:: own * TILE], height * TILE, axis=0)

    heights = range(1, own * taps + 1)
    if size is not None:
        height, rest = divmod(size, taps * TILE * columns)
        heights = [height] if not rest else []
    for height in heights:
        if height != own:
            shape = height * TILE * taps, columns
            name = f"prepared for blocks of {height} tile rows, not {own}"
            yield name, shape, functools.partial(repeated, height)
