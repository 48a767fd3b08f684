"""Results as text: a table to read, a CSV file to go on with."""

from __future__ import annotations

import csv
import io
from typing import Any

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
        lines.append(f"{name:26}{error['mae']:>10.4g}{error['rmse']:>10.4g}   {words}".rstrip())
    return "\n".join(lines)


def forecast_csv(series: Series, forecast: Float64Array) -> str:
    """Two columns: date, or step where the first of the series is step 0; and forecast."""
    dates = None if series.dates is None else next_dates(series.dates, len(forecast))
    steps = range(len(series), len(series) + len(forecast)) if dates is None else dates
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step" if dates is None else "date", "forecast"])
    writer.writerows((step, f"{value:.8g}") for step, value in zip(steps, forecast, strict=True))
    return text.getvalue()
