"""A step of an optimizer over the parameters of a GRU."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np

import numgru


class Step:
    params = (["SGD", "RMSprop", "Adam"], [64, 1024], ["float32", "float64"])
    param_names = ("optimizer", "hidden_size", "dtype")
    repeat = (3, 200, 0.2)

    def setup(self, optimizer: str, hidden_size: int, dtype: str) -> None:
        self.step = prepared(optimizer, hidden_size, dtype)

    def time_step(self, *_: object) -> None:
        self.step()


@cache
def prepared(optimizer: str, hidden_size: int, dtype: str) -> Callable[[], object]:
    """Kept between the calls of `setup`; see `workload.prepared`."""
    gru = numgru.GRU(hidden_size, hidden_size, dtype=dtype, seed=0)
    gru.flat_gradients[...] = np.random.default_rng(0).standard_normal(gru.flat_gradients.size)
    step: Callable[[], object] = getattr(numgru, optimizer)(gru).step
    step()
    return step
