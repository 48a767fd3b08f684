"""Tokens as a recurrent layer's input: a column of the input's weights each, so nothing is multiplied.

Shapes: V tokens known, N examples (steps of sequences), G gates of the input, H hidden units, S slots a unit.

    table  (V, gate, H padded)   the sums that a token stands for: its column of the weights, and the biases
    gates  (rows, slot, H padded)
"""

from __future__ import annotations

from numba import prange

from ._jit import kernel, parallel_kernel, piece
from .cell import cell_slots
from .packing import blocks_in, lanes_of, pack_forward
from .recurrent import pack_biases


@kernel
def pack_weights_for_tokens(weights, w_ih, w_hh, b_ih, b_hh):
    """Weights for the forward pass, with the table in the place of the input's."""
    input_slots, state_slots, slots = cell_slots(weights)
    pack_forward(w_hh, len(state_slots), weights.state)
    pack_biases(weights, w_hh.shape[1], b_ih, b_hh)
    lanes, units = lanes_of(w_hh), w_hh.shape[1]
    padded = blocks_in(units, w_hh) * lanes
    for token in range(w_ih.shape[1]):
        for gate in range(len(input_slots)):
            row = weights.input[(token * len(input_slots) + gate) * padded :][:padded]
            for unit in range(units):
                block, lane = divmod(unit, lanes)
                bias = weights.bias[(block * slots + input_slots[gate]) * lanes + lane]
                row[unit] = w_ih[gate * units + unit, token] + bias
            row[units:] = 0


@piece
def _part(weights, gates, tokens, order, places, dw, part, parts):
    """A part's tokens: each token's sum is one chain, which goes on from what `dw` holds."""
    input_slots, _, slots = cell_slots(weights)
    units = dw.shape[0] // len(input_slots)
    padded = blocks_in(units, dw) * lanes_of(dw)
    sums = dw[:, 0].copy()
    first = 0
    while first < order.size:
        token, last = tokens[order[first]], first + 1
        while last < order.size and tokens[order[last]] == token:
            last += 1
        if token % parts == part:
            sums[:] = dw[:, token]
            for e in order[first:last]:
                for gate in range(len(input_slots)):
                    at = (places[e] * slots + input_slots[gate]) * padded
                    sum_, d = sums[gate * units : (gate + 1) * units], gates[at : at + units]
                    for unit in range(units):
                        sum_[unit] += d[unit]
            dw[:, token] = sums
        first = last


@kernel
def token_gradients(weights, gates, tokens, order, places, dw):
    """Add the gradients of the gates of each example to its token's column of dw (G H, V), on the calling thread.

    `order` has the examples token by token, and each token's in the order of summation; places[e] is an example's row
    of the gates.
    """
    _part(weights, gates, tokens, order, places, dw, 0, 1)


@parallel_kernel
def token_gradients_parallel(weights, gates, tokens, order, places, dw, parts):
    """The same in `parts` shares of the tokens."""
    for part in prange(parts):
        _part(weights, gates, tokens, order, places, dw, part, parts)
