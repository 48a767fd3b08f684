"""The gradient that flows from step to step, on its way back: how long it is, and bounds that hold it.

A bound on every number (Graves 2013) is met where the flow is summed. A bound on a row's norm needs all of the row's
units first, which takes a stage more: it sums the flow and its squares, and the next one goes on from there. What
bounds met and did is kept for the layer's report.
Shapes: as in sequences.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from ._jit import borrower, overload
from .blocks import blocks_in
from .sequences import Fields, padded
from .vectors import I64, Vec, call_llvm, splat, sum_of_squares

_DOUBLE = ir.DoubleType()
_INFINITE = ir.Constant(_DOUBLE, float("inf"))


def flow_stages(flow):
    """1 if a stage for the flow comes before those of the cell."""
    raise NotImplementedError


def _may_bound(flow: Any) -> bool:
    """Whether calls with this type of a `Flow` may have bounds."""
    return not isinstance(flow[flow.fields.index("factors")], types.NoneType)


@overload(flow_stages)
def _(flow):
    if not _may_bound(flow):
        return lambda flow: 0
    return lambda flow: int(flow.max_norm < np.inf)


def set_factors(run, flow, t, first, last, depth):
    """What brings the flow into rows first .. last - 1 down to `max_norm`; what came from outside stays (no depth).

    Where no norm is bounded all factors are 1 from the start.
    """
    raise NotImplementedError


@overload(set_factors)
def _(run, flow, t, first, last, depth):
    if not _may_bound(flow):
        return lambda run, flow, t, first, last, depth: None

    def implementation(run, flow, t, first, last, depth):
        if not flow.max_norm < np.inf:
            return
        blocks = blocks_in(run.H, run.y)
        for at in range(0, flow.factors.size, run.B):  # a state's
            for row in range(at + first, at + last):
                factor = 1.0
                if depth > 0:
                    place = ((t + 1) * flow.factors.size + row) * blocks
                    norm = np.sqrt(_tree_sum(flow.squares, place, place + blocks, 1 << _bits(blocks - 1)))
                    if norm > flow.max_norm:
                        factor = flow.max_norm / norm if norm < np.inf else np.nan  # zero would look like a gradient
                flow.factors[row] = factor

    return implementation


@borrower
def _bits(n):
    """How many the binary number has."""
    bits = 0
    while n >> bits:
        bits += 1
    return bits


@borrower
def _tree_sum(values, first, end, count):
    """The sum of `count` values, a power of 2, neighbours first; from `end` on they are zero."""
    if first >= end:
        return 0.0
    if count == 1:
        return values[first]
    half = count // 2
    return _tree_sum(values, first, end, half) + _tree_sum(values, first + half, end, half)


def is_finite(run: Fields, bound: Any) -> Any:
    """Whether there is such a bound."""
    return run.b.fcmp_ordered("<", bound, _INFINITE)


def bounded(tile: Any, d: Fields, flow: Vec, state: int, depth: Any) -> Vec:
    """The flow into a tile's rows within its bounds; what came from outside (no depth) isn't held by them."""
    run, _, i, row_of = tile.at
    b, kind = run.b, run.kind
    limit = b.select(b.icmp_signed(">", depth, I64(0)), d.limit, _INFINITE)
    most = splat(b, kind, limit if kind.bits == 64 else b.fptrunc(limit, kind.scalar))
    starts = [b.add(b.add(b.mul(run.B, I64(state)), i), m) for m in row_of]
    rows = run.rows(d.factors, starts)
    scaled = flow * Vec.stack([rows.broadcast(m, 0) for m in range(len(row_of)) for _ in tile.block_of])
    with b.if_then(is_finite(run, limit)):
        step = step_of_flow(tile, state)
        unbounded, values = list(flow), list(scaled)
        for at, m, v in tile.each():
            place = step, i, I64(m), b.add(tile.j, I64(v))
            store_squares(run, d.squares, *place, [unbounded[at]])
            _store_beyond(run, d, *place, values[at], most)
    limits = Vec.stack([most] * len(flow.registers))
    return scaled.at_most(limits).at_least(-limits)


def step_of_flow(tile: Any, state: int) -> Any:
    """Where what flows into the state of step t is kept, by step and state: with step t + 1, which it comes from."""
    b = tile.run.b
    return b.add(b.mul(b.add(tile.t, I64(1)), I64(tile.cell.states)), I64(state))


def _store_beyond(run: Fields, d: Fields, step: Any, i: Any, m: Any, block: Any, value: Vec, most: Vec) -> None:
    """How many of a register's numbers exceed the limit, and the largest; they are zero where none does."""
    b, kind = run.b, run.kind
    size = call_llvm(b, f"llvm.fabs.{kind.suffix}", kind.vector, value.registers)
    beyond = b.zext(b.bitcast(b.fcmp_ordered(">", size, *most.registers), ir.IntType(kind.lanes)), I64)
    with b.if_then(b.icmp_unsigned("!=", beyond, I64(0)), likely=False):
        count = call_llvm(b, "llvm.ctpop.i64", I64, [beyond])
        _store(run, d.beyond, step, i, m, block, b.uitofp(count, _DOUBLE))
        largest = call_llvm(b, f"llvm.vector.reduce.fmax.{kind.suffix}", kind.scalar, [size])
        _store(run, d.largest, step, i, m, block, largest if kind.bits == 64 else b.fpext(largest, _DOUBLE))


def store_squares(run: Fields, data: Any, step: Any, i: Any, m: Any, block: Any, values: list[Vec]) -> None:
    """The sum of squares of some registers into (step, B, block)."""
    total, *others = (sum_of_squares(run.b, run.kind, value.registers[0]) for value in values)
    for other in others:
        total = run.b.fadd(total, other)
    _store(run, data, step, i, m, block, total)


def _store(run: Fields, data: Any, step: Any, i: Any, m: Any, block: Any, number: Any) -> None:
    """A number, of float64, into (step, B, block)."""
    b = run.b
    blocks = b.sdiv(padded(run), I64(run.kind.lanes))
    at = b.add(b.mul(b.add(b.mul(step, run.B), b.add(i, m)), blocks), block)
    b.store(number, b.bitcast(b.gep(data, [at], source_etype=_DOUBLE), _DOUBLE.as_pointer()))
