"""Calls of a single layer of one direction without any options: the least to do around the kernels.

Shapes: T steps, B batch, I input, H hidden, S states of the cell.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeGuard

import numpy as np

from .. import _check
from .._types import FloatArray
from ._calls import CheckedCalls
from ._tape import PlainTape


class PlainCalls(CheckedCalls):
    """A recurrent layer's plain calls, and what all its calls leave for `backward` and after it."""

    _transient: ClassVar = CheckedCalls._transient | {"_training", "_gradient_flow", "_zeros"}

    def _forget(self) -> None:
        super()._forget()
        self._zeros = np.zeros((self._states, 1, self.hidden_size), self.dtype)  # the usual h_0, never written to
        self._training: Any = None  # what `backward` needs of the last `forward`
        self._gradient_flow: FloatArray | None = None

    def _begin_training(self) -> None:
        self._training = None  # of the forward pass before, whose gates are overwritten now
        self._packed = None  # parameters change before the next call, and memory is for the sequence

    def _state_shape(self, *shape: int) -> tuple[int, ...]:
        """The shape of what users give and get, for one state's."""
        return shape if self._states == 1 else (self._states, *shape)

    def _is_plain(self, x: Any, lengths: Any, reset: Any) -> TypeGuard[FloatArray]:
        """Whether a call has no options, so that there's a way with the least to do around the kernel."""
        return (
            isinstance(x, np.ndarray)
            and x.ndim == 3
            and lengths is None
            and reset is None
            and self.num_layers == 1
            and not (self.bidirectional or self.zoneout or self.learn_h_0)
        )

    def _plain_x(self, x: FloatArray) -> FloatArray:
        """`x`, checked: first whether there is nothing to do, as short calls have no time for more."""
        fits = type(x) is np.ndarray and x.dtype is self.dtype and x.shape[2] == self.input_size
        return x if fits and x.size and x.flags.carray else self._checked_x(x)

    def _states_before(self, h_0: Any, x: FloatArray) -> FloatArray:
        """(S, B, H)."""
        B = x.shape[0 if self.batch_first else 1]
        if h_0 is None:
            zeros = self._zeros
            if zeros.shape[1] != B:
                self._zeros = zeros = np.zeros((self._states, B, self.hidden_size), self.dtype)
            return zeros
        return self._checked_states("h_0", h_0, 1, B, self.hidden_size)[:, 0]

    def _infer(self, x: FloatArray, h_0: Any, out: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """A plain call."""
        x = self._plain_x(x)
        before = self._states_before(h_0, x)
        shape = (*x.shape[:2], self.hidden_size)
        if out is None:
            out = np.empty(shape, self.dtype)
        else:
            _check.output("out", out, shape, self.dtype, x, before)
        block, _ = self._weights()
        c_n = self._directions[0].infer(block, x, before, out)
        return out, self._last_states(out, c_n)

    def _last_states(self, y: FloatArray, c: FloatArray | None) -> FloatArray:
        h_n = y[:, -1].copy()[None] if self.batch_first else y[-1:].copy()
        return h_n if c is None else np.stack([h_n, c[-1:]])

    @property
    def _trains_plainly(self) -> bool:
        """Whether the training pass of a plain call has no options either."""
        return not (self.recurrent_dropout or self.checkpoint_every or self.clip_flow_value or self.clip_flow_norm)

    def _forward(self, x: FloatArray, h_0: Any) -> tuple[FloatArray, FloatArray]:
        """A plain call's `forward`."""
        x = self._plain_x(x)
        before = self._states_before(h_0, x)
        if h_0 is not None:
            before = before.copy()  # users go on with their states in place
        self._begin_training()
        first, second, _ = x.shape
        y = np.empty((first, second, self.hidden_size), self.dtype)
        self._training = tape = self._directions[0].train(self._flat_parameters, x, before, y)
        return y, self._last_states(y, tape.c)

    def _backward(self, tape: PlainTape, dy: Any, dh_n: Any, need_dx: bool) -> tuple[FloatArray | None, FloatArray]:
        """`backward` after a plain call's `forward`."""
        dy = _check.array("dy", dy, self.dtype, tape.y.shape)
        if dh_n is None:
            dh = np.zeros(tape.h_0.shape, self.dtype)
        else:
            dh = self._checked_states("dh_n", dh_n, 1, *tape.h_0.shape[1:])[:, 0].copy()
        self._training = None
        dx = np.empty(tape.x.shape, self.dtype) if need_dx else None
        norms = np.empty(tape.y.shape[:2][:: -1 if self.batch_first else 1]) if self.measure_flow else None
        self._directions[0].train_backward(tape, self._flat_parameters, self._flat_gradients, dy, dx, dh, norms)
        if norms is not None:
            self._gradient_flow = norms[None]
        return dx, dh if self._states == 1 else dh.reshape(self._state_shape(1, *dh.shape[1:]))
