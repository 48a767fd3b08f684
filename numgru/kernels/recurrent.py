"""A recurrent layer over a whole sequence and, below, backward through time: for any cell.

A thread owns its rows of the batch from the first step to the last, so threads never wait for each other. Only rows
too few to share out make a team of them (few_rows.py).
Shapes: as in sequences.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import prange
from numba.extending import overload

from ._jit import kernel, parallel_kernel, piece
from .few_rows import CHUNK, HALF, backward_few, forward_few
from .packing import blocks_in, lanes_of, pack_backward, pack_forward
from .sequences import Gradients, Sequences
from .step import input_gradient_tile, step_backward_tile, step_tile
from .team import Team
from .threads import share
from .tiles import ROWS


def cell_slots(weights: Any) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Slots of the gates that the input's and the state's weights lead to, and the number of slots."""
    cell = type(weights).cell()
    return cell.input_slots, cell.state_slots, cell.slots


@overload(cell_slots)
def _cell_slots(weights):
    cell = weights.instance_class.cell()
    slots = cell.input_slots, cell.state_slots, cell.slots
    return lambda weights: slots


@kernel
def pack_weights(weights, w_ih, w_hh, b_ih, b_hh):
    """Weights for the forward pass; empty biases are zero."""
    input_slots, state_slots, slots = cell_slots(weights)
    pack_forward(w_ih, len(input_slots), weights.input)
    pack_forward(w_hh, len(state_slots), weights.state)
    lanes, units = lanes_of(w_hh), w_hh.shape[1]
    weights.bias[:] = 0
    for bias, bias_slots in ((b_ih, input_slots), (b_hh, state_slots)):
        for i in range(bias.size):
            gate, unit = divmod(i, units)
            block, lane = divmod(unit, lanes)
            weights.bias[(block * slots + bias_slots[gate]) * lanes + lane] += bias[i]


@kernel
def pack_weights_backward(weights, w_ih, w_hh, need_dx):
    """Weights for the backward pass, which knows no biases."""
    pack_backward(w_hh, weights.state)
    if need_dx:
        pack_backward(w_ih, weights.input)


@piece
def sequences(x, h_0, y, gates, batch_first):
    """The arrays of a call, flat, in either order of time and batch."""
    flat_x, flat_y, H = x.ravel(), y.ravel(), y.shape[2]
    if batch_first:
        B, T, I = x.shape
        x_time, x_row, y_time, y_row = I, T * I, H, T * H
    else:
        T, B, I = x.shape
        x_time, x_row, y_time, y_row = B * I, I, B * H, H
    sums = flat_y if gates is None else gates  # none yet, where gates aren't kept
    return Sequences(flat_x, h_0.ravel(), flat_y, gates, sums, T, B, 0, T, B, I, H, x_time, x_row, y_time, y_row)


@piece
def _room_for_sums(weights, run, rows):
    """Memory for the sums of few rows, where the gates don't give it."""
    padded = blocks_in(run.H, run.y) * lanes_of(run.y)
    return np.empty(min(CHUNK, run.T) * rows * cell_slots(weights)[2] * padded, run.y.dtype)


@piece
def _with_sums(run, sums, first, rows):
    """The same with that memory for rows from row `first` on."""
    if run.gates is not None:
        return run
    return Sequences(
        run.x, run.h_0, run.y, run.gates, sums, min(CHUNK, run.T), rows, first,
        run.T, run.B, run.I, run.H, run.x_time, run.x_row, run.y_time, run.y_row,
    )  # fmt: skip


@piece
def _alone():
    return Team(np.empty(0, np.int64), 0, 1, 0)


@piece
def _split(first, last, few):
    """The end of the rows that go tile by tile; up to `few` that are left over go another way."""
    full = first + (last - first) // ROWS * ROWS
    return full if last - full <= few else last


@piece
def _forward_rows(weights, run, first, last):
    """Rows first .. last - 1 of the batch, through the whole sequence."""
    end = _split(first, last, HALF)
    for t in range(run.T if end > first else 0):
        for j in range(blocks_in(run.H, run.y)):
            for i in range(first, end, ROWS):
                step_tile(weights, run, t, i, j, min(ROWS, end - i), 0, ROWS, 1)
    if end < last:
        rows = last - end
        few = _with_sums(run, _room_for_sums(weights, run, rows), end, rows)
        forward_few(weights, few, end, rows, _alone())


@piece
def _backward_rows(weights, run, gradients, first, last):
    """The gates' gradients, dx and dh_0 of rows first .. last - 1 of the batch, from the last step to the first."""
    state_blocks, input_blocks = blocks_in(run.H, run.y), blocks_in(run.I, run.y)
    end = _split(first, last, HALF)
    for t in range(run.T - 1 if end > first else -2, -2, -1):
        for j in range(0, state_blocks - 1, 2):
            for i in range(first, end, ROWS):
                step_backward_tile(weights, run, gradients, t, i, j, min(ROWS, end - i), ROWS, 2)
        for j in range(state_blocks // 2 * 2, state_blocks):
            for i in range(first, end, ROWS):
                step_backward_tile(weights, run, gradients, t, i, j, min(ROWS, end - i), ROWS, 1)
        if t >= 0:
            for j in range(0, input_blocks - 1, 2):
                for i in range(first, end, ROWS):
                    input_gradient_tile(weights, run, gradients, t, i, j, min(ROWS, end - i), False, ROWS, 2)
            for j in range(input_blocks // 2 * 2, input_blocks):
                for i in range(first, end, ROWS):
                    input_gradient_tile(weights, run, gradients, t, i, j, min(ROWS, end - i), False, ROWS, 1)
    if end < last:
        backward_few(weights, run, gradients, end, last - end, _alone())


@kernel
def forward(weights, x, h_0, y, gates, batch_first):
    """The whole sequence, on the calling thread."""
    run = sequences(x, h_0, y, gates, batch_first)
    _forward_rows(weights, run, 0, run.B)


@parallel_kernel
def forward_parallel(weights, x, h_0, y, gates, batch_first, parts):
    """The same in `parts` shares of the batch: rows are independent, so no thread waits for another."""
    for part in prange(parts):
        run = sequences(x, h_0, y, gates, batch_first)
        first, last = share(run.B, part, parts, ROWS)
        _forward_rows(weights, run, first, last)


@parallel_kernel
def forward_team(weights, x, h_0, y, gates, batch_first, words, tiles, parts):
    """The same by a team, for few rows."""
    B = h_0.shape[1]
    sums = _room_for_sums(weights, sequences(x, h_0, y, gates, batch_first), B)
    for part in prange(parts):
        run = _with_sums(sequences(x, h_0, y, gates, batch_first), sums, 0, B)
        forward_few(weights, run, 0, B, Team(words, tiles, parts, part))


@kernel
def backward(weights, x, h_0, y, gates, dy, dx, dh_0, carry, batch_first):
    """From dy, and dh_n in `carry`, to the gates' gradients (in `gates`), dx and dh_0, on the calling thread."""
    run = sequences(x, h_0, y, gates, batch_first)
    gradients = Gradients(dy.ravel(), dx, dh_0.ravel(), carry)
    _backward_rows(weights, run, gradients, 0, run.B)


@parallel_kernel
def backward_parallel(weights, x, h_0, y, gates, dy, dx, dh_0, carry, batch_first, parts):
    """The same in `parts` shares of the batch."""
    for part in prange(parts):
        run = sequences(x, h_0, y, gates, batch_first)
        gradients = Gradients(dy.ravel(), dx, dh_0.ravel(), carry)
        first, last = share(run.B, part, parts, ROWS)
        _backward_rows(weights, run, gradients, first, last)


@parallel_kernel
def backward_team(weights, x, h_0, y, gates, dy, dx, dh_0, carry, batch_first, words, tiles, parts):
    """The same by a team, for few rows."""
    for part in prange(parts):
        run = sequences(x, h_0, y, gates, batch_first)
        gradients = Gradients(dy.ravel(), dx, dh_0.ravel(), carry)
        backward_few(weights, run, gradients, 0, run.B, Team(words, tiles, parts, part))
