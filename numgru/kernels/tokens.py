"""Tokens as a recurrent layer's input: a column of the input's weights each, so nothing is multiplied.

Shapes: V tokens known, N examples (steps of sequences), G gates of the input, H hidden units, S slots a unit.

    table, sums   (V, gate, H padded)     the sums that a token stands for: its column of the weights, and the biases;
                                          and their gradients
    gates         (rows, slot, H padded)
"""

from __future__ import annotations

import numpy as np
from numba import prange

from ._jit import borrower, kernel, piece, shared_kernel
from .blocks import blocks_in, lanes_of
from .cell import cell_slots, gate_panels
from .examples import Parcel, examples_of, next_step_and_row, place_of_example, step_and_row
from .packing import pack_biases, pack_forward
from .sequences import NO_OPTIONS, sequences
from .tiles import View, add_transposed, transpose_tile


@borrower
def _add_row(total, row):
    for i in range(total.size):
        total[i] += row[i]


@kernel
def pack_weights_for_tokens(weights, w_ih, w_hh, b_ih, b_hh, tokens):
    """Weights for the forward pass, with the table in the place of the input's: its rows for these tokens."""
    input_slots, _, slots = cell_slots(weights)
    pack_forward(w_hh, gate_panels(weights), weights.state, 0, 1)
    pack_biases(weights, w_hh.shape[1], b_ih, b_hh)
    lanes, units, V = lanes_of(w_hh), w_hh.shape[1], w_ih.shape[1]
    padded, gates, flat_w = blocks_in(units, w_hh) * lanes, len(input_slots), w_ih.ravel()
    width = gates * padded
    wanted = np.zeros(V + lanes, np.bool_)
    for token in tokens:
        wanted[token] = True
    bias = np.empty(width, w_ih.dtype)
    for gate in range(gates):
        for unit in range(0, units, lanes):
            at = (unit * slots // lanes + input_slots[gate]) * lanes
            for lane in range(lanes):
                bias[gate * padded + unit + lane] = weights.bias[at + lane]
            for token in range(0, V, lanes):
                if wanted[token : token + lanes].any():
                    columns = View(flat_w, (gate * units + unit) * V + token, V, 0)
                    rows = View(weights.input, token * width + gate * padded + unit, width, 0)
                    transpose_tile(columns, units - unit, V - token, rows)
    for token in range(V):
        if wanted[token]:
            _add_row(weights.input[token * width : (token + 1) * width], bias)


@piece
def _part(weights, run, gates, examples, sums, seen, dw, opens, closes, part, parts):
    """A part's blocks of LANES tokens."""
    input_slots, _, slots = cell_slots(weights)
    n_gates, V, lanes = len(input_slots), dw.shape[1], lanes_of(dw)
    padded, flat_dw = blocks_in(run.H, dw) * lanes, dw.ravel()
    width = n_gates * padded
    if opens:
        for token in range(part * lanes, V, parts * lanes):
            seen[token : token + lanes] = False
    all_rows = Parcel(examples_of(run, examples), 0, 0, run.B)
    following = step_and_row(run, all_rows, 0)
    for e in range(all_rows.N):
        t, i = following
        following = next_step_and_row(all_rows, t, i)
        input_at, _, gates_at = place_of_example(run, examples, slots * padded, e, t, i)
        token = run.x[input_at]
        if token // lanes % parts != part:
            continue
        if not seen[token]:
            seen[token] = True
            sums[token * width : (token + 1) * width] = 0
        for gate in range(n_gates):
            at, to = gates_at + input_slots[gate] * padded, token * width + gate * padded
            _add_row(sums[to : to + padded], gates[at : at + padded])
    if not closes:
        return
    for first in range(part * lanes, V, parts * lanes):
        if seen[first : first + lanes].any():
            for token in range(first, min(first + lanes, V)):
                if not seen[token]:
                    sums[token * width : (token + 1) * width] = 0
    for gate in range(n_gates):
        for unit in range(0, run.H, lanes):
            for first in range(part * lanes, V, parts * lanes):
                if seen[first : first + lanes].any():
                    rows = View(sums, first * width + gate * padded + unit, width, 0)
                    columns = View(flat_dw, (gate * run.H + unit) * V + first, V, 0)
                    add_transposed(rows, run.H - unit, V - first, columns)


@shared_kernel
def token_gradients(
    weights, x, h_0, y, gates, examples, sums, seen, dw, batch_first, direction, opens, closes, parts
):  # fmt: skip
    """Add the gradients of each example's gates to its token's sums, and the sums to columns of dw (G H, V).

    In shares of the tokens. The call that `opens` the sums forgets those before (`seen` (V,) says which); the one that
    `closes` them adds them to dw. Examples and their order are those of examples.py, of all rows.
    """
    for part in prange(parts):
        run = sequences(x, h_0, y, None, None, batch_first, direction, NO_OPTIONS)
        _part(weights, run, gates, examples, sums, seen, dw, opens, closes, part, parts)
