"""A GRU that forecasts a series: its settings, its training, its errors, and the file that holds it.

Shapes: N examples, W window, F horizon; `origins` as in data/windows.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from .._files import load_arrays, save_arrays
from ..data import DataError, Series, baselines, load_co2, read_csv
from ..data.baselines import Errors
from ..data.series import Floats
from ..data.windows import ChangeScaler, Origins, Split, split_in_time, targets, windows
from ..layers.gru import GRU
from ..layers.heads import LastStep
from ..layers.linear import Linear
from ..layers.sequential import Sequential
from ..training import Adam, CosineAnnealingLR, History, MSELoss, fit

_KIND = "numgru forecaster 1"


@dataclass(frozen=True)
class Settings:
    """All that decides what a run computes, but the thread count, which changes no bit of it.

    Attributes
    ----------
    csv, column : str or None
        The series; without `csv` the CO2 record.
    window, horizon : int
        How many values a forecast sees and how many it is made of.
    hidden_size, epochs, batch_size, learning_rate, clip_norm, clip_value, seed
        Of the GRU and its training.
    season : int or None
        Of the seasonal baselines; None if there are to be none.
    """

    csv: str | None = None
    column: str | None = None
    window: int = 52
    horizon: int = 26
    hidden_size: int = 32
    epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 0.01
    clip_norm: float | None = 0.3
    clip_value: float | None = None
    season: int | None = None
    seed: int = 0

    def series(self) -> Series:
        """The series, read anew."""
        return load_co2() if self.csv is None else read_csv(self.csv, self.column)

    def with_season(self, series: Series) -> Settings:
        """These settings with the season that is known, or else the one that the fitted part shows."""
        fit_end = split_in_time(series, self.window, self.horizon).fit_end
        return replace(self, season=series.season or baselines.find_season(series.values[:fit_end]))


class Forecaster:
    """The next F values of a series from its last W, by a GRU and a linear layer that sees its last state.

    Parameters
    ----------
    settings : Settings
    scaler : ChangeScaler
        Fitted on the examples that the model is trained with.
    """

    def __init__(self, settings: Settings, scaler: ChangeScaler) -> None:
        self.settings, self.scaler = settings, scaler
        self.model = Sequential(
            GRU(1, settings.hidden_size, seed=settings.seed),
            LastStep(),
            Linear(settings.hidden_size, settings.horizon, seed=settings.seed + 1),
        )

    @classmethod
    def untrained(cls, settings: Settings, series: Series) -> Forecaster:
        """A new one, with the scale of the fitted part.

        Raises
        ------
        DataError
            If the series is too short for the settings, or never changes.
        """
        split = split_in_time(series, settings.window, settings.horizon)
        return cls(settings, ChangeScaler.fit(series.values, split.fit, settings.horizon))

    def examples(self, values: Floats, origins: Origins) -> tuple[Any, Any]:
        """Inputs (W, N, 1) and outputs (N, F) for the model."""
        wanted = targets(values, origins, self.settings.horizon)
        return self._inputs(values, origins), self.scaler.outputs(wanted, values[origins])

    def forecast(self, values: Floats, origins: Origins) -> Floats:
        """What follows each origin, shape (N, F), in the unit of the values."""
        return self.scaler.forecasts(self.model(self._inputs(values, origins)), values[origins])

    def _inputs(self, values: Floats, origins: Origins) -> Any:
        return self.scaler.inputs(windows(values, origins, self.settings.window))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, settings and scale into one .npz file."""
        metadata = {"kind": _KIND, "settings": asdict(self.settings), "scale": self.scaler.scale}
        save_arrays(path, self.model.state_dict(), metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Forecaster:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it holds something else.
        """
        arrays, metadata = load_arrays(path)
        if metadata.get("kind") != _KIND:
            raise ValueError(f"{os.fspath(path)}: expected a forecaster that numgru train wrote, got another file")
        forecaster = cls(Settings(**metadata["settings"]), ChangeScaler(metadata["scale"]))
        forecaster.model.load_state_dict(arrays)
        return forecaster


def train(
    forecaster: Forecaster,
    series: Series,
    *,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    on_epoch: Callable[[History], object] | None = None,
) -> History:
    """Fit `forecaster` in place; the validation part decides from which epoch its parameters are kept.

    Parameters
    ----------
    forecaster : Forecaster
    series : Series
    checkpoint : path, optional
        Where the state of training is kept after each epoch.
    resume : bool
        Whether to go on from there.
    on_epoch : callable, optional
        Called after each epoch with the history so far.

    Returns
    -------
    History
    """
    split = split_in_time(series, forecaster.settings.window, forecaster.settings.horizon)
    return _train(forecaster, series, split, checkpoint, resume, on_epoch)


def compile_kernels(forecaster: Forecaster, series: Series) -> None:
    """Compile what `train` needs, and no more, by one step of a twin; `forecaster` is left as it is."""
    settings = forecaster.settings
    split = split_in_time(series, settings.window, settings.horizon)
    few = slice(settings.batch_size)
    low = 1e-9  # so that there is something to clip
    clip_norm, clip_value = settings.clip_norm and low, settings.clip_value and low
    step = replace(settings, epochs=1, clip_norm=clip_norm, clip_value=clip_value)
    _train(
        Forecaster(step, forecaster.scaler),
        series,
        replace(split, fit=split.fit[few], validation=split.validation[few]),
    )


def _train(
    forecaster: Forecaster,
    series: Series,
    split: Split,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    on_epoch: Callable[[History], object] | None = None,
) -> History:
    settings = forecaster.settings
    optimizer = Adam(forecaster.model, lr=settings.learning_rate)
    return fit(
        forecaster.model,
        *forecaster.examples(series.values, split.fit),
        loss=MSELoss(),
        optimizer=optimizer,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        validation=forecaster.examples(series.values, split.validation),
        batch_axis=(1, 0),
        schedule=CosineAnnealingLR(optimizer, settings.epochs),
        clip_norm=settings.clip_norm,
        clip_value=settings.clip_value,
        seed=settings.seed,
        checkpoint=checkpoint,
        resume=resume,
        on_epoch=on_epoch,
    )


def on_tail(series: Series, forecaster: Forecaster) -> tuple[Origins, dict[str, Floats], dict[str, Errors]]:
    """Forecasts of the held-out tail by the model, which comes first, and the baselines; and their errors.

    Returns
    -------
    origins : ndarray of int, shape (N,)
    forecasts : dict of str to ndarray, shape (N, F)
    errors : dict of str to Errors
    """
    values, horizon, season = series.values, forecaster.settings.horizon, forecaster.settings.season
    origins = split_in_time(series, forecaster.settings.window, horizon).tail
    forecasts = {"numgru": forecaster.forecast(values, origins)}
    if season is not None:
        forecasts["seasonal naive"] = baselines.seasonal_naive(values, origins, horizon, season)
        forecasts["seasonal naive with drift"] = baselines.seasonal_drift(values, origins, horizon, season)
    forecasts["persistence"] = baselines.persistence(values, origins, horizon)
    truth, measured = targets(values, origins, horizon), ~targets(series.filled, origins, horizon)
    return (
        origins,
        forecasts,
        {name: baselines.errors(each, truth, measured) for name, each in forecasts.items()},
    )


def beyond(series: Series, forecaster: Forecaster) -> Floats:
    """The forecast of what follows the end of the series, shape (F,)."""
    window = forecaster.settings.window
    if len(series) < window:
        raise DataError(f"{series.name}: expected at least {window} values, the model's window, got {len(series)}")
    return forecaster.forecast(series.values, np.array([len(series) - 1])).reshape(-1)
