"""Weights in the order in which the tiles read them, padded with zeros to whole registers.

Shapes: K numbers summed over, U units in `blocks` = ceil(U / LANES) blocks, G gates, T time, B batch.
"""

from __future__ import annotations

from ._jit import borrower, kernel
from .blocks import lanes_of
from .cell import cell_slots, gate_panels
from .threads import share
from .tiles import View, copy_tile, transpose_tile

TOGETHER = 4  # blocks that are read together along a row: one alone would be read from a page of its own each time


@borrower
def pack_forward(w, panels, packed, part, parts):
    """A part's share of w (G U, K), one gate's units after the other, to (block, panel, k, gate, lane).

    `panels` says how many gates each panel has: those that a loop over k takes at once.
    """
    lanes = lanes_of(packed)
    gates = sum(panels)
    units, depth = w.shape[0] // gates, w.shape[1]
    begin, end = share((units + lanes - 1) // lanes, part, parts, 1)
    for block in range(begin, end):
        unit, first = block * lanes, 0
        for count in panels:
            for gate in range(count):
                for k in range(0, depth, lanes):
                    rows = View(w, ((first + gate) * units + unit) * depth + k, depth, 0)
                    at = (block * gates + first) * depth + k * count + gate
                    transpose_tile(rows, units - unit, depth - k, View(packed, at * lanes, count * lanes, 0))
            first += count


@borrower
def pack_backward(w, packed, part, parts):
    """The same of w (R, K), read along its rows: to (block of K, row, lane)."""
    lanes = lanes_of(packed)
    rows, width = w.shape
    begin, end = share((width + lanes - 1) // lanes, part, parts, 1)
    for first in range(begin, end, TOGETHER):
        for row in range(rows):
            for block in range(first, min(first + TOGETHER, end)):
                at = View(packed, (block * rows + row) * lanes, 0, 0)
                copy_tile(View(w, row * width + block * lanes, 0, 0), width - block * lanes, at)


@borrower
def pack_layer(weights, w_ih, w_hh, b_ih, b_hh, part, parts):
    """A part's share of a recurrent layer's weights for the forward pass; empty biases are zero."""
    pack_forward(w_ih, gate_panels(weights), weights.input, part, parts)
    pack_forward(w_hh, gate_panels(weights), weights.state, part, parts)
    if part == 0:
        pack_biases(weights, w_hh.shape[1], b_ih, b_hh)


@borrower
def pack_biases(weights, units, b_ih, b_hh):
    """Both biases' sums, by slot; empty ones are zero."""
    input_slots, state_slots, slots = cell_slots(weights)
    lanes = lanes_of(weights.bias)
    weights.bias[:] = 0
    for bias, bias_slots in ((b_ih, input_slots), (b_hh, state_slots)):
        for gate in range(bias.size // units):
            slot = bias_slots[gate]
            for unit in range(units):
                block, lane = divmod(unit, lanes)
                weights.bias[(block * slots + slot) * lanes + lane] += bias[gate * units + unit]


@borrower
def pack_layer_backward(weights, w_ih, w_hh, need_dx, part, parts):
    """The same for the backward pass, which knows no biases."""
    pack_backward(w_hh, weights.state, part, parts)
    if need_dx:
        pack_backward(w_ih, weights.input, part, parts)


@kernel
def same_bits(a, b):
    """Whether two flat buffers of integers are equal."""
    step = 4096
    for start in range(0, a.size, step):
        one, other = a[start : start + step], b[start : start + step]  # indices from zero let LLVM vectorise
        different = one[0] ^ other[0]
        for i in range(one.size):
            different |= one[i] ^ other[i]
        if different:
            return False
    return True
