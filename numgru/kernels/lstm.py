"""The LSTM's cell: its equations, and right below them its derivatives.

Gates in the order i, f, g, o. Hochreiter and Schmidhuber 1997, Gers et al. 2000.
Shapes: everything here is one register of hidden units.
"""

from __future__ import annotations

from .activations import sigmoid, tanh
from .cell import Cell, Slots, Stage, Weights
from .vectors import Vec

I, F, G, O = 0, 1, 2, 3  # slots: forward they hold the gates, backward their gradients, in the same place


class LSTMCell(Cell):
    """Its second state, c, is what the gates write, keep and show; no weight multiplies it."""

    slots = 4
    gates, candidates, keeping = "ifgo", "g", "f"
    states = 2
    input_slots = state_slots = (I, F, G, O)

    @staticmethod
    def step(sums: Slots, h: Vec, c: Vec) -> tuple[Vec, Slots, Vec]:
        """The new h, what the backward step needs, and the new c."""
        i, f, o = (sigmoid(sums[slot]) for slot in (I, F, O))
        g = tanh(sums[G])
        c = f.fma(c, i * g)
        return o * tanh(c), {I: i, F: f, G: g, O: o}, c  # h' = o tanh(c'),  c' = f c + i g

    @staticmethod
    def step_backward(dh: Vec, kept: Slots, h: Vec, dc: Vec, c: Vec) -> tuple[None, Slots, Vec]:
        """Nothing reaches h directly; the gradients of the sums, and the one of c."""
        i, f, g, o = (kept[slot] for slot in (I, F, G, O))
        shown = tanh(f.fma(c, i * g))
        dc = (dh * o).fma(1.0 - shown * shown, dc)  # h' = o tanh(c')
        do = dh * shown * (o * (1.0 - o))  # h' = o tanh(c'),  o = sigmoid(.)
        di = dc * g * (i * (1.0 - i))  # c' = f c + i g,  i = sigmoid(.)
        df = dc * c * (f * (1.0 - f))  # c' = f c + i g,  f = sigmoid(.)
        dg = dc * i * (1.0 - g * g)  # c' = f c + i g,  g = tanh(.)
        return None, {I: di, F: df, G: dg, O: do}, dc * f

    stages = (Stage((0, 1, 2, 3), step, step_backward),)


class LSTMWeights(Weights):
    """Packed weights of an LSTM."""

    cell = LSTMCell
