"""Looking into a model and its training."""

from .flow import Growth, jacobian_growth
from .gates import GateStatistics, LayerStatistics, gate_statistics
from .inside import gates_figure, gradient_flow_figure, growth_figure
from .monitor import GradientMonitor

__all__ = [
    "GateStatistics",
    "GradientMonitor",
    "Growth",
    "LayerStatistics",
    "gate_statistics",
    "gates_figure",
    "gradient_flow_figure",
    "growth_figure",
    "jacobian_growth",
]
