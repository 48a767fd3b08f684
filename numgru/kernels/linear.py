"""A linear map of many rows.

The input's gradient is one, too. For the weights' gradient (weight_gradients.py) a linear layer is a recurrent layer
of one step without a state.

Shapes: N rows, K inputs, O outputs.

    x  (N, K)    packed  (block of O, K, LANES)
    y  (N, O)    start   (block of O, LANES): the bias, or zero
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numba import prange
from numpy.typing import NDArray

from ._jit import borrower, kernel, shared_kernel
from .blocks import blocks_in, lanes_of
from .cell import Cell
from .packing import pack_backward, pack_forward
from .threads import share
from .tiles import ROWS, WIDE, View, affine_tile


class LinearSlots(Cell):
    """What a unit's outputs keep: their gradient alone."""

    slots = 1
    input_slots = state_slots = (0,)
    stages = ()


class _PackedMatrix(NamedTuple):
    """Flat arrays."""

    packed: NDArray[Any]
    start: NDArray[Any]


class LinearWeights(_PackedMatrix):
    """Packed weights of a linear layer."""

    cell = LinearSlots  # which sums its gradients are


@borrower
def _affine_rows(weights, x, y, first, last):
    lanes = lanes_of(y)
    K, O = x.shape[1], y.shape[1]
    blocks = blocks_in(O, y)
    full = first + (last - first) // ROWS * ROWS
    even, wide = blocks // 2 * 2, blocks // WIDE * WIDE
    for i in range(first, full, ROWS):
        a = View(x, i * K, K, 0)
        for j in range(0, even, 2):
            s, w, out = _views(weights, y, i, j, K, O, lanes)
            affine_tile(s, a, K, w, out, O - j * lanes, ROWS, 2)
        for j in range(even, blocks):
            s, w, out = _views(weights, y, i, j, K, O, lanes)
            affine_tile(s, a, K, w, out, O - j * lanes, ROWS, 1)
    for i in range(full, last):
        a = View(x, i * K, K, 0)
        for j in range(0, wide, WIDE):
            s, w, out = _views(weights, y, i, j, K, O, lanes)
            affine_tile(s, a, K, w, out, O - j * lanes, 1, WIDE)
        for j in range(wide, blocks):
            s, w, out = _views(weights, y, i, j, K, O, lanes)
            affine_tile(s, a, K, w, out, O - j * lanes, 1, 1)


@borrower
def _views(weights, y, i, j, K, O, lanes):
    unit = j * lanes
    w = View(weights.packed, unit * K, lanes, lanes * K)
    return View(weights.start, unit, 0, lanes), w, View(y, i * O + unit, O, lanes)


@kernel
def pack_weight(weight, packed):
    """weight (O, K) for the outputs."""
    pack_forward(weight, (1,), packed, 0, 1)


@kernel
def pack_weight_backward(weight, packed):
    """The same for the input's gradient."""
    pack_backward(weight, packed, 0, 1)


@shared_kernel
def affine(weights, x, y, parts):
    """y = start + x w, in shares of the rows."""
    for part in prange(parts):
        first, last = share(x.shape[0], part, parts, ROWS)
        _affine_rows(weights, x, y, first, last)
