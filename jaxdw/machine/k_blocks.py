"""How the blocks of the dense matmul's long axis K reach Dst, on one core.

K comes in blocks. Dst is packed to the partials buffer after each and read back, or
added up in L1 (`packer_l1_acc`). SrcA is the weight (5 bits a phase), SrcB the
activation (7). Only the taps of an output's own channel are multiplied; where they lie
among the lanes of K says in which order they meet Dst.

Source: ttnn 0.81.1 conv_bmm_tilize.cpp, run on ttsim @56694c8a, Wormhole and Blackhole
(tests/golden/run_R_D_bf16.npz and its neighbours); tests/golden/arith.npz.
"""

import dataclasses
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int32

from jaxdw.arch.arch import Arch
from jaxdw.numerics import formats, fpu, mvmul, tilise
from jaxdw.numerics.fpu import GROUP_LANES, LANES, Dst, Tap

Windows = Callable[[Tap], Float32[Array, "sticks channels"]]

TILE_LANES = 32  # of K in one tile; halves of 16 lanes are one instruction each


def steps_of(
    width: int, taps: int, phases: Sequence[int], group: int
) -> tuple[mvmul.Step, ...]:
    """Returns the steps in which the taps of one block of K reach Dst.

    Args:
      width: lanes from one tap to the next, the channels of a shard.
      group: which 8 channels of the shard.

    Source: tt-llk llk_math_matmul.h in ttnn 0.81.1: tile by tile, all phases of a tile,
    both halves of a phase.
    """
    found = defaultdict(list)
    for tap in range(taps):
        lane = tap * width + group * GROUP_LANES
        for phase in phases:
            place = lane // TILE_LANES, phase, lane % TILE_LANES // LANES
            found[place].append(tap)
    return tuple((phase, tuple(found[t, phase, h])) for t, phase, h in sorted(found))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Core:
    """One core's work, or that of several side by side.

    Attributes:
      weight: of a tap, as `mvmul.weights_of` gives it.
      rows, row_taps: blocks of K that hold taps of one channel, and how many each.
      shards: channel shards of `width` side by side, whose blocks follow each other.
      parts: into which the channels of a shard are cut, each in blocks of its own.
      phases: those of the fidelity, less such as change nothing.
      partials_dtype: of the buffer that Dst is packed to after a block.
    """

    tap: Windows
    weight: Callable[[Tap], Any]
    unit: mvmul.Unit
    rows: int
    row_taps: int
    width: int
    shards: int
    parts: int
    phases: Sequence[int]
    partials_dtype: str
    dtype: str
    output_dtype: str
    fp32_dest: bool
    arch: Arch

    @property
    def in_tap_order(self) -> bool:
        """Whether every channel adds all phases of a tap before the next tap.

        From 32 lanes on each tap has tiles of its own. In a single phase halves follow
        each other as taps do, if none holds two.
        """
        return self.width >= TILE_LANES or (
            len(self.phases) == 1 and self.width >= LANES
        )

    @property
    def period(self) -> int:
        """Taps after which lanes lie in tiles as before."""
        return math.lcm(TILE_LANES, self.width) // self.width

    @property
    def groups(self) -> int:
        """Kinds of channel, by group of 8 in turn, that have steps of their own.

        At 8 and 16 lanes all groups have the same.
        """
        return 1 if self.in_tap_order or self.width <= LANES else self.width // 8

    @property
    def keeps_dst(self) -> bool:
        """Whether packing Dst to the partials and reading it back changes nothing."""
        return not self.fp32_dest and self.partials_dtype != "bfloat8_b"

    @property
    def whole_lanes(self) -> bool:
        """Whether no block of 16 lanes of activations holds two taps."""
        return self.output_dtype != "bfloat8_b" or self.width % formats.BLOCK == 0

    @property
    def shares_blocks(self) -> bool:
        """Whether a block of 16 partials holds channels of two shards."""
        between = self.shards > 1 and self.width % formats.BLOCK > 0
        return between and self.partials_dtype == "bfloat8_b"

    @property
    def shard(self) -> Int32[np.ndarray, "1 channels"]:
        """The shard of each channel."""
        return np.repeat(np.arange(self.shards, dtype=np.int32), self.width)[None]

    @property
    def in_last_block(self) -> Bool[np.ndarray, "1 channels"]:
        """Whether the last block of all holds taps of a channel.

        Parts of the shards come one after the other, each of all shards in order.
        """
        part = np.tile(np.arange(self.width) // (self.width // self.parts), self.shards)
        return (self.shard == self.shards - 1) & (part == self.parts - 1)

    def activations(
        self, first: Tap, taps: int
    ) -> list[Float32[Array, "sticks channels"]]:
        """Returns the tilised windows of taps; `first` is even in its block of K.

        Lanes of two taps share a block of 16 where the shard's channels are no multiple
        of 16. Lanes past the last tap are zero.
        Source: ttnn 0.81.1 zeroes them if they share a block with others.
        """
        values = [self.tap(first + n) for n in range(taps)]
        if self.whole_lanes:
            return [self._tilised(v) for v in values]
        result = []
        for n in range(0, taps, 2):
            pair = [v.reshape(-1, self.shards, self.width) for v in values[n : n + 2]]
            lanes = self._tilised(jnp.concatenate(pair, axis=2))
            parts = jnp.split(lanes, len(pair), axis=2)
            result += [p.reshape(-1, self.shards * self.width) for p in parts]
        return result

    def _tilised(self, values: Float32[Array, "..."]) -> Float32[Array, "..."]:
        return tilise.tilised(
            values,
            self.dtype,
            self.output_dtype,
            fp32_dest=self.fp32_dest,
            arch=self.arch,
        )

    def add_block(self, row: Tap, dst: Dst) -> Dst:
        """Adds the taps of a row of K to Dst."""

        def add(first: Tap, taps: int, dst: Dst) -> Dst:
            first = row * self.row_taps + first
            return mvmul.add_steps(
                self.unit,
                [
                    steps_of(self.width, taps, self.phases, group)
                    for group in range(self.groups)
                ],
                [self.weight(first + n) for n in range(taps)],
                self.activations(first, taps),
                dst,
                self._of_own_group,
            )

        steps = len(self.phases)
        multiple = 1 if self.in_tap_order and self.whole_lanes else self.period
        return mvmul.over_taps(add, self.row_taps, steps, dst, multiple=multiple)

    def _of_own_group(self, *of_groups: Array) -> Array:
        """Returns of arrays, one for each kind of channel, its own channels."""
        group = np.arange(self.shards * self.width) // GROUP_LANES % self.groups
        result = of_groups[0]
        for n, other in enumerate(of_groups[1:], 1):
            if other is not result:
                result = jnp.where(group[None] == n, other, result)
        return result

    def packed(self, dst: Dst) -> Dst:
        """Returns the partials that Dst is packed to."""
        return formats.pack_output(dst, self.partials_dtype, fp32_dest=self.fp32_dest)

    def reloaded(self, partials: Dst) -> Dst:
        """Returns the Dst that partials are read back to; float32 passes as TF32."""
        if self.partials_dtype != "float32":
            return partials
        return fpu.floats_of(fpu.bits_of(partials) & -(1 << 13))

    def added_in_l1(self, total: Dst, dst: Dst) -> Dst:
        """Returns partials after Dst was packed onto them; denormals are zero.

        Source: tenstorrent/ttsim @56694c8a tensix.cpp, pack_l1_acc.
        """
        added = _flushed(_flushed(total) + _flushed(self.packed(dst)))
        return formats.round_to(added, self.partials_dtype)

    def unless_last(self, dst: Dst, changed: Dst) -> Dst:
        """Returns `changed` for channels whose own blocks of K others follow."""
        if changed is dst or self.in_last_block.all():
            return dst
        return jnp.where(self.in_last_block, dst, changed)

    def over_rows(self, add: Callable[[Tap, Dst], Dst], rows: int, dst: Dst) -> Dst:
        """Goes through the first rows of K; in a loop if they take many steps."""
        if rows * self.row_taps * len(self.phases) > mvmul.STEPS_AT_ONCE:
            return jax.lax.fori_loop(0, rows, add, dst)
        for row in range(rows):
            dst = add(row, dst)
        return dst


def through_dst(core: Core, empty: Dst) -> Dst:
    """Returns Dst after the last block, if each goes on from the partials."""

    def passed_on(dst: Dst) -> Dst:
        return dst if core.keeps_dst else core.reloaded(core.packed(dst))

    def add_row(row: Tap, dst: Dst) -> Dst:
        dst = passed_on(dst)
        added = core.add_block(row, dst)
        if not core.shares_blocks:
            return added
        # Shards of even and of odd number share blocks of 16: after the even one both
        # are packed, then the odd one goes on.
        is_odd = core.shard % 2 == 1
        even = jnp.where(is_odd, dst, added)
        packed = passed_on(even)
        if core.shards % 2 == 1:
            packed = core.unless_last(even, packed)
        return jnp.where(is_odd, core.add_block(row, packed), packed)

    dst = core.over_rows(add_row, core.rows, empty)
    return core.unless_last(dst, passed_on(dst))


def through_l1(core: Core, empty: Dst, *, to_the_end: bool) -> Dst:
    """Returns Dst after the last block, if the packer adds up blocks in L1.

    The last block goes on from the sum, in Dst; `to_the_end` adds it in L1, too, and
    returns the partials.
    """

    def add_row(row: Tap, total: Dst) -> Dst:
        return core.added_in_l1(total, core.add_block(row, empty))

    if to_the_end:
        return core.over_rows(add_row, core.rows, empty)
    last = core.rows - 1
    total = core.over_rows(add_row, last, empty)
    start = core.unless_last(core.reloaded(total), empty)
    dst = core.add_block(last, start)
    return core.unless_last(dst, core.reloaded(core.added_in_l1(total, dst)))


def _flushed(values: Dst) -> Dst:
    bits = fpu.bits_of(values)
    return fpu.floats_of(jnp.where(bits & 0x7F800000 == 0, 0, bits))
