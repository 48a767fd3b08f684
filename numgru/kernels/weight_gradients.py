"""Gradients of weights and biases: sums over all examples, which are the rows of every time step.

Every sum is one chain over the examples, from the last time step to the first and along the batch in each. Threads
share out the weights, not the examples, so the sums don't depend on their number; and as time runs as it does in the
backward pass, a sequence treated in several pieces gives the same chain.

Shapes: as in sequences.py; N examples. A part of the work takes some columns of the weights of one pair of blocks of
units after the other, so that all examples are read once for a pair, in a workspace of its own:

    panel  (EXAMPLES, block, slot, LANES)                       the pair's gates' gradients
    sums   (block, slot, LANES)                                 its bias gradients
    tiles  (I and H, each in whole tiles, gate, block, LANES)   its weight gradients, transposed

Sums and tiles of a part's every pair are held at once only where the examples come in several calls.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from ._jit import borrower, piece, shared_kernel
from .cell import PAIR, cell_slots, made_slot, slots_of_pair, state_slots
from .packing import blocks_in, lanes_of
from .sequences import no_options, sequences
from .target import TARGET
from .threads import share
from .tiles import ROWS, Places, View, add_transposed, direct_gradient_tile, gradient_tile, panel_tile

EXAMPLES = 64  # of a panel, which so stays in the first-level cache
FEW = 32  # examples for which transposed tiles aren't worth their while


class Examples(NamedTuple):
    """Where examples lie, in the order of summation; only needed where they aren't all steps of all rows."""

    inputs: NDArray[np.int64]  # (N,): in x
    states: NDArray[np.int64]  # (N,): in y, the state before; if negative, at -1 - states[e] in h_0
    gates: NDArray[np.int64]  # (N,): in the gates


def tiles_of(width: int) -> int:
    """Tiles that hold `width` columns."""
    return -(-width // ROWS)


def workspace_size(I: int, H: int, gates: int, slots: int, dtype: np.dtype[Any], parts: int, blocks: int = 1) -> int:
    """Numbers that `parts` parts need memory for; H is 0 where there are no state's weights.

    `blocks` is 1, or the number of all blocks of units where the examples come in several calls.
    """
    columns = (tiles_of(I) + tiles_of(H)) * ROWS
    held = -(-blocks // (PAIR * parts)) + (blocks > 1)  # a part may begin and end in the middle of a pair
    return parts * (held * (columns * gates + slots) + EXAMPLES * slots) * PAIR * TARGET.lanes(dtype)


@borrower
def _add(dw, tiles, tile, gates, block, unit, units, first, last):
    """Columns first .. last - 1 of a pair's block, from `unit` on, transposed, into dw (gate units, width)."""
    lanes, width = lanes_of(dw), dw.shape[1]
    row = gates * PAIR * lanes
    for gate in range(gates):
        for column in range(first, last, lanes):
            at = (tile * ROWS + column - first) * row + (gate * PAIR + block) * lanes
            out = View(dw, (gate * units + unit) * width + column, width, 0)
            add_transposed(View(tiles, at, row, 0), units - unit, last - column, out)


@borrower
def examples_of(run, examples):
    """How many they are."""
    return run.T * run.B if examples is None else examples.gates.size


@borrower
def locate(run, examples, row, top, inputs, states, gates):
    """Where examples from `top` on lie, as `Examples` says it; `row` numbers of the gates are an example's."""
    if examples is None:
        t, i = run.T - 1 - top // run.B, top % run.B
        for e in range(inputs.size):
            inputs[e] = run.x_start + t * run.x_time + i * run.x_row
            states[e] = run.y_start + (t - 1) * run.y_time + i * run.y_row if t > 0 else -1 - i * run.H
            gates[e] = (t * run.B + i) * row
            i += 1
            if i == run.B:
                t, i = t - 1, 0
    else:
        for e in range(inputs.size):
            inputs[e] = examples.inputs[top + e]
            states[e] = examples.states[top + e]
            gates[e] = examples.gates[top + e]


@borrower
def _add_directly(dw, first_gate, slots, x, panel, units, unit, columns, count):
    """Some columns of a block of units, from few examples: for gates from `first_gate` on, that `slots` belong to.

    The block's slots begin at `panel.at`.
    """
    lanes, width = lanes_of(dw), dw.shape[1]
    left, right = columns
    for gate in range(len(slots)):
        for row in range(0, min(lanes, units - unit), ROWS):
            for c in range(left, right, 2 * lanes):
                places = Places(x.data, x.other, x.at, x.first + c)
                d = View(panel.data, panel.at + slots[gate] * lanes + row, panel.row, 0)
                out = View(dw, ((first_gate + gate) * units + unit + row) * width + c, width, lanes)
                direct_gradient_tile(places, right - c, d, min(lanes, units - unit) - row, out, count, ROWS, 2)


@piece
def add_part(weights, run, made, examples, dw_ih, dw_hh, db_ih, db_hh, opens, closes, memory, part, parts):
    """Add a part's share of all sums; `made` is None for a cell of one stage."""
    at = np.empty((3, EXAMPLES), np.int64)
    _add_blocks(weights, run, made, examples, dw_ih, dw_hh, db_ih, db_hh, opens, closes, memory, at, part, parts)


@borrower
def _add_columns(x, left, panel, slots, slots_of_pair, is_pair, tiles, row, lanes, count):
    """One tile of columns of a pair of blocks, or of the only block that is left, with `row` numbers for a column."""
    data, at = tiles
    if is_pair:
        gradient_tile(x, left, panel, slots_of_pair, View(data, at, row, lanes), count, ROWS)
    else:
        gradient_tile(x, left, panel, slots, View(data, at, row, PAIR * lanes), count, ROWS)


@borrower
def _add_blocks(weights, run, made, examples, dw_ih, dw_hh, db_ih, db_hh, opens, closes, memory, at, part, parts):
    """The same, with memory (3, EXAMPLES) for where a panel's examples lie."""
    input_slots, all_state_slots, slots = cell_slots(weights)
    of_state, of_made = state_slots(weights)
    input_slots_of_pair, of_state_of_pair, of_made_of_pair = slots_of_pair(weights)
    gates = len(input_slots)
    lanes = lanes_of(memory)
    blocks, padded = blocks_in(run.H, memory), blocks_in(run.H, memory) * lanes
    of_block, example, row = slots * lanes, PAIR * slots * lanes, PAIR * gates * lanes
    input_tiles = (run.I + ROWS - 1) // ROWS
    state_tiles = (dw_hh.shape[1] + ROWS - 1) // ROWS
    columns = input_tiles + state_tiles
    whole = memory[memory.size // parts * part : memory.size // parts * (part + 1)]
    panel, held = whole[: EXAMPLES * example], whole[EXAMPLES * example :]
    size = columns * ROWS * row + example  # of a pair's sums and tiles
    N = examples_of(run, examples)
    few = N <= FEW and opens and closes
    at_x, at_y, at_gates = at

    first, last = share(blocks * columns, part, parts, 1)
    first_pair = first // (PAIR * columns)
    for pair in range(first_pair, (last + PAIR * columns - 1) // (PAIR * columns)):
        unit, here = pair * PAIR * lanes, min(PAIR, blocks - pair * PAIR)
        before = pair * PAIR * columns
        start, stop = max(0, first - before) // here, min(here * columns, last - before) // here
        if start == stop:
            continue
        own = 0 if opens and closes else (pair - first_pair) * size
        sums, tiles = held[own : own + example], held[own + example : own + size]
        columns_of_x = start * ROWS, min(run.I, stop * ROWS)
        columns_of_h = max(0, start - input_tiles) * ROWS, min(dw_hh.shape[1], (stop - input_tiles) * ROWS)
        if opens:
            sums[:] = 0
        if opens and not few:
            tiles[:] = 0
        for top in range(0, N, EXAMPLES):
            count = min(EXAMPLES, N - top)
            locate(run, examples, slots * padded, top, at_x[:count], at_y[:count], at_gates[:count])
            packed = View(panel, 0, example, 0)
            x = Places(run.x, run.x, at_x, start * ROWS)
            y = Places(run.y, run.h_0, at_y, max(0, start - input_tiles) * ROWS)
            for block in range(here):
                d, left = Places(run.gates, run.gates, at_gates, unit + block * lanes), run.H - unit - block * lanes
                own_slots = View(panel, block * of_block, example, 0)
                panel_tile(d, padded, left, own_slots, View(sums, block * of_block, 0, 0), count, x, y, weights)
            if few:
                x, y = Places(run.x, run.x, at_x, 0), Places(run.y, run.h_0, at_y, 0)
                for block in range(here):
                    own_slots, own_unit = View(panel, block * of_block, example, 0), unit + block * lanes
                    _add_directly(dw_ih, 0, input_slots, x, own_slots, run.H, own_unit, columns_of_x, count)
                    _add_directly(dw_hh, 0, of_state, y, own_slots, run.H, own_unit, columns_of_h, count)
                    if made is not None:
                        p, gate = Places(run.gates, run.gates, at_gates, made * padded), len(of_state)
                        _add_directly(dw_hh, gate, of_made, p, own_slots, run.H, own_unit, columns_of_h, count)
                continue
            for tile in range(start, min(stop, input_tiles)):
                c = tile * ROWS
                x, out = Places(run.x, run.x, at_x, c), (tiles, c * row)
                _add_columns(
                    x, run.I - c, packed, input_slots, input_slots_of_pair, here == PAIR, out, row, lanes, count
                )  # fmt: skip
            for tile in range(max(start, input_tiles), stop):
                c = (tile - input_tiles) * ROWS
                y, out = Places(run.y, run.h_0, at_y, c), (tiles, tile * ROWS * row)
                _add_columns(y, run.H - c, packed, of_state, of_state_of_pair, here == PAIR, out, row, lanes, count)
                if made is not None:
                    p = Places(run.gates, run.gates, at_gates, made * padded + c)
                    out = tiles, tile * ROWS * row + len(of_state) * PAIR * lanes
                    _add_columns(p, run.H - c, packed, of_made, of_made_of_pair, here == PAIR, out, row, lanes, count)
        if not closes:
            continue
        for block in range(0 if few else here):
            own_unit = unit + block * lanes
            for dw, (left, right), before in ((dw_ih, columns_of_x, 0), (dw_hh, columns_of_h, input_tiles)):
                _add(dw, tiles, before + left // ROWS, gates, block, own_unit, run.H, left, right)
        if start == 0:
            for db, bias_slots in ((db_ih, input_slots), (db_hh, all_state_slots)):
                for gate in range(gates if db.size > 0 else 0):
                    for lane in range(min(here * lanes, run.H - unit)):
                        block, own_lane = divmod(lane, lanes)
                        total = sums[block * of_block + bias_slots[gate] * lanes + own_lane]
                        db[gate * run.H + unit + lane] += total


@shared_kernel
def weight_gradients(
    weights, x, h_0, y, gates, examples, dw_ih, dw_hh, db_ih, db_hh, batch_first, direction, opens, closes,
    memory, parts,
):  # fmt: skip
    """Add the sums over all examples to dw and db (empty: not wanted), in shares of the weights.

    If `examples` is None, they are all steps of all rows. The call that `opens` the sums begins with zero, others where
    the call before ended; the one that `closes` them adds them to dw and db.
    """
    for part in prange(parts):
        run = sequences(x, h_0, y, None, gates, batch_first, direction, no_options())
        made = made_slot(weights)
        add_part(weights, run, made, examples, dw_ih, dw_hh, db_ih, db_hh, opens, closes, memory, part, parts)
