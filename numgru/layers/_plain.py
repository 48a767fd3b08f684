"""Calls of a single layer of one direction without any options: the least to do around the kernels.

Shapes: T steps, B batch, H hidden, S states of the cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from .._types import FloatArray
from . import _pass
from ._calls import checked_states, checked_x
from ._flow import norms_of
from ._tape import PlainTape

if TYPE_CHECKING:
    from .recurrent import Recurrent


def is_plain(layer: Recurrent, x: Any, lengths: Any, reset: Any) -> bool:
    """Whether a call has no options, so that there's a way with the least to do around the kernel."""
    return (
        isinstance(x, np.ndarray)
        and x.ndim == 3
        and lengths is None
        and reset is None
        and layer.num_layers == 1
        and not (layer.bidirectional or layer.zoneout or layer.learn_h_0)
    )


def _states_before(layer: Recurrent, h_0: Any, x: FloatArray) -> FloatArray:
    """(S, B, H)."""
    B = x.shape[0 if layer.batch_first else 1]
    if h_0 is None:
        zeros = layer._zeros
        if zeros.shape[1] != B:
            layer._zeros = zeros = np.zeros((layer._states, B, layer.hidden_size), layer.dtype)
        return zeros
    return checked_states(layer, "h_0", h_0, 1, B, layer.hidden_size)[:, 0]


def infer(layer: Recurrent, x: Any, h_0: Any, out: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """A plain call."""
    x = checked_x(layer, x)
    before = _states_before(layer, h_0, x)
    shape = (*x.shape[:2], layer.hidden_size)
    if out is None:
        out = np.empty(shape, layer.dtype)
    else:
        _check.output("out", out, shape, layer.dtype, x, before)
    block, _ = layer._weights()
    direction = layer._directions[0]
    c_n = direction.room_for_cells(1, before.shape[1])
    _pass.infer_plainly(direction, block, x, before, out, c_n)
    return out, _last_states(layer, out, c_n)


def _last_states(layer: Recurrent, y: FloatArray, c: FloatArray | None) -> FloatArray:
    h_n = y[:, -1].copy()[None] if layer.batch_first else y[-1:].copy()
    return h_n if c is None else np.stack([h_n, c[-1:]])


def trains_plainly(layer: Recurrent) -> bool:
    """Whether the training pass of a plain call has no options either."""
    return not (layer.recurrent_dropout or layer.checkpoint_every or layer.clip_flow_value or layer.clip_flow_norm)


def forward(layer: Recurrent, x: Any, h_0: Any) -> tuple[FloatArray, FloatArray]:
    """A plain call's `forward`."""
    x = checked_x(layer, x)
    before = _states_before(layer, h_0, x)
    if h_0 is not None:
        before = before.copy()  # users go on with their states in place
    layer._begin_training()
    first, second, _ = x.shape
    y = np.empty((first, second, layer.hidden_size), layer.dtype)
    layer._training = tape = _pass.train_plainly(layer._directions[0], layer._flat_parameters, x, before, y)
    return y, _last_states(layer, y, tape.c)


def backward(
    layer: Recurrent, tape: PlainTape, dy: Any, dh_n: Any, need_dx: bool
) -> tuple[FloatArray | None, FloatArray]:
    """`backward` after a plain call's `forward`."""
    dy = _check.array("dy", dy, layer.dtype, tape.y.shape)
    if dh_n is None:
        dh = np.zeros(tape.h_0.shape, layer.dtype)
    else:
        dh = checked_states(layer, "dh_n", dh_n, 1, *tape.h_0.shape[1:])[:, 0].copy()
    layer._training = None
    dx = np.empty(tape.x.shape, layer.dtype) if need_dx else None
    direction, (T, B) = layer._directions[0], tape.y.shape[:2][:: -1 if layer.batch_first else 1]
    squares = np.empty(T * B * direction.blocks) if layer.measure_flow else None
    parameters, gradients = layer._flat_parameters, layer._flat_gradients
    _pass.backward_plainly(direction, tape, parameters, gradients, dy, dx, dh, squares)
    if squares is not None:
        layer._gradient_flow = norms_of(squares, direction.blocks).reshape(1, T, B)
    return dx, dh if layer._states == 1 else dh.reshape(layer._state_shape(1, *dh.shape[1:]))
