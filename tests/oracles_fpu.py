"""Slow scalar oracle of the matrix unit and the packers, in plain Python integers.

Every value is a float32 bit pattern (0 .. 2**32 - 1); a bf16 value is the pattern
with its low 16 bits zero. Transcribed from facts/fpu.md, facts/numerics.md and
facts/kernels.md, one function per rule; shares no code with the package.
"""

import struct
from typing import NamedTuple

INF = 0x7F800000
ONE = 0x3F800000
BF16_MASK = 0xFFFF0000
TILE_ELEMS = 1024
BLOCK_ELEMS = 16
LANES = 16
GROUP_LANES = 8
BFP_MAGNITUDE_BITS = {"bfloat8_b": 7, "bfloat4_b": 3}
FIDELITY_PHASES = {
    "LoFi": (0,),
    "HiFi2": (0, 1),
    "HiFi3": (0, 1, 2),
    "HiFi4": (0, 1, 2, 3),
}


class Number(NamedTuple):
    """(-1)**sign * mantissa, scaled by the biased exponent; the weight of the lowest
    mantissa bit depends on the register: see the function that makes it."""

    sign: int
    exponent: int
    mantissa: int


ZERO = Number(0, 0, 0)


# --- Fields of a bit pattern ---------------------------------------------------------


def sign_of(bits: int) -> int:
    """Returns the sign bit."""
    return bits >> 31


def exponent_of(bits: int) -> int:
    """Returns the biased 8-bit exponent."""
    return (bits >> 23) & 0xFF


def read_source(bits: int) -> Number:
    """Reads a SrcA/SrcB operand, 11-bit mantissa (fpu.md, Notation; numerics.md, SrcA).

    A float32 operand is cut to TF32 (13 bits dropped); exponent 0 is zero, keeping its
    sign; exponent 255 is an ordinary exponent.
    """
    if exponent_of(bits) == 0:
        return Number(sign_of(bits), 0, 0)
    fraction = (bits >> 13) & 0x3FF
    return Number(sign_of(bits), exponent_of(bits), 0x400 | fraction)


def read_dst(bits: int) -> Number:
    """Reads Dst, 24-bit mantissa, zero if the exponent is 0 (fpu.md, ACCUMULATE)."""
    if exponent_of(bits) == 0:
        return ZERO
    return Number(sign_of(bits), exponent_of(bits), 0x800000 | (bits & 0x7FFFFF))


# --- Rounding right shifts -----------------------------------------------------------


def shift_half_up(mantissa: int, shift: int) -> int:
    """Shifts a magnitude right; ties go away from zero."""
    if shift == 0:
        return mantissa
    return (mantissa + (1 << (shift - 1))) >> shift


def shift_term(mantissa: int, sign: int, shift: int) -> int:
    """Shifts a term right; ties go toward +infinity (fpu.md, ACCUMULATE)."""
    if shift == 0:
        return mantissa
    return (mantissa + (1 << (shift - 1)) - sign) >> shift


# --- Products ------------------------------------------------------------------------


def product(a: int, b: int, phase: int) -> Number:
    """Multiplies the mantissa parts of one fidelity phase (fpu.md, Fidelity phase)."""
    sign_a, exponent_a, m_a = read_source(a)
    sign_b, exponent_b, m_b = read_source(b)
    if m_a == 0 or m_b == 0:
        return ZERO
    a_part = (m_a >> 1) & 31 if phase % 2 == 1 else m_a >> 6
    b_part = (m_b & 15) << 3 if phase >= 2 else m_b >> 4
    adjust = -127 - (5 if phase % 2 == 1 else 0) - (7 if phase >= 2 else 0)
    exponent = exponent_a + exponent_b + adjust
    return Number(sign_a ^ sign_b, exponent, a_part * b_part)


def elwmul_term(a: int, b: int, phase: int) -> Number:
    """Returns the term that ELWMUL adds to Dst (fpu.md, ELWMUL)."""
    sign, exponent, magnitude = product(a, b, phase)
    if exponent <= 0:
        return ZERO
    return Number(sign, exponent, magnitude << 13)


def group_term(lanes: list[Number]) -> Number:
    """Adds the products of 8 lanes at the largest exponent (fpu.md, GAPOOL)."""
    group_exponent = max(lane.exponent for lane in lanes)
    if group_exponent <= 0:
        return ZERO
    total = 0
    for sign, exponent, magnitude in lanes:
        shift = min(group_exponent - exponent, 30)
        aligned = (2 * magnitude + (1 << shift)) >> (shift + 1)
        total += -aligned if sign else aligned
    return Number(int(total < 0), group_exponent, abs(total) << 13)


# --- Accumulation --------------------------------------------------------------------


def align_term(term: Number, exponent: int, fp32_dest: bool) -> int:
    """Brings a term to the common exponent, signed (fpu.md, ACCUMULATE)."""
    shift = exponent - term.exponent
    mantissa = shift_term(term.mantissa, term.sign, shift) if shift < 31 else 0
    if not fp32_dest:
        mantissa = shift_term(mantissa, term.sign, 13) << 13
    return -mantissa if term.sign else mantissa


def align_dst(dst: Number, exponent: int, fp32_dest: bool) -> int:
    """Brings Dst to the common exponent, signed (fpu.md, ACCUMULATE)."""
    shift = exponent - dst.exponent
    mantissa = shift_half_up(dst.mantissa, shift) if shift < 31 else 0
    if not fp32_dest:
        mantissa = shift_half_up(mantissa, 13) << 13
    return -mantissa if dst.sign else mantissa


def normalise(total: int, exponent: int, fp32_dest: bool) -> int:
    """Rounds a signed sum, in units of 2**-23 of `exponent`, to the Dst format."""
    if total == 0:
        return 0
    sign, magnitude = int(total < 0), abs(total)
    kept_bits = 24 if fp32_dest else 8
    exponent += magnitude.bit_length() - 24
    drop = magnitude.bit_length() - kept_bits
    mantissa = shift_half_up(magnitude, drop) if drop > 0 else magnitude << -drop
    if mantissa == 1 << kept_bits:
        mantissa >>= 1
        exponent += 1
    fraction = mantissa << (24 - kept_bits) & 0x7FFFFF
    return dst_bits(sign, exponent, fraction)


def dst_bits(sign: int, exponent: int, fraction: int) -> int:
    """Packs a result; underflow is +0, overflow infinity (fpu.md, ACCUMULATE)."""
    if exponent <= 0:
        return 0
    if exponent >= 255:
        return sign << 31 | INF
    return sign << 31 | exponent << 23 | fraction


def add_to_dst(terms: list[Number], dst: int, fp32_dest: bool, arch: str) -> int:
    """Adds terms to Dst and rounds to the Dst format (fpu.md, ACCUMULATE).

    Wormhole with a 32-bit Dst answers a sum of exactly -1 unit with exponent + 4,
    fraction 0, instead of exponent - 23.
    """
    old = read_dst(dst)
    exponent = max(old.exponent, *(term.exponent for term in terms))
    if exponent <= 0:
        return 0
    total = align_dst(old, exponent, fp32_dest)
    total += sum(align_term(term, exponent, fp32_dest) for term in terms)
    if arch == "wormhole" and fp32_dest and total == -1:
        return dst_bits(1, exponent + 4, 0)
    return normalise(total, exponent, fp32_dest)


# --- Instructions --------------------------------------------------------------------


def elwmul(a: int, b: int, dst: int, phase: int, fp32_dest: bool, arch: str) -> int:
    """Returns Dst + a * b, one fidelity phase (fpu.md, ELWMUL)."""
    return add_to_dst([elwmul_term(a, b, phase)], dst, fp32_dest, arch)


def gapool(
    a: list[int], b: list[int], dst: int, phase: int, fp32_dest: bool, arch: str
) -> int:
    """Returns Dst + sum of 16 products a_i * b_i, one phase (fpu.md, GAPOOL)."""
    lanes = [product(x, y, phase) for x, y in zip(a, b, strict=True)]
    groups = [group_term(lanes[:GROUP_LANES]), group_term(lanes[GROUP_LANES:])]
    return add_to_dst(groups, dst, fp32_dest, arch)


def elwadd_term(a: int, b: int) -> Number:
    """Returns the term a + b (fpu.md, ELWADD)."""
    large, small = read_source(a), read_source(b)
    if small[1:] > large[1:]:
        large, small = small, large
    shift = large.exponent - small.exponent
    addend = shift_half_up(small.mantissa, shift) if shift < 12 else 0
    if large.sign != small.sign:
        addend = -addend
    return Number(large.sign, large.exponent, (large.mantissa + addend) << 13)


def elwadd(
    a: int, b: int, dst: int, accumulate: bool, fp32_dest: bool, arch: str
) -> int:
    """Returns a + b, plus Dst when accumulating (fpu.md, ELWADD)."""
    old = dst if accumulate else 0
    return add_to_dst([elwadd_term(a, b)], old, fp32_dest, arch)


# --- Conversions between float32 and bf16 --------------------------------------------


def round_bf16_even(bits: int) -> int:
    """Rounds as the host does: ties to even, NaN -> 0x7FC00000 (numerics.md, Host)."""
    if (bits & 0x7FFFFFFF) > INF:
        return 0x7FC00000
    tie_to_even = (bits >> 16) & 1
    return (bits + 0x7FFF + tie_to_even) & BF16_MASK


def dst_to_bf16(bits: int) -> int:
    """Packs a float32 Dst to bf16: ties away, NaN -> infinity, denormal and -0 -> +0
    (fpu.md, Packer; numerics.md, Packer)."""
    if exponent_of(bits) == 0:
        return 0
    if exponent_of(bits) == 255:
        return sign_of(bits) << 31 | INF
    return (bits + 0x8000) & BF16_MASK


# --- Block floats --------------------------------------------------------------------


def blocks_of(values: list[int]) -> list[list[int]]:
    """Cuts a tile into face rows of 16, one shared exponent each."""
    return [
        values[start : start + BLOCK_ELEMS]
        for start in range(0, TILE_ELEMS, BLOCK_ELEMS)
    ]


def host_magnitude(bits: int, shared: int, kept_bits: int) -> int:
    """Aligns by truncation, then rounds to nearest even (numerics.md, bfloat8_b).

    A denormal packs to 0, as golden/bfp_host.npz has it.
    """
    if exponent_of(bits) == 0:
        return 0
    mantissa = (0x800000 | (bits & 0x7FFFFF)) >> (shared - exponent_of(bits))
    drop = 24 - kept_bits
    kept, rest = mantissa >> drop, mantissa & ((1 << drop) - 1)
    half = 1 << (drop - 1)
    if rest > half or (rest == half and kept % 2 == 1):
        kept += 1
    return min(kept, (1 << kept_bits) - 1)


def host_block(block: list[int], kept_bits: int) -> tuple[int, list[int]]:
    """Returns the shared exponent and the signed codes of one block, host rule."""
    shared = max(exponent_of(bits) for bits in block)
    magnitudes = [host_magnitude(bits, shared, kept_bits) for bits in block]
    return shared, signed_codes(block, magnitudes, kept_bits)


def signed_codes(block: list[int], magnitudes: list[int], kept_bits: int) -> list[int]:
    """Puts the sign above each magnitude; a zero magnitude has no sign."""
    return [
        sign_of(bits) << kept_bits | magnitude if magnitude else 0
        for bits, magnitude in zip(block, magnitudes, strict=True)
    ]


def read_packer(bits: int) -> Number:
    """Reads a bf16 datum, 8-bit mantissa (fpu.md, Packer); the rest is dropped."""
    if exponent_of(bits) == 0:
        return Number(sign_of(bits), 0, 0)
    return Number(sign_of(bits), exponent_of(bits), 0x80 | (bits >> 16) & 0x7F)


def device_bfp8_block(block: list[int]) -> tuple[int, list[int]]:
    """Returns exponent and codes of one block (fpu.md, Packer, bf16 -> bfp8)."""
    numbers = [read_packer(bits) for bits in block]
    shared = max(number.exponent for number in numbers)
    magnitudes = [
        min(shift_half_up(number.mantissa, shared - number.exponent + 1), 127)
        if shared - number.exponent < 8
        else 0
        for number in numbers
    ]
    return shared, signed_codes(block, magnitudes, 7)


def round_to_7_bits(number: Number) -> Number:
    """Rounds an 8-bit mantissa half away to 7 bits, with carry into the exponent."""
    mantissa = shift_half_up(number.mantissa, 1)
    if mantissa == 128:
        return Number(number.sign, number.exponent + 1, 64)
    return Number(number.sign, number.exponent, mantissa)


def kernel_block(block: list[int], kept_bits: int) -> tuple[int, list[int]]:
    """Returns exponent and codes of one block (fpu.md, Packer, bf16 -> bfp4).

    bfp8 is the same without the last shift (main/numerics.md, section 6b).
    """
    numbers = [round_to_7_bits(read_packer(bits)) for bits in block]
    shared = max(number.exponent for number in numbers)
    magnitudes = []
    for number in numbers:
        aligned = (number.mantissa << 1) >> (shared - number.exponent)
        magnitude = min(shift_half_up(aligned, 1), 127)
        magnitudes.append(magnitude >> (7 - kept_bits))
    return shared, signed_codes(block, magnitudes, kept_bits)


def join_tile(blocks: list[tuple[int, list[int]]], dtype: str) -> bytes:
    """Lays out a block-float tile: 64 exponents, then the mantissas (numerics.md)."""
    exponents = [shared for shared, _ in blocks]
    codes = [code for _, block_codes in blocks for code in block_codes]
    if dtype == "bfloat4_b":
        codes = [
            low | high << 4 for low, high in zip(codes[::2], codes[1::2], strict=True)
        ]
    return bytes(exponents + codes)


def pack_host(values: list[int], dtype: str) -> bytes:
    """Packs one tile as the host does, values in tile memory order (numerics.md)."""
    if dtype == "float32":
        return struct.pack(f"<{len(values)}I", *values)
    if dtype == "bfloat16":
        halves = [round_bf16_even(bits) >> 16 for bits in values]
        return struct.pack(f"<{len(halves)}H", *halves)
    kept_bits = BFP_MAGNITUDE_BITS[dtype]
    blocks = [host_block(block, kept_bits) for block in blocks_of(values)]
    return join_tile(blocks, dtype)


def pack_device(values: list[int], dtype: str) -> bytes:
    """Packs one tile as the chip's packer does from bf16 (fpu.md, Packer)."""
    if dtype == "bfloat4_b":
        return pack_kernel(values, dtype)
    return join_tile([device_bfp8_block(block) for block in blocks_of(values)], dtype)


def pack_kernel(values: list[int], dtype: str) -> bytes:
    """Packs one tile as the library has the chip's packer do it (section 6b)."""
    kept_bits = BFP_MAGNITUDE_BITS[dtype]
    blocks = [kernel_block(block, kept_bits) for block in blocks_of(values)]
    return join_tile(blocks, dtype)


def unpack_code(code: int, shared: int, kept_bits: int) -> int:
    """Returns the float32 pattern of one block-float element (numerics.md).

    Underflow is +0; a shared exponent of 255 keeps its fraction (infinity or NaN).
    """
    sign, magnitude = code >> kept_bits, code & ((1 << kept_bits) - 1)
    if magnitude == 0:
        return 0xFF800000 if sign else 0
    leading_zeros = kept_bits - magnitude.bit_length()
    exponent = shared - leading_zeros
    fraction = (magnitude << (24 - kept_bits + leading_zeros)) & 0x7FFFFF
    return sign << 31 | exponent << 23 | fraction if exponent > 0 else 0


def unpack_codes(raw: bytes, dtype: str) -> list[int]:
    """Returns the sign-magnitude codes of a block-float tile, in memory order."""
    if dtype == "bfloat8_b":
        return list(raw)
    return [code for byte in raw for code in (byte & 15, byte >> 4)]


def unpack(raw: bytes, dtype: str) -> list[int]:
    """Returns the float32 patterns of one raw tile, in tile memory order."""
    if dtype == "float32":
        return list(struct.unpack(f"<{len(raw) // 4}I", raw))
    if dtype == "bfloat16":
        return [half << 16 for half in struct.unpack(f"<{len(raw) // 2}H", raw)]
    num_blocks = TILE_ELEMS // BLOCK_ELEMS
    exponents, codes = raw[:num_blocks], unpack_codes(raw[num_blocks:], dtype)
    kept_bits = BFP_MAGNITUDE_BITS[dtype]
    return [
        unpack_code(code, exponents[index // BLOCK_ELEMS], kept_bits)
        for index, code in enumerate(codes)
    ]


# --- One output stick ----------------------------------------------------------------


def multiply_tap(a: int, b: int, fidelity: str, fp32_dest: bool, arch: str) -> int:
    """Multiplies into an empty Dst and packs to bf16 (kernels.md 3a, 3b)."""
    dst = 0
    for phase in FIDELITY_PHASES[fidelity]:
        dst = elwmul(a, b, dst, phase, fp32_dest, arch)
    return dst_to_bf16(dst) if fp32_dest else dst


def reduce_taps(products: list[int], fidelity: str, fp32_dest: bool, arch: str) -> int:
    """Sums the taps of one channel by GAPOOL with 1.0, 16 at a time, all phases of a
    block before the next block (kernels.md 3c, 3d)."""
    dst = 0
    for start in range(0, len(products), LANES):
        lanes = products[start : start + LANES]
        lanes += [0] * (LANES - len(lanes))
        for phase in FIDELITY_PHASES[fidelity]:
            dst = gapool(lanes, [ONE] * LANES, dst, phase, fp32_dest, arch)
    return dst


def core_stick(
    window: list[list[int]],
    weights: list[list[int]],
    bias: list[int] | None,
    fidelity: str,
    fp32_dest: bool,
    arch: str,
) -> list[int]:
    """Computes Dst of one output stick before the activation (kernels.md section 3).

    `window` and `weights` are indexed [tap][channel]. A bf16 output of a 32-bit Dst
    is `dst_to_bf16` of the result; a 16-bit Dst is already bf16.
    """
    stick = []
    for channel in range(len(window[0])):
        products = [
            multiply_tap(row[channel], taps[channel], fidelity, fp32_dest, arch)
            for row, taps in zip(window, weights, strict=True)
        ]
        dst = reduce_taps(products, fidelity, fp32_dest, arch)
        if bias is not None:
            dst = elwadd(0, bias[channel], dst, True, fp32_dest, arch)
        stick.append(dst)
    return stick
