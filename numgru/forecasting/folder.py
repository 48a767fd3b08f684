"""The folder of a run: its settings from the start, checkpoints on the way, results at the end.

Each file is written whole or not at all.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .._files import atomic_write, load_arrays
from ..data import Series
from ..data.windows import split_in_time
from ..diagnostics import plots
from ..training import History
from .forecaster import Forecaster, Settings, on_tail


class RunError(ValueError):
    """The folder doesn't hold what is asked of it; the message is one line that says why and what to do."""


class Run:
    """One run in one folder.

    Parameters
    ----------
    folder : path
        Need not exist.

    Raises
    ------
    RunError
        If there is something else than a folder.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder}: expected a folder, got a file; give another one")
        self.folder = folder
        self.settings, self.checkpoint = folder / "settings.json", folder / "checkpoint.npz"
        self.model, self.metrics = folder / "model.npz", folder / "metrics.json"
        self.pictures = folder / "forecast.png", folder / "training.png"

    def begin(self, settings: Settings, series: Series) -> None:
        """Make the folder, drop what an earlier run left there, and keep the settings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._drop(self.settings, self.checkpoint, self.model, self.metrics, *self.pictures)
        _write_json(self.settings, {"settings": asdict(settings), "series_crc32": _crc32(series)})

    def begun(self) -> bool:
        """Whether there is a run in the folder."""
        return self.settings.exists()

    def resume(self) -> tuple[Settings, Series]:
        """The settings and the series of the run that was begun here.

        Raises
        ------
        RunError
            If there is none, if its files are damaged, or if the series has changed since then.
        """
        try:
            kept = json.loads(self.settings.read_text("utf-8"))
            settings, crc32 = Settings(**kept["settings"]), kept["series_crc32"]
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{self.folder}: no run to resume here; leave out --resume") from None
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{self.settings}: expected the settings of a run, got something else") from error
        if self.checkpoint.exists():
            try:
                load_arrays(self.checkpoint)
            except ValueError as error:
                raise RunError(f"{error}; start anew with --overwrite") from error
        series = settings.series()
        if _crc32(series) != crc32:
            raise RunError(f"{settings.csv}: has changed since the run began; start anew with --overwrite")
        return settings, series

    def give_up(self) -> bool:
        """When training ends early: whether there is a checkpoint; without one, nothing is left behind."""
        if self.checkpoint.exists():
            return True
        self._drop(self.settings)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()
        return False

    def finish(self, series: Series, forecaster: Forecaster, history: History, about: dict[str, Any]) -> dict[str, Any]:
        """Test on the held-out tail; write the model, the metrics and the pictures.

        Parameters
        ----------
        series : Series
        forecaster : Forecaster
        history : History
            As `train` returned them.
        about : dict
            More for the metrics: timing, versions.

        Returns
        -------
        dict
            What metrics.json holds.
        """
        settings = forecaster.settings
        origins, forecasts, errors = on_tail(series, forecaster)
        split = split_in_time(series, settings.window, settings.horizon)
        mae = errors["numgru"]["mae"]
        metrics = {
            "series": {"name": series.name, "unit": series.unit, "values": len(series), "note": series.note},
            "examples": {"fit": len(split.fit), "validation": len(split.validation), "tail": len(split.tail)},
            "tail": errors,
            "margin": {name: _margin(mae, error["mae"]) for name, error in errors.items() if name != "numgru"},
            "settings": asdict(settings),
            "history": asdict(history),
            **about,
        }
        forecast_picture, training_picture = self.pictures
        forecaster.save(self.model)
        plots.save_figure(forecast_picture, plots.forecast_figure(series, origins, forecasts, errors))
        plots.save_figure(
            training_picture,
            plots.training_figure(
                loss=history.loss,
                validation_loss=history.validation_loss,
                norm_mean=history.grad_norm_mean,
                norm_max=history.grad_norm_max,
                clipped=history.clipped_share,
                clip_norm=settings.clip_norm,
            ),
        )
        _write_json(self.metrics, metrics)
        return metrics

    def load(self) -> Forecaster:
        """The forecaster of a finished run.

        Raises
        ------
        RunError
            If there is none.
        """
        try:
            return Forecaster.load(self.model)
        except FileNotFoundError:
            hint = "; it isn't finished: numgru train --resume" if self.begun() else ""
            raise RunError(f"{self.folder}: no trained model here{hint}") from None
        except ValueError as error:
            raise RunError(str(error)) from error

    def _drop(self, *paths: Path) -> None:
        for path in paths:
            path.unlink(missing_ok=True)


def _margin(mae: float, baseline: float) -> float | None:
    """By which share of the baseline's error the error is smaller; None if the baseline makes none."""
    return 1 - mae / baseline if baseline else None


def _crc32(series: Series) -> int:
    return zlib.crc32(series.values.tobytes())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        json.dump(content, file, indent=2)
        file.write("\n")
