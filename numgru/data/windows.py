"""From a series to examples: the split in time, windows with what follows them, and their scale.

Shapes: N examples, W window, F horizon; time counts from 0 at the start of the series. The origin of an
example is the time of the last value it may see: its window is the W values up to and with the origin, its
target the F values after it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .._types import Float64Array
from .series import DataError, Series

_LARGEST = 1e150  # change that is taken: a model forecasts some more

Origins = NDArray[np.intp]
Value = TypeVar("Value", bound=np.generic)

FIT_END, VALIDATION_END = 0.7, 0.85  # as shares of the series


@dataclass(frozen=True)
class Split:
    """The series cut in time: [0, fit_end) is fitted, [fit_end, validation_end) chooses, the tail tests.

    An example belongs to the part that holds its whole target. Its window may reach back into the part
    before: on the day of the forecast that past is known.

    Attributes
    ----------
    fit, validation, tail : ndarray of int
        The origins of the examples of each part.
    fit_end, validation_end : int
        Where the parts end.
    """

    fit: Origins
    validation: Origins
    tail: Origins
    fit_end: int
    validation_end: int


def split_in_time(series: Series, window: int, horizon: int) -> Split:
    """The origins of the examples of each part: the first 70 % of the series, the next 15 %, the last 15 %.

    A part ends on a measured value: an interpolated one would know the value after it, across the border.

    Parameters
    ----------
    series : Series
    window, horizon : int
        How many values an example sees and how many it forecasts.

    Returns
    -------
    Split

    Raises
    ------
    DataError
        If one of the parts is too short for a single example.
    """
    n = len(series)
    measured = np.flatnonzero(~series.filled)
    fit_end, validation_end = (
        int(measured[measured < max(share * n, 1)][-1]) + 1 for share in (FIT_END, VALIDATION_END)
    )
    split = Split(
        fit=np.arange(window - 1, fit_end - horizon),
        validation=np.arange(fit_end - 1, validation_end - horizon),
        tail=np.arange(validation_end - 1, n - horizon),
        fit_end=fit_end,
        validation_end=validation_end,
    )
    if not (split.fit.size and split.validation.size and split.tail.size):
        needed = math.ceil(max((window + horizon) / FIT_END, (horizon + 1) / (1 - VALIDATION_END)))
        raise DataError(
            f"{series.name}: {n} values are too few to fit and test window {window} with horizon {horizon}, "
            f"which need about {needed}; give a smaller window or horizon, or more data"
        )
    return split


def windows(values: Float64Array, origins: Origins, window: int) -> Float64Array:
    """What each example sees, shape (N, W)."""
    view: Float64Array = sliding_window_view(values, window)[origins - window + 1]
    return view


def targets(values: NDArray[Value], origins: Origins, horizon: int) -> NDArray[Value]:
    """What follows each origin, shape (N, F)."""
    view: NDArray[Value] = sliding_window_view(values, horizon)[origins + 1]
    return view


@dataclass(frozen=True)
class ChangeScaler:
    """Values as changes from the window's last value, in units of a typical change.

    Nothing but the change is seen, so a model goes on with a trend to levels that it never met.

    Attributes
    ----------
    scale : float
        Root mean square of the change within the horizon; in the unit of the series.
    """

    scale: float

    @classmethod
    def fit(cls, values: Float64Array, origins: Origins, horizon: int) -> ChangeScaler:
        """The scale of the examples at `origins`.

        Raises
        ------
        DataError
            If nothing ever changes there, or so much that no float64 holds it.
        """
        changes = targets(values, origins, horizon) - values[origins, None]
        largest = float(np.abs(changes).max())
        if largest == 0:
            raise DataError("the part of the series that is fitted is constant: there is nothing to learn")
        if not largest < _LARGEST:
            raise DataError(f"the series changes by more than {_LARGEST:g}: give it in a larger unit")
        return cls(largest * float(np.sqrt(np.mean((changes / largest) ** 2))))

    def inputs(self, windows: Float64Array) -> NDArray[np.float32]:
        """Windows (N, W) as a sequence for a layer, shape (W, N, 1)."""
        changes = (windows - windows[:, -1:]) / self.scale
        return np.ascontiguousarray(changes.T[:, :, None], np.float32)

    def outputs(self, targets: Float64Array, last: Float64Array) -> NDArray[np.float32]:
        """Targets (N, F) after the last values (N,), as a model learns them, shape (N, F)."""
        return ((targets - last[:, None]) / self.scale).astype(np.float32)

    def forecasts(self, outputs: NDArray[np.floating], last: Float64Array) -> Float64Array:
        """A model's outputs (N, F) after the last values (N,) in the unit of the series, shape (N, F)."""
        return last[:, None] + self.scale * outputs.astype(np.float64)
