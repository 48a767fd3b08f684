"""A run whose result is a forecaster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..data import Series
from ..data.windows import split_in_time
from ..runs import Run, margin
from .forecaster import Forecaster, Settings, on_tail
from .picture import forecast_figure
from .report import summary

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ForecastRun(Run[Settings, Series, Forecaster]):
    """A run that learns to forecast a series, in one folder."""

    settings_type, learner_type = Settings, Forecaster
    pictures = ("forecast.png", *Run.pictures)

    def _tested(self, data: Series, learner: Forecaster) -> tuple[dict[str, Any], dict[str, Figure]]:
        settings = learner.settings
        origins, forecasts, errors = on_tail(data, learner)
        split = split_in_time(data, settings.window, settings.horizon)
        mae = errors["numgru"]["mae"]
        metrics = {
            "series": {"name": data.name, "unit": data.unit, "values": len(data), "note": data.note},
            "examples": {"fit": len(split.fit), "validation": len(split.validation), "tail": len(split.tail)},
            "tail": errors,
            "margin": {name: margin(mae, error["mae"]) for name, error in errors.items() if name != "numgru"},
        }
        return metrics, {"forecast.png": forecast_figure(data, origins, forecasts, errors)}

    def summary(self, metrics: dict[str, Any], data: Series) -> str:
        """The errors on the held-out tail and the margins."""
        return summary(metrics, data)
