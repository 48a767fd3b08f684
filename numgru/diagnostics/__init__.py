"""Looking into a model and its training."""

from .monitor import GradientMonitor

__all__ = ["GradientMonitor"]
