"""Gradients of weights and biases: sums over all examples, which are the rows of every time step.

Every sum is one chain over the examples, from the last time step to the first and along the batch in each. Threads
share out the weights, not the examples, so the sums don't depend on their number; and as time runs as it does in the
backward pass, a sequence treated in several pieces gives the same chain.

Shapes: as in sequences.py. A part of the work takes some columns of the weights of one block of units after the
other, in a workspace of its own:

    panel  (EXAMPLES, slot, LANES)                       the block's gates' gradients
    sums   (slot, LANES)                                 its bias gradients
    tiles  (I and H, each in whole tiles, gate, LANES)   its weight gradients, transposed

Sums and tiles of a part's every block are held at once only where the examples come in several calls.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange

from ._jit import kernel, parallel_kernel, piece
from .cell import cell_slots, state_slots
from .packing import blocks_in, lanes_of
from .sequences import no_options, sequences
from .target import TARGET
from .threads import share
from .tiles import ROWS, View, add_transposed, gradient_tile, panel_tile

EXAMPLES = 128  # of a panel, which so stays in the first-level cache
TWO = 2 * ROWS  # columns


def tiles_of(width: int) -> int:
    """Tiles that hold `width` columns."""
    return -(-width // ROWS)


def workspace_size(I: int, H: int, gates: int, slots: int, dtype: np.dtype[Any], parts: int, blocks: int = 1) -> int:
    """Numbers that `parts` parts need memory for; H is 0 where there are no state's weights.

    `blocks` is 1, or the number of all blocks of units where the examples come in several calls.
    """
    columns = (tiles_of(I) + tiles_of(H)) * ROWS
    held = -(-blocks // parts) + (blocks > 1)  # a part may begin and end in the middle of a block
    return parts * (held * (columns * gates + slots) + EXAMPLES * slots) * TARGET.lanes(dtype)


@piece
def _add(dw, tiles, tile, gates, unit, units, first, last):
    """Columns first .. last - 1 of a block of units, transposed, into dw (gate units, width)."""
    lanes, width = lanes_of(dw), dw.shape[1]
    flat_dw = dw.ravel()
    for gate in range(gates):
        for column in range(first, last, lanes):
            at = ((tile * ROWS + column - first) * gates + gate) * lanes
            out = View(flat_dw, (gate * units + unit) * width + column, width, 0)
            add_transposed(View(tiles, at, gates * lanes, 0), units - unit, last - column, out)


@piece
def _part(weights, run, made, places, dw_ih, dw_hh, db_ih, db_hh, opens, closes, memory, part, parts):
    """A part's share of all sums."""
    input_slots, all_state_slots, slots = cell_slots(weights)
    of_state, of_made = state_slots(weights)
    gates = len(input_slots)
    lanes = lanes_of(memory)
    example = slots * lanes
    padded = blocks_in(run.H, memory) * lanes
    row, time = slots * padded, run.B * slots * padded
    input_tiles = (run.I + ROWS - 1) // ROWS
    state_tiles = (dw_hh.shape[1] + ROWS - 1) // ROWS
    columns = input_tiles + state_tiles
    whole = memory[memory.size // parts * part : memory.size // parts * (part + 1)]
    panel, held = np.split(whole, (EXAMPLES * example,))
    size = (columns * ROWS * gates + slots) * lanes  # of a block's sums and tiles
    steps, rows = max(1, EXAMPLES // run.B), min(EXAMPLES, run.B)

    first, last = share(blocks_in(run.H, memory) * columns, part, parts, 1)
    for block in range(first // columns, (last + columns - 1) // columns):
        unit = block * lanes
        start, stop = max(0, first - block * columns), min(columns, last - block * columns)
        own = 0 if opens and closes else (block - first // columns) * size
        sums, tiles = np.split(held[own : own + size], (example,))
        if opens:
            sums[:], tiles[:] = 0, 0
        for top in range(run.T - 1, -1, -steps):
            count = min(steps, top + 1)
            for i in range(0, run.B, rows):
                height = min(rows, run.B - i)
                # A batch of one has its time steps in the place of rows, which makes one loop of two.
                outer, inner = (1, count) if run.B == 1 else (count, height)
                d = View(run.gates, unit, row, 0)
                if places is None:
                    d = _downwards(run.gates, top * time + i * row + unit, time, row, run.B)
                packed = View(panel, 0, example, height * example)
                panel_tile(d, places, top, padded, run.H - unit, packed, View(sums, 0, 0, 0), outer, inner, weights)
                for tile in range(start, min(stop, input_tiles)):
                    c = tile * ROWS
                    x = _downwards(
                        run.x, run.x_start + top * run.x_time + i * run.x_row + c, run.x_time, run.x_row, run.B
                    )
                    dw = View(tiles, c * gates * lanes, gates * lanes, lanes)
                    gradient_tile(x, run.I - c, packed, input_slots, dw, outer, inner, ROWS)
                # The state before step t is y of step t - 1, and h_0 before the first.
                later = count - 1 if top + 1 == count else count
                state_outer, state_inner = (1, later) if run.B == 1 else (later, height)
                for tile in range(max(start, input_tiles), stop):
                    c = (tile - input_tiles) * ROWS
                    dw = View(tiles, tile * ROWS * gates * lanes, gates * lanes, lanes)
                    at = run.y_start + (top - 1) * run.y_time + i * run.y_row + c
                    y = _downwards(run.y, at, run.y_time, run.y_row, run.B)
                    gradient_tile(y, run.H - c, packed, of_state, dw, state_outer, state_inner, ROWS)
                    if later < count:
                        h_0 = View(run.h_0, i * run.H + c, run.H, 0)
                        at_first = View(panel, later * height * example, example, 0)
                        gradient_tile(h_0, run.H - c, at_first, of_state, dw, 1, height, ROWS)
                if made is not None:
                    # A single gate: two tiles at once use more of each line of `made`, which lie far apart.
                    for tile in range(max(start, input_tiles), stop, 2):
                        c = (tile - input_tiles) * ROWS
                        dw = View(tiles, (tile * ROWS * gates + len(of_state)) * lanes, gates * lanes, lanes)
                        at = made.at + top * made.block + i * made.row + c
                        p = _downwards(made.data, at, made.block, made.row, run.B)
                        if tile + 2 <= stop:
                            gradient_tile(p, run.H - c, packed, of_made, dw, outer, inner, TWO)
                        else:
                            gradient_tile(p, run.H - c, packed, of_made, dw, outer, inner, ROWS)
        if not closes:
            continue
        for dw, width, before in ((dw_ih, run.I, 0), (dw_hh, dw_hh.shape[1], input_tiles)):
            left, right = max(0, start - before) * ROWS, min(width, (stop - before) * ROWS)
            _add(dw, tiles, before + left // ROWS, gates, unit, run.H, left, right)
        if start == 0:
            for db, bias_slots in ((db_ih, input_slots), (db_hh, all_state_slots)):
                for gate in range(gates if db.size > 0 else 0):
                    for lane in range(min(lanes, run.H - unit)):
                        db[gate * run.H + unit + lane] += sums[bias_slots[gate] * lanes + lane]


@piece
def _downwards(data, at, time, row, B):
    """Row i of the batch, o time steps earlier; a batch of one has its time steps in the place of rows."""
    return View(data, at, -time, 0) if B == 1 else View(data, at, row, -time)


@kernel
def weight_gradients(
    weights, x, h_0, y, gates, made, places, dw_ih, dw_hh, db_ih, db_hh, batch_first, direction, opens, closes, memory
):
    """Add the sums over all examples to dw and db (empty: not wanted), on the calling thread.

    `made` says where rows and (as blocks) steps lie of what the cell's first stage made; None if it's the only stage.
    With `places` (T,), the batch is one row: step t's gates lie at row places[t] of all gates. The call that `opens`
    the sums begins with zero, others where the call before ended; the one that `closes` them adds them to dw and db.
    """
    run = sequences(x, h_0, y, None, gates, batch_first, direction, no_options())
    _part(weights, run, made, places, dw_ih, dw_hh, db_ih, db_hh, opens, closes, memory, 0, 1)


@parallel_kernel
def weight_gradients_parallel(
    weights, x, h_0, y, gates, made, places, dw_ih, dw_hh, db_ih, db_hh, batch_first, direction, opens, closes, memory,
    parts,
):  # fmt: skip
    """The same in `parts` shares of the weights."""
    for part in prange(parts):
        run = sequences(x, h_0, y, None, gates, batch_first, direction, no_options())
        _part(weights, run, made, places, dw_ih, dw_hh, db_ih, db_hh, opens, closes, memory, part, parts)
