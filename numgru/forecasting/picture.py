"""The forecasts on the held-out tail as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._types import Float64Array
from ..data import Series
from ..data.baselines import Errors
from ..data.windows import Origins
from ..diagnostics.plots import BLUE, finish, new_figure, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def forecast_figure(
    series: Series, origins: Origins, forecasts: Mapping[str, Float64Array], errors: Mapping[str, Errors]
) -> Figure:
    """Forecasts against the truth above, error by step ahead below.

    Above, one forecast follows the other: of those that begin after the last one drawn has ended, the first, so
    that each moment is forecast once at most. The first entry is the model; only the second is drawn beside it.

    Parameters
    ----------
    series : Series
        The truth.
    origins : ndarray of int, shape (N,)
        When the forecasts were made; the last value that each knew. Ascending.
    forecasts : mapping of str to ndarray, shape (N, F)
        By name, in the unit of the series.
    errors : mapping of str to Errors
        The errors of the forecasts, under the same names.

    Returns
    -------
    matplotlib.figure.Figure
    """
    horizon = next(iter(forecasts.values())).shape[1]
    figure = new_figure(10, 7.5)  # which says what to install, if that's missing
    from matplotlib.dates import ConciseDateFormatter

    above, below = figure.subplots(2, 1, height_ratios=[3, 2])
    time: Any = np.arange(len(series)) if series.dates is None else series.dates

    tail = slice(int(origins[0]), len(series))
    measured = series.measured  # a gap stays a gap
    _line(above, time[tail], measured[tail], ".", color="black", linewidth=1.0, label="measured", zorder=3)
    shown = [0]
    while (following := int(np.searchsorted(origins, origins[shown[-1]] + horizon))) < len(origins):
        shown.append(following)
    gap = int(horizon > 1)  # a NaN parts a forecast from the next; those of one step are one line
    steps = origins[shown, None] + np.arange(1 - gap, horizon + 1)
    for at, (name, forecast) in enumerate(list(forecasts.items())[:2]):
        followed = np.pad(forecast[shown], ((0, 0), (gap, 0)), constant_values=np.nan)
        above.plot(time[steps.ravel()], followed.ravel(), label=name, **style_of(at))
    made = origins[shown]
    above.plot(time[made], measured[made], "o", color=BLUE, markersize=5, label="forecast made", zorder=5)
    above.set_title(
        f"{series.name}: forecasts of the next {_count(horizon, series.step)} on the held-out tail",
        loc="left",
        fontweight="bold",
    )
    above.set_ylabel(_with_unit(series.name, series.unit))
    if series.dates is None:
        above.set_xlabel(series.step)
    else:  # whole dates don't fit beside each other
        concise: Any = ConciseDateFormatter
        above.xaxis.set_major_formatter(concise(above.xaxis.get_major_locator()))
    above.margins(x=0.01)
    finish(above)

    ahead = np.arange(1, horizon + 1)
    for at, (name, error) in enumerate(errors.items()):
        by_step = np.array(error["mae_by_step"], float)
        _line(below, ahead, by_step, "o", label=f"{name}: {error['mae']:.3g} on average", **style_of(at))
    below.set_title(f"Mean absolute error of {_count(len(origins), 'forecast')}", loc="left", fontweight="bold")
    below.set_xlabel(f"{series.step}s ahead")
    below.set_ylabel(_with_unit("error", series.unit))
    below.set_ylim(bottom=0)
    below.xaxis.get_major_locator().set_params(integer=True)
    finish(below)
    return figure


def _line(axes: Axes, x: Any, y: Float64Array, marker: str, **style: Any) -> None:
    """A line with NaNs as gaps; points between two gaps, which a line doesn't show, get a marker."""
    known = np.pad(np.isfinite(y), 1)
    alone = np.flatnonzero(known[1:-1] & ~known[:-2] & ~known[2:])
    axes.plot(x, y, marker=marker if alone.size else None, markevery=alone, **style)


def _count(number: int, thing: str) -> str:
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def _with_unit(quantity: str, unit: str) -> str:
    return f"{quantity} ({unit})" if unit else quantity
