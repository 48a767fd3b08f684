"""Clipping the gradients of a GRU, in place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import numgru


def prepare(gru: numgru.GRU, *ways: Callable[[], None]) -> None:
    """Compile them; the gradients are fresh afterwards."""
    for way in (*ways, lambda: None):
        gru.flat_gradients[...] = np.random.default_rng(0).standard_normal(gru.flat_gradients.size)
        way()


class Clip:
    """`far` gradients are scaled; `near` ones are only measured. Each sample needs fresh gradients."""

    params = ([64, 1024], ["float32", "float64"], ["near", "far"])
    param_names = ("hidden_size", "dtype", "from the limit")
    number = 1
    warmup_time = 0.0

    def setup(self, hidden_size: int, dtype: str, limit: str) -> None:
        self.gru = numgru.GRU(hidden_size, hidden_size, dtype=dtype, seed=0)
        self.norm = 1.0 if limit == "far" else 1e6
        self.value = 0.5 if limit == "far" else 1e6
        prepare(self.gru, self.time_norm, self.time_value)

    def time_norm(self, *_: object) -> None:
        numgru.clip_grad_norm_(self.gru.gradients, self.norm)

    def time_value(self, *_: object) -> None:
        numgru.clip_grad_value_(self.gru.gradients, self.value)


class ClipByArray:
    """The rules that look at each array or unit on its own; both scale."""

    params = ([64, 1024], ["float32", "float64"])
    param_names = ("hidden_size", "dtype")
    number = 1
    warmup_time = 0.0

    def setup(self, hidden_size: int, dtype: str) -> None:
        self.gru = numgru.GRU(hidden_size, hidden_size, dtype=dtype, seed=0)
        self.parameters = self.gru.state_dict()
        prepare(self.gru, self.time_norm_per_array, self.time_adaptive)

    def time_norm_per_array(self, *_: object) -> None:
        numgru.clip_grad_norm_per_array_(self.gru.gradients, 1.0)

    def time_adaptive(self, *_: object) -> None:
        numgru.clip_grad_adaptive_(self.gru.gradients, self.parameters)
