"""One time step of a recurrent layer in one tile and, below, backward: for any cell.

A cell says what becomes of the sums (its `step` and `step_backward`); everything else about a tile is here.
Shapes: as in sequences.py.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from ._jit import intrinsic
from .sequences import TRUE, Fields, carry_of, fields_of, gates_of, state_before, sums_of
from .tiles import edge_masks, rows_up_to, sum_rows
from .vectors import I64, Grid, Vec, loop


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
        w, run = (fields_of(context, b, sig.args[k], args[k]) for k in (0, 1))
        t, i, j, count = args[2:6]
        lanes = run.kind.lanes
        row_of = rows_up_to(b, n_rows, count)
        places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]
        bias = _panel(run, w.bias, j, I64(1), cell.slots)
        sums = {(m, v, s): bias.load(0, v, s * lanes) for m, v in places for s in cell.input_slots}
        x = run.grid(run.x, b.add(b.mul(t, run.x_time), b.mul(i, run.x_row)), run.x_time, I64(0))
        _accumulate(run, sums, places, cell.input_slots, x, run.I, w.input, j, n_blocks, row_of)
        for s in cell.input_slots:
            slot = sums_of(run, cell, t, i, s, TRUE)
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
        w, run = (fields_of(context, b, sig.args[k], args[k]) for k in (0, 1))
        t, i, j, count = args[2:6]
        emit_step(cell, w, run, t, i, j, count, projected.literal_value, n_rows, n_blocks)
        return context.get_dummy_value()

    return types.void(weights, run, t, i, j, count, projected, rows, blocks), codegen


def emit_step(
    cell: Any, w: Fields, run: Fields, t: Any, i: Any, j: Any, count: Any, projected: int, rows: int, blocks: int
) -> None:
    """Sums over x and h, the cell, and the new state and gates into memory."""
    b, lanes = run.b, run.kind.lanes
    row_of = rows_up_to(b, rows, count)
    places = [(m, v) for m in range(rows) for v in range(blocks)]
    unit = b.mul(j, I64(lanes))
    masks = edge_masks(b, run.kind, blocks, b.sub(run.H, unit))
    bias = _panel(run, w.bias, j, I64(1), cell.slots)
    sums = {(m, v, s): bias.load(0, v, s * lanes) for m, v in places for s in range(cell.slots)}
    if projected:
        for s in cell.input_slots:
            slot = sums_of(run, cell, t, i, s)
            sums.update({(m, v, s): slot.load(row_of[m], v, unit) for m, v in places})
    else:
        x = run.grid(run.x, b.add(b.mul(t, run.x_time), b.mul(i, run.x_row)), run.x_row, I64(0))
        _accumulate(run, sums, places, cell.input_slots, x, run.I, w.input, j, blocks, row_of)
    h = state_before(run, t, i)
    _accumulate(run, sums, places, cell.state_slots, h, run.H, w.state, j, blocks, row_of)

    before = Vec.stack([h.load(row_of[m], v, unit, masks[v]) for m, v in places])
    after, kept = cell.step([Vec.stack([sums[m, v, s] for m, v in places]) for s in range(cell.slots)], before)
    y = run.grid(run.y, b.add(b.mul(t, run.y_time), b.mul(i, run.y_row)), run.y_row, I64(lanes))
    _store_tile(y, after, row_of, unit, masks)
    if run.gates is not None:
        for s, values in enumerate(kept):
            slot = gates_of(run, cell, t, i, s)
            for (m, v), value in zip(places, values, strict=True):
                slot.store(value, row_of[m], v, unit)


@intrinsic
def step_backward_tile(typingctx, weights, run, gradients, t, i, j, count, rows, blocks):
    """dh of step t, complete, and from it the gradients of step t's gates, for `count` <= `rows` rows.

    Before the first step, at t = -1, dh is dh_0 and there are no gates.
    """
    cell, n_rows, n_blocks = weights.instance_class.cell(), rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run, d = (fields_of(context, b, sig.args[k], args[k]) for k in (0, 1, 2))
        t, i, j, count = args[3:7]
        lanes = I64(run.kind.lanes)
        unit = b.mul(j, lanes)
        left = b.sub(run.H, unit)
        masks = edge_masks(b, run.kind, n_blocks, left)
        row_of = rows_up_to(b, n_rows, count)
        places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]
        before_first = b.icmp_signed("<", t, I64(0))

        dy = run.grid(d.dy, b.add(b.mul(t, run.y_time), b.mul(i, run.y_row)), run.y_row, lanes)
        dy_masks = edge_masks(b, run.kind, n_blocks, b.select(before_first, I64(0), left))
        carry = carry_of(run, d, i)
        start = [dy.load(row_of[m], v, unit, dy_masks[v]) + carry.load(row_of[m], v, unit) for m, v in places]
        slots = [gates_of(run, cell, t, i, s) for s in range(cell.slots)]
        h = state_before(run, t, i)
        dy_before = run.grid(d.dy, b.sub(dy.at, run.y_time), run.y_row, lanes)
        for m, v in places:  # these come from far: ask for them before the loops over k
            h.prefetch(row_of[m], v, unit)
            dy_before.prefetch(row_of[m], v, unit)
        later = b.select(b.icmp_signed("<", b.add(t, I64(1)), run.T), run.H, I64(0))  # no step after the last
        da = [gates_of(run, cell, b.add(t, I64(1)), i, s) for s in cell.state_slots]
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
        w, run, d = (fields_of(context, b, sig.args[k], args[k]) for k in (0, 1, 2))
        if d.dx is not None:
            t, i, j, count, in_time = args[3:8]
            lanes = I64(run.kind.lanes)
            first = b.mul(j, lanes)
            row_of = rows_up_to(b, n_rows, count)
            start = [Vec(b, run.kind, ir.Constant(run.kind.vector, None))] * (n_rows * n_blocks)
            da = [gates_of(run, cell, t, i, s, in_time) for s in cell.input_slots]
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
