"""The layers and sequences that are timed, how many floating-point operations they take, and a stopwatch.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

import numgru


class Shape(NamedTuple):
    B: int
    T: int
    I: int
    H: int

    @classmethod
    def parse(cls, text: str) -> Shape:
        """From B,T,I,H."""
        return cls(*map(int, text.split(",")))

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

    def flops(self, job: str) -> int:
        return self.forward_flops if job == "inference" else self.training_flops


# B,T,I,H: one step of a stream, sequences one by one and in batches, long ones, and sizes that fill no register.
SHAPES = [
    Shape(1, 1, 64, 64),
    Shape(1, 100, 32, 64),
    Shape(1, 100, 128, 256),
    Shape(1, 100, 512, 1024),
    Shape(4, 100, 64, 128),
    Shape(32, 100, 32, 64),
    Shape(32, 100, 128, 256),
    Shape(64, 50, 512, 512),
    Shape(128, 28, 28, 128),
    Shape(64, 100, 256, 1024),
    Shape(7, 33, 13, 50),
    Shape(3, 1000, 5, 17),
    Shape(256, 20, 8, 32),
    Shape(16, 2000, 8, 96),
]
JOBS = ["inference", "training"]
THREADS = {"1": 1, "all": numgru.get_num_threads()}  # names that mean the same on any machine


class Workload:
    """A GRU with a sequence and an upstream gradient of one shape."""

    def __init__(self, shape: Shape, dtype: DTypeLike = np.float32) -> None:
        B, T, I, H = shape
        rng = np.random.default_rng(0)
        self.gru = numgru.GRU(I, H, dtype=dtype, seed=0)
        self.x: NDArray[Any] = rng.standard_normal((T, B, I)).astype(dtype)
        self.dy: NDArray[Any] = rng.standard_normal((T, B, H)).astype(dtype)

    def inference(self) -> None:
        self.gru(self.x)

    def training(self) -> None:
        """Forward, and backward into all weight gradients, as for a first layer."""
        self.gru.forward(self.x)
        self.gru.backward(self.dy, need_dx=False)


@cache
def prepared(shape: Shape, job: str, dtype: str = "float32") -> Callable[[], None]:
    """A job that has run twice: it is compiled, its weights are packed and have been seen not to change.

    It's kept, because asv calls `setup` before every call that it times; only the first time there is work to do.
    """
    call: Callable[[], None] = getattr(Workload(shape, dtype), job)
    call()
    call()
    return call


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
