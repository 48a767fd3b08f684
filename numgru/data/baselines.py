"""What a forecast has to beat: persistence, seasonal naive, and how far off each is.

Shapes: N examples, F horizon; `origins` as in windows.py.
"""

from __future__ import annotations

from typing import TypedDict

import numpy as np

from .._types import BoolArray, Float64Array
from .windows import Origins

_SEASONAL = 0.3  # least autocorrelation one season apart


def persistence(values: Float64Array, origins: Origins, horizon: int) -> Float64Array:
    """Everything stays as it is at the origin, shape (N, F)."""
    return np.repeat(values[origins, None], horizon, axis=1)


def seasonal_naive(values: Float64Array, origins: Origins, horizon: int, season: int) -> Float64Array:
    """Everything is as it was one season ago, shape (N, F).

    The last season known at the origin is repeated as often as the horizon needs.
    """
    forecast: Float64Array = values[origins[:, None] + 1 - season + np.arange(horizon) % season]
    return forecast


def seasonal_drift(values: Float64Array, origins: Origins, horizon: int, season: int) -> Float64Array:
    """As one season ago, plus the change over the last season for each season ahead, shape (N, F)."""
    growth = values[origins] - values[origins - season]
    return seasonal_naive(values, origins, horizon, season) + growth[:, None] * (1 + np.arange(horizon) // season)


def find_season(values: Float64Array) -> int | None:
    """The distance at which the series resembles itself most, or None if it does so nowhere.

    The peak of the autocorrelation of the series less its straight trend, beyond the first zero crossing and
    up to a third of the length; None below 0.3. Give it the fitted part only.
    """
    n, largest = len(values), np.abs(values).max()
    if not largest:
        return None
    time, values = np.arange(n), values / largest  # whose squares neither overflow nor vanish
    rest = values - np.polynomial.Polynomial.fit(time, values, 1)(time)
    power = np.abs(np.fft.rfft(rest, 2 * n)) ** 2  # twice the length, so that the ends don't meet
    correlation = np.fft.irfft(power)[: n // 3 + 1]
    negative = np.flatnonzero(correlation < 0)
    if negative.size == 0:
        return None
    season = int(negative[0] + np.argmax(correlation[negative[0] :]))
    # At the far end it may still be rising: then no peak was seen.
    return season if season < n // 3 and correlation[season] > _SEASONAL * correlation[0] else None


class Errors(TypedDict):
    """How far off forecasts are, in the unit of the series."""

    mae: float
    rmse: float
    mae_by_step: list[float | None]  # None: never measured


def errors(forecasts: Float64Array, truth: Float64Array, measured: BoolArray) -> Errors:
    """Mean absolute and root mean square error of `forecasts` (N, F) where `truth` was measured."""
    error = np.abs(forecasts - truth)
    known = error[measured]
    largest = known.max() or 1.0  # whose square neither overflows nor vanishes
    by_step = [step[of] for step, of in zip(error.T, measured.T, strict=True)]
    return {
        "mae": float(known.mean()),
        "rmse": float(largest * np.sqrt(((known / largest) ** 2).mean())),
        "mae_by_step": [float(step.mean()) if step.size else None for step in by_step],
    }
