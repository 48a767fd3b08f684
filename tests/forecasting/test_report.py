import numpy as np
import pytest

from numgru.data import Series
from numgru.forecasting.report import forecast_csv, summary


@pytest.mark.parametrize(
    ("level", "change", "scale", "shown"),
    [
        (0, 1.23456789, 1, "1.23457"),
        (1.5e9, 0.123456789, 0.5, "1500000000.123457"),
        (371, 0.5, 2.6, "371.5"),
        (0, 1.23456789e-200, 2e-200, "1.23457e-200"),
        (1e100, 1.23456789e90, 2e90, "1.000000000123457e+100"),
        (0, 123456789.0, 3e6, "123456790.0"),
    ],
)
def test_digits_are_those_of_a_usual_change(level, change, scale, shown):
    series = Series("s", np.arange(3.0), np.zeros(3, bool), first_row=4)
    assert forecast_csv(series, np.array([level + change]), scale) == f"step,forecast\n7,{shown}\n"


def test_errors_of_any_size_stay_apart():
    series = Series("s", np.arange(3.0), np.zeros(3, bool))
    tail = {"numgru": {"mae": 1.2345e-200, "rmse": 2e-200}, "persistence": {"mae": 1.5, "rmse": 2.5}}
    metrics = {"settings": {"horizon": 2}, "examples": {"tail": 5}, "tail": tail, "margin": {"persistence": 1.0}}
    _, header, ours, theirs = summary(metrics, series).splitlines()
    assert ours.split() == ["numgru", "1.234e-200", "2e-200"]
    assert theirs.split()[:3] == ["persistence", "1.5", "2.5"]
    assert header.index("MAE") + 3 == theirs.index("1.5") + 3 and header.index("RMSE") + 4 == theirs.index("2.5") + 3
