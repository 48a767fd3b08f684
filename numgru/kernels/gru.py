"""The GRU's cells: their equations, and right below them their derivatives.

Gates in the order r, z, n. Deep Learning Book, chapter 53; Cho et al. 2014. Shapes: everything here is one register of
hidden units.
"""

from __future__ import annotations

from .activations import sigmoid, tanh
from .cell import Cell, Slots, Stage, Weights
from .vectors import Vec

R, Z, N, Q, P = 0, 1, 2, 3, 3  # slots: forward they hold the gates, backward their gradients, in the same place


class GRUCell(Cell):
    """The reset gate is applied after the recurrent product, as in cuDNN and PyTorch."""

    slots = 4
    gates, candidates, keeping = "rzn", "n", "z"
    input_slots = (R, Z, N)  # W_ir x, W_iz x, W_in x
    state_slots = (R, Z, Q)  # W_hr h, W_hz h, and q, which the reset gate multiplies before it joins n

    @staticmethod
    def step(sums: Slots, h: Vec) -> tuple[Vec, Slots]:
        """The new state, and what the backward step needs."""
        r = sigmoid(sums[R])
        z = sigmoid(sums[Z])
        q = sums[Q]
        n = tanh(r.fma(q, sums[N]))
        return z.fma(h - n, n), {R: r, Z: z, N: n, Q: q}  # h' = (1 - z) n + z h

    @staticmethod
    def step_backward(dh: Vec, kept: Slots, h: Vec) -> tuple[Vec, Slots]:
        """The part of dh that reaches h directly, and the gradients of the sums."""
        r, z, n, q = (kept[slot] for slot in (R, Z, N, Q))
        dz = dh * (h - n) * (z * (1.0 - z))  # h' = (1 - z) n + z h,  z = sigmoid(.)
        dn = dh * (1.0 - z) * (1.0 - n * n)  # h' = (1 - z) n + z h,  n = tanh(. + r q)
        dr = dn * q * (r * (1.0 - r))  # n = tanh(. + r q),  r = sigmoid(.)
        dq = dn * r  # n = tanh(. + r q)
        return dh * z, {R: dr, Z: dz, N: dn, Q: dq}

    stages = (Stage((0, 1, 2), step, step_backward),)


class ResetBeforeCell(Cell):
    """The reset gate is applied to the state, before the recurrent product: n sums over p = r h.

    p keeps its place while the other slots get their gradients: it's what the weights' gradient needs.
    """

    slots = 4
    gates, candidates, keeping = "rzn", "n", "z"
    input_slots = state_slots = (R, Z, N)

    @staticmethod
    def reset(sums: Slots, h: Vec) -> tuple[Vec, Slots]:
        """p, and the gates."""
        r = sigmoid(sums[R])
        z = sigmoid(sums[Z])
        return r * h, {R: r, Z: z}

    @staticmethod
    def reset_backward(dp: Vec, kept: Slots, h: Vec) -> tuple[Vec, Slots]:
        """The part of dp that reaches h directly, and the gradient of r's sum."""
        r = kept[R]
        dr = dp * h * (r * (1.0 - r))  # p = r h,  r = sigmoid(.)
        return dp * r, {R: dr}  # p = r h

    @staticmethod
    def step(sums: Slots, h: Vec) -> tuple[Vec, Slots]:
        """The new state, and the candidate."""
        z, n = sums[Z], tanh(sums[N])
        return z.fma(h - n, n), {N: n}  # h' = (1 - z) n + z h

    @staticmethod
    def step_backward(dh: Vec, kept: Slots, h: Vec) -> tuple[Vec, Slots]:
        """The part of dh that reaches h directly, and the gradients of z's and n's sums."""
        z, n = kept[Z], kept[N]
        dz = dh * (h - n) * (z * (1.0 - z))  # h' = (1 - z) n + z h,  z = sigmoid(.)
        dn = dh * (1.0 - z) * (1.0 - n * n)  # h' = (1 - z) n + z h,  n = tanh(.)
        return dh * z, {Z: dz, N: dn}

    stages = (Stage((0, 1), reset, reset_backward, makes=P), Stage((2,), step, step_backward))


class GRUWeights(Weights):
    """Packed weights of a GRU; its biases are b_ir + b_hr, b_iz + b_hz, b_in and b_hn."""

    cell = GRUCell


class ResetBeforeWeights(Weights):
    """The same for a reset gate before the product; p has a bias of zero."""

    cell = ResetBeforeCell
