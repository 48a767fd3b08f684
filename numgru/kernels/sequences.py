"""The arrays of a call: as the kernels' time loops pass them on, and as the emitters of tiles address them.

Shapes: T time, B batch, I input, H hidden units in ceil(H / LANES) blocks, G gates, S slots a unit.

    x, dx       (T, B, I)  or (B, T, I)         any strides of time and batch
    y, dy       (T, B, H)  or (B, T, H)
    h_0, dh_0   (B, H)
    gates       (T, B, slot, H padded)          kept from forward to backward, which turns them into gradients in place
    sums        (steps, rows, slot, H padded)   of few rows: the input's share of some steps' sums, ahead of the steps
    carry       (B, H padded)                   what reaches the state of one step earlier directly; one call's

"Padded" is to whole registers; the padding of gates is zero once it holds gradients.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from .tiles import kind_of, pointer
from .vectors import I64, Grid, Kind


class Sequences(NamedTuple):
    """The arrays of one call, flat, with their strides."""

    x: NDArray[Any]
    h_0: NDArray[Any]
    y: NDArray[Any]
    gates: NDArray[Any] | None  # None: inference
    sums: NDArray[Any]  # the gates themselves where those are kept
    sums_steps: int
    sums_rows: int
    sums_first: int  # row of the batch
    T: int
    B: int
    I: int
    H: int
    x_time: int
    x_row: int
    y_time: int
    y_row: int


class Gradients(NamedTuple):
    """What the backward pass adds to `Sequences`."""

    dy: NDArray[Any]  # strides of y
    dx: NDArray[Any] | None  # strides of x; None: not wanted
    dh_0: NDArray[Any]
    carry: NDArray[Any]


class Fields(SimpleNamespace):
    """The members of such a tuple, as the emitters see them: pointers, integers, or None."""

    b: ir.IRBuilder
    kind: Kind

    def grid(self, data: Any, at: Any, row: Any, block: Any) -> Grid:
        """Rows and blocks of one of the members."""
        return Grid(self.b, self.kind, data, at, row, block)


def fields_of(context: Any, b: ir.IRBuilder, tuple_type: Any, value: Any) -> Fields:
    """The members of a tuple that an intrinsic was given."""
    members: dict[str, Any] = {}
    for name, member, part in zip(
        tuple_type.instance_class._fields, tuple_type.types, cgutils.unpack_tuple(b, value), strict=True
    ):
        if isinstance(member, types.Array):
            kind = kind_of(member.dtype)
            members[name] = pointer(context, b, member, part)
        else:
            members[name] = None if isinstance(member, types.NoneType) else part
    return Fields(b=b, kind=kind, **members)


def _padded(run: Fields) -> Any:
    """H up to whole registers."""
    b, lanes = run.b, I64(run.kind.lanes)
    return b.mul(b.sdiv(b.add(run.H, I64(run.kind.lanes - 1)), lanes), lanes)


FALSE, TRUE = (ir.Constant(ir.IntType(1), truth) for truth in (0, 1))


def _slot(run: Fields, data: Any, cell: Any, steps_rows: Any, t: Any, i: Any, slot: int, in_time: Any) -> Grid:
    """One slot of step t from row i on; where `in_time` is true, the grid's rows are time steps of row i."""
    b, width = run.b, _padded(run)
    row = b.mul(width, I64(cell.slots))
    at = b.add(b.mul(b.add(b.mul(t, steps_rows), i), row), b.mul(I64(slot), width))
    return run.grid(data, at, b.select(in_time, b.mul(steps_rows, row), row), I64(run.kind.lanes))


def gates_of(run: Fields, cell: Any, t: Any, i: Any, slot: int, in_time: Any = FALSE) -> Grid:
    """One slot of the gates; rows are rows of the batch, or time steps."""
    return _slot(run, run.gates, cell, run.B, t, i, slot, in_time)


def sums_of(run: Fields, cell: Any, t: Any, i: Any, slot: int, in_time: Any = FALSE) -> Grid:
    """One slot of the sums of few rows; rows are rows of the batch, or time steps."""
    b = run.b
    return _slot(run, run.sums, cell, run.sums_rows, b.srem(t, run.sums_steps), b.sub(i, run.sums_first), slot, in_time)


def carry_of(run: Fields, d: Fields, i: Any) -> Grid:
    """What goes on to the step before, from row i on."""
    width = _padded(run)
    return run.grid(d.carry, run.b.mul(i, width), width, I64(run.kind.lanes))


def state_before(run: Fields, t: Any, i: Any) -> Grid:
    """The state that step t starts from: y of the step before, or h_0."""
    b = run.b
    start = b.icmp_signed("==", t, I64(0))
    at = b.add(b.mul(b.sub(t, I64(1)), run.y_time), b.mul(i, run.y_row))
    return run.grid(
        b.select(start, run.h_0, run.y),
        b.select(start, b.mul(i, run.H), at),
        b.select(start, run.H, run.y_row),
        I64(run.kind.lanes),
    )
