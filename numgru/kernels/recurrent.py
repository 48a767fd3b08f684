"""A recurrent layer over a whole sequence and, below, backward through time: for any cell.

A thread owns its rows of the batch from the first step to the last, so threads never wait for each other.
Shapes: as in step.py.
"""

from __future__ import annotations

from typing import Any

from numba import prange
from numba.extending import overload

from ._jit import kernel, parallel_kernel, piece
from .packing import blocks_in, lanes_of, pack_backward, pack_forward
from .step import Gradients, Sequences, input_gradient_tile, step_backward_tile, step_tile
from .threads import share
from .tiles import ROWS, WIDE


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
    if batch_first:
        (B, T, I), H = x.shape, y.shape[2]
        return Sequences(x.ravel(), h_0.ravel(), y.ravel(), gates, T, B, I, H, I, T * I, H, T * H)
    (T, B, I), H = x.shape, y.shape[2]
    return Sequences(x.ravel(), h_0.ravel(), y.ravel(), gates, T, B, I, H, B * I, I, B * H, H)


@piece
def _forward_rows(weights, run, first, last):
    """Rows first .. last - 1 of the batch, through the whole sequence."""
    state_blocks = blocks_in(run.H, run.y)
    full = first + (last - first) // ROWS * ROWS
    wide = state_blocks // WIDE * WIDE
    for t in range(run.T):
        for j in range(state_blocks):
            for i in range(first, full, ROWS):
                step_tile(weights, run, t, i, j, ROWS, 1)
        for i in range(full, last):
            for j in range(0, wide, WIDE):
                step_tile(weights, run, t, i, j, 1, WIDE)
            for j in range(wide, state_blocks):
                step_tile(weights, run, t, i, j, 1, 1)


@piece
def _backward_rows(weights, run, gradients, first, last):
    """The gates' gradients, dx and dh_0 of rows first .. last - 1 of the batch, from the last step to the first."""
    state_blocks, input_blocks = blocks_in(run.H, run.y), blocks_in(run.I, run.y)
    full = first + (last - first) // ROWS * ROWS
    for t in range(run.T - 1, -2, -1):
        even, wide = state_blocks // 2 * 2, state_blocks // WIDE * WIDE
        for j in range(0, even, 2):
            for i in range(first, full, ROWS):
                step_backward_tile(weights, run, gradients, t, i, j, ROWS, 2)
        for j in range(even, state_blocks):
            for i in range(first, full, ROWS):
                step_backward_tile(weights, run, gradients, t, i, j, ROWS, 1)
        for i in range(full, last):
            for j in range(0, wide, WIDE):
                step_backward_tile(weights, run, gradients, t, i, j, 1, WIDE)
            for j in range(wide, state_blocks):
                step_backward_tile(weights, run, gradients, t, i, j, 1, 1)
        if t >= 0:
            even, wide = input_blocks // 2 * 2, input_blocks // WIDE * WIDE
            for j in range(0, even, 2):
                for i in range(first, full, ROWS):
                    input_gradient_tile(weights, run, gradients, t, i, j, ROWS, 2)
            for j in range(even, input_blocks):
                for i in range(first, full, ROWS):
                    input_gradient_tile(weights, run, gradients, t, i, j, ROWS, 1)
            for i in range(full, last):
                for j in range(0, wide, WIDE):
                    input_gradient_tile(weights, run, gradients, t, i, j, 1, WIDE)
                for j in range(wide, input_blocks):
                    input_gradient_tile(weights, run, gradients, t, i, j, 1, 1)


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
