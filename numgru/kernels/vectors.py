"""Vector registers as Python values, while a kernel is being emitted.

A `Vec` stands for one register; arithmetic on it appends LLVM instructions, so that a gate reads as its equation.
`Grid` and `Rows` are how registers meet memory: the rows and unit blocks of one of NumPy's own buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import cgutils

I32, I64 = ir.IntType(32), ir.IntType(64)
_ZERO = I64(0)


class Kind(NamedTuple):
    """What a register holds."""

    bits: int  # of one number: 32 or 64
    lanes: int
    fma: bool  # whether the target rounds a multiply-add once

    @property
    def scalar(self) -> ir.Type:
        """One number."""
        return ir.FloatType() if self.bits == 32 else ir.DoubleType()

    @property
    def vector(self) -> ir.Type:
        """The register."""
        return ir.VectorType(self.scalar, self.lanes)

    @property
    def words(self) -> ir.Type:
        """The register's bits as integers."""
        return ir.VectorType(ir.IntType(self.bits), self.lanes)

    @property
    def suffix(self) -> str:
        """How LLVM's intrinsics name this type."""
        return f"v{self.lanes}f{self.bits}"

    def number(self, x: float) -> float:
        """`x` rounded to this precision."""
        return float(np.float32(x)) if self.bits == 32 else float(x)


class Vec:
    """One register, or several that go through the same equations, while a kernel is being emitted.

    Several are emitted step by step beside each other: the processor then has independent work during each
    instruction's latency.
    """

    def __init__(self, b: ir.IRBuilder, kind: Kind, *registers: Any) -> None:
        self.b, self.kind, self.registers = b, kind, registers

    @staticmethod
    def stack(vectors: Sequence[Vec]) -> Vec:
        """All their registers as one `Vec`."""
        return Vec(vectors[0].b, vectors[0].kind, *(r for vector in vectors for r in vector.registers))

    def __iter__(self) -> Iterator[Vec]:
        return (Vec(self.b, self.kind, register) for register in self.registers)

    def each(self, emit: Callable[..., Any], *others: Vec | float) -> Vec:
        """`emit(register, ...)` for every register, with the others' beside it."""
        columns = [self._registers_of(other) for other in others]
        return Vec(self.b, self.kind, *(emit(*registers) for registers in zip(self.registers, *columns, strict=True)))

    def _registers_of(self, other: Vec | float) -> Sequence[Any]:
        if isinstance(other, Vec):
            return other.registers
        lanes = [self.kind.number(other)] * self.kind.lanes
        return [ir.Constant(self.kind.vector, lanes)] * len(self.registers)

    def __add__(self, other: Vec | float) -> Vec:
        return self.each(self.b.fadd, other)

    def __sub__(self, other: Vec | float) -> Vec:
        return self.each(self.b.fsub, other)

    def __rsub__(self, other: float) -> Vec:
        return self.each(lambda mine, given: self.b.fsub(given, mine), other)

    def __mul__(self, other: Vec | float) -> Vec:
        return self.each(self.b.fmul, other)

    def __truediv__(self, other: Vec | float) -> Vec:
        return self.each(self.b.fdiv, other)

    def __rtruediv__(self, other: float) -> Vec:
        return self.each(lambda mine, given: self.b.fdiv(given, mine), other)

    def __neg__(self) -> Vec:
        return self.each(self.b.fneg)

    def fma(self, x: Vec | float, y: Vec | float) -> Vec:
        """self * x + y, rounded once."""
        if not self.kind.fma:
            return self * x + y
        name = f"llvm.fma.{self.kind.suffix}"
        return self.each(lambda *registers: call_llvm(self.b, name, self.kind.vector, registers), x, y)

    def at_most(self, bound: Vec | float) -> Vec:
        """The smaller of the two; NaN stays NaN, which LLVM's minnum would swallow."""
        b = self.b
        return self.each(lambda mine, limit: b.select(b.fcmp_ordered("<", limit, mine), limit, mine), bound)

    def at_least(self, bound: Vec | float) -> Vec:
        """The larger of the two; NaN stays NaN."""
        b = self.b
        return self.each(lambda mine, limit: b.select(b.fcmp_ordered(">", limit, mine), limit, mine), bound)


def call_llvm(b: ir.IRBuilder, name: str, result: ir.Type, args: Sequence[Any]) -> Any:
    """Call an LLVM function by name; `declare_intrinsic` refuses vector types."""
    known = b.module.globals.get(name)
    return b.call(known or ir.Function(b.module, ir.FunctionType(result, [a.type for a in args]), name), args)


def splat(b: ir.IRBuilder, kind: Kind, scalar: Any) -> Vec:
    """The scalar in every lane."""
    return Vec(b, kind, _splat(b, scalar, kind.lanes))


def _splat(b: ir.IRBuilder, scalar: Any, lanes: int) -> Any:
    first = b.insert_element(ir.Constant(ir.VectorType(scalar.type, lanes), ir.Undefined), scalar, I32(0))
    return b.shuffle_vector(first, first, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def sum_of_squares(b: ir.IRBuilder, kind: Kind, register: Any) -> Any:
    """In float64, in which no square of a float32 overflows; neighbours first, whatever the number of lanes."""
    lanes = kind.lanes
    if kind.bits == 32:
        register = b.fpext(register, ir.VectorType(ir.DoubleType(), lanes))
    sums = b.fmul(register, register)
    while lanes > 1:
        even, odd = (ir.Constant(ir.VectorType(I32, lanes // 2), list(range(k, lanes, 2))) for k in (0, 1))
        sums = b.fadd(b.shuffle_vector(sums, sums, even), b.shuffle_vector(sums, sums, odd))
        lanes //= 2
    return b.extract_element(sums, I32(0))


def first_lanes(b: ir.IRBuilder, kind: Kind, count: Any) -> Any:
    """The mask of the first `count` lanes: all of them, but at the edge of an array."""
    lane = ir.Constant(ir.VectorType(I64, kind.lanes), list(range(kind.lanes)))
    return b.icmp_signed("<", lane, _splat(b, count, kind.lanes))


def transposed(rows: Sequence[Vec]) -> list[Vec]:
    """As many registers as they have lanes, of which lane c of register r becomes lane r of register c.

    First within 16 bytes of a register, then these as wholes: processors have instructions for such shuffles.
    """
    b, kind = rows[0].b, rows[0].kind
    width = min(128 // kind.bits, kind.lanes)
    within = [
        _apart(b, kind, [row.registers[0] for row in rows[first : first + width]], width, 1)
        for first in range(0, kind.lanes, width)
    ]
    columns = [_apart(b, kind, [parts[column] for parts in within], kind.lanes, width) for column in range(width)]
    return [Vec(b, kind, columns[c % width][c // width]) for c in range(kind.lanes)]


def _apart(b: ir.IRBuilder, kind: Kind, registers: Sequence[Any], span: int, unit: int) -> list[Any]:
    """Register n of the result has unit n of each of these registers, within every span of lanes."""
    if len(registers) == 1:
        return list(registers)
    halves = []
    for odd in (0, 1):
        units = [first + lane for first in (0, kind.lanes) for lane in range(0, span, unit)][odd::2]
        lanes = [start + lane + n for start in range(0, kind.lanes, span) for lane in units for n in range(unit)]
        mask = ir.Constant(ir.VectorType(I32, kind.lanes), lanes)
        pairs = zip(registers[0::2], registers[1::2], strict=True)
        halves.append(_apart(b, kind, [b.shuffle_vector(*pair, mask) for pair in pairs], span, unit))
    return [register for pair in zip(*halves, strict=True) for register in pair]


class _Places:
    """Registers by row m and block v; a subclass knows where they lie."""

    def __init__(self, b: ir.IRBuilder, kind: Kind) -> None:
        self.b, self.kind = b, kind

    def place(self, m: int | Any, v: int | Any, offset: int | Any = 0) -> Any:
        """The address of lane `offset` of block v of row m."""
        raise NotImplementedError

    def load(self, m: int | Any, v: int | Any, offset: int | Any = 0, mask: Any = None) -> Vec:
        """One register; lanes outside the mask are zero and not read."""
        place, vector = self.place(m, v, offset), self.kind.vector
        if mask is None:
            return Vec(self.b, self.kind, self.b.load(place, typ=vector, align=self.kind.bits // 8))
        args = [place, I32(self.kind.bits // 8), mask, ir.Constant(vector, None)]
        return Vec(self.b, self.kind, call_llvm(self.b, f"llvm.masked.load.{self.kind.suffix}.p0", vector, args))

    def store_past_caches(self, value: Vec, m: int | Any, v: int | Any, offset: int | Any = 0) -> None:
        """One register at a place that is a multiple of its size, into memory; others see it after a `fence`."""
        b, place = self.b, self.b.bitcast(self.place(m, v, offset), self.kind.vector.as_pointer())
        store = b.store(value.registers[0], place, align=self.kind.bits * self.kind.lanes // 8)
        store.set_metadata("nontemporal", b.module.add_metadata([I32(1)]))

    def store(self, value: Vec, m: int | Any, v: int | Any, offset: int | Any = 0, mask: Any = None) -> None:
        """One register; lanes outside the mask are not written."""
        place = self.place(m, v, offset)
        if mask is None:
            place = self.b.bitcast(place, self.kind.vector.as_pointer())
            self.b.store(value.registers[0], place, align=self.kind.bits // 8)
        else:
            args = [value.registers[0], place, I32(self.kind.bits // 8), mask]
            call_llvm(self.b, f"llvm.masked.store.{self.kind.suffix}.p0", ir.VoidType(), args)

    def prefetch(self, m: int | Any, v: int | Any, offset: int | Any = 0, level: int = 1) -> None:
        """Ask for a cache line that will be read soon, for a level of the cache; it may lie outside the buffer."""
        read, locality, data = I32(0), I32(4 - level), I32(1)
        call_llvm(self.b, "llvm.prefetch.p0", ir.VoidType(), [self.place(m, v, offset), read, locality, data])

    def broadcast(self, m: int | Any, v: int | Any, offset: int | Any = 0) -> Vec:
        """One number of a row, in every lane."""
        return splat(self.b, self.kind, self.b.load(self.place(m, v, offset), typ=self.kind.scalar))


class Grid(_Places):
    """Rows and unit blocks of a buffer: block v of row m starts at `at` + m `row` + v `block`."""

    def __init__(self, b: ir.IRBuilder, kind: Kind, data: Any, at: Any, row: Any, block: Any) -> None:
        super().__init__(b, kind)
        self.data, self.at, self.row, self.block = data, at, row, block

    def place(self, m: int | Any, v: int | Any, offset: int | Any = 0) -> Any:
        """The address of lane `offset` of block v of row m."""
        b = self.b
        start = b.add(self.at, b.add(b.mul(self.row, as_index(m)), b.mul(self.block, as_index(v))))
        return b.gep(self.data, [b.add(start, as_index(offset))], source_etype=self.kind.scalar)


class Rows(_Places):
    """A tile's rows, each at an address of its own; their blocks are consecutive registers."""

    def __init__(self, b: ir.IRBuilder, kind: Kind, addresses: Sequence[Any]) -> None:
        super().__init__(b, kind)
        self.addresses = addresses

    def place(self, m: int, v: int | Any, offset: int | Any = 0) -> Any:
        """The address of lane `offset` of block v of the tile's row m."""
        b = self.b
        start = b.add(b.mul(I64(self.kind.lanes), as_index(v)), as_index(offset))
        return b.gep(self.addresses[m], [start], source_etype=self.kind.scalar)


def where(b: ir.IRBuilder, condition: Any, emit: Callable[[], Vec], otherwise: Vec) -> Vec:
    """What `emit` returns, where the condition holds at run time; elsewhere none of that is executed."""
    return either(b, condition, emit, lambda: otherwise)


def either(b: ir.IRBuilder, condition: Any, emit: Callable[[], Vec], otherwise: Callable[[], Vec]) -> Vec:
    """What one or the other returns, as the condition holds at run time or doesn't; only that is executed."""
    ends = []
    with b.if_else(condition) as branches:
        for branch, emit_one in zip(branches, (emit, otherwise), strict=True):
            with branch:
                value = emit_one()
                ends.append((value, b.block))
    chosen = []
    for registers in zip(*(value.registers for value, _ in ends), strict=True):
        phi = b.phi(value.kind.vector)
        for register, (_, end) in zip(registers, ends, strict=True):
            phi.add_incoming(register, end)
        chosen.append(phi)
    return Vec(b, value.kind, *chosen)


def align_stack(b: ir.IRBuilder, kind: Kind) -> None:
    """Let registers that find no place in the processor lie on whole cache lines.

    LLVM aligns the stack for what it knows of beforehand, and not for registers that it has to set aside itself.
    """
    memory = cgutils.alloca_once(b, kind.vector)
    memory.align = kind.bits * kind.lanes // 8
    b.asm(ir.FunctionType(ir.VoidType(), [memory.type]), "", "r", [memory], side_effect=True)  # no instruction


def set_aside(b: ir.IRBuilder, registers: dict[Any, Vec]) -> Callable[[], dict[Any, Vec]]:
    """Put registers into memory, so that the loops in between have them all; the result gets them back.

    LLVM by itself keeps what it can, and moves the others about in every pass of a loop.
    """
    kind = next(iter(registers.values())).kind
    memory = cgutils.alloca_once(b, ir.ArrayType(kind.vector, len(registers)))
    places = {name: b.gep(memory, [I64(0), I64(at)]) for at, name in enumerate(registers)}
    for name, register in registers.items():
        b.store(register.registers[0], places[name])
    # No instruction, but for all that LLVM knows it changes the memory.
    b.asm(ir.FunctionType(ir.VoidType(), [memory.type]), "", "r,~{memory}", [memory], side_effect=True)
    return lambda: {name: Vec(b, kind, b.load(place)) for name, place in places.items()}


def as_index(value: int | Any) -> Any:
    """A constant, or the number as it is."""
    return I64(value) if isinstance(value, int) else value


def loop(
    b: ir.IRBuilder, end: Any, start: Sequence[Vec], body: Callable[[Any, list[Vec]], list[Vec]], first: Any = _ZERO
) -> list[Vec]:
    """Carry the registers `start` through `body(k, registers)` for k = `first` .. `end` - 1, or for no k."""
    entry = b.block
    head, inside, after = (b.append_basic_block(name) for name in ("head", "body", "end"))
    b.branch(head)
    b.position_at_end(head)
    k = b.phi(I64)
    k.add_incoming(first, entry)
    carried = [b.phi(register.kind.vector) for register in start]
    for phi, register in zip(carried, start, strict=True):
        phi.add_incoming(register.registers[0], entry)
    b.cbranch(b.icmp_signed("<", k, end), inside, after)
    b.position_at_end(inside)
    registers = [Vec(b, register.kind, phi) for phi, register in zip(carried, start, strict=True)]
    result = body(k, registers)
    last = b.block
    k.add_incoming(b.add(k, I64(1)), last)
    for phi, register in zip(carried, result, strict=True):
        phi.add_incoming(register.registers[0], last)
    b.branch(head).set_metadata("llvm.loop", _as_written(b.module))
    b.position_at_end(after)
    return registers


def _as_written(module: ir.Module) -> Any:
    """A loop's metadata: don't unroll. A tile's body fills the multipliers as it is, and compiles faster."""
    loop_id = module.add_metadata([module.add_metadata(["llvm.loop.unroll.disable"])])
    if loop_id.operands[0] is not loop_id:
        loop_id.operands = (loop_id, *loop_id.operands)  # LLVM knows a loop's metadata by this self-reference
    return loop_id
