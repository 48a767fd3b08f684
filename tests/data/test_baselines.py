import numpy as np
import pytest

from numgru.data import load_co2
from numgru.data.baselines import errors, find_season, persistence, seasonal_drift, seasonal_naive

VALUES = np.array([10.0, 20, 30, 11, 21, 31, 12])
ORIGINS = np.array([3, 5])


def test_persistence_stays():
    assert persistence(VALUES, ORIGINS, 2).tolist() == [[11, 11], [31, 31]]


def test_seasonal_naive_repeats_the_last_season_known():
    assert seasonal_naive(VALUES, ORIGINS, 4, 3).tolist() == [[20, 30, 11, 20], [11, 21, 31, 11]]


def test_seasonal_drift_adds_the_growth_of_a_season():
    # From 10 to 11 and from 30 to 31 within a season of 3: one more, and two more in the second season ahead.
    assert seasonal_drift(VALUES, ORIGINS, 4, 3).tolist() == [[21, 31, 12, 22], [12, 22, 32, 13]]


def test_errors_count_measured_values_only():
    found = errors(np.array([[1.0, 5, 0], [2, 0, 0]]), np.zeros((2, 3)), np.array([[1, 1, 0], [1, 0, 0]], bool))
    assert found["mae"] == pytest.approx(8 / 3)
    assert found["rmse"] == pytest.approx(np.sqrt(10))
    assert found["mae_by_step"] == [1.5, 5, None]


@pytest.mark.parametrize("unit", [0.0, 1e-200, 1e200])
def test_errors_of_any_size(unit):
    found = errors(unit * np.array([[1.0, 7.0]]), np.zeros((1, 2)), np.ones((1, 2), bool))
    assert found["mae"] == pytest.approx(4 * unit, rel=1e-12)
    assert found["rmse"] == pytest.approx(5 * unit, rel=1e-12)


@pytest.mark.parametrize("unit", [1e-200, 1e149, 1e300])
def test_a_season_of_any_size_is_found(unit):
    assert find_season(unit * np.sin(np.arange(100) * 2 * np.pi / 10)) == 10


@pytest.mark.parametrize("season", [4, 7, 12, 52])
def test_the_season_of_a_noisy_wave_on_a_trend_is_found(season):
    time = np.arange(8 * season)
    noise = 0.2 * np.random.default_rng(season).standard_normal(len(time))
    assert find_season(np.sin(2 * np.pi * time / season) + 0.05 * time + noise) == season


def test_the_season_of_the_co2_record_is_a_year():
    assert find_season(load_co2().values[:1599]) == 52


@pytest.mark.parametrize(
    "values",
    [np.random.default_rng(0).standard_normal(300), np.arange(50.0) ** 2, np.ones(30), np.zeros(30), np.arange(3.0)],
    ids=["noise", "curve", "constant", "zeros", "short"],
)
def test_where_nothing_repeats_there_is_no_season(values):
    assert find_season(values) is None


def test_a_season_is_seen_more_than_twice():
    """At 36 of 100 steps the resemblance may be still rising at a third of the length, where the search ends."""
    assert find_season(np.sin(2 * np.pi * np.arange(100) / 36)) is None


@pytest.mark.parametrize(("resemblance", "season"), [(0.28, None), (0.33, 12)])
def test_how_much_noise_hides_a_season(resemblance, season):
    """The autocorrelation one season apart is the wave's share of the variance; it counts from 0.3 on."""
    noise = (0.5 / resemblance - 0.5) ** 0.5 * np.random.default_rng(3).standard_normal(600)
    found = find_season(np.sin(2 * np.pi * np.arange(600) / 12) + noise)
    assert (found is None) == (season is None) and (found or 0) % 12 == 0
