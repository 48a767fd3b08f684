"""One time step of a recurrent layer in one tile and, below, backward: for any cell.

A cell says what becomes of the sums (its `step` and `step_backward`); everything else about a tile is here.

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

from ._jit import intrinsic
from .tiles import edge_masks, kind_of, pointer, sum_rows
from .vectors import I64, Grid, Kind, Vec, loop


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


def _fields(context: Any, b: ir.IRBuilder, tuple_type: Any, value: Any) -> Fields:
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


_FALSE, _TRUE = (ir.Constant(ir.IntType(1), truth) for truth in (0, 1))


def _slot(run: Fields, data: Any, cell: Any, steps_rows: Any, t: Any, i: Any, slot: int, in_time: Any) -> Grid:
    """One slot of step t from row i on; where `in_time` is true, the grid's rows are time steps of row i."""
    b, width = run.b, _padded(run)
    row = b.mul(width, I64(cell.slots))
    at = b.add(b.mul(b.add(b.mul(t, steps_rows), i), row), b.mul(I64(slot), width))
    return run.grid(data, at, b.select(in_time, b.mul(steps_rows, row), row), I64(run.kind.lanes))


def _gates(run: Fields, cell: Any, t: Any, i: Any, slot: int, in_time: Any = _FALSE) -> Grid:
    return _slot(run, run.gates, cell, run.B, t, i, slot, in_time)


def _sums(run: Fields, cell: Any, t: Any, i: Any, slot: int, in_time: Any = _FALSE) -> Grid:
    b = run.b
    return _slot(run, run.sums, cell, run.sums_rows, b.srem(t, run.sums_steps), b.sub(i, run.sums_first), slot, in_time)


def _up_to(b: ir.IRBuilder, rows: int, count: Any) -> list[Any]:
    """Row indices of a tile of which `count` rows are in use: the others repeat the last of them."""
    last = b.sub(count, I64(1))
    return [b.select(b.icmp_signed("<", I64(m), last), I64(m), last) for m in range(rows)]


def _carry(run: Fields, d: Fields, i: Any) -> Grid:
    width = _padded(run)
    return run.grid(d.carry, run.b.mul(i, width), width, I64(run.kind.lanes))


def _state_before(run: Fields, t: Any, i: Any) -> Grid:
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


def _panel(run: Fields, data: Any, j: Any, depth: Any, width: int) -> Grid:
    """Packed weights from block j on: (block, k, gate, LANES)."""
    b = run.b
    row = I64(width * run.kind.lanes)
    block = b.mul(depth, row)
    return run.grid(data, b.mul(j, block), row, block)


def _accumulate(run, sums, places, slots, a, depth, data, j, blocks, row_of):
    """Add a w to the sums of `slots`, with the weights packed in `data`."""
    lanes = run.kind.lanes
    packed = _panel(run, data, j, depth, len(slots))
    keys = [(m, v, s) for m, v in places for s in slots]

    def weights(k):
        return [packed.load(k, v, g * lanes) for v in range(blocks) for g in range(len(slots))]

    sums.update(zip(keys, sum_rows(run.b, [sums[key] for key in keys], row_of, depth, a, weights), strict=True))


@intrinsic
def project_tile(typingctx, weights, run, t, i, j, count, rows, blocks):
    """The input's share of the sums, for `count` <= `rows` time steps of row i from step t on, into `sums`."""
    cell, n_rows, n_blocks = weights.instance_class.cell(), rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run = (_fields(context, b, sig.args[k], args[k]) for k in (0, 1))
        t, i, j, count = args[2:6]
        lanes = run.kind.lanes
        row_of = _up_to(b, n_rows, count)
        places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]
        bias = _panel(run, w.bias, j, I64(1), cell.slots)
        sums = {(m, v, s): bias.load(0, v, s * lanes) for m, v in places for s in cell.input_slots}
        x = run.grid(run.x, b.add(b.mul(t, run.x_time), b.mul(i, run.x_row)), run.x_time, I64(0))
        _accumulate(run, sums, places, cell.input_slots, x, run.I, w.input, j, n_blocks, row_of)
        for s in cell.input_slots:
            slot = _sums(run, cell, t, i, s, _TRUE)
            for m, v in places:
                slot.store(sums[m, v, s], row_of[m], v, b.mul(j, I64(lanes)))
        return context.get_dummy_value()

    return types.void(weights, run, t, i, j, count, rows, blocks), codegen


@intrinsic
def step_tile(typingctx, weights, run, t, i, j, count, projected, rows, blocks):
    """Step t for `count` <= `rows` rows from row i and `blocks` blocks of units from block j on.

    If not `projected`, the input's share of the sums is computed here, too.
    """
    cell, n_rows, n_blocks = weights.instance_class.cell(), rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run = (_fields(context, b, sig.args[k], args[k]) for k in (0, 1))
        t, i, j, count = args[2:6]
        emit_step(cell, w, run, t, i, j, count, projected.literal_value, n_rows, n_blocks)
        return context.get_dummy_value()

    return types.void(weights, run, t, i, j, count, projected, rows, blocks), codegen


def emit_step(
    cell: Any, w: Fields, run: Fields, t: Any, i: Any, j: Any, count: Any, projected: int, rows: int, blocks: int
) -> None:
    """Sums over x and h, the cell, and the new state and gates into memory."""
    b, lanes = run.b, run.kind.lanes
    row_of = _up_to(b, rows, count)
    places = [(m, v) for m in range(rows) for v in range(blocks)]
    unit = b.mul(j, I64(lanes))
    masks = edge_masks(b, run.kind, blocks, b.sub(run.H, unit))
    bias = _panel(run, w.bias, j, I64(1), cell.slots)
    sums = {(m, v, s): bias.load(0, v, s * lanes) for m, v in places for s in range(cell.slots)}
    if projected:
        for s in cell.input_slots:
            slot = _sums(run, cell, t, i, s)
            sums.update({(m, v, s): slot.load(row_of[m], v, unit) for m, v in places})
    else:
        x = run.grid(run.x, b.add(b.mul(t, run.x_time), b.mul(i, run.x_row)), run.x_row, I64(0))
        _accumulate(run, sums, places, cell.input_slots, x, run.I, w.input, j, blocks, row_of)
    h = _state_before(run, t, i)
    _accumulate(run, sums, places, cell.state_slots, h, run.H, w.state, j, blocks, row_of)

    before = Vec.stack([h.load(row_of[m], v, unit, masks[v]) for m, v in places])
    after, kept = cell.step([Vec.stack([sums[m, v, s] for m, v in places]) for s in range(cell.slots)], before)
    y = run.grid(run.y, b.add(b.mul(t, run.y_time), b.mul(i, run.y_row)), run.y_row, I64(lanes))
    _store_tile(y, after, row_of, unit, masks)
    if run.gates is not None:
        for s, values in enumerate(kept):
            slot = _gates(run, cell, t, i, s)
            for (m, v), value in zip(places, values, strict=True):
                slot.store(value, row_of[m], v, unit)


@intrinsic
def step_backward_tile(typingctx, weights, run, gradients, t, i, j, count, rows, blocks):
    """dh of step t, complete, and from it the gradients of step t's gates, for `count` <= `rows` rows.

    Before the first step, at t = -1, dh is dh_0 and there are no gates.
    """
    cell, n_rows, n_blocks = weights.instance_class.cell(), rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run, d = (_fields(context, b, sig.args[k], args[k]) for k in (0, 1, 2))
        t, i, j, count = args[3:7]
        lanes = I64(run.kind.lanes)
        unit = b.mul(j, lanes)
        left = b.sub(run.H, unit)
        masks = edge_masks(b, run.kind, n_blocks, left)
        row_of = _up_to(b, n_rows, count)
        places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]
        before_first = b.icmp_signed("<", t, I64(0))

        dy = run.grid(d.dy, b.add(b.mul(t, run.y_time), b.mul(i, run.y_row)), run.y_row, lanes)
        dy_masks = edge_masks(b, run.kind, n_blocks, b.select(before_first, I64(0), left))
        carry = _carry(run, d, i)
        start = [dy.load(row_of[m], v, unit, dy_masks[v]) + carry.load(row_of[m], v, unit) for m, v in places]
        slots = [_gates(run, cell, t, i, s) for s in range(cell.slots)]
        h = _state_before(run, t, i)
        dy_before = run.grid(d.dy, b.sub(dy.at, run.y_time), run.y_row, lanes)
        for m, v in places:  # these come from far: ask for them before the loops over k
            h.prefetch(row_of[m], v, unit)
            dy_before.prefetch(row_of[m], v, unit)
        later = b.select(b.icmp_signed("<", b.add(t, I64(1)), run.T), run.H, I64(0))  # no step after the last
        da = [_gates(run, cell, b.add(t, I64(1)), i, s) for s in cell.state_slots]
        sums = _through_gates(run, da, w.state, j, start, row_of, n_blocks, later)
        with b.if_else(before_first) as (initial, step):
            with initial:
                _store_tile(run.grid(d.dh_0, b.mul(i, run.H), run.H, lanes), sums, row_of, unit, masks)
            with step:
                for at, (m, v) in enumerate(places):
                    with b.if_then(b.icmp_signed("<", I64(m), count)):
                        kept = [slot.load(m, v, unit) for slot in slots]
                        direct, da = cell.step_backward(sums[at], kept, h.load(m, v, unit, masks[v]))
                        carry.store(direct, m, v, unit)
                        for slot, value in zip(slots, da, strict=True):
                            slot.store(value, m, v, unit)
        return context.get_dummy_value()

    return types.void(weights, run, gradients, t, i, j, count, rows, blocks), codegen


def _through_gates(run, da, data, j, start, row_of, blocks, depth):
    """start + the gates' gradients `da` times their weights, packed as (block, gate, unit, LANES)."""
    b, lanes = run.b, run.kind.lanes
    block = b.mul(run.H, I64(len(da) * lanes))
    packed = run.grid(data, b.mul(j, block), I64(lanes), block)

    def gate(g, sums):
        first, at = b.mul(run.H, g), da[0].at
        for other in range(1, len(da)):
            at = b.select(b.icmp_signed("==", g, I64(other)), da[other].at, at)
        a = run.grid(da[0].data, at, da[0].row, da[0].block)
        return sum_rows(b, sums, row_of, depth, a, lambda k: [packed.load(b.add(first, k), v) for v in range(blocks)])

    return loop(b, I64(len(da)), start, gate)


@intrinsic
def input_gradient_tile(typingctx, weights, run, gradients, t, i, j, count, in_time, rows, blocks):
    """dx for `count` <= `rows` rows of step t from row i on, or, `in_time`, time steps of row i from step t on."""
    cell, n_rows, n_blocks = weights.instance_class.cell(), rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run, d = (_fields(context, b, sig.args[k], args[k]) for k in (0, 1, 2))
        if d.dx is not None:
            t, i, j, count, in_time = args[3:8]
            lanes = I64(run.kind.lanes)
            first = b.mul(j, lanes)
            row_of = _up_to(b, n_rows, count)
            start = [Vec(b, run.kind, ir.Constant(run.kind.vector, None))] * (n_rows * n_blocks)
            da = [_gates(run, cell, t, i, s, in_time) for s in cell.input_slots]
            sums = _through_gates(run, da, w.input, j, start, row_of, n_blocks, run.H)
            row = b.select(in_time, run.x_time, run.x_row)
            dx = run.grid(d.dx, b.add(b.mul(t, run.x_time), b.mul(i, run.x_row)), row, lanes)
            _store_tile(dx, sums, row_of, first, edge_masks(b, run.kind, n_blocks, b.sub(run.I, first)))
        return context.get_dummy_value()

    return types.void(weights, run, gradients, t, i, j, count, in_time, rows, blocks), codegen


def _store_tile(out, sums, row_of, first, masks):
    for at, value in enumerate(sums):
        m, v = divmod(at, len(masks))
        out.store(value, row_of[m], v, first, masks[v])
