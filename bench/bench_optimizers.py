"""A step of an optimizer over the parameters of a GRU."""

from __future__ import annotations

import numpy as np

import numgru


class Step:
    params = (["SGD", "RMSprop", "Adam"], [64, 256, 1024], ["float32", "float64"])
    param_names = ("optimizer", "hidden_size", "dtype")

    def setup(self, optimizer: str, hidden_size: int, dtype: str) -> None:
        gru = numgru.GRU(hidden_size, hidden_size, dtype=dtype, seed=0)
        gru.flat_gradients[...] = np.random.default_rng(0).standard_normal(gru.flat_gradients.size)
        self.optimizer = getattr(numgru, optimizer)(gru)
        self.time_step()

    def time_step(self, *_: object) -> None:
        self.optimizer.step()
