"""Forecasting a series from start to end: what the command line does, for programs."""

from .folder import Run, RunError
from .forecaster import Forecaster, Settings, beyond, compile_kernels, on_tail, train

__all__ = ["Forecaster", "Run", "RunError", "Settings", "beyond", "compile_kernels", "on_tail", "train"]
