"""Sequences that arrive in pieces.

Shapes: T steps of a piece, B sequences, I input, H hidden, L layers.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _check
from .._files import load_arrays, save_arrays
from .._types import FloatArray
from ._calls import checked_h_0

if TYPE_CHECKING:
    from .recurrent import Recurrent

_FORMAT = "numgru stream 1"


class Stream:
    """The states of a layer between calls: made by ``gru.stream()``.

    It computes with the parameters that the layer has at the time of a call. Several streams of a layer are
    independent of each other, also on several threads; one stream is for one thread at a time.

    Parameters
    ----------
    layer : GRU, LSTM or RNN
        Of one direction.
    batch_size : int
        B.
    h_0 : array_like, shape (L, B, H), or of an LSTM (2, L, B, H), optional
        The states before the first step; by default those learned with `learn_h_0`, or zero.

    Examples
    --------
    >>> import numpy as np, numgru
    >>> gru = numgru.GRU(2, 3, seed=0)
    >>> stream = gru.stream()
    >>> stream(np.zeros((5, 1, 2))).shape
    (5, 1, 3)
    """

    def __init__(self, layer: Recurrent, batch_size: int = 1, h_0: ArrayLike | None = None) -> None:
        self._layer, self._batch_size = layer, batch_size
        self._h_0 = None if h_0 is None else self._checked("h_0", h_0).copy()
        self._state = self._first()

    def __repr__(self) -> str:
        return f"{self._layer!r}.stream({self._batch_size})"

    @property
    def _shape(self) -> tuple[int, ...]:
        return self._layer._state_shape(self._layer.num_layers, self._batch_size, self._layer.hidden_size)

    def _checked(self, name: str, states: Any) -> FloatArray:
        layer = self._layer
        shape = (layer.num_layers, self._batch_size, layer.hidden_size)
        return _check.states(name, states, layer.dtype, shape, layer._states)

    def _first(self) -> FloatArray:
        """The states before the first step, in memory of their own."""
        if self._h_0 is not None:
            return self._h_0.copy()
        return checked_h_0(self._layer, None, self._batch_size).reshape(self._shape)

    @property
    def state(self) -> FloatArray:
        """The states after the last step, of `h_0`'s shape: a view, which may be changed in place."""
        return self._state[:]

    @state.setter
    def state(self, values: ArrayLike) -> None:
        self._state = self._checked("state", values).copy()

    def __call__(self, x: ArrayLike) -> FloatArray:
        """The next steps.

        Parameters
        ----------
        x : array_like, shape (T, B, I), or (B, T, I) with the layer's `batch_first`
            The input of any number of steps; on an error none is made.

        Returns
        -------
        ndarray, shape (T, B, H), or (B, T, H) with `batch_first`
            The last layer's states after every step.

        Raises
        ------
        ValueError
            For a wrong rank or size, or an empty dimension.
        TypeError
            For numbers of a wrong kind.
        """
        layer, B = self._layer, self._batch_size
        given, axis = _check.real("x", x), 0 if layer.batch_first else 1
        tokens = given.ndim == 2 and given.dtype.kind in "iu"
        if (given.ndim == 3 or tokens) and given.shape[axis] != B:
            raise ValueError(f"x: expected {B} sequences, the stream's batch_size, on axis {axis}, got {given.shape}")
        if (
            given.ndim == 3 and given.shape[1 - axis] == 1 and given.shape[2] == layer.input_size
        ):  # the least to do for a single step
            self._state = layer.step(given.reshape(B, -1), self._state)
            last = self._state[-1] if layer._states == 1 else self._state[0, -1]
            return np.array(last.reshape((B, 1, -1) if layer.batch_first else (1, B, -1)))
        y: FloatArray
        y, self._state = layer(given, self._state)
        return y

    def reset(self, rows: ArrayLike | slice | None = None) -> None:
        """Begin anew, from the states before the first step.

        Parameters
        ----------
        rows : array_like of int or bool, or slice, optional
            The sequences that do; by default all of them.

        Raises
        ------
        ValueError
            If these aren't indices of sequences.
        """
        chosen: Any = slice(None) if rows is None else rows if isinstance(rows, slice) else np.asarray(rows)
        if np.size(chosen) == 0:
            return
        try:
            chosen = np.arange(self._batch_size)[chosen]
        except IndexError as error:
            raise ValueError(f"rows: expected indices of {self._batch_size} sequences, got {rows!r}") from error
        state = self._state.copy()
        state[..., chosen, :] = self._first()[..., chosen, :]
        self._state = state

    def copy(self) -> Stream:
        """Another stream of the same layer that goes on from the same states."""
        other = Stream(self._layer, self._batch_size, self._h_0)
        other._state = self._state.copy()
        return other

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the states into a file: an .npz archive, whole or not at all.

        Parameters
        ----------
        path : str or path-like
            The file, which is replaced if there is one.
        """
        save_arrays(path, {"state": self._state}, {"format": _FORMAT})

    def load(self, path: str | os.PathLike[str]) -> None:
        """Go on from states that `save` wrote; on an error the stream is as it was.

        Parameters
        ----------
        path : str or path-like
            The file.

        Raises
        ------
        OSError
            If it can't be read.
        ValueError
            If it's damaged, of another kind, or of a stream of another shape or dtype.
        """
        arrays, metadata = load_arrays(path)
        if metadata.get("format") != _FORMAT or "state" not in arrays:
            raise ValueError(f"{os.fspath(path)}: expected the states of a stream, got a file of another kind")
        state, dtype = arrays["state"], self._layer.dtype
        if (state.shape, state.dtype) != (self._shape, dtype):
            expected = f"{self._shape} of {dtype}"
            raise ValueError(f"{os.fspath(path)}: expected states {expected}, got {state.shape} of {state.dtype}")
        self._state = state
