"""What comes of the times: ratios, shares, tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..tables import count, head, row
from ..workload import Shape
from .limits import Bound

OURS = "numgru"


@dataclass(frozen=True)
class Cell:
    """One shape, job and number of threads; the seconds of each burst by library."""

    shape: Shape
    job: str
    threads: int
    times: dict[str, list[float]]
    bound: Bound

    @property
    def medians(self) -> dict[str, float]:
        return {name: float(np.median(times)) for name, times in self.times.items()}

    @property
    def best_peer(self) -> str | None:
        peers = {name: time for name, time in self.medians.items() if name != OURS}
        return min(peers, key=peers.__getitem__) if peers else None

    @property
    def ratio(self) -> float | None:
        """Time of the best peer / numgru's; None without a peer."""
        return None if self.best_peer is None else self.medians[self.best_peer] / self.medians[OURS]

    @property
    def of_limit(self) -> float:
        return self.bound.seconds / self.medians[OURS]

    @property
    def ratio_at_limit(self) -> float | None:
        """What the ratio would be if numgru took no longer than the limit: no work on it can make it larger."""
        return None if self.ratio is None else self.ratio / self.of_limit

    @property
    def gflops(self) -> float:
        return self.shape.flops(self.job) / self.medians[OURS] / 1e9

    def as_json(self) -> dict[str, Any]:
        return {
            "B,T,I,H": str(self.shape),
            "job": self.job,
            "threads": self.threads,
            "us": {name: time * 1e6 for name, time in self.medians.items()},
            "interquartile_us": {name: interquartile(times) * 1e6 for name, times in self.times.items()},
            "bursts": len(self.times[OURS]),
            "best_peer": self.best_peer,
            "ratio": self.ratio,
            "gflops": self.gflops,
            "limit_us": self.bound.seconds * 1e6,
            "limited_by": self.bound.by,
            "of_limit": self.of_limit,
            "ratio_at_limit": self.ratio_at_limit,
        }


def interquartile(times: Sequence[float]) -> float:
    low, high = np.percentile(times, [25, 75])
    return float(high - low)


def summary(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """By job and number of threads, of all shapes and of those without options.

    The geometric mean of the ratios, what it would be at the limits, and the smallest ratio.
    """
    rows = []
    plain = [cell for cell in cells if not cell.shape.options]
    for shapes, chosen in (("all", cells), ("without options", plain if len(plain) < len(cells) else [])):
        for (job, threads), group in grouped(chosen).items():
            ratios = [(cell.ratio, cell) for cell in group if cell.ratio is not None]
            if ratios:
                smallest, worst = min(ratios, key=lambda pair: pair[0])
                rows.append(
                    {
                        "shapes": shapes,
                        "job": job,
                        "threads": threads,
                        "geometric_mean": geometric_mean(ratio for ratio, _ in ratios),
                        "at_the_limits": geometric_mean(ratio / cell.of_limit for ratio, cell in ratios),
                        "smallest": smallest,
                        "its B,T,I,H": str(worst.shape),
                        "its best peer": worst.best_peer,
                    }
                )
    return rows


def geometric_mean(values: Iterable[float]) -> float:
    return float(np.exp(np.mean(np.log([*values]))))


def speed_ups(cells: Iterable[Cell]) -> dict[tuple[Shape, str, int], float]:
    """numgru's time with the fewest threads / its time with these."""
    base: dict[tuple[Shape, str], float] = {}
    ratios = {}
    for cell in sorted(cells, key=lambda cell: cell.threads):
        first = base.setdefault((cell.shape, cell.job), cell.medians[OURS])
        ratios[cell.shape, cell.job, cell.threads] = first / cell.medians[OURS]
    return ratios


def grouped(cells: Iterable[Cell]) -> dict[tuple[str, int], list[Cell]]:
    groups: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        groups.setdefault((cell.job, cell.threads), []).append(cell)
    return dict(sorted(groups.items()))


def tables(cells: Sequence[Cell]) -> str:
    """Markdown: a table for each job and number of threads, and a summary."""
    names = list(dict.fromkeys(name for cell in cells for name in cell.times))
    faster = speed_ups(cells)
    lines = ["Microseconds a call: the median over bursts (and how far apart their quartiles are); empty: not offered."]
    for (job, threads), group in grouped(cells).items():
        here = [name for name in names if any(name in cell.times for cell in group)]
        lines += ["", f"{job}, {count(threads)}", ""]
        lines += head(["B,T,I,H", *here, "best peer / numgru", "speed-up", "of the limit", "limit", "ratio there"])
        for cell in group:
            times = [spread(cell.times[name]) if name in cell.times else "" for name in here]
            ratio, there = ("" if one is None else f"{one:.2f}" for one in (cell.ratio, cell.ratio_at_limit))
            speed_up = f"{faster[cell.shape, job, threads]:.2f}"
            lines.append(row([cell.shape, *times, ratio, speed_up, f"{cell.of_limit:.0%}", cell.bound.by, there]))
    totals = summary(cells)
    if totals:
        lines += ["", "best peer / numgru", ""]
        lines += head(["shapes", "job", "threads", "geometric mean", "at the limits", "smallest", "at B,T,I,H", "peer"])
        lines += [
            row([shapes, job, threads, f"{mean:.2f}", f"{there:.2f}", f"{least:.2f}", shape, peer])
            for shapes, job, threads, mean, there, least, shape, peer in (total.values() for total in totals)
        ]
    return "\n".join(lines)


def beside_table(pairs: Sequence[tuple[Cell, Cell]]) -> str:
    """numgru's own time and arithmetic rate, beside those of another shape."""
    lines = head(["B,T,I,H", "beside", "job", "threads", "ratio of times", "GFLOP/s", "beside", "ratio"])
    for this, other in pairs:
        time = this.medians[OURS] / other.medians[OURS]
        rates = [f"{this.gflops:.1f}", f"{other.gflops:.1f}", f"{this.gflops / other.gflops:.2f}"]
        lines.append(row([this.shape, other.shape, this.job, this.threads, f"{time:.2f}", *rates]))
    return "\n".join(lines)


def spread(times: Sequence[float]) -> str:
    median = float(np.median(times)) * 1e6
    digits = 0 if median >= 100 else 1
    return f"{median:.{digits}f} ({interquartile(times) * 1e6:.{digits}f})"
