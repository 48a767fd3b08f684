"""One direction of a layer in calls without options: kernels that take plain arrays.

What they do is elsewhere. Here it's put together, as every tuple among the arguments of a call from Python costs half a
microsecond.
Shapes: as in sequences.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ._jit import SharedKernel, in_threads, overload, piece, shared_kernel
from .blocks import blocks_in, lanes_of
from .cell import Weights, gate_count, made_slot
from .kinds import KINDS
from .packing import pack_layer, pack_layer_backward
from .recurrent import backward_part, forward_part, shared_memory
from .sequences import NO_OPTIONS, Flow, Gradients, sequences
from .tiles import memory_of
from .weight_gradients import Summands, Totals, add_part, close_part


class Plain(NamedTuple):
    """The kernels for one kind of weights."""

    infer: SharedKernel
    train: SharedKernel
    train_backward: SharedKernel


@piece
def _matrices(weights, flat, I, H):
    """A layer's weights and biases, or their gradients, in their order in memory; biases may be missing."""
    units = gate_count(weights) * H
    state, biases = units * I, units * (I + H)
    size = units if flat.size > biases else 0
    w_ih, w_hh = flat[:state].reshape((units, I)), flat[state:biases].reshape((units, H))
    return w_ih, w_hh, flat[biases : biases + size], flat[biases + size : biases + 2 * size]


def _weights_in(kind, packed, depth, units, H):
    """Weights of that kind, at the end of `packed`: the input's for sums over `depth` numbers a gate, by `units`."""
    raise NotImplementedError


@overload(_weights_in)
def _(kind, packed, depth, units, H):
    make, cell = kind.instance_class, kind.instance_class.cell
    gates, slots = len(cell.input_slots), cell.slots

    def implementation(kind, packed, depth, units, H):
        lanes = lanes_of(packed)
        bias = packed.size - slots * blocks_in(H, packed) * lanes
        state = bias - gates * H * blocks_in(H, packed) * lanes
        start = state - gates * depth * blocks_in(units, packed) * lanes
        return make(packed[start:state], packed[state:bias], packed[bias:])

    return implementation


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

    @shared_kernel
    def infer(packed, x, h_0, y, c, batch_first, direction, parts):
        """The states into y, and the second ones, or the last, into c; weights are at the end of `packed`."""
        I, H = x.shape[2], h_0.shape[2]
        run = sequences(x, h_0, y, c, None, batch_first, direction, NO_OPTIONS)
        words, sums = shared_memory(_weights_in(kind, packed, I, H, H), run, parts, in_threads())
        for part in prange(parts):
            run = sequences(x, h_0, y, c, None, batch_first, direction, NO_OPTIONS)
            forward_part(_weights_in(kind, packed, I, H, H), run, words, sums, part, parts)

    @shared_kernel
    def train(packed, parameters, x, h_0, y, c, gates, batch_first, direction, loop_parts, parts):
        """Pack the weights, then the states into y and c, and what the backward pass needs into `gates`."""
        I, H = x.shape[2], h_0.shape[2]
        for part in prange(parts):
            weights = _weights_in(kind, packed, I, H, H)
            w_ih, w_hh, b_ih, b_hh = _matrices(weights, parameters, I, H)
            pack_layer(weights, w_ih, w_hh, b_ih, b_hh, part, parts)
        run = sequences(x, h_0, y, c, gates, batch_first, direction, NO_OPTIONS)
        words, sums = shared_memory(_weights_in(kind, packed, I, H, H), run, loop_parts, in_threads())
        for part in prange(loop_parts):
            run = sequences(x, h_0, y, c, gates, batch_first, direction, NO_OPTIONS)
            forward_part(_weights_in(kind, packed, I, H, H), run, words, sums, part, loop_parts)

    @shared_kernel
    def train_backward(
        packed, parameters, gradients, x, h_0, y, c, gates, dy, dx, dh, carry, batch_first, direction,
        memory, squares, parcels, loop_parts, parts,
    ):  # fmt: skip
        """Pack the weights again, then dx (None: not wanted), dh_0 in place of dh_n, and the parameters' gradients.

        `squares` (T, B, block), unless it's None, gets the sums of squares of what flows from step to step.
        """
        I, H = x.shape[2], h_0.shape[2]
        for part in prange(parts):
            weights = _weights_in(kind, packed, H, I, H)
            w_ih, w_hh, _, _ = _matrices(weights, parameters, I, H)
            pack_layer_backward(weights, w_ih, w_hh, dx is not None, part, parts)
        _begin_carry(carry, dh)
        run = sequences(x, h_0, y, c, gates, batch_first, direction, NO_OPTIONS)
        words, _ = shared_memory(_weights_in(kind, packed, H, I, H), run, loop_parts, in_threads())
        for part in prange(loop_parts):
            run = sequences(x, h_0, y, c, gates, batch_first, direction, NO_OPTIONS)
            flow = Flow(
                has_norms=1, norms=squares, limit=np.inf, max_norm=np.inf,
                factors=None, squares=None, beyond=None, largest=None,
            )  # fmt: skip
            d = Gradients(memory_of(dy), memory_of(dx), memory_of(dh), memory_of(carry), flow)
            backward_part(_weights_in(kind, packed, H, I, H), run, d, words, part, loop_parts)
        for part in prange(parts):
            weights = _weights_in(kind, packed, H, I, H)
            run = sequences(x, h_0, y, c, gates, batch_first, direction, NO_OPTIONS)
            summands, totals = Summands(None, parcels, True, True), Totals(*_matrices(weights, gradients, I, H))
            add_part(weights, run, made_slot(weights), summands, totals, memory, part, parts)
        if parcels > 1:
            for part in prange(parts):
                weights = _weights_in(kind, packed, H, I, H)
                run = sequences(x, h_0, y, c, gates, batch_first, direction, NO_OPTIONS)
                totals = Totals(*_matrices(weights, gradients, I, H))
                close_part(weights, run, parcels, totals, memory, part, parts)

    return Plain(infer, train, train_backward)


PLAIN: dict[type[Weights], Plain] = {kind: plain_kernels(kind) for kind in KINDS}
