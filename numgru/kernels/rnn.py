"""The plain recurrent cells, with tanh and with max(., 0): their equations, and right below them their derivatives.

Deep Learning Book, chapter 51; Elman 1990. Shapes: everything here is one register of hidden units.
"""

from __future__ import annotations

from .activations import relu, relu_slope, tanh
from .cell import Cell, Slots, Stage, Weights
from .vectors import Vec


class TanhCell(Cell):
    """The slot holds the new state itself, which zoneout may keep out of y."""

    slots = 1
    input_slots = state_slots = (0,)

    @staticmethod
    def step(sums: Slots, h: Vec) -> tuple[Vec, Slots]:
        """The new state, and what the backward step needs."""
        h = tanh(sums[0])
        return h, {0: h}

    @staticmethod
    def step_backward(dh: Vec, kept: Slots, h: Vec) -> tuple[None, Slots]:
        """Nothing reaches h directly; the gradient of the sum."""
        h = kept[0]
        return None, {0: dh * (1.0 - h * h)}  # h' = tanh(.)

    stages = (Stage((0,), step, step_backward),)


class ReluCell(Cell):
    """The same with max(., 0), of which the derivative at 0 is 0."""

    slots = 1
    input_slots = state_slots = (0,)

    @staticmethod
    def step(sums: Slots, h: Vec) -> tuple[Vec, Slots]:
        """The new state, and what the backward step needs."""
        h = relu(sums[0])
        return h, {0: h}

    @staticmethod
    def step_backward(dh: Vec, kept: Slots, h: Vec) -> tuple[None, Slots]:
        """Nothing reaches h directly; the gradient of the sum."""
        return None, {0: dh * relu_slope(kept[0])}  # h' = max(., 0)

    stages = (Stage((0,), step, step_backward),)


class TanhWeights(Weights):
    """Packed weights of a layer with tanh."""

    cell = TanhCell


class ReluWeights(Weights):
    """The same with max(., 0)."""

    cell = ReluCell
