"""Tokens as a recurrent layer's input: a column of the input's weights each, so nothing is multiplied.

Shapes: V tokens known, N examples (steps of sequences), G gates of the input, H hidden units, S slots a unit.

    table, sums   (V, gate, H padded)     the sums that a token stands for: its column of the weights, and the biases;
                                          and their gradients
    gates         (rows, slot, H padded)
"""

from __future__ import annotations

from numba import prange

from ._jit import kernel, parallel_kernel, piece
from .cell import cell_slots, gate_panels
from .packing import blocks_in, lanes_of, pack_forward
from .recurrent import pack_biases
from .tiles import View, add_transposed, transpose_tile


@kernel
def pack_weights_for_tokens(weights, w_ih, w_hh, b_ih, b_hh):
    """Weights for the forward pass, with the table in the place of the input's."""
    input_slots, _, slots = cell_slots(weights)
    pack_forward(w_hh, gate_panels(weights), weights.state)
    pack_biases(weights, w_hh.shape[1], b_ih, b_hh)
    lanes, units, V = lanes_of(w_hh), w_hh.shape[1], w_ih.shape[1]
    padded, gates, flat_w = blocks_in(units, w_hh) * lanes, len(input_slots), w_ih.ravel()
    for gate in range(gates):
        for unit in range(0, units, lanes):
            at = (unit * slots // lanes + input_slots[gate]) * lanes
            bias = weights.bias[at : at + lanes]
            for token in range(0, V, lanes):
                columns = View(flat_w, (gate * units + unit) * V + token, V, 0)
                rows = View(weights.input, (token * gates + gate) * padded + unit, gates * padded, 0)
                transpose_tile(columns, units - unit, V - token, rows)
            for token in range(V):
                at = (token * gates + gate) * padded + unit
                row = weights.input[at : at + lanes]
                for lane in range(lanes):
                    row[lane] += bias[lane]


@piece
def _part(weights, gates, tokens, order, places, sums, seen, dw, opens, closes, part, parts):
    """A part's blocks of LANES tokens."""
    input_slots, _, slots = cell_slots(weights)
    n_gates, V, lanes = len(input_slots), dw.shape[1], lanes_of(dw)
    units = dw.shape[0] // n_gates
    padded, flat_dw = blocks_in(units, dw) * lanes, dw.ravel()
    width = n_gates * padded
    if opens:
        for token in range(part * lanes, V, parts * lanes):
            seen[token : token + lanes] = False
    for e in order:
        token = tokens[e]
        if token // lanes % parts != part:
            continue
        if not seen[token]:
            seen[token] = True
            sums[token * width : (token + 1) * width] = 0
        for gate in range(n_gates):
            at = (places[e] * slots + input_slots[gate]) * padded
            row, d = sums[token * width + gate * padded :][:padded], gates[at : at + padded]
            for unit in range(padded):
                row[unit] += d[unit]
    for first in range(part * lanes, V if closes else 0, parts * lanes):
        last = min(first + lanes, V)
        if seen[first:last].any():
            for token in range(first, last):
                if not seen[token]:
                    sums[token * width : (token + 1) * width] = 0
            for gate in range(n_gates):
                for unit in range(0, units, lanes):
                    rows = View(sums, first * width + gate * padded + unit, width, 0)
                    columns = View(flat_dw, (gate * units + unit) * V + first, V, 0)
                    add_transposed(rows, units - unit, V - first, columns)


@kernel
def token_gradients(weights, gates, tokens, order, places, sums, seen, dw, opens, closes):
    """Add the gradients of each example's gates to its token's sums, and the sums to columns of dw (G H, V).

    `order` has the examples in the order of summation; places[e] is an example's row of the gates. The call that
    `opens` the sums forgets those before (`seen` (V,) says which); the one that `closes` them adds them to dw.
    """
    _part(weights, gates, tokens, order, places, sums, seen, dw, opens, closes, 0, 1)


@parallel_kernel
def token_gradients_parallel(weights, gates, tokens, order, places, sums, seen, dw, opens, closes, parts):
    """The same in `parts` shares of the tokens."""
    for part in prange(parts):
        _part(weights, gates, tokens, order, places, sums, seen, dw, opens, closes, part, parts)
