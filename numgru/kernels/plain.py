"""A single layer of one direction without any options: kernels that take plain arrays.

What they do is elsewhere. Here it's put together, as every tuple among the arguments of a call from Python costs half a
microsecond.
Shapes: as in sequences.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ._jit import SharedKernel, in_threads, piece, shared_kernel
from .cell import cell_slots, made_slot
from .packing import blocks_in, lanes_of, pack_layer, pack_layer_backward
from .recurrent import backward_part, forward_part, shared_memory
from .sequences import Flow, Gradients, no_options, sequences
from .tiles import memory_of
from .weight_gradients import add_part


class Plain(NamedTuple):
    """The kernels for one kind of weights."""

    infer: SharedKernel
    train: SharedKernel
    train_backward: SharedKernel


@piece
def _matrices(weights, flat, I, H):
    """A layer's weights and biases, or their gradients, in their order in memory; biases may be missing."""
    units = len(cell_slots(weights)[0]) * H
    state, biases = units * I, units * (I + H)
    size = units if flat.size > biases else 0
    w_ih, w_hh = flat[:state].reshape((units, I)), flat[state:biases].reshape((units, H))
    return w_ih, w_hh, flat[biases : biases + size], flat[biases + size : biases + 2 * size]


@piece
def _begin_carry(carry, dh):
    """dh_n into `carry`."""
    units, flat_dh = dh.shape[2], dh.ravel()
    padded = blocks_in(units, carry) * lanes_of(carry)
    carry[:] = 0
    for row in range(dh.shape[0] * dh.shape[1]):
        for unit in range(units):
            carry[row * padded + unit] = flat_dh[row * units + unit]


def plain_kernels(kind: Any) -> Plain:
    """The kernels for weights of that type.

    They work in `parts` shares of a layer's blocks of units or of its weights, and through time in `loop_parts`.
    """
    gates, slots = len(kind.cell().input_slots), kind.cell().slots

    @piece
    def weights_in(packed, inputs, H):
        """Packed weights, at the end of `packed`, of which `inputs` numbers are the input's."""
        padded = blocks_in(H, packed) * lanes_of(packed)
        bias = packed.size - slots * padded
        state = bias - gates * H * padded
        return kind(packed[state - inputs : state], packed[state:bias], packed[bias:])

    @piece
    def weights_of(packed, x, h_0):
        """The same for the forward pass."""
        H = h_0.shape[2]
        return weights_in(packed, gates * x.shape[2] * blocks_in(H, packed) * lanes_of(packed), H)

    @piece
    def weights_backward(packed, x, h_0):
        """The same for the backward pass."""
        H = h_0.shape[2]
        return weights_in(packed, gates * H * blocks_in(x.shape[2], packed) * lanes_of(packed), H)

    @shared_kernel
    def infer(packed, x, h_0, y, c, batch_first, parts):
        """The states into y, and the last second state, if there is one, into c; weights are at the end of `packed`."""
        run = sequences(x, h_0, y, c, None, batch_first, 0, no_options())
        words, sums = shared_memory(weights_of(packed, x, h_0), run, parts, in_threads())
        for part in prange(parts):
            run = sequences(x, h_0, y, c, None, batch_first, 0, no_options())
            forward_part(weights_of(packed, x, h_0), run, words, sums, part, parts)

    @shared_kernel
    def train(packed, parameters, x, h_0, y, c, gates, batch_first, loop_parts, parts):
        """Pack the weights, then the states into y and c, and what the backward pass needs into `gates`."""
        for part in prange(parts):
            weights = weights_of(packed, x, h_0)
            w_ih, w_hh, b_ih, b_hh = _matrices(weights, parameters, x.shape[2], h_0.shape[2])
            pack_layer(weights, w_ih, w_hh, b_ih, b_hh, part, parts)
        run = sequences(x, h_0, y, c, gates, batch_first, 0, no_options())
        words, sums = shared_memory(weights_of(packed, x, h_0), run, loop_parts, in_threads())
        for part in prange(loop_parts):
            run = sequences(x, h_0, y, c, gates, batch_first, 0, no_options())
            forward_part(weights_of(packed, x, h_0), run, words, sums, part, loop_parts)

    @shared_kernel
    def train_backward(
        packed, parameters, gradients, x, h_0, y, c, gates, dy, dx, dh, carry, batch_first, memory,
        squares, loop_parts, parts,
    ):  # fmt: skip
        """Pack the weights again, then dx (None: not wanted), dh_0 in place of dh_n, and the parameters' gradients.

        `squares` (T, B, block), unless it's None, gets the sums of squares of what flows from step to step.
        """
        for part in prange(parts):
            weights = weights_backward(packed, x, h_0)
            w_ih, w_hh, _, _ = _matrices(weights, parameters, x.shape[2], h_0.shape[2])
            pack_layer_backward(weights, w_ih, w_hh, dx is not None, part, parts)
        _begin_carry(carry, dh)
        run = sequences(x, h_0, y, c, gates, batch_first, 0, no_options())
        words, _ = shared_memory(weights_backward(packed, x, h_0), run, loop_parts, in_threads())
        for part in prange(loop_parts):
            run = sequences(x, h_0, y, c, gates, batch_first, 0, no_options())
            flow = Flow(1, squares, np.inf, np.inf, None, None)
            d = Gradients(memory_of(dy), memory_of(dx), memory_of(dh), memory_of(carry), flow)
            backward_part(weights_backward(packed, x, h_0), run, d, words, part, loop_parts)
        for part in prange(parts):
            weights = weights_backward(packed, x, h_0)
            run = sequences(x, h_0, y, c, gates, batch_first, 0, no_options())
            d_ih, d_hh, db_ih, db_hh = _matrices(weights, gradients, x.shape[2], h_0.shape[2])
            made = made_slot(weights)
            add_part(weights, run, made, None, d_ih, d_hh, db_ih, db_hh, True, True, memory, part, parts)

    return Plain(infer, train, train_backward)
