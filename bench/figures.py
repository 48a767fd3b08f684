"""The figures the documentation quotes, measured in one run: `python -m bench.figures --json figures.json`.

Everything that is compared takes turns, so that a slow moment of the machine falls on all of it. A turn is a burst of
calls, as in a loop, so that caches and allocator are in their steady state; its figure is the burst's median.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np

import numgru

from .machine import fma_peak
from .start import measure_start
from .workload import JOBS, Shape, Workload, median_seconds

SHAPES = [Shape(64, 50, 512, 512), Shape(32, 100, 128, 256), Shape(32, 100, 32, 64)]
THREADS = [1, 2]
BURST = 0.05  # seconds, but at least five calls
COLUMNS = ["B,T,I,H", "float32", "threads", "µs", "quartiles apart", "GFLOP/s", "of the FMA peak", "speed-up"]


def measure_rates(rounds: int) -> dict[str, Any]:
    """The FMA peaks, and a row per shape, job and number of threads."""
    workloads = {shape: Workload(shape) for shape in SHAPES}
    for workload in workloads.values():
        workload.inference()
        workload.training()
    peaks: dict[int, list[float]] = {threads: [] for threads in THREADS}
    times: dict[tuple[Shape, str, int], list[float]] = {
        (shape, job, threads): [] for shape in SHAPES for job in JOBS for threads in THREADS
    }
    for _ in range(rounds):
        for threads in THREADS:
            peaks[threads].append(fma_peak(np.float32, threads, repeats=5))
        for (shape, job, threads), samples in times.items():
            numgru.set_num_threads(threads)
            workload = workloads[shape]
            samples.append(median_seconds(workload.inference if job == JOBS[0] else workload.training, BURST))
    rows = [rate_row(*key, samples, max(peaks[key[2]]), times) for key, samples in times.items()]
    return {"fma_peak_gflops": {threads: max(rates) for threads, rates in peaks.items()}, "rates": rows}


def rate_row(
    shape: Shape, job: str, threads: int, samples: list[float], peak: float, times: dict[Any, list[float]]
) -> dict[str, Any]:
    flops = shape.forward_flops if job == JOBS[0] else shape.training_flops
    low, median, high = np.percentile(samples, [25, 50, 75])
    return {
        "B,T,I,H": str(shape),
        "job": job,
        "threads": threads,
        "us": median * 1e6,
        "interquartile_us": (high - low) * 1e6,
        "gflops": flops / median / 1e9,
        "of_fma_peak": flops / median / 1e9 / peak,
        "speed_up": float(np.median(times[shape, job, 1]) / median),
    }


def markdown(figures: dict[str, Any]) -> str:
    machine = figures["machine"]
    head = ", ".join(f"{name} {value}" for name, value in machine.items())
    peaks = "; ".join(f"{n} threads {rate:.0f} GFLOP/s" for n, rate in figures["fma_peak_gflops"].items())
    lines = [head, f"FMA peak in float32: {peaks}", "", table_row(COLUMNS), table_row(["---"] * len(COLUMNS))]
    for row in figures["rates"]:
        formats = ("", "", "", ".0f", ".0f", ".0f", ".0%", ".2f")
        lines.append(table_row(format(value, how) for value, how in zip(row.values(), formats, strict=True)))
    lines += ["", table_row(["fresh process", "compiling, s", "from the cache, s"]), table_row(["---"] * 3)]
    for name, times in figures["start"].items():
        lines.append(table_row([name, f"{times['compiling']:.2f}", f"{times['from_cache']:.2f}"]))
    return "\n".join(lines)


def table_row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.figures", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    arguments = parser.parse_args()
    figures = {
        "machine": {
            "processor": llvm.get_host_cpu_name(),
            "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
            "python": platform.python_version(),
            "numpy": np.__version__,
            "numba": numba.__version__,
            "numgru": numgru.__version__,
            "rounds": arguments.rounds,
        },
        **measure_rates(arguments.rounds),
        "start": measure_start(5),
    }
    print(markdown(figures))
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
