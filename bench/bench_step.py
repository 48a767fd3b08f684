"""One step: what a call costs when there is next to nothing to compute, by each of the ways to take one."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numba
import numpy as np

import numgru

from .workload import Shape

LOOP = 1000  # steps of a compiled loop
STEP, _ = numgru.GRU(1, 1).compiled()


class Step:
    params = (
        ["1,1,64,64", "1,1,32,64", "1,1,128,256", "8,1,128,256"],
        ["float32", "float64"],
        ["call", "step", "stream"],
    )
    param_names = ("B,T,I,H", "dtype", "by")
    repeat = (3, 200, 0.2)

    def setup(self, shape: str, dtype: str, by: str) -> None:
        numgru.set_num_threads(1)
        self.take = prepared(Shape.parse(shape), dtype, by)

    def time_step(self, *_: object) -> None:
        self.take()


class CompiledStep:
    params = Step.params[:2]
    param_names = Step.param_names[:2]
    repeat = (3, 200, 0.2)

    def setup(self, shape: str, dtype: str) -> None:
        self.take = prepared(Shape.parse(shape), dtype, "compiled")

    def time_thousand_steps(self, *_: object) -> None:
        self.take()


@cache
def prepared(shape: Shape, dtype: str, by: str) -> Callable[[], object]:
    """Kept between the calls of `setup`; see `workload.prepared`."""
    B, T, I, H = shape[:4]
    rng = np.random.default_rng(0)
    gru = numgru.GRU(I, H, dtype=dtype, seed=0)
    x, h = rng.standard_normal((T, B, I)).astype(dtype), rng.standard_normal((1, B, H)).astype(dtype)
    ways: dict[str, Callable[[], object]] = {
        "call": partial(gru, x, h),
        "step": partial(gru.step, x[0], h),
        "stream": partial(gru.stream(B, h), x),
        "compiled": partial(_loop, gru.compiled().weights, x[0], h, h.copy()),
    }
    take = ways[by]
    take()
    take()  # the first call packs the weights, the second sees that they haven't changed
    return take


@numba.njit
def _loop(weights: Any, x: Any, h: Any, out: Any) -> None:
    for _ in range(LOOP):
        STEP(weights, x, h, out)
        h, out = out, h
