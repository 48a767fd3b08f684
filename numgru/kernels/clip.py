"""What clipping needs: a sum of squares, a count, a scaling, a clamp. Shapes: `x` is (N,)."""

from __future__ import annotations

import numpy as np

from ._jit import kernel
from .loss import LANES


@kernel
def sum_of_squares(x, scale):
    """Sum of (scale x)^2 in float64, its order fixed."""
    sums = np.zeros(LANES)
    for start in range(0, x.size, LANES):
        block = x[start : start + LANES]
        for lane in range(block.size):
            value = np.float64(block[lane]) * scale
            sums[lane] += value * value
    return sums.sum()


@kernel
def count_beyond(x, limit):
    """How many x are not within -limit .. limit; a NaN is not."""
    count = 0
    for i in range(x.size):
        count += not abs(x[i]) <= limit
    return count


@kernel
def multiply(x, factor):
    """In place x *= factor, a float64; rounded once."""
    for i in range(x.size):
        x[i] = np.float64(x[i]) * factor


@kernel
def clamp(x, limit):
    """In place x = min(max(x, -limit), limit)."""
    for i in range(x.size):
        x[i] = limit if x[i] > limit else (-limit if x[i] < -limit else x[i])
