"""Forecasting a series from start to end: what the command line does, for programs."""

from .folder import ForecastRun
from .forecaster import Forecaster, Settings, beyond, on_tail

__all__ = ["ForecastRun", "Forecaster", "Settings", "beyond", "on_tail"]
