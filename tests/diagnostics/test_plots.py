import errno

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from numgru.data import Series
from numgru.data.baselines import errors, persistence
from numgru.data.windows import targets
from numgru.diagnostics.plots import forecast_figure, save_figure, training_figure

N = 40


def forecasts_of(series, horizon, every=1):
    origins = np.arange(20, N - horizon, every)
    forecasts = {"numgru": persistence(series.values, origins, horizon) + 0.1}
    forecasts["persistence"] = persistence(series.values, origins, horizon)
    truth, measured = targets(series.values, origins, horizon), ~targets(series.filled, origins, horizon)
    return origins, forecasts, {name: errors(each, truth, measured) for name, each in forecasts.items()}


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


@pytest.mark.parametrize("horizon", [1, 6])
@pytest.mark.parametrize("dates", [None, np.datetime64("2020-01-01") + np.arange(N)])
def test_forecast_figure(horizon, dates, tmp_path):
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


@pytest.mark.parametrize("clip_norm", [None, 1.0])
@pytest.mark.parametrize("epochs", [1, 20])
def test_training_figure(epochs, clip_norm):
    falling = np.exp(-np.arange(epochs))
    losses, norms, shares = training_figure(
        loss=falling,
        validation_loss=falling[::-1],
        norm_mean=falling,
        norm_max=2 * falling,
        clipped=falling / 2,
        clip_norm=clip_norm,
    ).axes
    assert losses.get_yscale() == norms.get_yscale() == "log"
    assert legend(losses)[-1] == "best, epoch 1"
    assert ("clipped to 1" in legend(norms)) == (clip_norm is not None)
    assert [bar.get_height() for bar in shares.patches] == pytest.approx(50 * falling)


def test_a_figure_is_saved_whole_or_not_at_all(tmp_path):
    series = Series("level", np.sin(np.arange(N)), np.zeros(N, bool))
    figure = forecast_figure(series, *forecasts_of(series, 3))
    save_figure(tmp_path / "a.png", figure)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")

    figure.savefig = lambda *_, **__: (_ for _ in ()).throw(OSError(errno.ENOSPC, "disk full"))
    with pytest.raises(OSError, match="disk full"):
        save_figure(tmp_path / "b.png", figure)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_without_matplotlib_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"pip install 'numgru\[cli\]'"):
        training_figure(loss=[1], validation_loss=[1], norm_mean=[1], norm_max=[1], clipped=[0])
