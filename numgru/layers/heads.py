"""From a sequence to one vector of features: its last step, or the mean or the maximum over its steps.

Shapes: T time, B batch, H features.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import _check
from .._types import FloatArray, IntArray
from ..kernels import heads
from ._calls import is_listed, unnested
from .base import Layer, fixed
from .summary import Shape


class _Steps(NamedTuple):
    """The sequences of a call."""

    sequences: FloatArray
    lengths: IntArray | None  # None: all whole
    batch_first: bool
    listed: bool

    @property
    def batch_size(self) -> int:
        return int(self.sequences.shape[0 if self.batch_first else 1])

    def rows_at(self) -> tuple[IntArray, int, int]:
        """Lengths, and the strides of time and batch among the rows of features, as the kernels take them."""
        first, second, _ = self.sequences.shape
        T = second if self.batch_first else first
        lengths = np.full(self.batch_size, T, np.int64) if self.lengths is None else self.lengths
        return (lengths, 1, T) if self.batch_first else (lengths, second, 1)

    def last(self) -> tuple[Any, ...]:
        """The index of every sequence's last step."""
        if self.lengths is None:
            return (slice(None), -1) if self.batch_first else (-1,)
        each = np.arange(self.batch_size)
        return (each, self.lengths - 1) if self.batch_first else (self.lengths - 1, each)


class _Head(Layer):
    """What the heads share: arguments, and what lives from forward to backward.

    The output and dx have x's dtype (float64 if that is neither float32 nor float64), whatever `dtype` says.

    Parameters
    ----------
    batch_first : bool
        Sequences are (B, T, H) instead of (T, B, H).
    """

    batch_first: bool = fixed()

    def __init__(self, *, batch_first: bool = False) -> None:
        super().__init__({})
        self.batch_first = _check.flag("batch_first", batch_first)

    _transient = Layer._transient | {"_tape"}

    def _forget(self) -> None:
        self._tape: tuple[_Steps, IntArray] | None = None

    def __call__(self, x: ArrayLike | list[FloatArray], *, lengths: ArrayLike | None = None) -> FloatArray:
        """One vector for each sequence; nothing is kept.

        Parameters
        ----------
        x : array_like, shape (T, B, H), or (B, T, H) with `batch_first`; or a list of arrays (T_b, H)
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
        """One vector for each sequence, as a call; keeps what `backward` needs."""
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
        steps, peaks = _check.kept(self._tape)
        x = steps.sequences
        dy = _check.array("dy", dy, x.dtype, (steps.batch_size, x.shape[2]))
        self._tape = None
        if not need_dx:
            return None
        dx = np.zeros(x.shape, x.dtype)
        self._spread(dy, steps, peaks, dx)
        if not steps.listed:
            return dx
        return [each[:length] for each, length in zip(dx, steps.rows_at()[0], strict=True)]

    def _reduce(self, steps: _Steps) -> tuple[FloatArray, IntArray]:
        """The output, and for `_spread` the steps that it comes from (if those depend on the values)."""
        raise NotImplementedError

    def _spread(self, dy: FloatArray, steps: _Steps, peaks: IntArray, dx: FloatArray) -> None:
        """Write the gradient into `dx`, which is zero."""
        raise NotImplementedError

    @property
    def small_input(self) -> tuple[int, ...]:
        """One step of one sequence of one feature."""
        return (1, 1, 1)

    @property
    def input_shape(self) -> Shape:
        """Any of three dimensions."""
        return ("B", "T", "H") if self.batch_first else ("T", "B", "H")

    def output_shape(self, shape: Shape) -> Shape:
        """Without the axis of time."""
        return (shape[0] if self.batch_first else shape[1], shape[2])

    def _checked(self, x: Any, lengths: Any) -> _Steps:
        listed, x = is_listed(x), unnested(x)
        if listed:
            _check.no_lengths(lengths)
            x, lengths = _padded(x)
        batch_first = self.batch_first or listed
        given = _check.real("x", x)
        if given.ndim != 3 or 0 in given.shape:
            expected = "(B, T, H)" if batch_first else "(T, B, H)"
            raise ValueError(f"x: expected shape {expected} with no empty dimension, got {given.shape}")
        sequences = _check.array("x", given, _dtype(given), given.shape)
        if lengths is not None:
            B, T = sequences.shape[:2] if batch_first else sequences.shape[1::-1]
            lengths = _check.lengths("lengths", lengths, B, T)
        return _Steps(sequences, lengths, batch_first, listed)


def _dtype(*given: Any) -> np.dtype[Any]:
    """float32 for float32, otherwise float64."""
    narrow = all(np.asarray(each).dtype == np.float32 for each in given)
    return np.dtype(np.float32 if narrow else np.float64)


def _padded(x: list[Any]) -> tuple[FloatArray, IntArray]:
    """Sequences (T_b, H) in one array (B, T, H), with zeros past each end, and their lengths."""
    features = np.shape(x[0])[-1:] if x else ()
    parts = _check.sequences("x", x, _dtype(*x), *(features or (1,)))
    lengths = np.array([len(part) for part in parts])
    together = np.zeros((len(parts), lengths.max(), parts[0].shape[1]), parts[0].dtype)
    for row, part in zip(together, parts, strict=True):
        row[: len(part)] = part
    return together, lengths


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
        return steps.sequences[steps.last()].copy(), _NO_PEAKS

    def _spread(self, dy: FloatArray, steps: _Steps, peaks: IntArray, dx: FloatArray) -> None:
        dx[steps.last()] = dy


class MeanOverTime(_Head):
    """The mean over the time steps of each sequence: (T, B, H) to (B, H).

    Parameters
    ----------
    batch_first : bool
        Sequences are (B, T, H).
    """

    def _reduce(self, steps: _Steps) -> tuple[FloatArray, IntArray]:
        rows, y = _rows(steps.sequences), _empty(steps)
        heads.mean(rows, *steps.rows_at(), y)
        return y, _NO_PEAKS

    def _spread(self, dy: FloatArray, steps: _Steps, peaks: IntArray, dx: FloatArray) -> None:
        heads.mean_backward(dy, *steps.rows_at(), _rows(dx))


class MaxOverTime(_Head):
    """The maximum over the time steps of each sequence, feature by feature: (T, B, H) to (B, H).

    The gradient goes to the first step that has the maximum. A NaN is the maximum of its feature.

    Parameters
    ----------
    batch_first : bool
        Sequences are (B, T, H).
    """

    def _reduce(self, steps: _Steps) -> tuple[FloatArray, IntArray]:
        rows, y = _rows(steps.sequences), _empty(steps)
        peaks = np.empty(y.shape, np.int64)
        heads.maximum(rows, *steps.rows_at(), y, peaks)
        return y, peaks

    def _spread(self, dy: FloatArray, steps: _Steps, peaks: IntArray, dx: FloatArray) -> None:
        heads.maximum_backward(dy, peaks, *steps.rows_at()[1:], _rows(dx))


def _rows(sequences: FloatArray) -> FloatArray:
    return sequences.reshape(-1, sequences.shape[2])


def _empty(steps: _Steps) -> FloatArray:
    return np.empty((steps.batch_size, steps.sequences.shape[2]), steps.sequences.dtype)
