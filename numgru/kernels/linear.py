"""A linear map of many rows, and below it its weight gradient. The input's gradient is a linear map itself.

Shapes: N rows, K inputs, O outputs.

    x, dx    (N, K)                  y, dy  (N, O)
    packed   (block of O, K, LANES)  start  (block of O, LANES): the bias, or zero
    dw       (O, K)
"""

from __future__ import annotations

from numba import prange

from ._jit import kernel, parallel_kernel, piece
from .packing import blocks_in, lanes_of
from .threads import share
from .tiles import ROWS, WIDE, View, affine_tile, gradient_tile

EXAMPLES = 256  # of a pass over dw, so that the rows of dy stay in the first-level cache


@piece
def _affine_rows(x, packed, start, y, first, last):
    lanes = lanes_of(y)
    K, O = x.shape[1], y.shape[1]
    flat_x, flat_y = x.ravel(), y.ravel()
    blocks = blocks_in(O, y)
    full = first + (last - first) // ROWS * ROWS
    even, wide = blocks // 2 * 2, blocks // WIDE * WIDE
    for i in range(first, full, ROWS):
        a = View(flat_x, i * K, K, 0)
        for j in range(0, even, 2):
            s, w, out = _views(packed, start, flat_y, i, j, K, O, lanes)
            affine_tile(s, a, K, w, out, O - j * lanes, ROWS, 2)
        for j in range(even, blocks):
            s, w, out = _views(packed, start, flat_y, i, j, K, O, lanes)
            affine_tile(s, a, K, w, out, O - j * lanes, ROWS, 1)
    for i in range(full, last):
        a = View(flat_x, i * K, K, 0)
        for j in range(0, wide, WIDE):
            s, w, out = _views(packed, start, flat_y, i, j, K, O, lanes)
            affine_tile(s, a, K, w, out, O - j * lanes, 1, WIDE)
        for j in range(wide, blocks):
            s, w, out = _views(packed, start, flat_y, i, j, K, O, lanes)
            affine_tile(s, a, K, w, out, O - j * lanes, 1, 1)


@piece
def _views(packed, start, flat_y, i, j, K, O, lanes):
    unit = j * lanes
    w = View(packed, unit * K, lanes, lanes * K)
    return View(start, unit, 0, lanes), w, View(flat_y, i * O + unit, O, lanes)


@kernel
def affine(x, packed, start, y):
    """y = start + x w for all rows, on the calling thread."""
    _affine_rows(x, packed, start, y, 0, x.shape[0])


@parallel_kernel
def affine_parallel(x, packed, start, y, parts):
    """The same in `parts` shares of the rows."""
    for part in prange(parts):
        first, last = share(x.shape[0], part, parts, ROWS)
        _affine_rows(x, packed, start, y, first, last)


@piece
def _gradient_part(dy, x, dw, part, parts):
    """A part's share of dw; dy's rows are padded with zeros to a multiple of the tile's height."""
    lanes = lanes_of(x)
    tall = min(ROWS, lanes)
    N, K = x.shape
    O, padded = dw.shape[0], dy.shape[1]
    flat_dy, flat_x, flat_dw = dy.ravel(), x.ravel(), dw.ravel()
    columns = (blocks_in(K, x) + 1) // 2
    first, last = share(padded // tall * columns, part, parts, 1)
    for example in range(0, N, EXAMPLES):
        inner = min(EXAMPLES, N - example)
        for tile in range(first, last):
            row, column = tile // columns * tall, tile % columns * 2 * lanes
            da = View(flat_dy, example * padded + row, padded, 0)
            a = View(flat_x, example * K + column, K, 0)
            out = View(flat_dw, row * K + column, K, lanes)
            if K - column > lanes:
                gradient_tile(out, O - row, K - column, da, a, 1, inner, 2)
            else:
                gradient_tile(out, O - row, K - column, da, a, 1, inner, 1)


@kernel
def weight_gradient(dy, x, dw):
    """Add dy^T x to dw, on the calling thread."""
    _gradient_part(dy, x, dw, 0, 1)


@parallel_kernel
def weight_gradient_parallel(dy, x, dw, parts):
    """The same in `parts` shares of the weights."""
    for part in prange(parts):
        _gradient_part(dy, x, dw, part, parts)
