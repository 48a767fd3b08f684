"""How a call gets faster with more threads: `python -m bench.scaling --picture scaling.png`.

Every shape and number of threads takes its turn in each round. Few rows share the units of a step, more rows first
share the rows; a call that is too short for two threads stays on one.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

import numgru
from numgru.kernels.threads import available_cpus

from .command import add_picture, parser, write
from .load import Load, said
from .pictures import COLOURS, finish, mark
from .tables import head, row
from .workload import JOBS, Shape, Workload, median_seconds

SHAPES = [
    Shape(1, 100, 512, 1024),
    Shape(4, 100, 64, 128),
    Shape(32, 100, 128, 256),
    Shape(64, 50, 512, 512),
    Shape(256, 20, 8, 32),
    Shape(512, 50, 64, 128),
]
BURST = 0.02  # seconds, but at least five calls


class Curve(NamedTuple):
    """Seconds by number of threads, of one job and shape."""

    shape: str
    job: str
    threads: list[int]
    seconds: list[float]

    @property
    def speed_up(self) -> list[float]:
        return [self.seconds[0] / seconds for seconds in self.seconds]


def doubled_up_to(most: int) -> list[int]:
    """1, 2, 4 and so on, and `most`."""
    return sorted({*(2**n for n in range(most.bit_length()) if 2**n <= most), most})


def measure(rounds: int, threads: Sequence[int]) -> list[Curve]:
    """A figure is the least of its bursts' medians."""
    workloads = {shape: Workload(shape) for shape in SHAPES}
    least = {(shape, job, n): np.inf for shape in workloads for job in JOBS for n in threads}
    for _ in range(rounds):
        for shape, workload in workloads.items():
            for n in threads:
                numgru.set_num_threads(n)
                for job in JOBS:
                    least[shape, job, n] = min(least[shape, job, n], median_seconds(workload.call(job), BURST))
    return [
        Curve(str(shape), job, list(threads), [least[shape, job, n] for n in threads])
        for job in JOBS
        for shape in workloads
    ]


def tables(curves: Sequence[Curve]) -> str:
    lines = []
    for job in JOBS:
        along = [curve for curve in curves if curve.job == job]
        lines += ["", *head([f"{job}, µs; B,T,I,H", *(f"threads: {n}" for n in along[0].threads)])]
        for curve in along:
            pairs = zip(curve.seconds, curve.speed_up, strict=True)
            lines.append(row([curve.shape, *(f"{seconds * 1e6:.0f} ({ratio:.1f})" for seconds, ratio in pairs)]))
    return "\n".join(lines)


def draw(curves: Sequence[Curve], path: Path) -> None:
    """A panel a job, a colour a shape; the thin line is as many times as fast as there are threads."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.8), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for panel, job in zip(panels, JOBS, strict=True):
        along = [curve for curve in curves if curve.job == job]
        threads = along[0].threads
        panel.plot(threads, threads, color="0.6", linewidth=1, linestyle="--", label="as many times as threads")
        for curve, colour in zip(along, COLOURS, strict=False):
            panel.plot(threads, curve.speed_up, color=colour, marker="o", markersize=5, label=curve.shape)
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        mark(panel.xaxis, threads)
        mark(panel.yaxis, [1, *(n for n in threads if n > 1)])
        panel.set_title(job, loc="left", fontsize=10)
        panel.set_xlabel("threads")
        finish(panel)
    panels[0].set_ylabel("times as fast as one thread")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, title="B,T,I,H")
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("scaling", __doc__)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--threads", type=int, nargs="+", default=doubled_up_to(available_cpus()), metavar="N")
    add_picture(options)
    asked = options.parse_args(arguments)
    load = Load()
    curves = measure(asked.rounds, sorted(asked.threads))
    taken = load.of_others()
    print(f"float32, the least of {asked.rounds} bursts, and how many times as fast as with the fewest threads")
    print(said(taken), tables(curves), sep="\n")
    write(asked.json, {"cores_taken_by_others": taken, "curves": [curve._asdict() for curve in curves]})
    if asked.picture:
        draw(curves, asked.picture)


if __name__ == "__main__":
    main()
