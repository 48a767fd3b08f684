"""One time step of a recurrent layer in one tile and, below, backward: for any cell.

A cell says what becomes of the sums (its `step` and `step_backward`); everything else about a tile is here.
Shapes: as in sequences.py.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types

from ._jit import intrinsic
from .sequences import (
    TRUE,
    Fields,
    carry_of,
    fields_of,
    gates_of,
    inputs_of,
    is_reset,
    outputs_of,
    padded,
    states_before,
    states_in,
    states_in_products,
    sums_of,
    sums_of_tokens,
)
from .tiles import edge_masks, rows_up_to, sum_rows
from .vectors import I64, Grid, Rows, Vec, loop


def _panel(run: Fields, data: Any, j: Any, depth: Any, width: int) -> Grid:
    """Packed weights from block j on: (block, k, gate, LANES)."""
    b = run.b
    row = I64(width * run.kind.lanes)
    block = b.mul(depth, row)
    return run.grid(data, b.mul(j, block), row, block)


def _accumulate(run, sums, places, slots, a, depth, data, j, blocks, rows):
    """Add a w to the sums of `slots`, with the weights packed in `data`."""
    lanes = run.kind.lanes
    packed = _panel(run, data, j, depth, len(slots))
    keys = [(m, v, s) for m, v in places for s in slots]

    def weights(k):
        return [packed.load(k, v, g * lanes) for v in range(blocks) for g in range(len(slots))]

    sums.update(zip(keys, sum_rows(run.b, [sums[key] for key in keys], rows, depth, a, weights), strict=True))


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
        x = inputs_of(run, run.x, t, i, row_of, TRUE)
        _accumulate(run, sums, places, cell.input_slots, x, run.I, w.input, j, n_blocks, range(n_rows))
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
    if run.reads_tokens:
        table = sums_of_tokens(run, w.input, len(cell.input_slots), t, i, row_of)
        for gate, s in enumerate(cell.input_slots):
            at = b.add(b.mul(I64(gate), padded(run)), unit)
            sums.update({(m, v, s): table.load(m, v, at) for m, v in places})
    elif projected:
        for s in cell.input_slots:
            slot = sums_of(run, cell, t, i, s)
            sums.update({(m, v, s): slot.load(row_of[m], v, unit) for m, v in places})
    else:
        x = inputs_of(run, run.x, t, i, row_of)
        _accumulate(run, sums, places, cell.input_slots, x, run.I, w.input, j, blocks, range(rows))
    h = states_in_products(run, t, i, row_of)
    _accumulate(run, sums, places, cell.state_slots, h, run.H, w.state, j, blocks, range(rows))

    h = states_before(run, t, i, row_of)
    before = Vec.stack([h.load(m, v, unit, masks[v]) for m, v in places])
    after, kept = cell.step([Vec.stack([sums[m, v, s] for m, v in places]) for s in range(cell.slots)], before)
    if run.zoneout is not None:
        zoneout = _zoneout_of(run, t, i, row_of)
        share = Vec.stack([zoneout.load(m, v, unit, masks[v]) for m, v in places])
        after = share.fma(before, (1.0 - share) * after)  # exact where the share is 0 or 1
    _store_tile(outputs_of(run, run.y, t, i, row_of), after, unit, masks)
    if run.dropped is not None:
        factors = states_in(run, run.mask, i, row_of)
        dropped = Vec.stack([factors.load(m, v, unit, masks[v]) for m, v in places]) * after
        _store_tile(states_in(run, run.dropped, i, row_of, b.add(t, I64(1))), dropped, unit, masks)
    if run.gates is not None:
        for s, values in enumerate(kept):
            slot = gates_of(run, cell, t, i, s)
            for (m, v), value in zip(places, values, strict=True):
                slot.store(value, row_of[m], v, unit)


def _zoneout_of(run: Fields, t: Any, i: Any, row_of: list[Any]) -> Rows:
    b = run.b
    step = b.mul(t, run.zoneout_time)
    return run.rows(run.zoneout, [b.add(step, b.mul(b.add(i, m), run.zoneout_row)) for m in row_of])


@intrinsic
def step_backward_tile(typingctx, weights, run, gradients, t, i, j, count, depth, rows, blocks):
    """dh of step t, complete, and from it the gradients of step t's gates, for `count` <= `rows` rows.

    `depth` is H, or 0 for rows without a step t + 1. Before the first step, at t = -1, dh is dh_0 and there are no
    gates.
    """
    cell, n_rows, n_blocks = weights.instance_class.cell(), rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run, d = (fields_of(context, b, sig.args[k], args[k]) for k in (0, 1, 2))
        t, i, j, count, depth = args[3:8]
        lanes = I64(run.kind.lanes)
        unit = b.mul(j, lanes)
        left = b.sub(run.H, unit)
        masks = edge_masks(b, run.kind, n_blocks, left)
        row_of = rows_up_to(b, n_rows, count)
        places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]
        before_first = b.icmp_signed("<", t, I64(0))
        later = b.add(t, I64(1))

        dy = outputs_of(run, d.dy, t, i, row_of)
        dy_masks = edge_masks(b, run.kind, n_blocks, b.select(before_first, I64(0), left))
        carry = carry_of(run, d, i)
        outside = [dy.load(m, v, unit, dy_masks[v]) for m, v in places]
        direct = [carry.load(row_of[m], v, unit) for m, v in places]
        slots = [gates_of(run, cell, t, i, s) for s in range(cell.slots)]
        h = states_before(run, t, i, row_of)
        dy_before = outputs_of(run, d.dy, b.sub(t, I64(1)), i, row_of)
        for m, v in places:  # these come from far: ask for them before the loops over k
            h.prefetch(m, v, unit)
            dy_before.prefetch(m, v, unit)
        cut = _resets_of(run, later, depth, i, row_of)
        start = [_unless(b, cut[m], outside[at] + direct[at], direct[at]) for at, (m, v) in enumerate(places)]
        if run.dropped is not None:
            start, direct = [_zero(run)] * len(places), start
        da = [gates_of(run, cell, later, i, s) for s in cell.state_slots]
        dh = _through_gates(run, da, w.state, j, start, row_of, n_blocks, depth)
        if run.dropped is not None:
            factors = states_in(run, run.mask, i, row_of)
            dh = [factors.load(m, v, unit, masks[v]).fma(dh[at], direct[at]) for at, (m, v) in enumerate(places)]
        dh_0 = states_in(run, d.dh_0, i, row_of)
        zoneout = None if run.zoneout is None else _zoneout_of(run, t, i, row_of)
        with b.if_else(before_first) as (initial, step):
            with initial:
                if run.resets is None:
                    _store_tile(dh_0, dh, unit, masks)
                else:
                    for at, (m, v) in enumerate(places):
                        with b.if_then(b.icmp_signed("<", I64(m), count)):
                            dh_0.store(dh_0.load(m, v, unit, masks[v]) + dh[at], m, v, unit, masks[v])
            with step:
                for at, (m, v) in enumerate(places):
                    with b.if_then(b.icmp_signed("<", I64(m), count)):
                        if cut[m] is not None:
                            with b.if_then(cut[m]):
                                dh_0.store(dh_0.load(m, v, unit, masks[v]) + dh[at], m, v, unit, masks[v])
                            dh[at] = _unless(b, cut[m], dh[at], outside[at] + 0.0)
                        kept = [slot.load(m, v, unit) for slot in slots]
                        before = h.load(m, v, unit, masks[v])
                        if zoneout is None:
                            direct_h, da = cell.step_backward(dh[at], kept, before)
                        else:
                            share = zoneout.load(m, v, unit, masks[v])
                            direct_h, da = cell.step_backward(dh[at] * (1.0 - share), kept, before)
                            direct_h = share.fma(dh[at], direct_h)
                        carry.store(direct_h, m, v, unit)
                        for slot, value in zip(slots, da, strict=True):
                            slot.store(value, m, v, unit)
        return context.get_dummy_value()

    return types.void(weights, run, gradients, t, i, j, count, depth, rows, blocks), codegen


def _resets_of(run: Fields, t: Any, depth: Any, i: Any, row_of: list[Any]) -> list[Any]:
    """For each row whether step t starts from h_0 again, where there is such a step; None where no step ever does."""
    b = run.b
    if run.resets is None:
        return [None] * len(row_of)
    exists = b.icmp_signed(">", depth, I64(0))
    t = b.select(exists, t, I64(0))
    return [b.and_(exists, is_reset(run, t, i, m)) for m in row_of]


def _unless(b: ir.IRBuilder, condition: Any, usually: Vec, otherwise: Vec) -> Vec:
    """`otherwise` where the condition holds; a condition of None never does."""
    if condition is None:
        return usually
    return usually.each(lambda one, other: b.select(condition, other, one), otherwise)


def _zero(run: Fields) -> Vec:
    return Vec(run.b, run.kind, ir.Constant(run.kind.vector, None))


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
            start = [_zero(run)] * (n_rows * n_blocks)
            da = [gates_of(run, cell, t, i, s, in_time) for s in cell.input_slots]
            sums = _through_gates(run, da, w.input, j, start, row_of, n_blocks, run.H)
            dx = inputs_of(run, d.dx, t, i, row_of, in_time)
            _store_tile(dx, sums, first, edge_masks(b, run.kind, n_blocks, b.sub(run.I, first)))
        return context.get_dummy_value()

    return types.void(weights, run, gradients, t, i, j, count, in_time, rows, blocks), codegen


def _store_tile(out, sums, first, masks):
    for at, value in enumerate(sums):
        m, v = divmod(at, len(masks))
        out.store(value, m, v, first, masks[v])
