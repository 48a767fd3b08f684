"""Weight and bias gradients of a recurrent layer, from the gates' gradients of a whole sequence.

Every weight's gradient is one chain over all examples, from the last time step to the first and along the batch in
each. Threads share out the weights, not the examples, so the sums don't depend on their number; and as time runs
as in the backward pass, a sequence treated in several pieces gives the same chain.

Shapes: as in recurrent.py, with K the width of a weight matrix: I or H. dw (G H, K), db (G H).
"""

from __future__ import annotations

from numba import prange, types

from ._jit import intrinsic, kernel, parallel_kernel, piece
from .packing import blocks_in, lanes_of
from .recurrent import cell_slots, sequences
from .threads import share
from .tiles import ROWS, View, edge_masks, gradient_tile, grid
from .vectors import loop

EXAMPLES = 256  # of a pass over the weights: their gates' gradients stay in the first-level cache


@piece
def _examples(run, first_step, last_step):
    """Examples of these steps as (outer, inner) loops; a batch of one leaves a single loop over time."""
    steps = last_step - first_step + 1
    return (1, steps) if run.B == 1 else (steps, run.B)


@piece
def _backwards(data, at, time, row, run):
    """Row i of the batch at a step, block o steps earlier; a batch of one has time in its rows."""
    return View(data, at, -time, 0) if run.B == 1 else View(data, at, row, -time)


@piece
def _matrix_part(
    dw, slots, slot_count, run, source, shift, source_time, source_row, first_step, last_step, part, parts
):
    """A part's share of dw += sum over steps and rows of da[t, i] source[t + shift, i]."""
    lanes = lanes_of(source)
    units, width = run.H, dw.shape[1]
    tall = min(ROWS, lanes)
    row_tiles = blocks_in(units, source) * (lanes // tall)
    column_tiles = (blocks_in(width, source) + 1) // 2
    first, last = share(len(slots) * row_tiles * column_tiles, part, parts, 1)
    example = slot_count * lanes
    flat = dw.ravel()
    steps = max(1, EXAMPLES // run.B)
    for top in range(last_step, first_step - 1, -steps):
        bottom = max(first_step, top - steps + 1)
        outer, inner = _examples(run, bottom, top)
        for tile in range(first, last):
            rows, columns = divmod(tile, column_tiles)
            gate, rows = divmod(rows, row_tiles)
            unit, column = rows * tall, columns * 2 * lanes
            if unit >= units:
                continue
            block, lane = divmod(unit, lanes)
            at = ((block * run.T + top) * run.B) * example + slots[gate] * lanes + lane
            da = _backwards(run.gates, at, run.B * example, example, run)
            x = _backwards(source, (top + shift) * source_time + column, source_time, source_row, run)
            out = View(flat, (gate * units + unit) * width + column, width, lanes)
            if width - column > lanes:
                gradient_tile(out, units - unit, width - column, da, x, outer, inner, 2)
            else:
                gradient_tile(out, units - unit, width - column, da, x, outer, inner, 1)


@piece
def _bias_part(weights, db_ih, db_hh, slot_count, run, part, parts):
    """A part's share of db_ih and db_hh."""
    lanes = lanes_of(db_ih)
    first, last = share(blocks_in(run.H, db_ih), part, parts, 1)
    example = slot_count * lanes
    outer, inner = _examples(run, 0, run.T - 1)
    for block in range(first, last):
        da = _backwards(run.gates, (block * run.T + run.T - 1) * run.B * example, run.B * example, example, run)
        unit = block * lanes
        _bias_tile(
            weights, View(db_ih, unit, run.H, 0), View(db_hh, unit, run.H, 0), run.H - unit, da, outer, inner
        )  # fmt: skip


@intrinsic
def _bias_tile(typingctx, weights, db_ih, db_hh, left, da, outer, inner):
    """Both biases of every gate, for one register of units: db += sum over all examples of da."""
    cell = weights.instance_class.cell()

    def codegen(context, b, sig, args):
        ih, hh, da = (grid(context, b, sig.args[k], args[k]) for k in (1, 2, 4))
        lanes = da.kind.lanes
        (mask,) = edge_masks(b, da.kind, 1, args[3])
        places = [
            (db, gate) for db, slots in ((ih, cell.input_slots), (hh, cell.state_slots)) for gate in range(len(slots))
        ]
        slots = cell.input_slots + cell.state_slots

        def example(o, i, sums):
            kept = [da.load(i, o, s * lanes) for s in range(cell.slots)]
            return [total + kept[s] for total, s in zip(sums, slots, strict=True)]

        sums = [db.load(gate, 0, mask=mask) for db, gate in places]
        sums = loop(b, args[5], sums, lambda o, sums: loop(b, args[6], sums, lambda i, sums: example(o, i, sums)))
        for (db, gate), total in zip(places, sums, strict=True):
            db.store(total, gate, 0, mask=mask)
        return context.get_dummy_value()

    return types.void(weights, db_ih, db_hh, left, da, outer, inner), codegen


@piece
def _part(weights, run, dw_ih, dw_hh, db_ih, db_hh, part, parts):
    input_slots, state_slots, slots = cell_slots(weights)
    last = run.T - 1
    _matrix_part(dw_ih, input_slots, slots, run, run.x, 0, run.x_time, run.x_row, 0, last, part, parts)
    _matrix_part(dw_hh, state_slots, slots, run, run.y, -1, run.y_time, run.y_row, 1, last, part, parts)
    _matrix_part(dw_hh, state_slots, slots, run, run.h_0, 0, 0, run.H, 0, 0, part, parts)
    if db_ih.size > 0:
        _bias_part(weights, db_ih, db_hh, slots, run, part, parts)


@kernel
def weight_gradients(weights, x, h_0, y, gates, dw_ih, dw_hh, db_ih, db_hh, batch_first):
    """Add the sums over all examples to dw and db (empty without biases), on the calling thread."""
    _part(weights, sequences(x, h_0, y, gates, batch_first), dw_ih, dw_hh, db_ih, db_hh, 0, 1)


@parallel_kernel
def weight_gradients_parallel(weights, x, h_0, y, gates, dw_ih, dw_hh, db_ih, db_hh, batch_first, parts):
    """The same in `parts` shares of the weights."""
    for part in prange(parts):
        run = sequences(x, h_0, y, gates, batch_first)
        _part(weights, run, dw_ih, dw_hh, db_ih, db_hh, part, parts)
