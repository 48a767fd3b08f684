"""Minibatches of a data set, gathered into buffers that are used again."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .. import _check
from .._types import FloatArray, IntArray


class Batch(NamedTuple):
    """Some examples, or a window of time of them."""

    x: FloatArray
    y: FloatArray
    size: float  # how many examples; a window is a part of them
    first: bool = True  # whether the examples begin here
    lengths: IntArray | None = None  # (size,): their steps that count; None: all


class _Source:
    """One array of examples along an axis."""

    def __init__(self, name: str, value: ArrayLike, axis: int, dtype: np.dtype[np.generic]) -> None:
        given = _check.real(name, value)
        if axis >= given.ndim:
            raise ValueError(
                f"{name}: expected more than {axis} dimensions (batch_axis={axis}), got shape {given.shape}"
            )
        if given.size == 0:
            raise ValueError(f"{name}: expected at least one example and no empty dimension, got shape {given.shape}")
        # Once, not batch by batch. `np.take` copies all of a strided array.
        self.array = np.require(given, dtype if given.dtype.kind == "f" else None, ("C", "A"))
        self.axis = axis
        self.length: int = self.array.shape[axis]
        self._buffer = np.empty(0, self.array.dtype)

    def take(self, index: np.ndarray[tuple[int], np.dtype[np.int64]]) -> FloatArray:
        """The examples `index`, in a buffer that the next call overwrites."""
        shape = (*self.array.shape[: self.axis], index.size, *self.array.shape[self.axis + 1 :])
        size = self.array.size // self.length * index.size
        if self._buffer.size < size:
            self._buffer = np.empty(size, self.array.dtype)
        # "raise" would gather into a temporary first.
        return np.take(self.array, index, self.axis, self._buffer[:size].reshape(shape), mode="clip")

    def slice(self, start: int, end: int) -> FloatArray:
        """The examples from `start` to before `end`, a view."""
        return self.array[(slice(None),) * self.axis + (slice(start, end),)]


class Batches:
    """Pairs of inputs and targets, `batch_size` examples at a time; the last batch may be smaller.

    Parameters
    ----------
    names : tuple of three str
        What errors call x, y and lengths.
    x, y : array_like of real numbers
        Floats are converted to `dtype`, integers stay.
    axes : tuple of two int
        The axis of the examples in `x` and in `y`.
    batch_size : int
    dtype : numpy.dtype
    steps : int, optional
        Cut every batch into consecutive windows of so many steps; the last may be smaller.
    lengths : array_like of int, shape (N,), optional
        The steps of every example that count. Time is then, and if there are windows, the one of the first two axes
        that isn't the batch's.
    every_step : bool
        Whether targets have an axis of time, too, where `lengths` are given.

    Raises
    ------
    TypeError, ValueError
        If one isn't made of real numbers, is empty, lacks an axis, or their lengths differ; for lengths outside 1 .. T.
    """

    def __init__(
        self,
        names: tuple[str, str, str],
        x: ArrayLike,
        y: ArrayLike,
        axes: tuple[int, int],
        batch_size: int,
        dtype: np.dtype[np.generic],
        steps: int | None = None,
        lengths: ArrayLike | None = None,
        every_step: bool = False,
    ) -> None:
        self._x, self._y = _Source(names[0], x, axes[0], dtype), _Source(names[1], y, axes[1], dtype)
        self.examples, self._batch_size = self._x.length, batch_size
        if self._y.length != self.examples:
            raise ValueError(
                f"{names[1]}: expected {self.examples} examples along axis {axes[1]}, as {names[0]} has "
                f"along axis {axes[0]}, got {self._y.length} (shape {self._y.array.shape}); see batch_axis"
            )
        self._steps = steps
        if steps is not None or (lengths is not None and every_step):
            self._time, self._duration = self._checked_time(names, axes)
        self._lengths = None if lengths is None else self._checked_lengths(names, lengths, axes[0])

    def _checked_time(self, names: tuple[str, str, str], axes: tuple[int, int]) -> tuple[int, int]:
        """The axis of time, and how long it is in x and y."""
        shapes, time = (self._x.array.shape, self._y.array.shape), 1 - axes[0]
        if axes[0] != axes[1] or min(map(len, shapes)) < 2 or shapes[0][time] != shapes[1][time]:
            raise ValueError(
                f"{names[1]}: expected a target for every step, as many along axis {time} as {names[0]} has in its "
                f"shape {shapes[0]}, got shape {shapes[1]}; see {'bptt_steps' if self._steps else 'lengths'}"
            )
        return time, shapes[0][time]

    def _checked_lengths(self, names: tuple[str, str, str], lengths: ArrayLike, axis: int) -> IntArray:
        shape = self._x.array.shape
        if axis > 1 or len(shape) < 2:
            raise ValueError(
                f"{names[0]}: expected shape (B, T, ...) or (T, B, ...) for lengths, got {shape} with batch_axis={axis}"
            )
        return _check.lengths(names[2], lengths, self.examples, shape[1 - axis])

    def __len__(self) -> int:
        """Number of batches, of each of their windows if they are cut."""
        windows = 1 if self._steps is None else -(-self._duration // self._steps)
        return -(-self.examples // self._batch_size) * windows

    def description(self) -> list[list[int] | str | int]:
        """Shapes, dtypes and checksums, to tell one data set from another."""
        arrays = [self._x.array, self._y.array] + ([] if self._lengths is None else [self._lengths])
        return [part for array in arrays for part in (list(array.shape), str(array.dtype), zlib.crc32(array.data))]

    def in_order(self) -> Iterator[Batch]:
        """Every batch."""
        for start in range(0, self.examples, self._batch_size):
            end = min(start + self._batch_size, self.examples)
            lengths = None if self._lengths is None else self._lengths[start:end]
            batch = Batch(self._x.slice(start, end), self._y.slice(start, end), end - start, lengths=lengths)
            yield from self._windows(batch)

    def shuffled(self, seed: int, epoch: int) -> Iterator[Batch]:
        """As `in_order`, with the examples in an order that `seed` and `epoch` alone determine.

        A batch is overwritten by the next; the windows of one batch are in the order of time.
        """
        order = np.random.default_rng([seed, epoch]).permutation(self.examples)
        for start in range(0, self.examples, self._batch_size):
            index = order[start : start + self._batch_size]
            lengths = None if self._lengths is None else self._lengths[index]
            yield from self._windows(Batch(self._x.take(index), self._y.take(index), index.size, lengths=lengths))

    def _windows(self, batch: Batch) -> Iterator[Batch]:
        if self._steps is None:
            yield batch
            return
        for start in range(0, self._duration, self._steps):
            end = min(start + self._steps, self._duration)
            window = (slice(None),) * self._time + (slice(start, end),)
            share = (end - start) / self._duration
            yield Batch(batch.x[window], batch.y[window], batch.size * share, start == 0)


def batch_axes(batch_axis: int | tuple[int, int]) -> tuple[int, int]:
    """The axes of the examples in x and in y: one for both, or a pair."""
    pair = tuple(batch_axis) if isinstance(batch_axis, tuple | list) else (batch_axis, batch_axis)
    if len(pair) != 2:
        raise ValueError(f"batch_axis: expected an integer, or two (for x and for y), got {batch_axis!r}")
    return _check.integer("batch_axis", pair[0], 0), _check.integer("batch_axis", pair[1], 0)
