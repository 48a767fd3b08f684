"""Calls of a single layer of one direction without any options: the least to do around the kernels.

Shapes: T steps, B batch, I input, H hidden, S states of the cell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from .._types import FloatArray
from ..kernels import threads
from ._calls import checked_states, checked_x
from ._direction import Direction
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
    c_n = _infer(layer._directions[0], block, x, before, out)
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
    layer._training = tape = _train(layer._directions[0], layer._flat_parameters, x, before, y)
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
    norms = np.empty(tape.y.shape[:2][:: -1 if layer.batch_first else 1]) if layer.measure_flow else None
    _train_backward(layer._directions[0], tape, layer._flat_parameters, layer._flat_gradients, dy, dx, dh, norms)
    if norms is not None:
        layer._gradient_flow = norms[None]
    return dx, dh if layer._states == 1 else dh.reshape(layer._state_shape(1, *dh.shape[1:]))


def _infer(
    direction: Direction, packed: FloatArray, x: FloatArray, h_0: FloatArray, y: FloatArray
) -> FloatArray | None:
    """The states into y, from a plain batch; returns the last second state (1, B, H), if there is one.

    The weights are at the end of `packed`.
    """
    examples, B, kernel = y.shape[0] * y.shape[1], h_0.shape[1], direction.plain.infer
    c = direction.room_for_cells(1, B)
    parts = direction.parts(examples, B, kernel)
    threads.run(kernel, parts, packed, x, h_0, y, c, direction.batch_first)
    return c


def _train(direction: Direction, parameters: FloatArray, x: FloatArray, h_0: FloatArray, y: FloatArray) -> PlainTape:
    """The states into y, from a plain batch and the layer's flat parameters, for `_train_backward`."""
    examples, B, kernel = y.shape[0] * y.shape[1], h_0.shape[1], direction.plain.train
    gates, c = direction.room_for_gates(examples), direction.room_for_cells(examples // B, B)
    parts, loop_parts = direction.training_parts(examples, B, kernel)
    threads.run(
        kernel, parts, direction.packed_room, parameters, x, h_0, y, c, gates, direction.batch_first, loop_parts
    )  # fmt: skip
    return PlainTape(x, h_0, y, c, gates)


def _train_backward(
    direction: Direction, tape: PlainTape, parameters: FloatArray, gradients: FloatArray, dy: FloatArray,
    dx: FloatArray | None, dh: FloatArray, norms: FloatArray | None,
) -> None:  # fmt: skip
    """dx (where it's wanted), dh_0 in place of dh_n, and the parameters' gradients, flat as the parameters.

    And the norms (T, B) of what flows from step to step, where they are wanted.
    """
    examples, B, kernel = dy.shape[0] * dy.shape[1], dh.shape[1], direction.plain.train_backward
    parts, loop_parts = direction.training_parts(examples, B, kernel)
    squares = None if norms is None else np.empty(norms.size * direction.blocks)
    parcels = direction.parcels(examples // B, B)
    if parcels == 1:
        size = parts * direction.size_of_part
    else:
        size = direction.size_of_sums(direction.input_size, parts, parcels)
    threads.run(
        kernel, parts,
        direction.packed_room, parameters, gradients, *tape, dy, None if dx is None else dx.reshape(-1), dh,
        direction.room_for_carry(B), direction.batch_first, direction.room("sums", size), squares, parcels, loop_parts,
    )  # fmt: skip
    if norms is not None and squares is not None:
        norms.reshape(-1)[...] = norms_of(squares, direction.blocks)
