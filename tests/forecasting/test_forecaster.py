from dataclasses import replace

import numpy as np
import pytest

from numgru import MSELoss
from numgru.data import DataError, Series
from numgru.forecasting import Forecaster, Settings, beyond, on_tail
from numgru.forecasting.forecaster import MeasuredMSELoss

SMALL = Settings(window=8, horizon=3, season=0, hidden_size=8, epochs=3)


def noise_with_gaps(n):
    """Independent values, of which half are missing and interpolated."""
    rng = np.random.default_rng(0)
    values, filled, time = rng.standard_normal(n), rng.random(n) < 0.5, np.arange(n)
    filled[[0, -1]] = False
    return Series("noise", np.interp(time, time[~filled], values[~filled]), filled)


def test_noise_can_not_be_forecast_by_what_fills_its_gaps():
    series = noise_with_gaps(1201)
    forecaster = Forecaster.untrained(replace(SMALL, horizon=1), series)
    forecaster.train(series)
    _, _, errors = on_tail(series, forecaster)
    best = np.abs(series.values[~series.filled]).mean()  # of always forecasting the mean, zero
    assert errors["numgru"]["mae"] > 0.9 * best
    assert errors["persistence"]["mae"] > best


def test_what_was_not_measured_counts_nothing_in_training():
    prediction, target = np.array([[1.0, 2.0], [3.0, 5.0]]), np.array([[0.0, np.nan], [np.nan, 3.0]])
    loss, gradient = MeasuredMSELoss()(prediction, target)
    assert loss == (1 + 4) / 4
    assert gradient.tolist() == [[0.5, 0], [0, 1]]
    whole = MSELoss()(prediction, np.nan_to_num(target))
    again = MeasuredMSELoss()(prediction, np.nan_to_num(target))
    assert whole[0] == again[0] and (whole[1] == again[1]).all()

    series = noise_with_gaps(201)
    training, validation = Forecaster.untrained(SMALL, series)._examples(series)
    for x, y in (training, validation):
        assert np.isfinite(x).all()
        assert 0 < np.isnan(y).mean() < 0.7 and np.isfinite(y).any(axis=1).all()


def test_a_forecast_beyond_the_end_sees_a_whole_window():
    series = noise_with_gaps(201)
    forecaster = Forecaster.untrained(SMALL, series)
    assert beyond(series, forecaster).shape == (3,)
    with pytest.raises(DataError, match="noise: expected at least 8 values, the model's window, got 7"):
        beyond(noise_with_gaps(7), forecaster)
