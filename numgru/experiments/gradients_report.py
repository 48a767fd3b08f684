"""Gradient norms by lag, as CSV and as a picture."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._files import csv_text
from ..diagnostics.plots import BLUE, GREEN, ORANGE, finish, new_figure
from .gradients import STAGES, Measurement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STYLES: dict[str, dict[str, Any]] = {
    "RNN": {"color": ORANGE, "linestyle": "--"},
    "LSTM": {"color": GREEN, "linestyle": "-."},
    "GRU": {"color": BLUE, "linewidth": 2.0},
}


def norms_csv(measurements: Sequence[Measurement]) -> str:
    """A line for each network, stage and lag."""
    rows = (
        (each.network, each.stage, each.updates, f"{each.loss:.8g}", lag, f"{norm:.8g}")
        for each in measurements
        for lag, norm in enumerate(each.norms)
    )
    return csv_text(["network", "stage", "updates", "loss", "lag", "gradient_norm"], rows)


def flow_figure(measurements: Sequence[Measurement], title: str) -> Figure:
    """The gradient's norm over the lag: a panel for each stage, a line for each network.

    Parameters
    ----------
    measurements : sequence of Measurement
    title : str

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(12, 4.4)
    panels = figure.subplots(1, len(STAGES), sharex=True, sharey=True)
    for axes, stage in zip(panels, STAGES, strict=True):
        for each in measurements:
            if each.stage == stage:
                norms = np.where(each.norms > 0, each.norms, np.nan)  # a logarithm has no place for zero
                axes.plot(norms, label=f"{each.network}: {_end(each)}", **_STYLES[each.network])
        axes.set_title(stage, loc="left", fontweight="bold")
        axes.set_yscale("log")
        axes.set_xlabel("lag: steps before the last")
        finish(axes)
    panels[0].set_ylabel("norm of dL/dh (log scale)")
    figure.suptitle(textwrap.fill(title, 168), fontsize=10, x=0.01, ha="left")
    return figure


def reach(measurements: Sequence[Measurement]) -> str:
    """A table: the loss, and by which factor the gradient's norm changes from the last step to the first."""
    lines = ["gradient norm at the first step / at the last, and the loss:"]
    lines.append(" " * 8 + "".join(f"{stage:>26}" for stage in STAGES))
    of = {(each.network, each.stage): each for each in measurements}
    for network in dict.fromkeys(each.network for each in measurements):
        shown = (of[network, stage] for stage in STAGES)
        cells = (f"{_ratio(each.norms):.2g}, {each.loss:.3g}" if _is_finite(each) else _end(each) for each in shown)
        lines.append(f"{network:8}" + "".join(f"{cell:>26}" for cell in cells))
    return "\n".join(lines)


def _is_finite(measurement: Measurement) -> bool:
    return bool(np.isfinite(measurement.norms).all())


def _end(measurement: Measurement) -> str:
    """The loss that a training came to, or that it came to none."""
    if _is_finite(measurement):
        return f"loss {measurement.loss:.3g}"
    return f"exploded, {measurement.updates} updates"


def _ratio(norms: NDArray[np.float64]) -> float:
    return float(norms[-1] / norms[0]) if norms[0] else float("nan")
