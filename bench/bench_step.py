"""One step of a stream: what a call costs when there is next to nothing to compute."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial

import numpy as np

import numgru

from .workload import Shape


class Step:
    params = (["1,1,64,64", "1,1,128,256", "8,1,128,256"], ["float32", "float64"])
    param_names = ("B,T,I,H", "dtype")
    repeat = (3, 200, 0.2)

    def setup(self, shape: str, dtype: str) -> None:
        numgru.set_num_threads(1)
        self.step = stream(Shape.parse(shape), dtype)

    def time_step(self, *_: object) -> None:
        self.step()


@cache
def stream(shape: Shape, dtype: str) -> Callable[[], object]:
    """Kept between the calls of `setup`; see `workload.prepared`."""
    B, T, I, H = shape[:4]
    rng = np.random.default_rng(0)
    gru = numgru.GRU(I, H, dtype=dtype, seed=0)
    x, h = rng.standard_normal((T, B, I)).astype(dtype), rng.standard_normal((1, B, H)).astype(dtype)
    step = partial(gru, x, h)
    step()
    step()  # the first call packs the weights, the second sees that they haven't changed
    return step
