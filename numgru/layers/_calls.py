"""What recurrent layers may be called with, and the checks of it.

Shapes: T steps, B batch, I input, H hidden, L layers, D directions, S states of the cell; N steps of all sequences in
a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import _check
from .._types import BoolArray, FloatArray
from ._batch import Batch
from ._weights import RecurrentWeights


@dataclass
class Call:
    """A call's input after the checks."""

    x: FloatArray  # (T, B, I), or (B, T, I) with `batch_first`; listed sequences one after the other as (1, N, I)
    h_0: FloatArray  # (S, L D, B, H)
    batch: Batch
    resets: BoolArray | None  # (T, B)
    listed: bool
    given_h_0: bool

    @property
    def tokens(self) -> bool:
        """Whether x holds tokens, as (T, B, 1)."""
        return self.x.dtype.kind == "i"


def is_listed(x: Any) -> bool:
    """Whether x is a list of sequences, not the rows of one array."""
    return isinstance(x, list) and all(isinstance(one, np.ndarray) for one in x)


def unnested(x: Any) -> Any:
    """x as an array, if it's the rows of one as nested lists."""
    return _check.real("x", x) if isinstance(x, list) and not is_listed(x) else x


def apart(values: FloatArray, call: Call) -> Any:
    """A list of sequences, where one was given."""
    if not call.listed or call.batch.own_starts is None:
        return values
    return np.split(values[0], call.batch.own_starts[1:])


class CheckedCalls(RecurrentWeights):
    """The checks of calls."""

    def _checked(self, x: Any, h_0: Any, lengths: Any, reset: Any) -> Call:
        listed = is_listed(x)
        if listed:
            _check.no_lengths(lengths)
            if x and all(np.ndim(one) == 1 for one in x):
                parts = [_check.tokens(f"x[{at}]", one, self.input_size)[:, None] for at, one in enumerate(x)]
            else:
                parts = _check.sequences("x", x, self.dtype, self.input_size)
            x = np.concatenate(parts)[None]
            own = np.array([part.shape[0] for part in parts])
            batch = Batch(int(own.max()), own.size, 1, 0, own, np.cumsum(own) - own)
        else:
            x = _check.real("x", x)
            if x.ndim == 2 and x.dtype.kind in "iu":
                x = _check.tokens("x", x, self.input_size)[:, :, None]
            else:
                x = self._checked_x(x)
            T, B = (x.shape[1], x.shape[0]) if self.batch_first else x.shape[:2]
            stride, distance = (1, T) if self.batch_first else (B, 1)
            batch = Batch(T, B, stride, distance)
            if lengths is not None:
                lengths = _check.lengths("lengths", lengths, B, T)
                if lengths.min() < T:
                    batch = Batch(int(lengths.max()), B, stride, distance, lengths)
        resets = None if reset is None else self._checked_reset(reset, batch, x, listed)
        before = batch.in_rows(self._checked_h_0(h_0, batch.B))
        return Call(x, before, batch, resets, listed, h_0 is not None)

    def _checked_x(self, x: Any) -> FloatArray:
        shape = ("B", "T", self.input_size) if self.batch_first else ("T", "B", self.input_size)
        return _check.array("x", x, self.dtype, shape)

    def _checked_states(self, name: str, states: Any, *shape: int) -> FloatArray:
        """(S, ...)."""
        return _check.states(name, states, self.dtype, shape, self._states).reshape(-1, *shape)

    def _checked_h_0(self, h_0: Any, B: int) -> FloatArray:
        shape = (self.num_layers * self.num_directions, B, self.hidden_size)
        if h_0 is not None:
            return self._checked_states("h_0", h_0, *shape)
        if not self.learn_h_0:
            return np.zeros((self._states, *shape), self.dtype)
        parameters = self._parameters()
        return np.stack([np.broadcast_to(parameters[name], shape) for name in self._first_states])

    def _checked_reset(self, reset: Any, batch: Batch, x: FloatArray, listed: bool) -> BoolArray:
        """(T, B) by time and sequence."""
        if not listed:
            checked = _check.booleans("reset", reset, x.shape[:2])
            return (checked.T if self.batch_first else checked)[: batch.T]
        lengths = [] if batch.own_lengths is None else batch.own_lengths.tolist()
        if not isinstance(reset, list) or len(reset) != len(lengths):
            raise ValueError(f"reset: expected a list of {len(lengths)} arrays, as x is one, got {_check.brief(reset)}")
        resets = np.zeros((batch.T, batch.B), np.bool_)
        for at, (one, length) in enumerate(zip(reset, lengths, strict=True)):
            resets[:length, at] = _check.booleans(f"reset[{at}]", one, (length,))
        return resets

    def _checked_dy(self, dy: Any, call: Call) -> FloatArray:
        shape = (*call.x.shape[:2], self._width)
        if not call.listed:
            return _check.array("dy", dy, self.dtype, shape)
        lengths = call.batch.own_lengths
        assert lengths is not None
        parts = _check.sequences("dy", dy, self.dtype, self._width)
        if [part.shape[0] for part in parts] != lengths.tolist():
            got = [part.shape[0] for part in parts]
            raise ValueError(f"dy: expected sequences of lengths {lengths.tolist()}, got {got}")
        return np.concatenate(parts)[None]
