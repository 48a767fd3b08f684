"""How time grows with T, B, I and H: `python -m bench.growth --picture growth.png`.

Each of the four is doubled six times while the others stay as they are. Time should follow the operations of the
matrix products, T B H (I + H), so in proportion to T and to B; a call's starting cost, and tiles that too few rows or
units leave unfilled, show at the small end. A fitted exponent is the slope of log time over the largest sizes only.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import numgru

from .command import add_picture, parser, write
from .load import Load, said
from .pictures import COLOURS, finish, label_plainly, mark
from .tables import count, head, row
from .workload import JOBS, Shape, Workload, median_seconds

BASE = Shape(B=16, T=64, I=64, H=128)
STARTS = {"T": 4, "B": 1, "I": 16, "H": 16}
DOUBLINGS = 6
FITTED = 4  # points, at the largest sizes
BURST = 0.01  # seconds, but at least five calls
MARKS = dict(zip(JOBS, "oD", strict=True))
NAMES = {"T": "time steps T", "B": "batch B", "I": "input size I", "H": "hidden size H"}


class Curve(NamedTuple):
    """Seconds by size, of one job along one axis."""

    axis: str
    job: str
    sizes: list[int]
    seconds: list[float]
    operations: list[int]

    @property
    def exponent(self) -> float:
        return slope(self.sizes, self.seconds)

    @property
    def exponent_of_operations(self) -> float:
        return slope(self.sizes, self.operations)


def slope(sizes: Sequence[float], values: Sequence[float]) -> float:
    """Of log values over log sizes, at the largest sizes."""
    return float(np.polyfit(np.log(sizes[-FITTED:]), np.log(values[-FITTED:]), 1)[0])


def sizes_of(axis: str) -> list[int]:
    return [STARTS[axis] * 2**n for n in range(DOUBLINGS + 1)]


def _with(axis: str, size: int) -> Shape:
    sizes: dict[str, Any] = {axis: size}
    return BASE._replace(**sizes)


def measure(rounds: int) -> list[Curve]:
    """Every shape takes its turn in each round; a figure is the least of its bursts' medians."""
    shapes = {axis: [_with(axis, size) for size in sizes_of(axis)] for axis in STARTS}
    workloads = {shape: Workload(shape) for along in shapes.values() for shape in along}
    least = {(shape, job): np.inf for shape in workloads for job in JOBS}
    for _ in range(rounds):
        for shape, workload in workloads.items():
            for job in JOBS:
                least[shape, job] = min(least[shape, job], median_seconds(workload.call(job), BURST))
    return [
        Curve(axis, job, sizes_of(axis), [least[shape, job] for shape in along], [shape.flops(job) for shape in along])
        for axis, along in shapes.items()
        for job in JOBS
    ]


def others(axis: str) -> str:
    return ", ".join(f"{name} = {size}" for name, size in BASE._asdict().items() if name in STARTS and name != axis)


def tables(curves: Sequence[Curve]) -> str:
    lines = []
    for axis in dict.fromkeys(curve.axis for curve in curves):
        along = [curve for curve in curves if curve.axis == axis]
        lines += ["", *head([f"µs; {others(axis)}; {axis} =", *along[0].sizes, "exponent", "of the operations"])]
        for curve in along:
            times = [f"{seconds * 1e6:.0f}" for seconds in curve.seconds]
            lines.append(row([curve.job, *times, f"{curve.exponent:.2f}", f"{curve.exponent_of_operations:.2f}"]))
    return "\n".join(lines)


def draw(curves: Sequence[Curve], threads: int, path: Path) -> None:
    """A panel an axis, a colour a job; thin lines in proportion to the operations, through the largest size."""
    from matplotlib.figure import Figure

    axes = list(dict.fromkeys(curve.axis for curve in curves))
    figure = Figure(figsize=(9, 7), layout="constrained")
    panels = dict(zip(axes, figure.subplots(2, 2, sharey=True).flat, strict=True))
    for curve in curves:
        panel, colour = panels[curve.axis], COLOURS[JOBS.index(curve.job)]
        ideal = np.array(curve.operations) * (curve.seconds[-1] / curve.operations[-1])
        panel.plot(curve.sizes, ideal * 1e3, color="0.6", linewidth=1, linestyle="--", zorder=1)
        milliseconds = np.array(curve.seconds) * 1e3
        panel.plot(curve.sizes, milliseconds, color=colour, marker=MARKS[curve.job], markersize=5, label=curve.job)
        panel.text(
            0.03,
            0.82 + 0.07 * JOBS.index(curve.job),  # in the curves' own order
            f"exponent {curve.exponent:.2f}  (operations {curve.exponent_of_operations:.2f})",
            transform=panel.transAxes,
            color=colour,
            fontweight="bold",
            fontsize=9,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    for axis, panel in panels.items():
        panel.set_xscale("log", base=2)
        panel.set_yscale("log")
        panel.set_title(others(axis), loc="left", fontsize=9, color="0.3")
        panel.set_xlabel(NAMES[axis])
        mark(panel.xaxis, sizes_of(axis))
        label_plainly(panel.yaxis)
        finish(panel)
    for panel in list(panels.values())[::2]:
        panel.set_ylabel("milliseconds a call")
    handles, labels = panels[axes[0]].get_legend_handles_labels()
    (proportion,) = panels[axes[0]].plot([], [], color="0.6", linewidth=1, linestyle="--")
    figure.legend(
        [*handles, proportion],
        [*labels, "in proportion to the operations, through the largest size"],
        loc="outside upper center",
        ncols=3,
        frameon=False,
    )
    figure.supxlabel(f"float32, {count(threads)}; exponents of the {FITTED} largest sizes", fontsize=9, color="0.3")
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("growth", __doc__)
    options.add_argument("--rounds", type=int, default=20)
    options.add_argument("--threads", type=int, default=1)
    add_picture(options)
    asked = options.parse_args(arguments)
    numgru.set_num_threads(asked.threads)
    load = Load()
    curves = measure(asked.rounds)
    taken = load.of_others()
    print(f"float32, {count(asked.threads)}, the least of {asked.rounds} bursts", said(taken), tables(curves), sep="\n")
    exponents = ("exponent", "exponent_of_operations")
    rows = [curve._asdict() | {name: getattr(curve, name) for name in exponents} for curve in curves]
    write(asked.json, {"threads": asked.threads, "cores_taken_by_others": taken, "curves": rows})
    if asked.picture:
        draw(curves, asked.threads, asked.picture)


if __name__ == "__main__":
    main()
