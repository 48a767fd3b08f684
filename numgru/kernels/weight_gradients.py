"""Gradients of weights and biases: sums over all examples, which are the rows of every time step.

Every sum is one chain over the examples, from the last time step to the first and along the batch in each. Threads
share out the weights, not the examples, so the sums don't depend on their number; and as time runs as it does in the
backward pass, a sequence treated in several pieces gives the same chain.

Shapes: as in sequences.py; N examples. A part of the work takes some columns of the weights of one group of blocks of
units after the other, so that all examples are read once for a group, in a workspace of its own:

    panel  (EXAMPLES, block, slot, LANES)                             the group's gates' gradients
    sums   (block, slot, LANES)                                       its bias gradients
    tiles  (I and H, each in whole tiles, pair, gate, block, LANES)   its weight gradients, transposed

A tile takes a pair of blocks, or three of a cell with few gates. Sums and tiles of a part's every group are held at
once only where the examples come in several calls.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numpy.typing import NDArray

from ._jit import borrower, piece, shared_kernel
from .cell import blocks_of_gradients, blocks_together, cell_slots, made_slot, slots_abreast, state_slots
from .packing import blocks_in, lanes_of
from .sequences import no_options, sequences
from .target import TARGET
from .threads import share
from .tiles import (
    ROWS,
    Places,
    View,
    add_transposed,
    direct_gradient_tile,
    gradient_tile,
    panel_tile,
    put_address,
)

EXAMPLES = 64  # of a panel, which so stays in the first-level cache
_NARROW = ROWS // 2  # columns that are left over, for which tiles of two columns are worth their while
FEW = 32  # examples for which transposed tiles aren't worth their while


class Examples(NamedTuple):
    """Where examples lie, in the order of summation; only needed where they aren't all steps of all rows."""

    inputs: NDArray[np.int64]  # (N,): in x
    states: NDArray[np.int64]  # (N,): in y, the state before; if negative, at -1 - states[e] in h_0
    gates: NDArray[np.int64]  # (N,): in the gates


def tiles_of(width: int) -> int:
    """Tiles that hold `width` columns."""
    return -(-width // ROWS)


def workspace_size(I: int, H: int, cell: Any, dtype: np.dtype[Any], parts: int, blocks: int = 1) -> int:
    """Numbers that `parts` parts need memory for; H is 0 where there are no state's weights.

    `blocks` is 1, or the number of all blocks of units where the examples come in several calls.
    """
    columns, gates, group = (tiles_of(I) + tiles_of(H)) * ROWS, len(cell.input_slots), blocks_together(cell)
    held = -(-blocks // (group * parts)) + (blocks > 1)  # a part may begin and end in the middle of a group
    of_block: int = held * (columns * gates + cell.slots) + EXAMPLES * cell.slots
    return parts * of_block * group * TARGET.lanes(dtype)


@borrower
def _add(dw, tiles, tile, gates, row, abreast, block, unit, units, first, last):
    """Columns first .. last - 1 of a group's block, from `unit` on, transposed, into dw (gate units, width)."""
    lanes, width = lanes_of(dw), dw.shape[1]
    own = block // abreast * abreast * gates + block % abreast
    for gate in range(gates):
        for column in range(first, last, lanes):
            at = (tile * ROWS + column - first) * row + (own + gate * abreast) * lanes
            out = View(dw, (gate * units + unit) * width + column, width, 0)
            add_transposed(View(tiles, at, row, 0), units - unit, last - column, out)


@borrower
def examples_of(run, examples):
    """How many they are."""
    return run.T * run.B if examples is None else examples.gates.size


@borrower
def step_and_row(run, e):
    """Those of example e, where the examples are all steps of all rows."""
    return run.T - 1 - e // run.B, e % run.B


@borrower
def next_step_and_row(run, t, i):
    """Those of the example that follows."""
    return (t, i + 1) if i + 1 < run.B else (t - 1, 0)


@borrower
def place_of_example(run, examples, row, e, t, i):
    """Where example e lies, row i of step t, as `Examples` says it; `row` numbers of the gates are an example's."""
    if examples is None:
        state = run.y_start + (t - 1) * run.y_time + i * run.y_row if t > 0 else -1 - i * run.H
        return run.x_start + t * run.x_time + i * run.x_row, state, (t * run.B + i) * row
    return examples.inputs[e], examples.states[e], examples.gates[e]


@borrower
def _locate(run, examples, row, top, count, at):
    """The addresses of `count` examples' rows from example `top` on: in x, in y or h_0, and among the gates."""
    inputs, states, gates = at
    t, i = step_and_row(run, top)
    for e in range(count):
        input_at, state_at, gates_at = place_of_example(run, examples, row, top + e, t, i)
        put_address(inputs, e, run.x, input_at)
        if state_at >= 0:
            put_address(states, e, run.y, state_at)
        else:
            put_address(states, e, run.h_0, -1 - state_at)
        put_address(gates, e, run.gates, gates_at)
        t, i = next_step_and_row(run, t, i)


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
                places = Places(x.rows, x.first + c)
                d = View(panel.data, panel.at + slots[gate] * lanes + row, panel.row, 0)
                out = View(dw, ((first_gate + gate) * units + unit + row) * width + c, width, lanes)
                direct_gradient_tile(places, right - c, d, min(lanes, units - unit) - row, out, count, ROWS, 2)


@piece
def add_part(weights, run, made, examples, dw_ih, dw_hh, db_ih, db_hh, opens, closes, memory, part, parts):
    """Add a part's share of all sums; `made` is None for a cell of one stage."""
    at = np.empty((2, 3, EXAMPLES), np.int64)
    _add_blocks(weights, run, made, examples, dw_ih, dw_hh, db_ih, db_hh, opens, closes, memory, at, part, parts)


@borrower
def _add_tiles(x, width, start, stop, panel, slots, slots_abreast, layout, data, at, count, soon):
    """Tiles start .. stop - 1 of a matrix with `width` columns, of which `x` says where they lie.

    `slots` are the matrix's in one block, and in as many as there are abreast in a tile; its first tile begins at `at`.
    Each tile asks for a register of every example of the panel that comes next: where they lie is in `soon`.
    """
    here, of_block, abreast, gates, row = layout  # blocks, numbers of a block in the panel, .., numbers of a column
    lanes = lanes_of(data)
    gates_soon, slot_width, slots_of_block = soon
    for tile in range(start, stop):
        c = tile * ROWS
        block, slot = divmod(tile, slots_of_block)
        later = Places(x.rows, x.first + c)  # which is there
        if block < here:
            later = Places(gates_soon.rows, gates_soon.first + block * lanes + slot * slot_width)
        narrow = width - c <= _NARROW
        for block in range(0, here, abreast):
            d = View(panel.data, block * of_block, panel.row, 0)
            for first in range(c, min(c + ROWS, width), 2 if narrow else ROWS):
                columns, left, out = Places(x.rows, x.first + first), width - first, at + first * row + block * gates * lanes
                if block + 1 < here:
                    dw = View(data, out, row, lanes)
                    if narrow:
                        gradient_tile(columns, left, d, slots_abreast, dw, count, later, 2)
                    else:
                        gradient_tile(columns, left, d, slots_abreast, dw, count, later, ROWS)
                else:
                    dw = View(data, out, row, abreast * lanes)
                    if narrow:
                        gradient_tile(columns, left, d, slots, dw, count, later, 2)
                    else:
                        gradient_tile(columns, left, d, slots, dw, count, later, ROWS)


@borrower
def _add_blocks(weights, run, made, examples, dw_ih, dw_hh, db_ih, db_hh, opens, closes, memory, at, part, parts):
    """The same, with memory (2, 3, EXAMPLES) for where the examples of a panel and of the next one lie."""
    input_slots, all_state_slots, slots = cell_slots(weights)
    of_state, of_made = state_slots(weights)
    input_slots_abreast, of_state_abreast, of_made_abreast = slots_abreast(weights)
    gates, (abreast, group) = len(input_slots), blocks_of_gradients(weights)
    lanes = lanes_of(memory)
    blocks, padded = blocks_in(run.H, memory), blocks_in(run.H, memory) * lanes
    of_block, row = slots * lanes, group * gates * lanes
    example = group * of_block
    input_tiles = (run.I + ROWS - 1) // ROWS
    state_tiles = (dw_hh.shape[1] + ROWS - 1) // ROWS
    columns, size_of_x = input_tiles + state_tiles, input_tiles * ROWS * row
    whole = memory[memory.size // parts * part : memory.size // parts * (part + 1)]
    panel, held = whole[: EXAMPLES * example], whole[EXAMPLES * example :]
    size = columns * ROWS * row + example  # of a group's sums and tiles
    N = examples_of(run, examples)
    few = N <= FEW and opens and closes

    first, last = share(blocks * columns, part, parts, 1)
    first_group = first // (group * columns)
    for number in range(first_group, (last + group * columns - 1) // (group * columns)):
        unit, here = number * group * lanes, min(group, blocks - number * group)
        before = number * group * columns
        start, stop = max(0, first - before) // here, min(here * columns, last - before) // here
        if start == stop:
            continue
        own = 0 if opens and closes else (number - first_group) * size
        sums, tiles = held[own : own + example], held[own + example : own + size]
        tiles_of_x = start, min(stop, input_tiles)
        tiles_of_h = max(0, start - input_tiles), stop - input_tiles
        columns_of_x = start * ROWS, min(run.I, stop * ROWS)
        columns_of_h = tiles_of_h[0] * ROWS, min(dw_hh.shape[1], tiles_of_h[1] * ROWS)
        if opens:
            sums[:] = 0
        if opens and not few:
            tiles[:] = 0
        if here % abreast > 1:
            panel[:] = 0  # of blocks that there aren't: denormal numbers would be slow
        _locate(run, examples, slots * padded, 0, min(EXAMPLES, N), at[0])
        for top in range(0, N, EXAMPLES):
            count, number_of_panel = min(EXAMPLES, N - top), top // EXAMPLES
            (at_x, at_y, at_gates), at_next = at[number_of_panel % 2], at[(number_of_panel + 1) % 2]
            if top + count < N:
                following = min(EXAMPLES, N - top - count)
                _locate(run, examples, slots * padded, top + count, following, at_next)
                at_next[2, following:] = at_next[2, following - 1]  # all are asked for
            x, y = Places(at_x, 0), Places(at_y, 0)
            for block in range(here):
                d, left = Places(at_gates, unit + block * lanes), run.H - unit - block * lanes
                own_slots, own_sums = View(panel, block * of_block, example, 0), View(sums, block * of_block, 0, 0)
                first_x, first_y = Places(at_x, tiles_of_x[0] * ROWS), Places(at_y, tiles_of_h[0] * ROWS)
                panel_tile(d, padded, left, own_slots, own_sums, count, first_x, first_y, weights)
            if few:
                for block in range(here):
                    own_slots, own_unit = View(panel, block * of_block, example, 0), unit + block * lanes
                    _add_directly(dw_ih, 0, input_slots, x, own_slots, run.H, own_unit, columns_of_x, count)
                    _add_directly(dw_hh, 0, of_state, y, own_slots, run.H, own_unit, columns_of_h, count)
                    if made is not None:
                        p, gate = Places(at_gates, made * padded), len(of_state)
                        _add_directly(dw_hh, gate, of_made, p, own_slots, run.H, own_unit, columns_of_h, count)
                continue
            packed, layout = View(panel, 0, example, 0), (here, of_block, abreast, gates, row)
            soon = Places(at_next[2] if top + count < N else at_gates, unit), padded, slots
            (left, right), slots_of_x = tiles_of_x, (input_slots, input_slots_abreast)
            _add_tiles(x, run.I, left, right, packed, *slots_of_x, layout, tiles, 0, count, soon)
            (left, right), slots_of_h = tiles_of_h, (of_state, of_state_abreast)
            _add_tiles(y, run.H, left, right, packed, *slots_of_h, layout, tiles, size_of_x, count, soon)
            if made is not None:
                p, slots_of_p = Places(at_gates, made * padded), (of_made, of_made_abreast)
                of_p = size_of_x + len(of_state) * abreast * lanes
                _add_tiles(p, run.H, left, right, packed, *slots_of_p, layout, tiles, of_p, count, soon)
        if not closes:
            continue
        for block in range(0 if few else here):
            own_unit = unit + block * lanes
            for dw, (left, right), tiles_before in ((dw_ih, columns_of_x, 0), (dw_hh, columns_of_h, input_tiles)):
                _add(dw, tiles, tiles_before + left // ROWS, gates, row, abreast, block, own_unit, run.H, left, right)
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
