"""Pictures of a training: how it went, what gradients did; and what all pictures share.

Figures are built directly, without pyplot: no global state, no window, no display needed.
Colours are those of Okabe and Ito, which colour-blind readers tell apart; the dashes differ, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._files import atomic_write
from .._types import BoolArray, Float64Array

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#6E6E6E"
_COLOURS = BLUE, ORANGE, GREEN, PURPLE, "#56B4E9", "#E69F00", "black"
_NAMED = 16  # arrays in a legend, those with the largest norms
_DASHES: list[dict[str, Any]] = [
    {"linestyle": "-", "linewidth": 2.0, "zorder": 4},
    {"linestyle": "--", "linewidth": 1.3},
    {"linestyle": "-.", "linewidth": 1.3},
    {"linestyle": ":", "linewidth": 1.3},
]


def training_figure(
    *,
    loss: Sequence[float],
    validation_loss: Sequence[float],
    norm_mean: Sequence[float],
    norm_max: Sequence[float],
    clipped: Sequence[float],
    clip_norm: float | None = None,
) -> Figure:
    """Losses above, gradient norm in the middle, share of clipped steps below; all over the epochs.

    Parameters
    ----------
    loss, validation_loss : sequence of float
        After each epoch.
    norm_mean, norm_max : sequence of float
        Mean and largest norm of the gradient, before clipping, over the steps of each epoch.
    clipped : sequence of float
        The share of steps with a clipped gradient, from 0 to 1.
    clip_norm : float, optional
        The norm to which gradients were clipped.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(10, 8)
    losses, norms, shares = figure.subplots(3, 1, sharex=True, height_ratios=[4, 3, 1.4])
    epochs = np.arange(1, len(loss) + 1)
    mark = "o" if len(loss) == 1 else None

    best = int(np.argmin(validation_loss))
    losses.plot(epochs, loss, color=BLUE, marker=mark, label="fitted part")
    losses.plot(epochs, validation_loss, color=ORANGE, linestyle="--", marker=mark, label="validation part")
    losses.plot(
        epochs[best],
        validation_loss[best],
        "*",
        color="black",
        markersize=11,
        label=f"best, epoch {best + 1}",
    )
    losses.set_yscale("log")
    losses.set_ylabel("loss (log scale)")
    losses.set_title("Loss", loc="left", fontweight="bold")
    finish(losses)

    norms.fill_between(epochs, norm_mean, norm_max, color=BLUE, alpha=0.2, linewidth=0, label="mean to largest")
    norms.plot(epochs, norm_mean, color=BLUE, marker=mark, label="mean")
    if clip_norm is not None:
        norms.axhline(clip_norm, color=GREEN, linestyle="-.", label=f"clipped to {clip_norm:g}")
    norms.set_yscale("log")
    norms.set_ylabel("norm (log scale)")
    norms.set_title("Gradient norm before clipping", loc="left", fontweight="bold")
    finish(norms)

    shares.bar(epochs, 100 * np.asarray(clipped), width=0.9, color=GREEN)
    shares.set_ylim(0, 100)
    shares.set_ylabel("% of steps")
    shares.set_title("Clipped steps", loc="left", fontweight="bold")
    shares.set_xlabel("epoch")
    shares.xaxis.get_major_locator().set_params(integer=True)
    shares.set_xlim(0.4, len(loss) + 0.6)
    finish(shares)
    return figure


def gradient_figure(
    norm: Float64Array,
    norms: Mapping[Any, Float64Array],
    clipped: BoolArray,
    skipped: BoolArray,
    threshold: tuple[float, str],
) -> Figure:
    """Gradient norms over the steps, their distribution beside them, the share of clipped steps below.

    Many steps are drawn as the medians of 120 spans of them; of the norm of all gradients together the range
    is drawn as well. The scale is logarithmic unless all norms are zero.

    Parameters
    ----------
    norm : ndarray, shape (N,)
        Of all gradients together.
    norms : mapping of str to ndarray, shape (N,)
        Of each array.
    clipped, skipped : ndarray of bool, shape (N,)
        The steps in which anything was clipped, and those that were left out.
    threshold : (float, str)
        A line to draw, and what it is.

    Returns
    -------
    matplotlib.figure.Figure
    """
    figure = new_figure(10, 6.5)
    (above, beside), (below, corner) = figure.subplots(2, 2, height_ratios=[4, 1.2], width_ratios=[4, 1])
    corner.set_axis_off()
    spans = np.array_split(np.arange(len(norm)), min(120, len(norm)))
    steps = np.array([span.mean() for span in spans]) + 1
    scale = "log" if (norm[np.isfinite(norm)] > 0).any() else "linear"
    usable = np.where(np.isfinite(norm) & ((norm > 0) | (scale == "linear")), norm, np.nan)  # what it can show

    names = sorted(norms, key=lambda name: -float(np.median(norms[name])))
    mark = "o" if len(norm) == 1 else None
    labels = [str(name) for name in names]
    if len(labels) > _NAMED + 1:
        labels[_NAMED:] = [f"{len(labels) - _NAMED} smaller ones"]
    for at, name in enumerate(names):
        style: dict[str, Any] = {"marker": mark, "color": _hue(at / max(1, len(names) - 1)), "linewidth": 1.0}
        label = labels[at] if at < len(labels) else None
        above.plot(steps, _over(spans, norms[name], np.nanmedian), label=label, **style)
    if len(spans) < len(norm):
        low, high = (_over(spans, usable, over) for over in (np.nanmin, np.nanmax))
        above.fill_between(steps, low, high, color="black", alpha=0.15, linewidth=0)
    middle = _over(spans, usable, np.nanmedian)
    above.plot(steps, middle, color="black", linewidth=1.6, marker=mark, label="all together", zorder=4)
    if skipped.any():
        left_out = np.flatnonzero(skipped) + 1
        above.plot(
            left_out,
            np.full(len(left_out), np.nanmax(usable)),
            "x",
            color=ORANGE,
            label="skipped: not finite",
            zorder=5,
        )
    limit, label = threshold
    for axes in (above, beside):
        axes.axhline(limit, color=ORANGE, linestyle="--", linewidth=1.3, label=label if axes is above else None)
        axes.set_yscale(scale)
    above.set_ylabel("norm (log scale)" if scale == "log" else "norm")
    above.set_title("Gradient norm before clipping", loc="left", fontweight="bold")
    above.margins(x=0.01)
    finish(above)
    figure.legend(*above.get_legend_handles_labels(), loc="outside right upper", frameon=False, fontsize=9)
    above.get_legend().remove()

    shown = usable[np.isfinite(usable)]
    bins: Any = np.geomspace(shown.min() * 0.999, shown.max() * 1.001, 31) if scale == "log" else 1
    beside.hist(shown, bins, orientation="horizontal", color="black", alpha=0.35)
    beside.sharey(above)
    beside.tick_params(which="both", labelleft=False)
    beside.set_title("all together", loc="left", fontsize=9)
    beside.set_xlabel("steps")
    beside.xaxis.get_major_locator().set_params(integer=True)
    finish(beside)

    wide = np.array_split(np.arange(len(norm)), min(60, len(norm)))
    share = [100 * clipped[span].mean() for span in wide]
    below.bar([span.mean() + 1 for span in wide], share, width=[0.9 * len(span) for span in wide], color=GREEN)
    below.set_ylim(0, 100)
    below.set_ylabel("% of steps")
    below.set_xlabel("step")
    below.sharex(above)
    below.xaxis.get_major_locator().set_params(integer=True)
    below.set_title(f"Clipped steps: {clipped.mean():.0%} in all", loc="left", fontweight="bold")
    finish(below)
    return figure


def save_figure(path: str | os.PathLike[str], figure: Figure) -> None:
    """Write `figure` as a PNG file, whole or not at all."""
    with atomic_write(path, "wb") as file:
        figure.savefig(file, format="png", dpi=130)


def new_figure(width: float, height: float) -> Figure:
    """An empty figure, in inches.

    Raises
    ------
    ImportError
        If matplotlib isn't installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'numgru[cli]'") from error
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(hspace=0.06))


def _hue(place: float) -> Any:
    """A colour from dark blue to yellow."""
    from matplotlib import colormaps

    return colormaps["viridis"](0.05 + 0.85 * place)


def _over(
    spans: Sequence[NDArray[np.int64]], values: Float64Array, statistic: Callable[[Float64Array], Any]
) -> Float64Array:
    """The statistic of each span; NaN for one without a number."""
    return np.array([statistic(values[span]) if np.isfinite(values[span]).any() else np.nan for span in spans])


def style_of(at: int) -> dict[str, Any]:
    """The colour and dashes of a picture's line number `at`: 28 pairs, as 7 and 4 have no factor in common."""
    return {"color": _COLOURS[at % len(_COLOURS)]} | _DASHES[at % len(_DASHES)]


def finish(axes: Axes) -> None:
    """Grid, spines and legend, as all pictures have them."""
    axes.set_axisbelow(True)
    axes.grid(color=GREY, alpha=0.2, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(frameon=False, fontsize=9)
