"""The ratios as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..pictures import COLOURS, finish, label_plainly
from ..tables import count
from ..workload import Shape
from .report import Cell

MARKS = "oDs^"


def draw(cells: Sequence[Cell], path: Path) -> None:
    """Time of the best peer / numgru's: a row a shape, a panel a job, a colour a number of threads."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    cells = [cell for cell in cells if cell.ratio is not None] or cells
    shapes = list(dict.fromkeys(cell.shape for cell in cells))
    jobs = list(dict.fromkeys(cell.job for cell in cells))
    threads = sorted({cell.threads for cell in cells})
    figure = Figure(figsize=(5 * len(jobs) + 1, 0.42 * len(shapes) + 1.8), layout="constrained")
    panels = figure.subplots(1, len(jobs), sharex=True, sharey=True, squeeze=False)[0]
    for panel, job in zip(panels, jobs, strict=True):
        for i, n in enumerate(threads):
            colour, mark = COLOURS[i % len(MARKS)], MARKS[i % len(MARKS)]
            points = [
                (cell.ratio, shapes.index(cell.shape) + 0.4 * (i - (len(threads) - 1) / 2), cell.best_peer)
                for cell in cells
                if (cell.job, cell.threads) == (job, n) and cell.ratio is not None
            ]
            across, down = [p[0] for p in points], [p[1] for p in points]
            panel.scatter(across, down, s=28, color=colour, marker=mark, label=count(n), zorder=3)
            for ratio, y, peer in points:
                note = f"{ratio:.1f}  {peer}" if ratio >= 10 else f"{ratio:.2f}  {peer}"
                panel.annotate(
                    note,
                    (ratio, y),
                    (7, 0),
                    textcoords="offset points",
                    va="center",
                    fontsize=6.5,
                    color="0.25",
                    bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6},
                )
        panel.axvline(1, color="0.2", linewidth=1)
        panel.set_xscale("log")
        panel.set_title(job, loc="left", fontweight="bold")
        panel.set_xlabel("time of the best peer / time of numgru")
        finish(panel, "x")
        panel.hlines(
            [i + 0.5 for i in range(len(shapes) - 1)],
            0,
            1,
            "0.93",
            linewidth=0.7,
            transform=panel.get_yaxis_transform(),
        )
        panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        label_plainly(panel.xaxis)
        panel.xaxis.set_minor_formatter(NullFormatter())
    ratios = [cell.ratio for cell in cells if cell.ratio is not None]
    low, high = min([0.8, *ratios]), max([2, *ratios])
    panels[0].set_xlim(low * 0.9, high * (high / low) ** 0.3)  # room for the notes
    panels[0].set_yticks(range(len(shapes)), [label(shape) for shape in shapes])
    panels[0].set_ylabel("batch, time, input, hidden")
    panels[0].invert_yaxis()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper right", ncols=len(threads), frameon=False)
    figure.savefig(path, dpi=150)


def label(shape: Shape) -> str:
    sizes = ",".join(map(str, shape[:4]))
    return "\n".join(filter(None, [sizes, ", ".join(shape.options).replace("_", " ")]))
