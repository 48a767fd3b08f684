"""What all are given: the same weights, sequence and upstream gradient.

Shapes: B batch, T time, I input, H hidden. Weights are as PyTorch stores them, gates in the order r, z, n.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..workload import Shape

Array = NDArray[np.float32]

# Sizes that fill no register, and the next larger ones that do with 16 lanes.
ROUNDED = {
    Shape(7, 33, 13, 50): Shape(8, 33, 16, 64),
    Shape(3, 1000, 5, 17): Shape(3, 1000, 16, 32),
}


class Weights(NamedTuple):
    """W_ih (3H, I), W_hh (3H, H), b_ih (3H), b_hh (3H)."""

    w_ih: Any
    w_hh: Any
    b_ih: Any
    b_hh: Any


class Problem(NamedTuple):
    shape: Shape
    weights: Weights
    x: Array  # (T, B, I)
    h_0: Array  # (1, B, H)
    dy: Array  # (T, B, H)

    @classmethod
    def of(cls, shape: Shape) -> Problem:
        """The same numbers in every process."""
        B, T, I, H = shape
        rng = np.random.default_rng(0)

        def uniform(*size: int) -> Array:
            return rng.uniform(-(H**-0.5), H**-0.5, size).astype(np.float32)

        def normal(*size: int) -> Array:
            return rng.standard_normal(size, dtype=np.float32)

        weights = Weights(uniform(3 * H, I), uniform(3 * H, H), uniform(3 * H), uniform(3 * H))
        return cls(shape, weights, normal(T, B, I), normal(1, B, H), normal(T, B, H))

    def like_y(self, array: Any) -> Array:
        """As NumPy's, a copy in numgru's layout: some libraries keep an axis of one direction."""
        return np.array(array, np.float32).reshape(self.dy.shape)

    def like_h_n(self, array: Any) -> Array:
        return np.array(array, np.float32).reshape(self.h_0.shape)
