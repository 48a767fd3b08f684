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
from ._tape import are_tokens
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
        """Whether x holds tokens."""
        return are_tokens(self.x)


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


def checked(layer: RecurrentWeights, x: Any, h_0: Any, lengths: Any, reset: Any) -> Call:
    """What a call is given, checked."""
    listed = is_listed(x)
    if listed:
        _check.no_lengths(lengths)
        if x and all(np.ndim(one) == 1 for one in x):
            parts = [_check.tokens(f"x[{at}]", one, layer.input_size)[:, None] for at, one in enumerate(x)]
        else:
            parts = _check.sequences("x", x, layer.dtype, layer.input_size)
        x = np.concatenate(parts)[None]
        own = np.array([part.shape[0] for part in parts])
        batch = Batch(int(own.max()), own.size, 1, 0, own, np.cumsum(own) - own)
    else:
        x = _check.real("x", x)
        if x.ndim == 2 and x.dtype.kind in "iu":
            x = _check.tokens("x", x, layer.input_size)[:, :, None]
        else:
            x = checked_x(layer, x)
        T, B = (x.shape[1], x.shape[0]) if layer.batch_first else x.shape[:2]
        stride, distance = (1, T) if layer.batch_first else (B, 1)
        batch = Batch(T, B, stride, distance)
        if lengths is not None:
            lengths = _check.lengths("lengths", lengths, B, T)
            if lengths.min() < T:
                batch = Batch(int(lengths.max()), B, stride, distance, lengths)
    resets = None if reset is None else _checked_reset(layer, reset, batch, x, listed)
    before = batch.in_rows(checked_h_0(layer, h_0, batch.B))
    return Call(x, before, batch, resets, listed, h_0 is not None)


def checked_x(layer: RecurrentWeights, x: Any) -> FloatArray:
    """x as an array of features, checked: first whether there's nothing to do, as short calls have time for little."""
    dtype = layer.dtype
    is_own = type(x) is np.ndarray and (x.dtype is dtype or x.dtype == dtype)
    if is_own and x.ndim == 3 and x.shape[2] == layer.input_size and x.size and x.flags.carray:
        return x  # type: ignore[no-any-return]
    shape = ("B", "T", layer.input_size) if layer.batch_first else ("T", "B", layer.input_size)
    return _check.array("x", x, layer.dtype, shape)


def checked_states(layer: RecurrentWeights, name: str, states: Any, *shape: int) -> FloatArray:
    """States of that shape, one or as a pair, checked: (S, *shape)."""
    return _check.states(name, states, layer.dtype, shape, layer._states).reshape(-1, *shape)


def checked_h_0(layer: RecurrentWeights, h_0: Any, B: int) -> FloatArray:
    """The states before the first step, (S, L D, B, H): those given, checked, or else learned ones, or zero."""
    shape = (layer.num_layers * layer.num_directions, B, layer.hidden_size)
    if h_0 is not None:
        return checked_states(layer, "h_0", h_0, *shape)
    if not layer.learn_h_0:
        return np.zeros((layer._states, *shape), layer.dtype)
    parameters = layer._parameters()
    stacked = np.stack([np.broadcast_to(parameters[name], shape) for name in layer._first_states])
    return np.ascontiguousarray(stacked)  # it takes over their strides, of zero, in order


def _checked_reset(layer: RecurrentWeights, reset: Any, batch: Batch, x: FloatArray, listed: bool) -> BoolArray:
    """(T, B) by time and sequence."""
    if not listed:
        checked = _check.booleans("reset", reset, x.shape[:2])
        return (checked.T if layer.batch_first else checked)[: batch.T].copy()  # users go on with theirs in place
    lengths = [] if batch.own_lengths is None else batch.own_lengths.tolist()
    if not isinstance(reset, list) or len(reset) != len(lengths):
        raise ValueError(f"reset: expected a list of {len(lengths)} arrays, as x is one, got {_check.brief(reset)}")
    resets = np.zeros((batch.T, batch.B), np.bool_)
    for at, (one, length) in enumerate(zip(reset, lengths, strict=True)):
        resets[:length, at] = _check.booleans(f"reset[{at}]", one, (length,))
    return resets


def checked_dy(layer: RecurrentWeights, dy: Any, call: Call) -> FloatArray:
    """dy, checked: as x lies, with listed sequences one after the other."""
    shape = (*call.x.shape[:2], layer._width)
    if not call.listed:
        return _check.array("dy", dy, layer.dtype, shape)
    lengths = call.batch.own_lengths
    assert lengths is not None
    parts = _check.sequences("dy", dy, layer.dtype, layer._width)
    if [part.shape[0] for part in parts] != lengths.tolist():
        got = [part.shape[0] for part in parts]
        raise ValueError(f"dy: expected sequences of lengths {lengths.tolist()}, got {got}")
    return np.concatenate(parts)[None]
