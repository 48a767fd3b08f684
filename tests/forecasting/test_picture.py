import numpy as np
import pytest
from numpy.testing import assert_array_equal

from numgru.data import Series
from numgru.data.baselines import errors, persistence
from numgru.data.windows import targets
from numgru.forecasting.picture import forecast_figure
from tests.diagnostics.test_plots import legend

N = 40


def forecasts_of(series, horizon, every=1):
    origins = np.arange(20, N - horizon, every)
    forecasts = {"numgru": persistence(series.values, origins, horizon) + 0.1}
    forecasts["persistence"] = persistence(series.values, origins, horizon)
    truth, measured = targets(series.values, origins, horizon), ~targets(series.filled, origins, horizon)
    return origins, forecasts, {name: errors(each, truth, measured) for name, each in forecasts.items()}


@pytest.mark.parametrize("horizon", [1, 6])
@pytest.mark.parametrize("dates", [None, np.datetime64("2020-01-01") + np.arange(N)])
def test_forecast_figure(horizon, dates):
    series = Series("level", np.sin(np.arange(N)), np.arange(N) == 30, dates, unit="m", step="day")
    origins, forecasts, errors_of = forecasts_of(series, horizon)
    above, below = forecast_figure(series, origins, forecasts, errors_of).axes
    assert above.get_ylabel() == "level (m)"
    assert f"next {horizon} day" in above.get_title(loc="left")
    assert legend(above) == ["measured", "numgru", "persistence", "forecast made"]
    assert below.get_xlabel() == "days ahead"
    assert [name.split(":")[0] for name in legend(below)] == ["numgru", "persistence"]
    measured = above.lines[0].get_ydata()
    assert np.isnan(measured[10]) and np.isfinite(np.delete(measured, 10)).all()  # the gap stays a gap
    forecast = above.lines[1].get_ydata()
    time = np.arange(N) if dates is None else dates
    moments = time[(origins[::horizon, None] + np.arange(1, horizon + 1)).ravel()]
    assert_array_equal(above.lines[1].get_xdata()[np.isfinite(forecast)], moments)
    assert_array_equal(forecast[np.isfinite(forecast)], forecasts["numgru"][::horizon].ravel())
    assert np.isnan(forecast).sum() == (0 if horizon == 1 else len(forecasts["numgru"][::horizon]))


def test_forecasts_that_are_drawn_do_not_overlap():
    series = Series("level", np.sin(np.arange(N)), np.isin(np.arange(N), [23, 26, 27]))
    origins, forecasts, errors_of = forecasts_of(series, 3)
    kept = ~series.filled[origins]
    drawn = {name: each[kept] for name, each in forecasts.items()}
    above = forecast_figure(series, origins[kept], drawn, errors_of).axes[0]
    assert above.lines[-1].get_xdata().tolist() == [20, 24, 28, 31, 34]


def test_values_between_two_gaps_have_markers():
    time = np.arange(N + 1)
    series = Series("level", np.sin(time), time % 2 == 1)
    above, below = forecast_figure(series, *forecasts_of(series, 3, every=2)).axes
    assert above.lines[0].get_marker() == "."
    assert above.lines[0].get_markevery().tolist() == list(range(0, 21, 2))
    assert [line.get_marker() for line in below.lines] == ["o", "o"]
    assert [line.get_markevery().tolist() for line in below.lines] == [[1], [1]]  # the second step is always measured
    whole = forecast_figure(Series("level", np.sin(time), time < 0), *forecasts_of(series, 3)).axes[0]
    assert whole.lines[0].get_marker() == "None"
