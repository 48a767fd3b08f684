"""The layers and sequences that are timed, how many floating-point operations they take, and a stopwatch.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

import numgru


class Shape(NamedTuple):
    B: int
    T: int
    I: int
    H: int

    def __str__(self) -> str:
        return ",".join(str(n) for n in self)

    @property
    def forward_flops(self) -> int:
        """Multiplications and additions of the matrix products; the gates' functions are not counted."""
        return 2 * self.T * self.B * 3 * self.H * (self.I + self.H)

    @property
    def training_flops(self) -> int:
        """Forward, and backward to the states and the weights but not to x."""
        return 2 * self.forward_flops + 2 * self.T * self.B * 3 * self.H * self.H


SHAPES = [
    Shape(32, 100, 32, 64),
    Shape(32, 100, 128, 256),
    Shape(64, 50, 512, 512),
    Shape(1, 100, 128, 256),
    Shape(128, 28, 28, 128),
]


class Workload:
    """A GRU with a sequence and an upstream gradient of one shape, compiled and ready."""

    def __init__(self, shape: Shape, dtype: DTypeLike = np.float32) -> None:
        B, T, I, H = shape
        rng = np.random.default_rng(0)
        self.shape = shape
        self.gru = numgru.GRU(I, H, dtype=dtype, seed=0)
        self.x: NDArray[Any] = rng.standard_normal((T, B, I)).astype(dtype)
        self.dy: NDArray[Any] = rng.standard_normal((T, B, H)).astype(dtype)
        self.inference()
        self.training()

    def inference(self) -> None:
        self.gru(self.x)

    def training(self) -> None:
        """Forward, and backward into all weight gradients, as for a first layer."""
        self.gru.forward(self.x)
        self.gru.backward(self.dy, need_dx=False)


def seconds(function: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def median_seconds(function: Callable[[], object], budget: float = 0.5) -> float:
    """The median of as many calls as fit into `budget` seconds, at least 5."""
    times: list[float] = []
    while len(times) < 5 or sum(times) < budget:
        times.append(seconds(function))
    return float(np.median(times))
