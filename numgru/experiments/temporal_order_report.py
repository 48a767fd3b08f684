"""Success rates by network, clipping and length: as a table, as CSV, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import TYPE_CHECKING, Any

from .._files import csv_text
from ..diagnostics.plots import BLUE, GREY, ORANGE, finish, new_figure
from .networks import NETWORKS, UNITS
from .temporal_order import BATCH_SIZE, LEARNING_RATE, THRESHOLD, Plan, Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METHODS = {False: "SGD", True: "SGD, clipped"}

PAPER = (
    "Pascanu et al. 2013, figure 7: plain RNNs of 50 units; smart tanh and basic tanh as here, and sigmoid units, "
    "which numgru lacks.\nTheir learning rate is 0.01, their trials have up to 5,000,000 updates. They find that "
    "clipping matters more, the longer the sequences are.\nA third curve of theirs, clipping with a regularizer "
    "against vanishing gradients, is not repeated. LSTM and GRU are not in their figure."
)


def rates(results: Sequence[Result]) -> dict[tuple[str, bool], dict[int, tuple[int, int]]]:
    """For each network, with clipping or without: by length, how many trials solved the task, of how many."""
    counted: dict[tuple[str, bool], dict[int, tuple[int, int]]] = {}
    for each in sorted(results, key=lambda one: (list(NETWORKS).index(one.network), one.clipped, one.length)):
        by_length = counted.setdefault((each.network, each.clipped), {})
        solved, trials = by_length.get(each.length, (0, 0))
        by_length[each.length] = solved + each.solved, trials + 1
    return counted


def table(results: Sequence[Result], plan: Plan) -> str:
    """How many trials solved the task; `-` where none is done yet."""
    lines = [f"temporal order, trials that learned it in at most {plan.updates} updates, by length:"]
    lines.append(" " * 32 + "".join(f"{length:>8}" for length in plan.lengths))
    for (network, clipped), by_length in rates(results).items():
        shown = ("/".join(map(str, by_length[length])) if length in by_length else "-" for length in plan.lengths)
        lines.append(f"{network:18}{METHODS[clipped]:14}" + "".join(f"{each:>8}" for each in shown))
    return "\n".join(lines)


def trials_csv(results: Sequence[Result]) -> str:
    """A line for each trial."""
    order = {network: at for at, network in enumerate(NETWORKS)}
    ordered = sorted(results, key=lambda one: (order[one.network], one.clipped, one.length, one.seed))
    return csv_text([field.name for field in fields(Result)], map(astuple, ordered))


def success_figure(results: Sequence[Result], plan: Plan) -> Figure:
    """Success rate over length, a panel for each network; below, what the paper did otherwise.

    Parameters
    ----------
    results : sequence of Result
    plan : Plan

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(12, 4.6)
    panels = figure.subplots(1, len(NETWORKS), sharex=True, sharey=True)
    of = rates(results)
    styles: dict[bool, dict[str, Any]] = {
        False: {"color": ORANGE, "linestyle": "--", "marker": "s", "markersize": 9, "fillstyle": "none"},
        True: {"color": BLUE, "marker": "o"},
    }
    for axes, network in zip(panels, NETWORKS, strict=True):
        for clipped, style in styles.items():
            by_length = of.get((network, clipped), {})
            share = [solved / trials for solved, trials in by_length.values()]
            axes.plot(list(by_length), share, label=METHODS[clipped], clip_on=False, **style)
        axes.set_title(network, loc="left", fontweight="bold", pad=11)  # clear of markers at 1
        axes.set_xlabel("length of the sequences")
        axes.set_xticks(plan.lengths)
        axes.set_ylim(0, 1)
        finish(axes)
    panels[0].set_ylabel("share of trials that learn it")
    figure.suptitle(
        f"Temporal order: {plan.seeds} trials each of at most {plan.updates:,} updates, {UNITS} units, batches of "
        f"{BATCH_SIZE}, learning rate {LEARNING_RATE}, clipped to a norm of {THRESHOLD:g}",
        fontsize=10,
        x=0.01,
        ha="left",
    )
    figure.supxlabel(PAPER, fontsize=8, color=GREY, x=0.01, ha="left")
    return figure
