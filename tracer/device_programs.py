"""The programs that Triton runs on a device to count tensors.

Programs only add to cells that were 0, or raise them, so their order does not matter and all
results are exact. What a convolution is worth counting depends on its operands' classes, which are
in cells that the host has not read: the device looks there itself, and tells by how many programs
it has counted. Elements are looked at by their bits: no rounding mode or flushed number matters.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..schemas import TILE_WIDTHS

SLOTS = 4
"""Values of a launch."""
# Arguments whose values make no kernels of their own: there would be one for each shape.
_PLAIN = {
    "values": [
        f"{name}{slot}{dim}"
        for slot in range(SLOTS)
        for name, dims in (("address", [""]), ("size", [""]), ("cells", [""]), ("n", (1, 2)),
                           ("s", (0, 1, 2)))
        for dim in dims
    ],
    "meeting": "x facts elements cells w w_facts total channels fan od oh ow nd nh nw sd sh sw "
    "pd ph pw dd dh dw x_batch x_group x_channel x_d x_h x_w w_group w_out w_channel w_d w_h "
    "w_w".split(),
    "multiplied": "x facts elements w w_facts cells batches m k n x_b x_m x_k w_b w_k w_n".split(),
}  # fmt: skip

_WIDTHS = tl.constexpr(len(TILE_WIDTHS))
_TILE = tl.constexpr(TILE_WIDTHS[0])
_SIGN = tl.constexpr(-(1 << 63))
_ONES = tl.constexpr((1 << 64) - 1)  # `~` of a uint64 is beyond the interpreter of Triton 3.5


@triton.jit
def _small_float(code, BITS: tl.constexpr, BIAS: tl.constexpr):
    """Return the bits of a float32 that equals an 8-bit float of `BITS` mantissa bits."""
    exponent = (code & 0x7F) >> BITS
    mantissa = code & ((1 << BITS) - 1)
    normal = ((exponent + (127 - BIAS)) << 23) | (mantissa << (23 - BITS))
    scaled = mantissa.to(tl.float32) * (2.0 ** (1 - BIAS - BITS))
    found = tl.where(exponent == 0, scaled.to(tl.int32, bitcast=True), normal)
    return found | tl.where(code >= 128, -(1 << 31), 0)


@triton.jit
def _float8(code, NAME: tl.constexpr):
    """Return the bits of a float32 that equals an 8-bit float."""
    nan = 0x7FC00000
    if NAME == "float8_e4m3fn":
        found = tl.where((code & 0x7F) == 0x7F, nan, _small_float(code, 3, 7))
    elif NAME == "float8_e4m3fnuz":
        found = tl.where(code == 0x80, nan, _small_float(code, 3, 8))
    elif NAME == "float8_e5m2fnuz":
        found = tl.where(code == 0x80, nan, _small_float(code, 2, 16))
    else:
        finite = _small_float(code, 2, 15)
        endless = 0x7F800000 | tl.where(code >= 128, -(1 << 31), 0)
        found = tl.where((code & 0x7C) != 0x7C, finite, tl.where((code & 3) != 0, nan, endless))
    return found


@triton.jit
def _float_bits(address, at, inside, NAME: tl.constexpr):
    """Load floats as the bits of a float32, or of a float64."""
    if NAME == "float64":
        found = tl.load(address.to(tl.pointer_type(tl.int64)) + at, inside, 0)
    elif NAME == "float32":
        found = tl.load(address.to(tl.pointer_type(tl.int32)) + at, inside, 0)
    elif NAME == "bfloat16":
        found = tl.load(address.to(tl.pointer_type(tl.uint16)) + at, inside, 0).to(tl.int32) << 16
    elif NAME == "float16":
        short = tl.load(address.to(tl.pointer_type(tl.uint16)) + at, inside, 0).to(tl.int32)
        exponent = (short >> 10) & 31
        mantissa = short & 1023
        normal = ((exponent + 112) << 23) | (mantissa << 13)
        scaled = (mantissa.to(tl.float32) * (2.0**-24)).to(tl.int32, bitcast=True)
        special = 0x7F800000 | (mantissa << 13)
        found = tl.where(exponent == 0, scaled, tl.where(exponent == 31, special, normal))
        found = found | tl.where(short >= 32768, -(1 << 31), 0)
    else:
        code = tl.load(address.to(tl.pointer_type(tl.uint8)) + at, inside, 0).to(tl.int32)
        found = _float8(code, NAME)
    return found


@triton.jit
def _integers(address, at, inside, NAME: tl.constexpr):
    """Load integers, as which the bits of bools and some 8-bit floats are read, too."""
    if NAME == "bool" or NAME == "float8_e4m3fnuz" or NAME == "float8_e5m2fnuz":
        found = tl.load(address.to(tl.pointer_type(tl.uint8)) + at, inside, 0)
    else:
        found = tl.load(address.to(tl.pointer_type(tl.dtype(NAME))) + at, inside, 0)
    return found


@triton.jit
def _nonzero(address, at, inside, NAME: tl.constexpr):
    """Tell which elements are not zero; those outside are."""
    if NAME == "complex128":
        parts = address.to(tl.pointer_type(tl.int64)) + 2 * at
        both = tl.load(parts, inside, 0) | tl.load(parts + 1, inside, 0)
        found = (both & 0x7FFFFFFFFFFFFFFF) != 0
    elif NAME == "complex64":
        parts = address.to(tl.pointer_type(tl.int32)) + 2 * at
        found = ((tl.load(parts, inside, 0) | tl.load(parts + 1, inside, 0)) & 0x7FFFFFFF) != 0
    elif NAME == "float64":
        found = (_float_bits(address, at, inside, NAME) & 0x7FFFFFFFFFFFFFFF) != 0
    elif NAME == "float32":
        found = (_float_bits(address, at, inside, NAME) & 0x7FFFFFFF) != 0
    elif NAME == "float16" or NAME == "bfloat16":
        found = (tl.load(address.to(tl.pointer_type(tl.uint16)) + at, inside, 0) & 0x7FFF) != 0
    elif NAME == "float8_e4m3fn" or NAME == "float8_e5m2":
        found = (tl.load(address.to(tl.pointer_type(tl.uint8)) + at, inside, 0) & 0x7F) != 0
    else:  # 8-bit floats whose negative zero is a NaN, too
        found = _integers(address, at, inside, NAME) != 0
    return found


@triton.jit
def _key(ordered):
    """Return unsigned integers in the order of signed ones."""
    return (ordered ^ _SIGN).to(tl.uint64, bitcast=True)


@triton.jit
def _tally(
    address, size, cells, n1, n2, s0, s1, s2,
    NAME: tl.constexpr, KIND: tl.constexpr, DENSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count the elements of a value: each program blocks as far apart as there are programs."""
    count = tl.zeros([BLOCK], tl.int32)
    ones = tl.zeros([BLOCK], tl.int32)
    minus = tl.zeros([BLOCK], tl.int32)
    whole = tl.zeros([BLOCK], tl.int32)
    nans = tl.zeros([BLOCK], tl.int32)
    high = tl.zeros([BLOCK], tl.uint64)
    low = tl.zeros([BLOCK], tl.uint64)
    first = tl.program_id(0)
    blocks = (size + BLOCK - 1) // BLOCK
    for block in range(first, blocks, tl.num_programs(0)):
        place = tl.arange(0, BLOCK).to(tl.int64) + block * BLOCK
        inside = place < size
        if DENSE:
            at = place
        else:
            at = place // n2 // n1 * s0 + place // n2 % n1 * s1 + place % n2 * s2
        if KIND == "mask":
            count += _nonzero(address, at, inside, NAME).to(tl.int32)
        else:
            if KIND == "long float":
                bits = _float_bits(address, at, inside, NAME)
                absolute = bits & 0x7FFFFFFFFFFFFFFF
                one = absolute == 0x3FF0000000000000
                nan = absolute > 0x7FF0000000000000
                finite = (absolute < 0x7FF0000000000000) & (absolute >= 0x3FF0000000000000)
                x = tl.where(finite, absolute, 0).to(tl.float64, bitcast=True)
                even = finite & (tl.floor(x) == x)
                key = _key(bits ^ ((bits >> 63) & 0x7FFFFFFFFFFFFFFF))
                some = absolute != 0
                negative = bits < 0
            elif KIND == "float":
                bits = _float_bits(address, at, inside, NAME)
                absolute = bits & 0x7FFFFFFF
                one = absolute == 0x3F800000
                nan = absolute > 0x7F800000
                finite = (absolute < 0x7F800000) & (absolute >= 0x3F800000)
                x = tl.where(finite, absolute, 0).to(tl.float32, bitcast=True)
                even = finite & (tl.floor(x) == x)
                key = _key((bits ^ ((bits >> 31) & 0x7FFFFFFF)).to(tl.int64))
                some = absolute != 0
                negative = bits < 0
            else:
                number = _integers(address, at, inside, NAME)
                some = number != 0
                even = some
                nan = some & (number == 0)
                if KIND == "signed":
                    one = (number == 1) | (number == -1)
                    negative = number < 0
                else:
                    one = number == 1
                    negative = nan
                if NAME == "uint64":
                    key = number
                else:
                    key = _key(number.to(tl.int64))
            count += some.to(tl.int32)
            ones += (one & (negative == 0)).to(tl.int32)
            minus += (one & negative).to(tl.int32)
            whole += even.to(tl.int32)
            nans += nan.to(tl.int32)
            ranked = some & (nan == 0)
            high = tl.maximum(high, tl.where(ranked, key, 0))
            low = tl.maximum(low, tl.where(ranked, key ^ _ONES, 0))
    if first < blocks:
        to = cells.to(tl.pointer_type(tl.int64))
        total = tl.sum(count.to(tl.int64))
        tl.atomic_add(to, total)
        if NAME == "bool":
            tl.atomic_add(to + 3, total)
        if KIND != "mask":
            tl.atomic_add(to + 1, tl.sum(ones.to(tl.int64)))
            tl.atomic_add(to + 2, tl.sum(minus.to(tl.int64)))
            tl.atomic_add(to + 3, tl.sum(whole.to(tl.int64)))
            tl.atomic_add(to + 4, tl.sum(nans.to(tl.int64)))
            ends = cells.to(tl.pointer_type(tl.uint64))
            tl.atomic_max(ends + 5, tl.max(high, 0))
            tl.atomic_max(ends + 6, tl.max(low, 0))


@triton.jit(do_not_specialize=_PLAIN["values"])
def values(
    address0, size0, cells0, n01, n02, s00, s01, s02,
    address1, size1, cells1, n11, n12, s10, s11, s12,
    address2, size2, cells2, n21, n22, s20, s21, s22,
    address3, size3, cells3, n31, n32, s30, s31, s32,
    NAME0: tl.constexpr, NAME1: tl.constexpr, NAME2: tl.constexpr, NAME3: tl.constexpr,
    KIND0: tl.constexpr, KIND1: tl.constexpr, KIND2: tl.constexpr, KIND3: tl.constexpr,
    DENSE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count up to four values; the second axis of the grid tells them apart."""
    slot = tl.program_id(1)
    if slot == 0:
        _tally(address0, size0, cells0, n01, n02, s00, s01, s02, NAME0, KIND0, DENSE, BLOCK)
    if KIND1 != "":
        if slot == 1:
            _tally(address1, size1, cells1, n11, n12, s10, s11, s12, NAME1, KIND1, DENSE, BLOCK)
    if KIND2 != "":
        if slot == 2:
            _tally(address2, size2, cells2, n21, n22, s20, s21, s22, NAME2, KIND2, DENSE, BLOCK)
    if KIND3 != "":
        if slot == 3:
            _tally(address3, size3, cells3, n31, n32, s30, s31, s32, NAME3, KIND3, DENSE, BLOCK)


@triton.jit
def _spikes(facts):
    """Tell whether a value may have a spike class; at address 0 the host has said so."""
    found = facts == 0
    if facts != 0:
        at = facts.to(tl.pointer_type(tl.int64))
        whole = tl.load(at) == tl.load(at + 3)
        found = whole | (tl.load(at + 5) + tl.load(at + 6) == -1)  # one number beside zero
    return found


@triton.jit
def _has_zeros(facts, elements):
    """Tell whether a value has zeros; at address 0 the host has said so."""
    found = facts == 0
    if facts != 0:
        found = tl.load(facts.to(tl.pointer_type(tl.int64))) != elements
    return found


@triton.jit
def _source(at, stride, padding, shift, size, TRANSPOSED: tl.constexpr):
    """Return the place that a tap joins with an output, and whether there is one."""
    if TRANSPOSED:
        far = at + padding - shift
        found = far // stride
        ok = (far >= 0) & (far % stride == 0) & (found < size)
    else:
        found = at * stride - padding + shift
        ok = (found >= 0) & (found < size)
    return found, ok


@triton.jit(do_not_specialize=_PLAIN["meeting"])
def meeting(
    x, facts, elements, cells, w, w_facts, total, channels, fan,
    od, oh, ow, nd, nh, nw, sd, sh, sw, pd, ph, pw, dd, dh, dw,
    x_batch, x_group, x_channel, x_d, x_h, x_w, w_group, w_out, w_channel, w_d, w_h, w_w,
    NAME: tl.constexpr, W_NAME: tl.constexpr, KD: tl.constexpr, KH: tl.constexpr, KW: tl.constexpr,
    TRANSPOSED: tl.constexpr, GRADIENT: tl.constexpr, WEIGHTS: tl.constexpr,
    CROSSBAR: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count what a block of output positions reads of one group of channels of a mask.

    The mask is that of the input, or of the output gradient with the geometry turned round.
    """
    spikes = _spikes(facts)
    if GRADIENT:
        wanted = spikes
    else:
        wanted = spikes | _has_zeros(facts, elements)
    if wanted:
        both = False
        if WEIGHTS:
            both = spikes & _spikes(w_facts)
        group = tl.program_id(1).to(tl.int64)
        place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
        at_w, at_h = place % ow, place // ow % oh
        at_d, batch = place // ow // oh % od, place // ow // oh // od
        base = batch * x_batch + group * x_group
        to = cells.to(tl.pointer_type(tl.int64))
        widths = tl.arange(0, _WIDTHS)
        joined = tl.zeros([_WIDTHS, BLOCK], tl.int32)  # of the tiles since the last whole one
        patches = tl.zeros([_WIDTHS, BLOCK], tl.int32)
        site = tl.zeros([BLOCK], tl.int32)
        pairs = tl.zeros([BLOCK], tl.int64)
        overlap = tl.zeros([BLOCK], tl.int64)
        tiles = (channels + _TILE - 1) // _TILE
        for tile in range(0, tiles):
            channel = tl.arange(0, _TILE).to(tl.int64) + tile * _TILE
            met = tl.zeros([BLOCK], tl.int32)
            for kd in range(0, KD):
                d, ok_d = _source(at_d, sd, pd, kd * dd, nd, TRANSPOSED)
                for kh in range(0, KH):
                    h, ok_h = _source(at_h, sh, ph, kh * dh, nh, TRANSPOSED)
                    for kw in range(0, KW):
                        v, ok_w = _source(at_w, sw, pw, kw * dw, nw, TRANSPOSED)
                        inside = ok_d & ok_h & ok_w & (place < total)
                        spot = base + d * x_d + h * x_h + v * x_w
                        at = channel[:, None] * x_channel + spot[None, :]
                        inside = inside[None, :] & (channel < channels)[:, None]
                        mask = _nonzero(x, at, inside, NAME).to(tl.int32)
                        met += tl.sum(mask, 0)
                        if WEIGHTS:
                            if both:
                                tap = group * w_group + kd * w_d + kh * w_h + kw * w_w
                                many = tl.zeros([_TILE], tl.int32)
                                for out in range(0, fan, 32):
                                    outs = tl.arange(0, 32).to(tl.int64) + out
                                    spots = channel[:, None] * w_channel + outs[None, :] * w_out
                                    held = (channel < channels)[:, None] & (outs < fan)[None, :]
                                    counted = _nonzero(w, tap + spots, held, W_NAME)
                                    many += tl.sum(counted.to(tl.int32), 1)
                                overlap += tl.sum(mask * many[:, None], 0).to(tl.int64)
            pairs += met.to(tl.int64)
            some = (met > 0).to(tl.int32)
            site = site | some
            if CROSSBAR:
                tl.atomic_add(to + 13 + tile, tl.sum(met.to(tl.int64)))
                joined = joined | some[None, :]
                ends = ((tile + 1) % (1 << widths) == 0) | (tile + 1 == tiles)
                patches += tl.where(ends[:, None], joined, 0)
                joined = tl.where(ends[:, None], 0, joined)
        tl.atomic_add(to, 1)
        tl.atomic_add(to + 1, tl.sum(pairs))
        tl.atomic_add(to + 2, tl.sum(site.to(tl.int64)))
        if WEIGHTS:
            tl.atomic_add(to + 3, tl.sum(overlap))
            if both:
                tl.atomic_add(to + 12, 1)
        if CROSSBAR:
            tl.atomic_add(to + 4 + widths, tl.sum(patches.to(tl.int64), 1))


@triton.jit(do_not_specialize=_PLAIN["multiplied"])
def multiplied(
    x, facts, elements, w, w_facts, cells, batches, m, k, n, x_b, x_m, x_k, w_b, w_k, w_n,
    NAME: tl.constexpr, W_NAME: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count the rows that hold a nonzero element; by shared index, the pairs of nonzeros."""
    spikes = _spikes(facts)
    to = cells.to(tl.pointer_type(tl.int64))
    place = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    if tl.program_id(1) == 0:
        if spikes | _has_zeros(facts, elements):
            row = place // m * x_b + place % m * x_m
            inside = place < batches * m
            found = tl.zeros([BLOCK], tl.int32)
            for start in range(0, k, BLOCK):
                shared = tl.arange(0, BLOCK).to(tl.int64) + start
                at = row[:, None] + shared[None, :] * x_k
                mask = _nonzero(x, at, inside[:, None] & (shared < k)[None, :], NAME)
                found = found | tl.max(mask.to(tl.int32), 1)
            tl.atomic_add(to + 1, tl.sum(found.to(tl.int64)))
            tl.atomic_add(to, 1)
    else:
        if spikes & _spikes(w_facts):
            column = place // k * x_b + place % k * x_k
            row = place // k * w_b + place % k * w_k
            inside = place < batches * k
            left = tl.zeros([BLOCK], tl.int64)
            for start in range(0, m, BLOCK):
                other = tl.arange(0, BLOCK).to(tl.int64) + start
                at = column[:, None] + other[None, :] * x_m
                mask = _nonzero(x, at, inside[:, None] & (other < m)[None, :], NAME)
                left += tl.sum(mask.to(tl.int64), 1)
            right = tl.zeros([BLOCK], tl.int64)
            for start in range(0, n, BLOCK):
                other = tl.arange(0, BLOCK).to(tl.int64) + start
                at = row[:, None] + other[None, :] * w_n
                mask = _nonzero(w, at, inside[:, None] & (other < n)[None, :], W_NAME)
                right += tl.sum(mask.to(tl.int64), 1)
            tl.atomic_add(to + 2, tl.sum(left * right))
            tl.atomic_add(to + 3, 1)
