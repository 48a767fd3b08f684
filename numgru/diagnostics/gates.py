"""What gates do: where they stand, which of them are stuck, and for how long they keep a state.

Shapes: T steps, B batch, H hidden.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._types import Float64Array
from ..kernels.cell import Cell
from ..layers.recurrent import Recurrent

BINS = 20


@dataclass(frozen=True)
class GateStatistics:
    """Of one gate of one layer, over all steps and sequences.

    Attributes
    ----------
    name : str
        As r_l0.
    mean : ndarray, shape (H,)
    histogram : ndarray of int, shape (20,)
        Over `range`, in bins of one width.
    range : tuple of two floats
        0 to 1, or of a candidate -1 to 1.
    saturated_low, saturated_high : float
        The share within `margin` of the range's lower end, and of its upper end.
    frozen : ndarray of int
        Units that stand at one end at every step.
    memory : ndarray, shape (H,), or None
        In steps: how long a gate that keeps the state remembers. None of another gate.
    """

    name: str
    mean: Float64Array
    histogram: NDArray[np.int64]
    range: tuple[float, float]
    saturated_low: float
    saturated_high: float
    frozen: NDArray[np.intp]
    memory: Float64Array | None


@dataclass(frozen=True)
class LayerStatistics:
    """Of all gates of a layer.

    Attributes
    ----------
    gates : dict of str to GateStatistics
        By name and layer, as r_l0.
    dead : dict of str to ndarray of int
        Of the last layer, by direction, as l0: the units whose output never changes.
    """

    gates: dict[str, GateStatistics]
    dead: dict[str, NDArray[np.intp]]


def gate_statistics(layer: Recurrent, x: ArrayLike, *, margin: float = 0.05) -> LayerStatistics:
    """Where a layer's gates stand for an input.

    This is no part of a training's step: it's a forward pass of its own, and takes at least as long as one.

    Parameters
    ----------
    layer : GRU, LSTM or RNN
        It runs `forward`, so a backward pass that is due must come before. Dropout and zoneout are drawn as in
        training, and go on as if they hadn't been; set them to zero before to look at the gates without.
    x : array_like
        Sequences of one length, as for a call.
    margin : float
        How near to an end of its range a gate is saturated, as a share of the range; above 0 and below 0.5.

    Returns
    -------
    LayerStatistics
        A unit's memory is 1 / (1 - mean) steps, with the mean of its update gate z (GRU) or forget gate f (LSTM): what
        a state that decays by that share a step sums up to. It's infinite for a mean of 1. A unit is dead if its output
        is the same at every step of every sequence.

    Raises
    ------
    ValueError
        For a margin outside its range, or what a call of the layer raises.
    TypeError
        For something else than a recurrent layer.
    """
    if not isinstance(layer, Recurrent):
        raise TypeError(f"layer: expected a GRU, LSTM or RNN, got {type(layer).__name__}")
    _check.number("margin", margin, "a number above 0 and below 0.5", lambda m: 0 < m < 0.5)
    _check.not_listed("x", x)
    before = layer.random_state, layer.checkpoint_every
    layer.checkpoint_every = None  # which keeps no gates
    try:
        y, _ = layer.forward(x)
        gates = layer.gates
    finally:
        layer.random_state, layer.checkpoint_every = before
        layer._training = None  # no backward pass is to follow
    H, last = layer.hidden_size, f"l{layer.num_layers - 1}"
    outputs = {last: y[..., :H]} | ({f"{last}_reverse": y[..., H:]} if layer.bidirectional else {})
    return LayerStatistics(
        {name: _of_gate(layer._kind.cell, name, values, margin) for name, values in gates.items()},
        {place: np.flatnonzero(np.ptp(output.reshape(-1, H), axis=0) == 0) for place, output in outputs.items()},
    )


def _of_gate(cell: type[Cell], name: str, values: NDArray[np.floating], margin: float) -> GateStatistics:
    gate = name[0]
    low, high = (-1.0, 1.0) if gate in cell.candidates else (0.0, 1.0)
    flat = values.reshape(-1, values.shape[-1]).astype(np.float64)
    near = margin * (high - low)
    at_low, at_high = flat <= low + near, flat >= high - near
    mean = flat.mean(axis=0)
    with np.errstate(divide="ignore"):
        memory = 1 / (1 - mean) if gate in cell.keeping else None
    return GateStatistics(
        name=name,
        mean=mean,
        histogram=np.histogram(flat, BINS, (low, high))[0],
        range=(low, high),
        saturated_low=float(at_low.mean()),
        saturated_high=float(at_high.mean()),
        frozen=np.flatnonzero(at_low.all(axis=0) | at_high.all(axis=0)),
        memory=memory,
    )
