"""Steps that a kernel doesn't take as they are.

Shapes: B batch, I input, H hidden, L layers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from .. import _check
from .._types import FloatArray
from ..kernels import single_step

if TYPE_CHECKING:
    from .recurrent import Recurrent


def checked_step(layer: Recurrent, x_t: FloatArray, h: ArrayLike, out: FloatArray | None) -> FloatArray:
    """A step of what the kernel doesn't take as it is, and the errors of what it can't."""
    batch = x_t.shape[:1] if x_t.ndim > 1 else ()
    below = _check.array("x_t", x_t, layer.dtype, (*batch, layer.input_size))
    before = _check.states("h", h, layer.dtype, (layer.num_layers, *batch, layer.hidden_size), layer._states)
    if out is None:
        out = np.empty(before.shape, layer.dtype)
    else:
        _check.output("out", out, before.shape, layer.dtype, below)
        if np.may_share_memory(out, before):
            before = before.copy()
    single_step.call_step(layer._step_function, layer._weights()[0], below, before, out)
    return out


def step_of_tokens(layer: Recurrent, x_t: FloatArray, h: ArrayLike, out: FloatArray | None) -> FloatArray:
    """A step of tokens, which is a call of one step, into `out` if there is one."""
    x = _check.tokens("x_t", x_t, layer.input_size).reshape((-1, 1) if layer.batch_first else (1, -1))
    before = _check.states("h", h, layer.dtype, (layer.num_layers, *x_t.shape, layer.hidden_size), layer._states)
    after: FloatArray
    _, after = layer(x, before.reshape(layer._state_shape(layer.num_layers, x.size, layer.hidden_size)))
    if out is None:
        return after.reshape(before.shape)
    _check.output("out", out, before.shape, layer.dtype)
    out[...] = after.reshape(before.shape)
    return out
