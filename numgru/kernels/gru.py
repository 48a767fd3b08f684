"""The GRU cell: its equations, and right below them their derivatives.

Gates in the order r, z, n. Deep Learning Book, chapter 53; Cho et al. 2014, with the reset gate applied after the
recurrent product as in cuDNN and PyTorch. Shapes: everything here is one register of hidden units.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

from .activations import sigmoid, tanh
from .vectors import Vec


class GRUCell:
    """Slots of a unit: r, z, n and q. Forward they hold the gates, backward their gradients, in the same place."""

    slots = 4
    input_slots = (0, 1, 2)  # W_ir x, W_iz x, W_in x
    state_slots = (0, 1, 3)  # W_hr h, W_hz h, and q, which the reset gate multiplies before it joins n

    @staticmethod
    def step(sums: list[Vec], h: Vec) -> tuple[Vec, list[Vec]]:
        """The new state, and what the backward step needs."""
        r = sigmoid(sums[0])
        z = sigmoid(sums[1])
        q = sums[3]
        n = tanh(r.fma(q, sums[2]))
        return z.fma(h - n, n), [r, z, n, q]  # h' = (1 - z) n + z h

    @staticmethod
    def step_backward(dh: Vec, kept: list[Vec], h: Vec) -> tuple[Vec, list[Vec]]:
        """The part of dh that reaches h directly, and the gradients of the sums."""
        r, z, n, q = kept
        dz = dh * (h - n) * (z * (1.0 - z))  # h' = (1 - z) n + z h,  z = sigmoid(.)
        dn = dh * (1.0 - z) * (1.0 - n * n)  # h' = (1 - z) n + z h,  n = tanh(. + r q)
        dr = dn * q * (r * (1.0 - r))  # n = tanh(. + r q),  r = sigmoid(.)
        dq = dn * r  # n = tanh(. + r q)
        return dh * z, [dr, dz, dn, dq]


class GRUWeights(NamedTuple):
    """Packed weights of a GRU, flat; the type tells the tiles which cell they compute."""

    input: NDArray[Any]  # (block, I, 3, LANES); backward (block of I, 3, H, LANES)
    state: NDArray[Any]  # (block, H, 3, LANES); backward (block of H, 3, H, LANES)
    bias: NDArray[Any]  # (block, 4, LANES): b_ir + b_hr, b_iz + b_hz, b_in, b_hn

    @staticmethod
    def cell() -> type[GRUCell]:
        """The cell's equations."""
        return GRUCell
