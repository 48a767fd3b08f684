"""The figures the documentation quotes, measured in one run: `python -m bench.figures --json figures.json`.

Everything that is compared takes turns, so that a slow moment of the machine falls on all of it. A turn is a burst of
calls, as in a loop, so that caches and allocator are in their steady state; its figure is the burst's median.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

import numgru

from .command import parser, write
from .machine import about, fma_peak
from .start import measure_start
from .tables import head, row
from .workload import JOBS, Shape, Workload, median_seconds

SHAPES = [Shape(64, 50, 512, 512), Shape(32, 100, 128, 256), Shape(32, 100, 32, 64)]
THREAD_COUNTS = [1, 2]
BURST = 0.05  # seconds, but at least five calls
COLUMNS = ["B,T,I,H", "float32", "threads", "µs", "quartiles apart", "GFLOP/s", "of the FMA peak", "speed-up"]


def measure_rates(rounds: int) -> dict[str, Any]:
    """The FMA peaks, and a row per shape, job and number of threads."""
    workloads = {shape: Workload(shape) for shape in SHAPES}
    for workload in workloads.values():
        workload.inference()
        workload.training()
    peaks: dict[int, list[float]] = {threads: [] for threads in THREAD_COUNTS}
    times: dict[tuple[Shape, str, int], list[float]] = {
        (shape, job, threads): [] for shape in SHAPES for job in JOBS for threads in THREAD_COUNTS
    }
    for _ in range(rounds):
        for threads in THREAD_COUNTS:
            peaks[threads].append(fma_peak(np.float32, threads, repeats=5))
        for (shape, job, threads), samples in times.items():
            numgru.set_num_threads(threads)
            workload = workloads[shape]
            samples.append(median_seconds(workload.call(job), BURST))
    rows = [rate_row(*key, samples, max(peaks[key[2]]), times) for key, samples in times.items()]
    return {"fma_peak_gflops": {threads: max(rates) for threads, rates in peaks.items()}, "rates": rows}


def rate_row(
    shape: Shape, job: str, threads: int, samples: list[float], peak: float, times: dict[Any, list[float]]
) -> dict[str, Any]:
    low, median, high = np.percentile(samples, [25, 50, 75])
    gflops = shape.flops(job) / median / 1e9
    return {
        "B,T,I,H": str(shape),
        "job": job,
        "threads": threads,
        "us": median * 1e6,
        "interquartile_us": (high - low) * 1e6,
        "gflops": gflops,
        "of_fma_peak": gflops / peak,
        "speed_up": float(np.median(times[shape, job, 1]) / median),
    }


def markdown(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    about = ", ".join(f"{name} {value}" for name, value in machine.items())
    peaks = "; ".join(f"{n} threads {rate:.0f} GFLOP/s" for n, rate in figures["fma_peak_gflops"].items())
    lines = [about, f"FMA peak in float32: {peaks}", "", *head(COLUMNS)]
    for rate in figures["rates"]:
        formats = ("", "", "", ".0f", ".0f", ".0f", ".0%", ".2f")
        lines.append(row(format(value, how) for value, how in zip(rate.values(), formats, strict=True)))
    lines += ["", *head(["fresh process", "compiling, s", "from the cache, s"])]
    for name, times in figures["start"].items():
        lines.append(row([name, f"{times['compiling']:.2f}", f"{times['from_cache']:.2f}"]))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("figures", __doc__)
    options.add_argument("--rounds", type=int, default=20)
    asked = options.parse_args(arguments)
    figures = {
        "machine": {**about(), "rounds": asked.rounds},
        **measure_rates(asked.rounds),
        "start": measure_start(5),
    }
    print(markdown(figures))
    write(asked.json, figures)


if __name__ == "__main__":
    main()
