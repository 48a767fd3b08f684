"""A single layer of one direction without any options, on the calling thread: kernels that take plain arrays.

What they do is elsewhere. Here it's put together, as every tuple among the arguments of a call from Python costs half a
microsecond.
Shapes: as in sequences.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from ._jit import kernel, piece
from .cell import cell_slots, made_slot
from .packing import blocks_in, lanes_of, pack_layer, pack_layer_backward
from .recurrent import backward_rows, forward_rows
from .sequences import Flow, Gradients, no_options, sequences
from .weight_gradients import add_part


class Plain(NamedTuple):
    """The kernels for one kind of weights."""

    infer: Any
    train: Any
    train_backward: Any


@piece
def _parts(weights, flat, I, H):
    """A layer's weights and biases, or their gradients, in their order in memory; biases may be missing."""
    units = len(cell_slots(weights)[0]) * H
    state, biases = units * I, units * (I + H)
    size = units if flat.size > biases else 0
    w_ih, w_hh = flat[:state].reshape((units, I)), flat[state:biases].reshape((units, H))
    return w_ih, w_hh, flat[biases : biases + size], flat[biases + size : biases + 2 * size]


def plain_kernels(kind: Any) -> Plain:
    """The kernels for weights of that type."""

    @kernel
    def infer(w_input, w_state, bias, x, h_0, y, c, batch_first):
        """The states into y, and the last second state, if there is one, into c."""
        run = sequences(x, h_0, y, c, None, batch_first, 0, no_options())
        forward_rows(kind(w_input, w_state, bias), run, 0, run.B)

    @kernel
    def train(w_input, w_state, bias, parameters, x, h_0, y, c, gates, batch_first):
        """Pack the weights, then the states into y and c, and what the backward pass needs into `gates`."""
        weights = kind(w_input, w_state, bias)
        w_ih, w_hh, b_ih, b_hh = _parts(weights, parameters, x.shape[2], h_0.shape[2])
        pack_layer(weights, w_ih, w_hh, b_ih, b_hh, 0, 1)
        run = sequences(x, h_0, y, c, gates, batch_first, 0, no_options())
        forward_rows(weights, run, 0, run.B)

    @kernel
    def train_backward(
        w_input, w_state, bias, parameters, gradients, x, h_0, y, c, gates, dy, dx, dh, carry, batch_first, memory,
        squares,
    ):  # fmt: skip
        """Pack the weights again, then dx (None: not wanted), dh_0 in place of dh_n, and the parameters' gradients.

        `squares` (T, B, block), unless it's None, gets the sums of squares of what flows from step to step.
        """
        weights = kind(w_input, w_state, bias)
        I, (states, B, H) = x.shape[2], h_0.shape
        w_ih, w_hh, _, _ = _parts(weights, parameters, I, H)
        pack_layer_backward(weights, w_ih, w_hh, dx is not None, 0, 1)
        run = sequences(x, h_0, y, c, gates, batch_first, 0, no_options())
        padded = blocks_in(H, y) * lanes_of(y)
        flat_dh = dh.ravel()
        carry[:] = 0
        for row in range(states * B):
            for unit in range(H):
                carry[row * padded + unit] = flat_dh[row * H + unit]
        flow = Flow(1, squares, np.inf, np.inf, None, None)
        backward_rows(weights, run, Gradients(dy.ravel(), dx, flat_dh, carry, flow), 0, B)
        dw_ih, dw_hh, db_ih, db_hh = _parts(weights, gradients, I, H)
        made = made_slot(weights)
        add_part(weights, run, made, None, dw_ih, dw_hh, db_ih, db_hh, True, True, memory, 0, 1)

    return Plain(infer, train, train_backward)
