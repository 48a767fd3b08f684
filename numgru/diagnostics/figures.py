"""Pictures of what goes on inside a recurrent layer: its gradients on their way back, and its gates.

Shapes: T steps, B batch, L layers, D directions, H hidden.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .gates import LayerStatistics
from .jacobian import Growth
from .plots import BLUE, GREY, ORANGE, finish, new_figure, style_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def gradient_flow_figure(flows: Mapping[str, NDArray[np.float64]]) -> Figure:
    """The norm of dL/dh_t over t: for each name and row the median of the sequences, and their range as a shade.

    The scale is logarithmic unless all norms are zero.

    Parameters
    ----------
    flows : mapping of str to ndarray, shape (L D, T, B)
        `gradient_flow` of a layer, by name: of several layers, or of one at different times of its training. Labels
        count the rows of an array, each of which is a layer and direction.

    Returns
    -------
    matplotlib.figure.Figure
    """
    _require_names("flows", flows)
    figure = new_figure(9, 4.5)
    axes = figure.subplots()
    lines = _rows(flows)
    log = any((norms > 0).any() for _, norms in lines)
    for at, (label, norms) in enumerate(lines):
        # A logarithm has no place for zero, which is after a sequence's end.
        seen = np.where(norms > 0, norms, np.nan) if log else norms
        steps = np.flatnonzero(np.isfinite(seen).any(axis=1))
        style = style_of(at)
        axes.plot(steps, np.nanmedian(seen[steps], axis=1), label=label, marker=_mark(steps), **style)
        low, high = np.nanmin(seen[steps], axis=1), np.nanmax(seen[steps], axis=1)
        axes.fill_between(steps, low, high, color=style["color"], alpha=0.12, linewidth=0)
    _finish(axes, "time step t", "norm of dL/dh at step t", "Gradients on their way back through time", log=log)
    return figure


def growth_figure(growths: Mapping[str, Growth]) -> Figure:
    """How the state's Jacobian grows or shrinks over a lag, with two standard errors.

    Parameters
    ----------
    growths : mapping of str to Growth
        By name, as `jacobian_growth` returns them. Labels count their rows, each of which is a layer and direction.

    Returns
    -------
    matplotlib.figure.Figure
    """
    _require_names("growths", growths)
    figure = new_figure(9, 4.5)
    axes = figure.subplots()
    lines = _rows({name: np.stack(growth, axis=1) for name, growth in growths.items()})
    for at, (label, (mean, error)) in enumerate(lines):
        lags, style = np.arange(mean.size), style_of(at)
        axes.plot(lags, np.where(mean > 0, mean, np.nan), label=label, marker=_mark(lags), **style)
        low = np.maximum(mean - 2 * error, mean / 10)
        axes.fill_between(lags, low, mean + 2 * error, color=style["color"], alpha=0.2, linewidth=0)
    axes.axhline(1, color=GREY, linewidth=0.8)
    title = "Above 1 gradients explode, below it they vanish"
    _finish(axes, "lag: steps before the last", "root mean square of J's singular values", title)
    return figure


def _require_names(name: str, given: Any) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"{name}: expected a mapping by name, as {{'GRU': ...}}, got {type(given).__name__}")


def _mark(places: NDArray[Any]) -> str | None:
    """A dot for a single place, where a line can't be seen."""
    return "o" if places.size == 1 else None


def _rows(arrays: Mapping[str, NDArray[np.float64]]) -> list[tuple[str, NDArray[np.float64]]]:
    """Each row of each array, and what it is; that of a single layer and direction needs no more than its name."""
    return [
        (name if len(array) == 1 else f"{name}, layer and direction {place}", row)
        for name, array in arrays.items()
        for place, row in enumerate(array)
    ]


def _finish(axes: Axes, x: str, y: str, title: str, *, log: bool = True) -> None:
    axes.set_yscale("log" if log else "linear")
    axes.set_xlabel(x)
    axes.set_ylabel(f"{y} (log scale)" if log else y)
    axes.set_title(title, loc="left", fontweight="bold")
    _finish_lines(axes)


def _finish_lines(axes: Axes) -> None:
    """Grid, spines and legend; there may be no place for a long one beside the lines."""
    finish(axes)
    legend = axes.get_legend()
    if legend is not None and (count := len(legend.get_texts())) > 4:
        handles = axes.get_legend_handles_labels()
        legend.remove()
        if count <= 12:
            axes.figure.legend(*handles, loc="outside right upper", frameon=False, fontsize=9)
        else:
            axes.figure.legend(*handles, loc="outside lower center", frameon=False, fontsize=8, ncols=4)


def gates_figure(statistics: LayerStatistics) -> Figure:
    """Where gates stand: a histogram of each, its saturated shares, and the memory that the keeping gate implies.

    Parameters
    ----------
    statistics : LayerStatistics
        Of a GRU or an LSTM.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        For a plain RNN's, which has no gates.
    """
    gates = statistics.gates
    if not gates:
        raise ValueError("statistics: expected those of a layer with gates, got a plain RNN's")
    memories = {name: gate.memory for name, gate in gates.items() if gate.memory is not None}
    figure = new_figure(2.7 * max(3, len(gates) // len(memories)), 2.4 * (len(memories) + 1))
    rows = figure.add_gridspec(len(memories) + 1, 1)
    for row, place in enumerate(dict.fromkeys(name[2:] for name in gates)):
        own = [gate for name, gate in gates.items() if name[2:] == place]
        for axes, gate in zip(figure.add_subfigure(rows[row]).subplots(1, len(own)), own, strict=True):
            edges = np.linspace(*gate.range, gate.histogram.size + 1)
            share = 100 * gate.histogram / max(1, gate.histogram.sum())
            axes.bar(edges[:-1], share, np.diff(edges), align="edge", color=BLUE, edgecolor="white", linewidth=0.4)
            ends = f"saturated low {gate.saturated_low:.0%}, high {gate.saturated_high:.0%}"
            axes.set_title(f"{gate.name}: {ends}", loc="left", fontsize=7)
            axes.set_ylabel("% of values" if gate is own[0] else "")
            finish(axes)
    axes = figure.add_subfigure(rows[len(memories)]).subplots()
    for at, (name, memory) in enumerate(memories.items()):
        endless = np.isinf(memory).sum()
        label = f"by {name}" + (f", of {endless} units without end" if endless else "")
        axes.plot(np.sort(memory)[::-1], label=label, marker=_mark(memory), **style_of(at))
    axes.set_yscale("log")
    axes.set_xlabel("units, those with the longest memory first")
    axes.set_ylabel("steps (log scale)")
    stuck = sum(gate.frozen.size for gate in gates.values())
    dead = sum(units.size for units in statistics.dead.values())
    title = f"Memory length; {stuck} gates never move from an end, {dead} outputs never change"
    axes.set_title(title, loc="left", fontsize=9, color=ORANGE if stuck or dead else "black")
    _finish_lines(axes)
    return figure
