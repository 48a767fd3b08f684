"""Results as text: a table to read, a CSV file to go on with."""

from __future__ import annotations

import math
from typing import Any

from .._files import csv_text
from .._types import Float64Array
from ..data import Series
from ..data.series import next_dates
from ..runs import margin_in_words


def summary(metrics: dict[str, Any], series: Series) -> str:
    """The errors on the held-out tail and the margins, from what metrics.json holds."""
    settings, count = metrics["settings"], metrics["examples"]["tail"]
    unit = f" ({series.unit})" if series.unit else ""
    lines = [f"held-out tail, {count} forecasts of {settings['horizon']} {series.step}s; errors{unit}:"]
    lines.append(f"{'':26}{'MAE':>10}{'RMSE':>10}   numgru's MAE is")
    for name, error in metrics["tail"].items():
        words = margin_in_words(metrics["margin"].get(name))
        lines.append(f"{name:26}{error['mae']:>10.4g} {error['rmse']:>9.4g}   {words}".rstrip())
    return "\n".join(lines)


def forecast_csv(series: Series, forecast: Float64Array, scale: float) -> str:
    """Two columns: date, or step where the file's first row is step 0; and forecast.

    Parameters
    ----------
    series : Series
        What the forecast continues.
    forecast : ndarray, shape (F,)
    scale : float
        The size of a usual change: forecasts are rounded to about a 100,000th of it.
    """
    dates = None if series.dates is None else next_dates(series.dates, len(forecast))
    first = series.first_row + len(series)
    steps = range(first, first + len(forecast)) if dates is None else dates
    digits = 5 - math.floor(math.log10(scale))  # after the point
    rows = ((step, round(value, digits)) for step, value in zip(steps, forecast.tolist(), strict=True))
    return csv_text(["step" if dates is None else "date", "forecast"], rows)
