"""Which part of a series decides what: nothing of the held-out tail reaches the model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numgru.data import Series
from numgru.forecasting import Forecaster, Settings
from numgru.forecasting.forecaster import beyond, on_tail
from tests.cases import assert_same_bits

N, HORIZON = 100, 3
TIME = np.arange(N)
SETTINGS = Settings(hidden_size=2, window=5, horizon=HORIZON, season=4)


def series(values: Any, filled: Any = ()) -> Series:
    return Series("s", np.asarray(values, float), np.isin(TIME, filled))


@pytest.fixture
def values() -> Any:
    return np.sin(2 * np.pi * TIME / 12) + 0.3 * np.random.default_rng(0).standard_normal(N)


@pytest.mark.parametrize(("first", "same"), [(70, 1), (90, 2)])
def test_what_comes_later_changes_no_example(values: Any, first: int, same: int) -> None:
    """Values from the validation part on, or from the tail on, are neither in the scale nor in earlier examples."""
    found = []
    for later in (0.0, 1000.0):
        values[first:] += later
        subject = Forecaster.untrained(SETTINGS, series(values))
        examples = subject._examples(series(values))[:same]
        arrays = {f"{part} {name}": array for part, pair in enumerate(examples) for name, array in zip("xy", pair)}  # noqa: B905
        found.append({"scale": np.array(subject.scaler.scale), **arrays})
    assert_same_bits(*found)


def test_the_season_is_that_of_the_fitted_part(values: Any) -> None:
    settings = Settings(window=5, horizon=HORIZON)
    season = settings.completed(series(values)).season
    values[70:] += 50 * np.sin(2 * np.pi * TIME[70:] / 7)
    assert settings.completed(series(values)).season == season == 12


def test_errors_are_those_of_measured_values(values: Any) -> None:
    """The last but one value is in targets only."""
    subject = Forecaster.untrained(SETTINGS, series(values))
    _, _, expected = on_tail(series(values, [N - 2]), subject)
    values[N - 2] += 1000
    _, forecasts, errors = on_tail(series(values, [N - 2]), subject)
    assert errors == expected
    assert list(errors) == list(forecasts) == ["numgru", "seasonal naive", "seasonal naive with drift", "persistence"]


def test_the_forecast_begins_after_the_last_value(values: Any) -> None:
    subject = Forecaster.untrained(SETTINGS, series(values))
    subject.model.flat_parameters[...] = 0  # no change is forecast
    assert beyond(series(values), subject).tolist() == [values[-1]] * HORIZON
