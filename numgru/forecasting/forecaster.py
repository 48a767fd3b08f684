"""A GRU that forecasts a series: its settings, its training, its errors.

Shapes: N examples, W window, F horizon; `origins` as in data/windows.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from .._types import Array, Float64Array, FloatArray
from ..data import DataError, Series, baselines, load_co2, read_csv
from ..data.baselines import Errors
from ..data.windows import ChangeScaler, Origins, split_in_time, targets, windows
from ..layers.gru import GRU
from ..layers.heads import LastStep
from ..layers.linear import Linear
from ..layers.sequential import Sequential
from ..runs import Examples, Learner, RunSettings
from ..training import MSELoss


@dataclass(frozen=True)
class Settings(RunSettings):
    """All that decides what a run computes, but the thread count, which changes no bit of it.

    Attributes
    ----------
    csv, column : str or None
        The series; without `csv` the CO2 record. `column` may be None if the file has only one.
    window, horizon : int
        How many values a forecast sees and how many it is made of.
    season : int or None
        Of the seasonal baselines; None if it is to be found, 0 if there are to be none.
    """

    csv: str | None = None
    column: str | None = None
    window: int = 52
    horizon: int = 26
    season: int | None = None

    @property
    def source(self) -> str | None:
        """The CSV file."""
        return self.csv

    def read(self) -> Series:
        """The series, read anew."""
        return load_co2() if self.csv is None else read_csv(self.csv, self.column)

    def completed(self, data: Series) -> Self:
        """These settings with the column's name and a season.

        That is the one that is known, or else the one that the fitted part shows; 0 for none.

        Raises
        ------
        DataError
            If the season is as long as the fitted part.
        """
        fit_end = split_in_time(data, self.window, self.horizon).fit_end
        season = data.season or baselines.find_season(data.values[:fit_end]) if self.season is None else self.season
        if season and season >= fit_end:
            raise DataError(f"season: expected less than the {fit_end} values that are fitted, got {season}")
        return replace(self, column=None if self.csv is None else data.name, season=season or 0)


class MeasuredMSELoss(MSELoss):
    """Squared error, to which a target adds nothing that is NaN because it wasn't measured."""

    def _run(self, p: FloatArray, t: Array, dp: FloatArray) -> float:
        return super()._run(p, np.where(np.isnan(t), p, t), dp)


class Forecaster(Learner[Settings, Series]):
    """The next F values of a series from its last W, by a GRU and a linear layer that sees its last state.

    Parameters
    ----------
    settings : Settings
    scaler : ChangeScaler
        Fitted on the examples that the model is trained with.
    """

    kind = "forecaster"

    def __init__(self, settings: Settings, scaler: ChangeScaler) -> None:
        self.settings, self.scaler = settings, scaler
        self.model = Sequential(
            GRU(1, settings.hidden_size, seed=settings.seed),
            LastStep(),
            Linear(settings.hidden_size, settings.horizon, seed=settings.seed + 1),
        )

    @classmethod
    def untrained(cls, settings: Settings, data: Series) -> Self:
        """A new one, with the scale of the fitted part.

        Raises
        ------
        DataError
            If the series is too short for the settings, or never changes.
        """
        split = split_in_time(data, settings.window, settings.horizon)
        return cls(settings, ChangeScaler.fit(data.measured, split.fit, settings.horizon))

    @classmethod
    def _restored(cls, metadata: Mapping[str, Any]) -> Self:
        return cls(Settings(**metadata["settings"]), ChangeScaler(metadata["scale"]))

    def _metadata(self) -> dict[str, Any]:
        return {"scale": self.scaler.scale}

    def _examples(self, data: Series) -> tuple[Examples, Examples]:
        """Inputs (W, N, 1), and outputs (N, F) with NaN where nothing was measured."""
        measured, horizon = data.measured, self.settings.horizon

        def of(origins: Origins) -> Examples:
            outputs = self.scaler.outputs(targets(measured, origins, horizon), measured[origins])
            return self._inputs(data.values, origins), outputs

        split = split_in_time(data, self.settings.window, horizon)
        return of(split.fit), of(split.validation)

    def _fit_options(self) -> dict[str, Any]:
        return {"loss": MeasuredMSELoss(), "batch_size": self.settings.batch_size, "batch_axis": (1, 0)}

    def forecast(self, values: Float64Array, origins: Origins) -> Float64Array:
        """What follows each origin, shape (N, F), in the unit of the values."""
        return self.scaler.forecasts(self.model(self._inputs(values, origins)), values[origins])

    def _inputs(self, values: Float64Array, origins: Origins) -> Any:
        return self.scaler.inputs(windows(values, origins, self.settings.window))


def on_tail(series: Series, forecaster: Forecaster) -> tuple[Origins, dict[str, Float64Array], dict[str, Errors]]:
    """Forecasts of the held-out tail by the model, which comes first, and the baselines; and their errors.

    Parameters
    ----------
    series : Series
    forecaster : Forecaster
        Its settings say how the series is cut, and the season of the baselines.

    Returns
    -------
    origins : ndarray of int, shape (N,)
        Measured values, after which the forecasts begin.
    forecasts : dict of str to ndarray, shape (N, F)
        By name.
    errors : dict of str to Errors
        Of measured values only, under the same names.

    Raises
    ------
    DataError
        If one of the series' parts has no example.
    """
    values, horizon, season = series.values, forecaster.settings.horizon, forecaster.settings.season
    origins = split_in_time(series, forecaster.settings.window, horizon).tail
    forecasts = {"numgru": forecaster.forecast(values, origins)}
    if season:
        forecasts["seasonal naive"] = baselines.seasonal_naive(values, origins, horizon, season)
        forecasts["seasonal naive with drift"] = baselines.seasonal_drift(values, origins, horizon, season)
    forecasts["persistence"] = baselines.persistence(values, origins, horizon)
    truth, measured = targets(values, origins, horizon), ~targets(series.filled, origins, horizon)
    return (
        origins,
        forecasts,
        {name: baselines.errors(each, truth, measured) for name, each in forecasts.items()},
    )


def beyond(series: Series, forecaster: Forecaster) -> Float64Array:
    """The forecast of what follows the end of the series, which is its last measured value.

    Parameters
    ----------
    series : Series
        That of the training, or another one of the same quantity.
    forecaster : Forecaster

    Returns
    -------
    ndarray, shape (F,)
        In the unit of the series.

    Raises
    ------
    DataError
        If the series is shorter than the forecaster's window, or changes in it by more than float32 holds.
    """
    window = forecaster.settings.window
    if len(series) < window:
        raise DataError(f"{series.name}: expected at least {window} values, the model's window, got {len(series)}")
    with np.errstate(all="ignore"):
        largest = np.abs(series.values[-window:] - series.values[-1]).max() / forecaster.scaler.scale
    if not largest <= np.finfo(np.float32).max:
        raise DataError(
            f"{series.name}: expected changes like those of the training within the last {window} values, "
            f"got one of {largest:.3g} times their size"
        )
    return forecaster.forecast(series.values, np.array([len(series) - 1])).reshape(-1)
