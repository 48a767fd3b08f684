"""Looking into a model and its training."""

from .flow import Growth, jacobian_growth
from .gates import GateStatistics, LayerStatistics, gate_statistics
from .monitor import GradientMonitor

__all__ = [
    "GateStatistics",
    "GradientMonitor",
    "Growth",
    "LayerStatistics",
    "gate_statistics",
    "jacobian_growth",
]
