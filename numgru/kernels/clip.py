"""What clipping needs of arrays that may be longer than any cache: norms, counts, a scaling, a clamp.

All of it waits for memory. So nothing is read more often than it has to be, and what is read next is asked for early.
The order of every sum follows from the array's length alone, whatever the processor and the number of threads.

Shapes: `x` is (N,), in C = ceil(N / CHUNK) chunks, which threads share; `norms` and `beyond` are (C,), a number for
each chunk. `units` is (R, K): R vectors, which threads share, with `norms` or `factors` (R,).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from llvmlite import ir
from numba import prange, types

from ._jit import intrinsic, piece, shared_kernel
from .target import TARGET
from .threads import share
from .tiles import LINE, kind_of, pointer
from .vectors import I32, I64, Grid, Kind, Vec, call_llvm, first_lanes, loop, splat

CHUNK = 32768  # values; a chunk that was read is still in the second-level cache when it's read again
LARGEST = 0  # stands for the order of the infinity norm

# The same on any processor: products are rounded before they are added, or are exact, as those of float32 are.
_DOUBLES = Kind(64, 4 if TARGET.halves else 8, fma=False)
_EXACT = _DOUBLES._replace(fma=TARGET.fma)
SUMS = 64  # of every chunk, side by side
_REGISTERS = SUMS // _DOUBLES.lanes

# What is read next is asked for so many bytes ahead, if the array has more than so many, as most processors don't look
# beyond a page by themselves. The second-level cache may hold shorter arrays; none holds those beyond the second size.
_AHEAD = ((1 << 19, 8192), (1 << 24, 16384))
_ASKS = not TARGET.halves

_SAFE_LOW = 2.0**-900  # a sum of squares above it has lost nothing that matters to underflow


def _ask(b: ir.IRBuilder, place: Any, ahead: Any, size: int, write: int) -> None:
    """Ask the second-level cache for `size` bytes, `ahead` bytes behind a place; they may lie outside the array."""
    for byte in range(0, size, LINE):
        line = b.gep(place, [b.add(ahead, I64(byte))], source_etype=ir.IntType(8))
        call_llvm(b, "llvm.prefetch.p0", ir.VoidType(), [line, I32(write), I32(2), I32(1)])


@piece
def _ahead_of(x):
    """How many bytes ahead an array is asked for; 0: not at all."""
    ahead = 0
    for size, distance in _AHEAD:
        if _ASKS and x.size * x.itemsize > size:
            ahead = distance
    return ahead


def _plus_square(kept: Vec, value: Vec) -> Vec:
    return value.fma(value, kept)


def _plus_size(kept: Vec, value: Vec) -> Vec:
    return kept + _size(value)


def _larger(kept: Vec, value: Vec) -> Vec:
    """As integers, the bits of positive numbers are in order, infinity behind all others, and NaN behind infinity."""
    b = value.b
    words = [b.bitcast(vec.registers[0], _DOUBLES.words) for vec in (_size(value), kept)]
    larger = b.select(b.icmp_signed(">", *words), *words)
    return Vec(b, _DOUBLES, b.bitcast(larger, _DOUBLES.vector))


def _size(value: Vec) -> Vec:
    return Vec(value.b, _DOUBLES, call_llvm(value.b, f"llvm.fabs.{_DOUBLES.suffix}", _DOUBLES.vector, value.registers))


@intrinsic
def _gather(typingctx, x, blocks, order, ahead, lanes):
    """Of `blocks` times SUMS values, add |x|^order to `lanes` (SUMS,), or keep the largest |x| there."""
    bits = x.dtype.bitwidth
    number = ir.FloatType() if bits == 32 else ir.DoubleType()

    def codegen(context, b, sig, args):
        data, kept = (pointer(context, b, sig.args[at], args[at]) for at in (0, 4))
        _, blocks, order, ahead, _ = args
        sums = Grid(b, _DOUBLES, kept, I64(0), I64(0), I64(_DOUBLES.lanes))
        for number_of, gathered in ((2, _plus_square), (1, _plus_size), (LARGEST, _larger)):
            for asks in (0, 1):
                asked = b.icmp_signed(">" if asks else "==", ahead, I64(0))
                with b.if_then(b.and_(b.icmp_signed("==", order, I64(number_of)), asked)):
                    emit(b, data, blocks, sums, gathered, ahead if asks else None)
        return context.get_dummy_value()

    def emit(b: ir.IRBuilder, data: Any, blocks: Any, sums: Grid, gathered: Any, ahead: Any) -> None:
        def body(k: Any, kept: list[Vec]) -> list[Vec]:
            start = b.gep(data, [b.mul(k, I64(SUMS))], source_etype=number)
            if ahead is not None:
                _ask(b, start, ahead, SUMS * bits // 8, 0)
            return [gathered(register, load(start, r)) for r, register in enumerate(kept)]

        def load(start: Any, r: int) -> Vec:
            place = b.gep(start, [I64(r * _DOUBLES.lanes)], source_etype=number)
            value = b.load(place, typ=ir.VectorType(number, _DOUBLES.lanes), align=bits // 8)
            return Vec(b, _DOUBLES, value) if bits == 64 else Vec(b, _EXACT, b.fpext(value, _EXACT.vector))

        for r, register in enumerate(loop(b, blocks, [sums.load(0, r) for r in range(_REGISTERS)], body)):
            sums.store(register, 0, r)

    return types.void(x, types.int64, types.int64, types.int64, lanes), codegen


@piece
def _power_sum(x, order, ahead, lanes, rest):
    """Sum of |x|^order, or the largest |x|; `lanes` and `rest` (SUMS,) are workspaces, of float64 and x's dtype."""
    blocks = x.size // SUMS
    rest[:] = 0.0  # adds nothing
    for i in range(x.size - blocks * SUMS):
        rest[i] = x[blocks * SUMS + i]
    lanes[:] = 0.0
    for values, count in ((x, blocks), (rest, 1)):
        _gather(values, count, order, ahead, lanes)
    half = SUMS // 2
    while half:
        for i in range(half):
            if order != LARGEST:
                lanes[i] += lanes[i + half]
            elif not lanes[i + half] <= lanes[i] and lanes[i] == lanes[i]:
                lanes[i] = lanes[i + half]
        half //= 2
    return lanes[0]


def safe_scale(largest: float) -> float:
    """A power of two, which is exact, that brings numbers up to the largest to where squares are normal numbers."""
    return math.ldexp(1.0, max(-1022, min(1022, -math.frexp(largest)[1])))


_safe_scale = piece(safe_scale)


@piece
def _norm(x, order, ahead, lanes, rest):
    """The norm; the 2-norm also where squares overflow or underflow. NaN or infinity for what is not finite."""
    total = _power_sum(x, order, ahead, lanes, rest)
    if order != 2:
        return total
    if _SAFE_LOW < total < math.inf:
        return math.sqrt(total)
    largest = _power_sum(x, LARGEST, ahead, lanes, rest)
    if largest == 0.0 or not largest < math.inf:
        return largest
    scale = _safe_scale(largest)
    total = 0.0
    for i in range(x.size):
        value = np.float64(x[i]) * scale
        total += value * value
    return math.sqrt(total) / scale


@piece
def _measure_chunks(x, order, limit, norms, beyond, part, parts):
    lanes, rest = np.empty(SUMS), np.empty(SUMS, x.dtype)
    ahead = _ahead_of(x)
    first, last = share(norms.size, part, parts, 1)
    for c in range(first, last):
        chunk = x[c * CHUNK : (c + 1) * CHUNK]
        norms[c] = _norm(chunk, order, ahead, lanes, rest)
        if beyond.size:
            count = 0
            for i in range(chunk.size):
                count += not abs(chunk[i]) <= limit
            beyond[c] = count


@shared_kernel
def measure(x, order, limit, norms, beyond, parts):
    """The norm of every chunk, of order 1, 2 or LARGEST; unless `beyond` is empty, how many |x| exceed the limit."""
    for part in prange(parts):
        _measure_chunks(x, order, limit, norms, beyond, part, parts)


@intrinsic
def _multiply(typingctx, x, first, last, factor, ahead):
    """x *= factor from index `first` on, up to `last`."""
    kind = kind_of(x.dtype)

    def codegen(context, b, sig, args):
        factor = splat(b, kind, args[3])
        _change(context, b, sig, args, kind, lambda value: value * factor)
        return context.get_dummy_value()

    return types.void(x, first, last, factor, ahead), codegen


@intrinsic
def _clamp(typingctx, x, first, last, limit, ahead):
    """x = min(max(x, -limit), limit), in the same way."""
    kind = kind_of(x.dtype)

    def codegen(context, b, sig, args):
        above = splat(b, kind, args[3])
        below = -above
        _change(context, b, sig, args, kind, lambda value: value.at_least(below).at_most(above))
        return context.get_dummy_value()

    return types.void(x, first, last, limit, ahead), codegen


def _change(
    context: Any, b: ir.IRBuilder, sig: Any, args: Sequence[Any], kind: Kind, change: Callable[[Vec], Vec]
) -> None:
    """What `_multiply` and `_clamp` have in common."""
    array, first, last, _, ahead = args
    x = b.gep(pointer(context, b, sig.args[0], array), [first], source_etype=kind.scalar)
    values = Grid(b, kind, x, I64(0), I64(SUMS), I64(kind.lanes))
    count = b.sub(last, first)
    blocks = b.sdiv(count, I64(SUMS))

    def block(k: Any, _: list[Vec], asks: bool) -> list[Vec]:
        if asks:
            _ask(b, values.place(k, 0), ahead, SUMS * kind.bits // 8, 1)
        for v in range(SUMS // kind.lanes):
            values.store(change(values.load(k, v)), k, v)
        return []

    def edge(v: Any, _: list[Vec]) -> list[Vec]:
        mask = first_lanes(b, kind, b.sub(left, b.mul(v, I64(kind.lanes))))
        values.store(change(values.load(blocks, v, mask=mask)), blocks, v, mask=mask)
        return []

    with b.if_else(b.icmp_signed(">", ahead, I64(0))) as branches:
        for branch, asks in zip(branches, (True, False), strict=True):
            with branch:
                loop(b, blocks, [], partial(block, asks=asks))
    left = b.sub(count, b.mul(blocks, I64(SUMS)))
    loop(b, b.sdiv(b.add(left, I64(kind.lanes - 1)), I64(kind.lanes)), [], edge)


@piece
def _cut_at_line(x, first, last):
    """Two ranges from `first` to `last`: up to the start of a cache line, and from there on in whole lines."""
    address = x.ctypes.data + first * x.itemsize
    middle = min(first + -address % LINE // x.itemsize, last)
    return (first, middle), (middle, last)


@piece
def _multiply_chunks(x, factor, part, parts):
    first, last = share(x.size, part, parts, CHUNK)
    for begin, end in _cut_at_line(x, first, last):
        _multiply(x, begin, end, factor, _ahead_of(x))


@shared_kernel
def multiply(x, factor, parts):
    """In place x *= factor."""
    for part in prange(parts):
        _multiply_chunks(x, factor, part, parts)


@piece
def _clamp_chunks(x, limit, beyond, part, parts):
    first, last = share(beyond.size, part, parts, 1)
    for c in range(first, last):
        if beyond[c]:
            for begin, end in _cut_at_line(x, c * CHUNK, min((c + 1) * CHUNK, x.size)):
                _clamp(x, begin, end, limit, _ahead_of(x))


@shared_kernel
def clamp(x, limit, beyond, parts):
    """In place x = min(max(x, -limit), limit), in the chunks where any value is `beyond` the limit."""
    for part in prange(parts):
        _clamp_chunks(x, limit, beyond, part, parts)


@piece
def _measure_units(units, norms, part, parts):
    lanes, rest = np.empty(SUMS), np.empty(SUMS, units.dtype)
    ahead = _ahead_of(units)
    first, last = share(norms.size, part, parts, 1)
    for r in range(first, last):
        norms[r] = _norm(units[r], 2, ahead, lanes, rest)


@shared_kernel
def measure_units(units, norms, parts):
    """The 2-norm of every unit."""
    for part in prange(parts):
        _measure_units(units, norms, part, parts)


@piece
def _multiply_units(units, factors, part, parts):
    first, last = share(factors.size, part, parts, 1)
    for r in range(first, last):
        if factors[r] != 1.0:
            _multiply(units, r * units.shape[1], (r + 1) * units.shape[1], factors[r], 0)


@shared_kernel
def multiply_units(units, factors, parts):
    """In place every unit times its factor."""
    for part in prange(parts):
        _multiply_units(units, factors, part, parts)
