"""What a layer holds beyond parameters and gradients, and what a call needs at most."""

from __future__ import annotations

import tracemalloc

import numpy as np

from .workload import JOBS, SHAPES, Shape, Workload, computable

Bytes = dict[tuple[str, str], dict[str, int]]  # by shape and job


class Arrays:
    """Of a layer's first call; NumPy reports its arrays to tracemalloc."""

    params = ([str(shape) for shape in SHAPES], JOBS)
    param_names = ("B,T,I,H", "job")

    def setup_cache(self) -> Bytes:
        return {(str(shape), job): traced(shape, job) for shape in computable() for job in JOBS}

    def track_workspace(self, figures: Bytes, *case: str) -> int:
        """What stays: packed weights, and after training the gates."""
        return figures[case]["held"]  # type: ignore[index]

    def track_peak(self, figures: Bytes, *case: str) -> int:
        """The most at any moment of the call, results included; its input isn't."""
        return figures[case]["peak"]  # type: ignore[index]


Arrays.setup_cache.timeout = 300  # type: ignore[attr-defined]
Arrays.track_workspace.unit = Arrays.track_peak.unit = "bytes"  # type: ignore[attr-defined]


class Process:
    """All of a process: Python, Numba's compiler, kernels and arrays."""

    params = (["1,1,64,64", "64,100,256,1024"], JOBS)
    param_names = ("B,T,I,H", "job")

    def peakmem_call(self, shape: str, job: str) -> None:
        getattr(Workload(Shape.parse(shape)), job)()


def traced(shape: Shape, job: str) -> dict[str, int]:
    """Bytes held after a layer's first call, and at most during it."""
    getattr(Workload(shape), job)()  # loads the kernels, whose objects aren't to be counted
    call = getattr(Workload(shape), job)
    tracemalloc.start()
    call()
    _, peak = tracemalloc.get_traced_memory()
    arrays = tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain)
    held = sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([arrays]).traces)
    tracemalloc.stop()
    return {"held": held, "peak": peak}
