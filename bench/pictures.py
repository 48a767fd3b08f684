"""What pictures of curves share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis


# Of Okabe and Ito: told apart by all eyes.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")


def finish(panel: Axes, axis: Literal["both", "x"] = "both") -> None:
    """Grid and spines."""
    panel.grid(axis=axis, color="0.92")
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)


def mark(axis: Axis, ticks: Sequence[int]) -> None:
    """These ticks and no others, on a logarithmic scale as well."""
    from matplotlib.ticker import FixedLocator, NullLocator

    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    label_plainly(axis)


def label_plainly(axis: Axis) -> None:
    """0.1 instead of a power of ten."""
    from matplotlib.ticker import FuncFormatter

    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
