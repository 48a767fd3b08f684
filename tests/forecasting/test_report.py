import numpy as np
import pytest

from numgru.data import Series
from numgru.forecasting.report import forecast_csv


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
