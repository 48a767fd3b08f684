"""A recurrent layer over a whole sequence and, below, backward through time: for any cell.

A thread owns its rows of the batch from the first step to the last, so threads never wait for each other. Only rows
too few to share out make a team of them (few_rows.py).
Shapes: as in sequences.py.
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._jit import kernel, parallel_kernel, piece
from .cell import cell_slots, stage_widths
from .few_rows import CHUNK, HALF, QUARTER, backward_few, columns_of, forward_few
from .flow import flow_stages, set_factors
from .packing import blocks_in, lanes_of, pack_layer, pack_layer_backward
from .products import input_gradient_tile
from .sequences import Gradients, Sequences, active_rows, sequences, steps_of
from .step import step_backward_tile, step_tile
from .team import Team
from .threads import share
from .tiles import ROWS, WIDE


@kernel
def pack_weights(weights, w_ih, w_hh, b_ih, b_hh):
    """Weights for the forward pass; empty biases are zero."""
    pack_layer(weights, w_ih, w_hh, b_ih, b_hh, 0, 1)


@parallel_kernel
def pack_weights_parallel(weights, w_ih, w_hh, b_ih, b_hh, parts):
    """The same in `parts` shares of the blocks."""
    for part in prange(parts):
        pack_layer(weights, w_ih, w_hh, b_ih, b_hh, part, parts)


@kernel
def pack_weights_backward(weights, w_ih, w_hh, need_dx):
    """Weights for the backward pass, which knows no biases."""
    pack_layer_backward(weights, w_ih, w_hh, need_dx, 0, 1)


@parallel_kernel
def pack_weights_backward_parallel(weights, w_ih, w_hh, need_dx, parts):
    """The same in `parts` shares of the blocks."""
    for part in prange(parts):
        pack_layer_backward(weights, w_ih, w_hh, need_dx, part, parts)


@piece
def _room_for_sums(weights, run, steps, rows):
    """Memory for sums, where the gates don't give it."""
    padded = blocks_in(run.H, run.y) * lanes_of(run.y)
    return np.empty(min(steps, run.T) * rows * cell_slots(weights)[2] * padded, run.y.dtype)


@piece
def _with_sums(run, sums, steps, first, rows):
    """The same with that memory for rows from row `first` on."""
    if run.gates is not None:
        return run
    return Sequences(
        run.x, run.h_0, run.y, run.c_0, run.c, run.c_time, run.gates, sums, min(steps, run.T), rows, first,
        run.T, run.B, run.I, run.H, run.x_start, run.x_time, run.x_row, run.y_start, run.y_time, run.y_row, run.options,
    )  # fmt: skip


@piece
def _split(first, last, few):
    """The end of the rows that go tile by tile; up to `few` that are left over go another way."""
    full = first + (last - first) // ROWS * ROWS
    return full if last - full <= few else last


@piece
def _end_of_tiles(active, first, last):
    """The end of the rows that tiles take through the sequence; where lengths differ, all but a few."""
    if active is None:
        return _split(first, last, HALF)
    return last if last - first > HALF else first


@piece
def _end_of_full_tiles(active, first, last):
    """In one step the end of those in full tiles; where lengths differ, there are smaller ones for what is left."""
    if active is None:
        return last
    return _split(first, last, HALF + QUARTER)


@piece
def forward_rows(weights, run, first, last):
    """Rows first .. last - 1 of the batch, through the whole sequence."""
    end = _end_of_tiles(run.options.active, first, last)
    if end > first:
        _forward_tiles(weights, _with_room_for_stages(weights, run, first, end - first), first, end)
    if end < last:
        rows = last - end
        few = _with_sums(run, _room_for_sums(weights, run, CHUNK, rows), CHUNK, end, rows)
        forward_few(weights, few, end, rows, None)


@piece
def _with_room_for_stages(weights, run, first, rows):
    """The same with memory for what stages of a step keep for later ones, if there are any."""
    if len(stage_widths(weights)) == 1:
        return run
    return _with_sums(run, _room_for_sums(weights, run, 1, rows), 1, first, rows)


@piece
def _forward_tiles(weights, run, first, last):
    t, stop = 0, min(last, active_rows(run, 0))
    while stop > first:
        end = _end_of_full_tiles(run.options.active, first, stop)
        for stage in range(len(stage_widths(weights))):
            for j in range(columns_of(weights, run, stage)):
                for i in range(first, end, ROWS):
                    step_tile(weights, run, t, stage, i, j, min(ROWS, end - i), 0, ROWS, 1)
            _last_tiles(run.options.active, weights, run, t, stage, end, stop)
        t += 1
        stop = min(last, active_rows(run, t))


@piece
def _last_tiles(active, weights, run, t, stage, first, last):
    """A stage of step t for the last rows that have it, if they are few: not in a batch of one length."""
    if active is None:
        return
    blocks = columns_of(weights, run, stage)
    if last - first > QUARTER:
        for j in range(0, blocks - 1, 2):
            step_tile(weights, run, t, stage, first, j, min(HALF, last - first), 0, HALF, 2)
        if blocks % 2:
            step_tile(weights, run, t, stage, first, blocks - 1, min(HALF, last - first), 0, ROWS, 1)
        first += HALF
    if last > first:
        wide = blocks // WIDE * WIDE
        for j in range(0, wide, WIDE):
            step_tile(weights, run, t, stage, first, j, last - first, 0, QUARTER, WIDE)
        for j in range(wide, blocks):
            step_tile(weights, run, t, stage, first, j, last - first, 0, ROWS, 1)


@piece
def backward_rows(weights, run, gradients, first, last):
    """The gates' gradients, dx and dh_0 of rows first .. last - 1 of the batch, from the last step to the first."""
    end = _split(first, last, HALF)
    for t in range(run.T - 1 if end > first else -2, run.options.continued - 2, -1):
        going_on, stop = max(first, min(end, active_rows(run, t + 1))), max(first, min(end, active_rows(run, t)))
        for stage in range(len(stage_widths(weights)) - 1 + flow_stages(gradients.flow), -1, -1):
            _state_gradients(weights, run, gradients, t, stage, first, going_on, run.H)
            _state_gradients(weights, run, gradients, t, stage, going_on, stop, 0)
        if t >= 0:
            _input_gradients(weights, run, gradients, t, first, stop)
    if end < last:
        backward_few(weights, run, gradients, end, last - end, None)


@piece
def _state_gradients(weights, run, gradients, t, stage, first, last, depth):
    """One stage of a step for rows of which all have a step t + 1 (`depth` is H), or none (0)."""
    if stage == len(stage_widths(weights)) - 1:
        set_factors(run, gradients.flow, first, last, depth)
    blocks = blocks_in(run.H, run.y)
    end = _split(first, last, HALF)
    for j in range(0, blocks - 1, 2):
        for i in range(first, end, ROWS):
            step_backward_tile(weights, run, gradients, t, stage, i, j, min(ROWS, end - i), depth, ROWS, 2)
        if end < last:
            step_backward_tile(weights, run, gradients, t, stage, end, j, last - end, depth, HALF, 2)
    for j in range(blocks // 2 * 2, blocks):
        for i in range(first, last, ROWS):
            step_backward_tile(weights, run, gradients, t, stage, i, j, min(ROWS, last - i), depth, ROWS, 1)


@piece
def _input_gradients(weights, run, gradients, t, first, last):
    blocks = blocks_in(run.I, run.y)
    for j in range(0, blocks - 1, 2):
        for i in range(first, last, ROWS):
            input_gradient_tile(weights, run, gradients, t, i, j, min(ROWS, last - i), False, ROWS, 2)
    for j in range(blocks // 2 * 2, blocks):
        for i in range(first, last, ROWS):
            input_gradient_tile(weights, run, gradients, t, i, j, min(ROWS, last - i), False, ROWS, 1)


@piece
def _shares(run, part, parts):
    """The rows of a part: as many as the others', or of sequences of different lengths as many steps."""
    if run.options.steps == 0:
        return share(run.B, part, parts, ROWS)
    total = 0
    for t in range(run.T):
        total += active_rows(run, t)
    first, last, done = run.B, run.B, 0
    for i in range(0, run.B, QUARTER):  # a row that is split off alone costs as much as that many
        steps = 0
        for row in range(i, min(i + QUARTER, run.B)):
            steps += steps_of(run, row)
        nearest = (2 * done + steps) * parts  # to the boundary before these rows, not behind them
        if first == run.B and nearest >= 2 * total * part:
            first = i
        if last == run.B and part + 1 < parts and nearest >= 2 * total * (part + 1):
            last = i
        done += steps
    return first, last


@kernel
def forward(weights, x, h_0, y, c, gates, batch_first, direction, options):
    """The whole sequence, on the calling thread."""
    run = sequences(x, h_0, y, c, gates, batch_first, direction, options)
    forward_rows(weights, run, 0, run.B)


@parallel_kernel
def forward_parallel(weights, x, h_0, y, c, gates, batch_first, direction, options, parts):
    """The same in `parts` shares of the batch: rows are independent, so no thread waits for another."""
    for part in prange(parts):
        run = sequences(x, h_0, y, c, gates, batch_first, direction, options)
        first, last = _shares(run, part, parts)
        forward_rows(weights, run, first, last)


@parallel_kernel
def forward_team(weights, x, h_0, y, c, gates, batch_first, direction, options, words, parts):
    """The same by a team, for few rows."""
    B = h_0.shape[1]
    sums = _room_for_sums(weights, sequences(x, h_0, y, c, gates, batch_first, direction, options), CHUNK, B)
    for part in prange(parts):
        run = _with_sums(sequences(x, h_0, y, c, gates, batch_first, direction, options), sums, CHUNK, 0, B)
        forward_few(weights, run, 0, B, Team(words, parts, part))


@kernel
def backward(weights, x, h_0, y, c, gates, dy, dx, dh_0, carry, flow, batch_first, direction, options):
    """From dy, and the last states' in `carry`, to the gates' gradients (in `gates`), dx and dh_0; on this thread."""
    run = sequences(x, h_0, y, c, gates, batch_first, direction, options)
    gradients = Gradients(dy.ravel(), dx, dh_0.ravel(), carry, flow)
    backward_rows(weights, run, gradients, 0, run.B)


@parallel_kernel
def backward_parallel(weights, x, h_0, y, c, gates, dy, dx, dh_0, carry, flow, batch_first, direction, options, parts):
    """The same in `parts` shares of the batch."""
    for part in prange(parts):
        run = sequences(x, h_0, y, c, gates, batch_first, direction, options)
        gradients = Gradients(dy.ravel(), dx, dh_0.ravel(), carry, flow)
        first, last = _shares(run, part, parts)
        backward_rows(weights, run, gradients, first, last)


@parallel_kernel
def backward_team(
    weights, x, h_0, y, c, gates, dy, dx, dh_0, carry, flow, batch_first, direction, options, words, parts
):
    """The same by a team, for few rows."""
    for part in prange(parts):
        run = sequences(x, h_0, y, c, gates, batch_first, direction, options)
        gradients = Gradients(dy.ravel(), dx, dh_0.ravel(), carry, flow)
        backward_few(weights, run, gradients, 0, run.B, Team(words, parts, part))
