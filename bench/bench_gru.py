"""A whole sequence: inference, and forward with backward into all weight gradients."""

from __future__ import annotations

from collections.abc import Callable

import numgru

from .machine import fma_peak
from .workload import JOBS, SHAPES, THREADS, Shape, burst, computable, prepared

CASES = ([str(shape) for shape in SHAPES], JOBS, list(THREADS))
NAMES = ("B,T,I,H", "job", "threads")


class Sequence:
    params = CASES
    param_names = NAMES
    dtype = "float32"
    repeat = (3, 200, 0.2)
    timeout = 300

    def setup(self, shape: str, job: str, threads: str) -> None:
        numgru.set_num_threads(THREADS[threads])
        self.call = prepared(Shape.parse(shape), job, self.dtype)

    def time_call(self, *_: object) -> None:
        self.call()


class SequenceInDoublePrecision(Sequence):
    params = (["32,100,32,64", "32,100,128,256"], *CASES[1:])
    dtype = "float64"


class Rates:
    """Of the fastest calls, with the FMA peak measured between them."""

    params = CASES
    param_names = NAMES

    def setup_cache(self) -> dict[tuple[str, ...], tuple[float, float]]:
        """By case: GFLOP/s, and their share of the peak."""
        figures: dict[tuple[str, ...], tuple[float, float]] = {}
        for name, threads in THREADS.items():
            numgru.set_num_threads(threads)
            peaks, rates = [], {}
            for shape in computable():
                peaks.append(fma_peak("float32", threads))
                for job in JOBS:
                    rates[str(shape), job, name] = shape.flops(job) / fastest(prepared(shape, job)) / 1e9
            figures |= {case: (rate, rate / max(peaks)) for case, rate in rates.items()}
        return figures

    def track_gflops(self, figures: dict[tuple[str, ...], tuple[float, float]], *case: str) -> float:
        return figures[case][0]

    def track_share_of_peak(self, figures: dict[tuple[str, ...], tuple[float, float]], *case: str) -> float:
        return figures[case][1]


Rates.setup_cache.timeout = 600  # type: ignore[attr-defined]
Rates.track_gflops.unit = "GFLOP/s"  # type: ignore[attr-defined]
Rates.track_share_of_peak.unit = "of the FMA peak"  # type: ignore[attr-defined]


def fastest(call: Callable[[], object], budget: float = 0.2) -> float:
    """The shortest of a burst of calls, after one that may compile."""
    call()
    return min(burst(call, budget))
