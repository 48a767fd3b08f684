"""Compilation ahead of the first real call."""

from __future__ import annotations

import numpy as np

from .._types import FloatArray
from ..kernels import threads
from .base import Layer
from .sequential import Sequential


def warmup(model: Layer, *, training: bool = False, need_dx: bool = True) -> None:
    """Compile what plain calls of `model` need, or load it from the cache, so that none of them has to wait for it.

    What is still compiled when it's first used: `lengths`, `reset`, tokens, `measure_flow`, `step`, `stream` and
    `compiled`.

    Parameters
    ----------
    model : Layer
        A layer or a `Sequential`. Its parameters, gradients and noise are left as they are.
    training : bool
        The kernels of `forward` and `backward`, too, not only those of a call.

        A forward pass that still waits for its backward pass is forgotten.
    need_dx : bool
        Of the backward pass, too, what it needs to return dx. `fit` and other loops that call
        ``backward(dy, need_dx=False)`` do without, which takes less time.

    Raises
    ------
    TypeError
        If `model` isn't a layer.
    """
    if not isinstance(model, Layer):
        raise TypeError(f"model: expected a numgru layer, got {type(model).__name__}")
    if isinstance(model, Sequential):
        for at, layer in enumerate(model.layers):
            warmup(layer, training=training, need_dx=need_dx or at > 0)
        return
    x = np.zeros(model.small_input, model.input_dtype)
    for parts in (1, 2) if threads.get_num_threads() > 1 else (1,):
        with threads.in_parts(parts):
            model(x)
            model(x)  # finds the weights packed, which is a kernel of its own
            if training:
                _train(model, x, need_dx)


def _train(layer: Layer, x: FloatArray, need_dx: bool) -> None:
    gradients, random_state = layer.flat_gradients.copy(), layer.random_state
    for wanted in (False, True) if need_dx else (False,):
        y = layer.forward(x)
        y = y[0] if isinstance(y, tuple) else y
        layer.backward(np.zeros_like(y), need_dx=wanted)
    layer.flat_gradients[...], layer.random_state = gradients, random_state
