"""How a gradient grows or vanishes on its way back through time.

Shapes: T steps, B batch, L layers, D directions, H hidden.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _check
from .._types import Float64Array
from ..layers._calls import checked
from ..layers.recurrent import Recurrent


class Growth(NamedTuple):
    """How the state's Jacobian grows over a lag of 0 .. T - 1 steps.

    Attributes
    ----------
    growth : ndarray, shape (L D, T)
        By lag: the root of the mean square of J's singular values.
    error : ndarray, shape (L D, T)
        Its standard error.
    """

    growth: Float64Array
    error: Float64Array


def jacobian_growth(layer: Recurrent, x: ArrayLike, *, draws: int = 16, seed: int = 0) -> Growth:
    """Estimate the size of J = dh_T / dh_{T - lag}, the product of the steps' Jacobians, for every lag.

    This is what vanishes or explodes (Pascanu et al. 2013): a gradient of the state after the last step is multiplied
    with J on its way to an earlier one. The mean of |J^T v|^2 over random directions v with |v|^2 = n, the number of
    states, is the sum of the squares of J's singular values (Hutchinson's estimate of the trace of J J^T), so no
    Jacobian is ever built: every draw is a row of one batch, and one backward pass for each layer and direction gives
    all lags.

    This is no part of a training's step: for each layer and direction it's a forward and a backward pass of its own,
    with B times `draws` rows, and takes as long. What a training's own backward pass tells of gradients is measured
    by the layer's `measure_flow`.

    Parameters
    ----------
    layer : GRU, LSTM or RNN
        It runs `forward`, so a backward pass that is due must come before; gradients are left as they are. An LSTM's
        state is h and c together. Bounds of the gradient's flow are left out: J has none. Dropout of the state and
        zoneout are drawn as in training; set them to zero before to measure without.
    x : array_like, shape (T, B, I), or (B, T, I) with `batch_first`
        Sequences along which the Jacobians are taken.
    draws : int
        Random vectors for each sequence, at least 2.
    seed : int
        Of the vectors.

    Returns
    -------
    Growth
        1 at a lag of 0; below it, gradients vanish, above, they explode. The estimate is the root of a mean over
        sequences and draws, the error that of the mean, carried through the root; NaN where the growth is no number.
        It's the error of the draws, for these sequences: other sequences may have another growth by more than that.
        What `gradient_flow` can't measure, as below 1e-154, is zero or infinite here, too.

    Raises
    ------
    ValueError
        For fewer than 2 draws, or what a call of the layer raises.
    TypeError
        For something else than a recurrent layer, or a list of arrays.
    """
    if not isinstance(layer, Recurrent):
        raise TypeError(f"layer: expected a GRU, LSTM or RNN, got {type(layer).__name__}")
    _check.integer("draws", draws, 2)
    _check.not_listed("x", x)
    axis, given = 0 if layer.batch_first else 1, _check.real("x", x)
    checked(layer, given, None, None, None)  # here, as errors speak of the shape that was given
    repeated = np.repeat(given, draws, axis=axis)
    generator = _check.generator(seed)
    norms = []
    for place in range(layer.num_layers * layer.num_directions):
        flow, states = _flow_from(layer, repeated, place, generator)
        norms.append(flow[::-1] if place % layer.num_directions == 0 else flow)
    flows = np.stack(norms)
    _, exponents = np.frexp(flows.max(axis=2))  # of a scale that is exact: the error has squares of squares
    values = np.ldexp(flows, -exponents[..., None]) ** 2 / (states * layer.hidden_size)
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, count = values.mean(axis=2), values.shape[2]
        growth = np.sqrt(mean)
        error = values.std(axis=2, ddof=1) / np.sqrt(count) / (2 * growth)
    return Growth(np.ldexp(growth, exponents), np.ldexp(np.where(growth == 0, 0.0, error), exponents))


def _flow_from(
    layer: Recurrent, x: NDArray[Any], place: int, generator: np.random.Generator
) -> tuple[Float64Array, int]:
    """The norms of J^T v, (T, B), for one layer and direction; and the number of states."""
    bounds = layer.clip_flow_value, layer.clip_flow_norm
    before = layer.measure_flow, layer.flat_gradients.copy(), layer.random_state
    measured = layer._gradient_flow
    layer.measure_flow = True
    layer.clip_flow_value = layer.clip_flow_norm = None  # J has none
    try:
        y, states = layer.forward(x)
        v = np.zeros_like(states)
        of_place = v.reshape(-1, *v.shape[-3:])[:, place]  # (S, B, H)
        drawn = generator.standard_normal(of_place.shape)
        of_place[...] = drawn / np.sqrt((drawn**2).sum(axis=(0, 2), keepdims=True) / drawn[:, 0].size)
        layer.backward(np.zeros_like(y), v, need_dx=False)
        return layer.gradient_flow[place], len(of_place)
    finally:
        layer.clip_flow_value, layer.clip_flow_norm = bounds
        layer.measure_flow, layer.flat_gradients[...], layer.random_state = before
        layer._gradient_flow = measured
