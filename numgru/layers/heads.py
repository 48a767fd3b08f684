"""From a sequence to one vector of features: its last step, or the mean or the maximum over its steps.

Shapes: T time, B batch, H features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..kernels import heads
from . import _check
from ._check import FloatArray, IntArray
from .base import Layer
from .summary import Shape


class _Steps(NamedTuple):
    """Sequences as rows: step t of sequence b is row t * time + b * sequence."""

    rows: FloatArray
    lengths: IntArray
    time: int
    sequence: int
    shape: tuple[int, ...]
    as_list: bool

    def zeros(self) -> FloatArray:
        return np.zeros_like(self.rows)

    def unpacked(self, dx: FloatArray) -> FloatArray | list[FloatArray]:
        """Rows in the form in which the sequences came."""
        sequences = dx.reshape(self.shape)
        if not self.as_list:
            return sequences
        return [each[:length] for each, length in zip(sequences, self.lengths, strict=True)]


class _Head(Layer):
    """What the heads share: arguments, and what lives from forward to backward.

    Parameters
    ----------
    batch_first : bool
        Sequences are (B, T, H) instead of (T, B, H).
    """

    def __init__(self, *, batch_first: bool = False) -> None:
        super().__init__({})
        self.batch_first = bool(batch_first)
        self._forget()

    def __repr__(self) -> str:
        return self._made_by(batch_first=(self.batch_first, False))

    _transient = Layer._transient | {"_tape"}

    def _forget(self) -> None:
        self._tape: tuple[_Steps, IntArray] | None = None

    def __call__(self, x: ArrayLike | list[FloatArray], *, lengths: ArrayLike | None = None) -> FloatArray:
        """One vector for each sequence; nothing is kept.

        Parameters
        ----------
        x : array_like, shape (T, B, H), or (B, T, H) with `batch_first`; or a list of B arrays (T_b, H)
        lengths : array_like of int, shape (B,), optional
            1 to T: how many steps of each sequence count, from the first on. All by default.

        Returns
        -------
        ndarray, shape (B, H)
            float32 for float32, else float64.

        Raises
        ------
        ValueError
            For a wrong shape, an empty dimension, or a length that isn't in 1 .. T.
        TypeError
            For numbers that aren't real, or lengths that aren't integers.
        """
        return self._reduce(self._checked(x, lengths))[0]

    def forward(self, x: ArrayLike | list[FloatArray], *, lengths: ArrayLike | None = None) -> FloatArray:
        """The same; keeps what `backward` needs."""
        steps = self._checked(x, lengths)
        y, peaks = self._reduce(steps)
        self._tape = steps, peaks
        return y

    def backward(self, dy: ArrayLike, *, need_dx: bool = True) -> FloatArray | list[FloatArray] | None:
        """dx of x's shape, zero past a sequence's end; None without `need_dx`.

        Raises
        ------
        ValueError
            Without a `forward` before it, or for a wrong shape.
        TypeError
            For numbers that aren't real.
        """
        if self._tape is None:
            raise ValueError("backward: expected a forward pass before it, got none (each backward uses one up)")
        steps, peaks = self._tape
        dy = _check.array("dy", dy, steps.rows.dtype, (steps.lengths.size, steps.rows.shape[1]))
        self._tape = None
        return steps.unpacked(self._spread(dy, steps, peaks)) if need_dx else None

    def _reduce(self, steps: _Steps) -> tuple[FloatArray, IntArray]:
        """The output, and for `_spread` the steps that it comes from (if those depend on the values)."""
        raise NotImplementedError

    def _spread(self, dy: FloatArray, steps: _Steps, peaks: IntArray) -> FloatArray:
        """The gradient with respect to the rows."""
        raise NotImplementedError

    @property
    def small_inputs(self) -> Sequence[tuple[int, ...]]:
        """One step of one sequence of one feature."""
        return ((1, 1, 1),)

    @property
    def input_shape(self) -> Shape:
        """Any of three dimensions."""
        return ("B", "T", "H") if self.batch_first else ("T", "B", "H")

    def output_shape(self, shape: Shape) -> Shape:
        """Without the axis of time."""
        return (shape[0] if self.batch_first else shape[1], shape[2])

    def _checked(self, x: Any, lengths: ArrayLike | None) -> _Steps:
        as_list = _check.is_list_of_sequences(x)
        if as_list:
            x, lengths = _check.padded(x, lengths)
        sequences = _check.real("x", x)
        batch_first = self.batch_first or as_list
        if sequences.ndim != 3 or 0 in sequences.shape:
            expected = "(B, T, H)" if batch_first else "(T, B, H)"
            raise ValueError(f"x: expected shape {expected} with no empty dimension, got {sequences.shape}")
        dtype = sequences.dtype if sequences.dtype == np.float32 else np.dtype(np.float64)
        rows = np.require(sequences, dtype, ("C", "W", "A")).reshape(-1, sequences.shape[2])
        T, B, _ = sequences.swapaxes(0, 1).shape if batch_first else sequences.shape
        time, sequence = (1, T) if batch_first else (B, 1)
        return _Steps(rows, _check.lengths(lengths, T, B), time, sequence, sequences.shape, as_list)


_NO_PEAKS = np.empty((0, 0), np.int64)


class LastStep(_Head):
    """The last time step of each sequence: (T, B, H) to (B, H).

    Parameters
    ----------
    batch_first : bool
        Sequences are (B, T, H).

    Notes
    -----
    Of two directions, the reverse one has read nothing but that step; `MeanOverTime` and `MaxOverTime` see both whole.
    """

    def _reduce(self, steps: _Steps) -> tuple[FloatArray, IntArray]:
        return steps.rows[self._last_rows(steps)], _NO_PEAKS

    def _spread(self, dy: FloatArray, steps: _Steps, peaks: IntArray) -> FloatArray:
        dx = steps.zeros()
        dx[self._last_rows(steps)] = dy
        return dx

    def _last_rows(self, steps: _Steps) -> IntArray:
        return (steps.lengths - 1) * steps.time + np.arange(steps.lengths.size) * steps.sequence


class MeanOverTime(_Head):
    """The mean over the time steps of each sequence: (T, B, H) to (B, H).

    Parameters
    ----------
    batch_first : bool
        Sequences are (B, T, H).
    """

    def _reduce(self, steps: _Steps) -> tuple[FloatArray, IntArray]:
        y = np.empty((steps.lengths.size, steps.rows.shape[1]), steps.rows.dtype)
        heads.mean(steps.rows, steps.lengths, steps.time, steps.sequence, y)
        return y, _NO_PEAKS

    def _spread(self, dy: FloatArray, steps: _Steps, peaks: IntArray) -> FloatArray:
        dx = steps.zeros()
        heads.mean_backward(dy, steps.lengths, steps.time, steps.sequence, dx)
        return dx


class MaxOverTime(_Head):
    """The maximum over the time steps of each sequence, feature by feature: (T, B, H) to (B, H).

    The gradient goes to the first step that has the maximum. A NaN is the maximum of its feature.

    Parameters
    ----------
    batch_first : bool
        Sequences are (B, T, H).
    """

    def _reduce(self, steps: _Steps) -> tuple[FloatArray, IntArray]:
        y = np.empty((steps.lengths.size, steps.rows.shape[1]), steps.rows.dtype)
        peaks = np.empty(y.shape, np.int64)
        heads.maximum(steps.rows, steps.lengths, steps.time, steps.sequence, y, peaks)
        return y, peaks

    def _spread(self, dy: FloatArray, steps: _Steps, peaks: IntArray) -> FloatArray:
        dx = steps.zeros()
        heads.maximum_backward(dy, peaks, steps.time, steps.sequence, dx)
        return dx
