"""What all are given: the same weights, sequence and upstream gradient.

Shapes: B batch, T time, I input, H hidden, L layers, D directions, G gates. Weights are as PyTorch stores them,
gates in the order r, z, n or i, f, g, o.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..workload import Shape, input_of

Array = NDArray[np.float32]

# Sizes that fill no register, and the nearest ones that do with 16 lanes.
ROUNDED = {
    Shape(7, 33, 13, 50): Shape(8, 33, 16, 48),
    Shape(3, 1000, 5, 17): Shape(3, 1000, 16, 16),
}


def beside(shape: Shape) -> Shape | None:
    """What numgru's own time is set beside: sizes rounded, full sequences, the usual reset, vectors for tokens."""
    if shape.tokens:
        return shape._replace(tokens=False, one_hot=True)
    if shape.ragged or shape.reset_before:
        return shape._replace(ragged=False, reset_before=False)
    return ROUNDED.get(shape)


class Weights(NamedTuple):
    """Of a layer's direction: W_ih (G H, I or D H), W_hh (G H, H), b_ih (G H), b_hh (G H)."""

    w_ih: Any
    w_hh: Any
    b_ih: Any
    b_hh: Any


class Problem(NamedTuple):
    shape: Shape
    weights: list[Weights]  # by layer and direction
    x: Array  # (T, B, I); tokens (T, B)
    h_0: Array  # (L D, B, H); of an LSTM h and c, (2, L D, B, H)
    dy: Array  # (T, B, D H)

    @classmethod
    def of(cls, shape: Shape) -> Problem:
        """The same numbers in every process."""
        B, T, _, H = shape[:4]
        D, widths, units = shape.directions, shape.widths, shape.gates * H
        rng = np.random.default_rng(0)

        def uniform(*size: int) -> Array:
            return rng.uniform(-(H**-0.5), H**-0.5, size).astype(np.float32)

        def normal(*size: int) -> Array:
            return rng.standard_normal(size, dtype=np.float32)

        weights = [Weights(uniform(units, n), uniform(units, H), uniform(units), uniform(units)) for n in widths]
        x, states = input_of(shape, rng), (2,) if shape.cell == "LSTM" else ()
        return cls(shape, weights, x, normal(*states, len(widths), B, H), normal(T, B, D * H))

    def like_y(self, array: Any) -> Array:
        """As NumPy's, a copy in numgru's layout: ONNX has (T, D, B, H)."""
        y = np.array(array, np.float32)
        return (y.swapaxes(1, 2) if y.ndim == 4 else y).reshape(self.dy.shape)

    def like_h_n(self, array: Any) -> Array:
        return np.array(array, np.float32).reshape(self.h_0.shape)
