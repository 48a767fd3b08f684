"""Looking into a model and its training."""

from .figures import gates_figure, gradient_flow_figure, growth_figure
from .gates import GateStatistics, LayerStatistics, gate_statistics
from .jacobian import Growth, jacobian_growth
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
