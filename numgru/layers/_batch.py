"""Which steps a call has, where they lie in x and y, and in which order the kernels take them.

Shapes: T steps of the longest sequence, B sequences. x and y are seen as (places, features): step t of sequence b lies
at place starts[b] + t stride. The kernels' rows are the sequences, the longest first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._types import IntArray
from ..kernels.examples import PARCEL_ROWS
from ..kernels.sequences import Options


def with_zeros(values: NDArray[Any], axis: int, steps: int) -> NDArray[Any]:
    """`values` with zeros behind them along that axis, of so many steps."""
    missing = [(0, steps - length if at == axis else 0) for at, length in enumerate(values.shape)]
    return values if values.shape[axis] == steps else np.pad(values, missing)


@dataclass
class Batch:
    """Sequences of one length, or of different ones."""

    T: int
    B: int
    stride: int  # places from one step to the next
    distance: int  # places from one sequence to the next
    own_lengths: IntArray | None = None  # (B,); None: all have T steps
    own_starts: IntArray | None = None  # (B,), of sequences that don't lie regularly

    @property
    def is_ragged(self) -> bool:
        """Whether sequences may differ in length."""
        return self.own_lengths is not None

    @cached_property
    def order(self) -> IntArray:
        """The sequence of each row."""
        return np.arange(self.B) if self.own_lengths is None else np.argsort(-self.own_lengths, kind="stable")

    @cached_property
    def lengths(self) -> IntArray:
        """Steps of each row."""
        return np.full(self.B, self.T) if self.own_lengths is None else self.own_lengths[self.order]

    @cached_property
    def active(self) -> IntArray:
        """Rows that have a step t, for t = 0 .. T."""
        ended: IntArray = np.searchsorted(self.lengths[::-1], np.arange(self.T + 1), side="right").astype(np.int64)
        return self.B - ended

    def rows_of_parcels(self, parcels: int) -> IntArray:
        """Where each parcel of rows begins, and the last one ends: of about as many steps each."""
        steps = np.concatenate([[0], np.cumsum(self.lengths)])
        most = steps[-1] * np.arange(1, parcels)
        starts = np.searchsorted(parcels * steps[::PARCEL_ROWS], most, side="right") - 1
        return np.concatenate([[0], PARCEL_ROWS * starts, [self.B]])

    def _first_places(self, reverse: int) -> tuple[IntArray, int]:
        """Where each row's first step lies as it's read in that direction, and how far it is to the next."""
        starts = np.arange(self.B) * self.distance if self.own_starts is None else self.own_starts
        starts, stride = starts[self.order], self.stride
        if reverse:
            starts = starts + (self.lengths - 1) * stride
        return starts, -stride if reverse else stride

    def places(self, reverse: int, steps: NDArray[Any]) -> IntArray:
        """Where these steps lie, given as (n, 1), in the shape (n, B); a row that has ended repeats its last place."""
        starts, stride = self._first_places(reverse)
        places: IntArray = starts + np.minimum(steps, self.lengths - 1) * stride
        return places

    def last_places(self, reverse: int) -> IntArray:
        """Where each row's last step lies, shape (B,)."""
        starts, stride = self._first_places(reverse)
        return starts + (self.lengths - 1) * stride

    def segment(self, reverse: int, I: int, width: int, H: int, first: int, last: int) -> Options:
        """What the kernels need to know of steps first .. last - 1; in `active` the step after them is there, too.

        x has I features and y `width`, H of them this direction's.
        """
        starts, stride = self._first_places(reverse)
        starts = starts + first * stride
        return Options(
            steps=last - first,
            x_time=stride * I,
            y_time=stride * width,
            x_at=starts * I,
            y_at=starts * width + reverse * H,
            lengths=np.clip(self.lengths - first, 0, last - first),
            active=self.active[first : last + 1],
            continued=int(first > 0),
        )

    def in_steps(self, values: NDArray[Any], reverse: int) -> NDArray[Any]:
        """(T, B, ...) by time and sequence in the order of the kernels' steps and rows."""
        if not self.is_ragged:
            return np.ascontiguousarray(values[::-1] if reverse else values)
        steps = np.arange(self.T)[:, None]
        times = np.maximum(self.lengths - 1 - steps, 0) if reverse else np.broadcast_to(steps, (self.T, self.B))
        ordered: NDArray[Any] = values[times, self.order]
        return ordered

    def in_time(self, values: NDArray[Any], reverse: int) -> NDArray[Any]:
        """(T, B, ...) in the order of the kernels' steps and rows by time and sequence again; zero after the ends."""
        if not self.is_ragged:
            return values[::-1].copy() if reverse else values.copy()
        steps, rows = np.nonzero(np.arange(self.T)[:, None] < self.lengths)
        times = self.lengths[rows] - 1 - steps if reverse else steps
        given = np.zeros_like(values)
        given[times, self.order[rows]] = values[steps, rows]
        return given

    def in_rows(self, states: NDArray[Any]) -> NDArray[Any]:
        """(..., B, H) in the order of the kernels' rows."""
        return np.ascontiguousarray(states[..., self.order, :]) if self.is_ragged else states

    def as_given(self, states: NDArray[Any]) -> NDArray[Any]:
        """(..., B, H) in the order of the kernels' rows, in the order of the sequences again."""
        if not self.is_ragged:
            return states
        given = np.empty_like(states)
        given[..., self.order, :] = states
        return given
