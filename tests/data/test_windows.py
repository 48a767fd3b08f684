import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numgru.data import DataError, Series
from numgru.data.windows import ChangeScaler, split_in_time, targets, windows


def series_of(values, filled=None):
    values = np.asarray(values, float)
    return Series("s", values, np.zeros(len(values), bool) if filled is None else np.asarray(filled))


def test_windows_and_targets_meet_at_the_origin():
    values = np.arange(10.0)
    origins = np.array([2, 5])
    assert windows(values, origins, 3).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert targets(values, origins, 2).tolist() == [[3, 4], [6, 7]]


def test_every_target_lies_in_one_part():
    split = split_in_time(series_of(np.arange(100)), window=5, horizon=3)
    assert (split.fit_end, split.validation_end) == (70, 85)
    assert (split.fit[0], split.fit[-1]) == (4, 66)  # sees 0 to 4; forecasts up to 69
    assert (split.validation[0], split.validation[-1]) == (69, 81)  # forecasts 70 to 84
    assert (split.tail[0], split.tail[-1]) == (84, 96)  # forecasts 85 to 99


def test_a_part_ends_on_a_measured_value():
    filled = np.zeros(100, bool)
    filled[68:72] = True
    assert split_in_time(series_of(np.arange(100), filled), 5, 3).fit_end == 68


@given(
    n=st.integers(40, 200),
    window=st.integers(1, 8),
    horizon=st.integers(1, 5),
    seed=st.integers(0, 2**31),
    change=st.floats(-1e6, 1e6).filter(bool),
)
def test_nothing_of_the_tail_reaches_what_is_fitted(n, window, horizon, seed, change):
    values = np.random.default_rng(seed).standard_normal(n)
    split = split_in_time(series_of(values), window, horizon)
    changed = values.copy()
    changed[split.fit_end :] += change
    again = split_in_time(series_of(changed), window, horizon)

    assert (again.fit == split.fit).all() and again.fit_end == split.fit_end
    assert ChangeScaler.fit(changed, split.fit, horizon) == ChangeScaler.fit(values, split.fit, horizon)
    assert (windows(changed, split.fit, window) == windows(values, split.fit, window)).all()
    assert (targets(changed, split.fit, horizon) == targets(values, split.fit, horizon)).all()


@given(n=st.integers(60, 120), missing=st.floats(0, 0.6), horizon=st.integers(1, 5), seed=st.integers(0, 2**31))
def test_no_window_knows_anything_after_its_origin(n, missing, horizon, seed):
    rng = np.random.default_rng(seed)
    filled, values = rng.random(n) < missing, rng.standard_normal(n)
    filled[[0, -1]] = False
    measured = np.flatnonzero(~filled)
    try:
        split = split_in_time(series_of(values, filled), 4, horizon)
    except DataError:  # too many gaps
        return
    for origin in np.concatenate([split.fit, split.validation, split.tail]):
        before, after = (
            np.interp(np.arange(n), measured, np.where(measured > origin, later, values[measured]))
            for later in (0, 100)
        )
        at = np.array([origin])
        assert (windows(before, at, 4) == windows(after, at, 4)).all()
        assert not targets(filled, at, horizon).all()


def test_too_many_gaps_are_an_error_that_says_so():
    filled = np.arange(101) % 2 == 1
    with pytest.raises(DataError, match=r"measured one among the 1 after it, got none, as 50 of 101 values are miss"):
        split_in_time(series_of(np.arange(101), filled), 8, 1)
    with pytest.raises(DataError, match=r"measured values 1 after others in the part that is fitted, got none"):
        split_in_time(series_of(np.arange(101), filled), 8, 2)
    filled[21] = False
    assert (split_in_time(series_of(np.arange(101), filled), 8, 2).fit % 2 == 0).sum() > 10


@given(n=st.integers(1, 60), window=st.integers(1, 12), horizon=st.integers(1, 12))
def test_too_short_is_an_error_that_says_what_is_needed(n, window, horizon):
    try:
        split_in_time(series_of(np.arange(n)), window, horizon)
    except DataError as error:
        needed = int(str(error).split("which need ")[1].split(";")[0])
        split_in_time(series_of(np.arange(needed)), window, horizon)
        assert needed > n
        for fewer in range(n, needed):
            with pytest.raises(DataError):
                split_in_time(series_of(np.arange(fewer)), window, horizon)


def test_scaling_goes_there_and_back():
    values = np.random.default_rng(0).standard_normal(60).cumsum() + 300
    origins = np.arange(9, 50)
    scaler = ChangeScaler.fit(values, origins, 4)
    wanted, last = targets(values, origins, 4), values[origins]
    outputs = scaler.outputs(wanted, last)
    assert outputs.dtype == np.float32
    assert np.sqrt(np.mean(outputs.astype(float) ** 2)) == pytest.approx(1)
    np.testing.assert_allclose(scaler.forecasts(outputs, last), wanted, rtol=1e-6)


def test_inputs_are_time_first_and_end_in_zero():
    x = ChangeScaler(2.0).inputs(np.array([[1.0, 3.0, 5.0], [9.0, 8.0, 7.0]]))
    assert x.shape == (3, 2, 1)
    assert x[:, :, 0].T.tolist() == [[-2, -1, 0], [1, 0.5, 0]]
    assert x.dtype == np.float32 and x.flags.c_contiguous


def test_a_constant_series_is_refused():
    with pytest.raises(DataError, match="constant"):
        ChangeScaler.fit(np.ones(20), np.arange(5, 10), 3)


def test_the_scale_is_that_of_measured_changes():
    values = np.arange(20.0) ** 2
    gaps = np.where(np.arange(20) % 2, np.nan, values)
    assert ChangeScaler.fit(gaps, np.array([6, 8]), 2).scale == np.sqrt((28**2 + 36**2) / 2)


@pytest.mark.parametrize("unit", [1e-200, 1e140])
def test_the_unit_of_a_series_makes_no_difference(unit):
    values, origins = np.arange(20.0) ** 2, np.arange(5, 10)
    scale = ChangeScaler.fit(values, origins, 3).scale
    assert ChangeScaler.fit(unit * values, origins, 3).scale == pytest.approx(unit * scale, rel=1e-12)
