"""One step of a stream: what a call costs when there is next to nothing to compute."""

from __future__ import annotations

import numpy as np

import numgru


class Step:
    params = (["1,1,64,64", "1,1,128,256", "8,1,128,256"], ["float32", "float64"])
    param_names = ("B,T,I,H", "dtype")

    def setup(self, shape: str, dtype: str) -> None:
        numgru.set_num_threads(1)
        B, T, I, H = map(int, shape.split(","))
        rng = np.random.default_rng(0)
        self.gru = numgru.GRU(I, H, dtype=dtype, seed=0)
        self.x = rng.standard_normal((T, B, I)).astype(dtype)
        self.h = rng.standard_normal((1, B, H)).astype(dtype)
        self.time_step()
        self.time_step()  # the first call packs the weights, the second sees that they haven't changed

    def time_step(self, *_: object) -> None:
        self.gru(self.x, self.h)
