"""From a series to examples: the split in time, windows with what follows them, and their scale.

Shapes: N examples, W window, F horizon; time counts from 0 at the start of the series. The origin of an
example is the time of the last value it may see: its window is the W values up to and with the origin, its
target the F values after it. An origin is always measured: then the interpolated values of its window lie
between measurements that it may see.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import count
from typing import TypeVar

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from .._types import Float64Array
from .series import DataError, Series

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

    An interpolated value knows the next measurement. So a part ends on a measured value, and an example begins at
    one, as its window would give its target away otherwise. One whose target wasn't measured at all is left out, and
    each step of the horizon must have been measured somewhere in the fitted part, or its forecasts couldn't be learnt.

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
        If one of the parts has no example, or the fitted one none that measured a step of the horizon.
    """
    n, known = len(series), ~series.filled
    gaps = f"as {series.filled.sum()} of {n} values are missing"
    if not _is_enough(n, window, horizon):
        least = max((window + horizon) / FIT_END, horizon / (1 - VALIDATION_END))  # but for what is rounded
        needed = next(more for more in count(max(n + 1, int(least) - 2)) if _is_enough(more, window, horizon))
        raise DataError(
            f"{series.name}: {n} values are too few to fit and test window {window} with horizon {horizon}, "
            f"which need {needed}; give a smaller window or horizon, or more data"
        )
    fit_end, validation_end = (int(np.flatnonzero(known[:end])[-1]) + 1 for end in _ends(n))

    def examples(part: str, first: int, end: int) -> Origins:
        origins = np.arange(first, end - horizon)
        origins = origins[known[origins] & targets(known, origins, horizon).any(axis=1)]
        if not origins.size:
            raise DataError(
                f"{series.name}: expected a measured value in the part that {part}, with {window - 1} before it and a "
                f"measured one among the {horizon} after it, got none, {gaps}; give another window or horizon, or "
                "data with fewer gaps"
            )
        return origins

    fit = examples("is fitted", window - 1, fit_end)
    if (never := np.flatnonzero(~targets(known, fit, horizon).any(axis=0))).size:
        raise DataError(
            f"{series.name}: expected measured values {never[0] + 1} after others in the part that is fitted, got "
            f"none, {gaps}; leave out rows that are always empty, or give a smaller horizon"
        )
    return Split(
        fit=fit,
        validation=examples("chooses the epoch", fit_end - 1, validation_end),
        tail=examples("tests", validation_end - 1, n),
        fit_end=fit_end,
        validation_end=validation_end,
    )


def _ends(n: int) -> tuple[int, int]:
    """Where the first two parts end if nothing is missing."""
    return max(1, math.ceil(FIT_END * n)), max(1, math.ceil(VALIDATION_END * n))


def _is_enough(n: int, window: int, horizon: int) -> bool:
    """Whether each part has an example if nothing is missing."""
    fit_end, validation_end = _ends(n)
    return window + horizon <= fit_end and horizon <= min(validation_end - fit_end, n - validation_end)


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
        """The scale of the examples at `origins`, whose targets may be NaN where they weren't measured.

        Raises
        ------
        DataError
            If nothing ever changes there.
        """
        changes = targets(values, origins, horizon) - values[origins, None]
        changes = changes[~np.isnan(changes)]
        largest = float(np.abs(changes).max())
        if largest == 0:
            raise DataError("the part of the series that is fitted is constant: there is nothing to learn")
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
