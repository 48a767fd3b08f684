"""What the machine allows at most: arithmetic, and reading from each cache level and from memory.

A share of these limits compares across machines. They leave out that each step waits for the one before, and of the
gates' functions all that isn't multiplied. Messages between threads are measured, but no limit: small calls need none.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..machine import cache_sizes, fma_peak, levels, reads
from ..messages import message_seconds
from ..workload import Shape
from .instructions import KIND, multiplications

WORD = 4  # bytes of a float32


class Bound(NamedTuple):
    seconds: float
    by: str


class Limits(NamedTuple):
    """Of a number of threads together: GFLOP/s of multiply-adds, GB/s of reads by level, and seconds a message."""

    threads: int
    gflops: float
    reads: dict[str, float]
    message: tuple[float, float] = (0.0, 0.0)  # least, most

    @classmethod
    def measured(cls, threads: int) -> Limits:
        """One measurement, of a fifth of a second."""
        rates = {level: reads(level, threads) for level in levels()}
        message = message_seconds() if threads > 1 else 0.0
        return cls(threads, fma_peak(np.float32, threads, 5), rates, (message, message))

    def best(self, other: Limits) -> Limits:
        """Of two measurements."""
        reads = {level: max(rate, other.reads[level]) for level, rate in self.reads.items()}
        message = min(self.message[0], other.message[0]), max(self.message[1], other.message[1])
        return Limits(self.threads, max(self.gflops, other.gflops), reads, message)

    def bound(self, shape: Shape, job: str) -> Bound:
        """The least time by the limit that binds: in training forward, and then, as it can't begin before, backward.

        A register of units is multiplied whole, also where H ends within it, and so is what the cell computes of it.
        Each step reads its recurrent weights at least once, forward and again backward; the input's are read once.
        """
        forward = self._bound(shape, shape.forward_flops, multiplications(shape, "inference"), shape.multiplied)
        if job == "inference":
            return forward
        flops, multiplied = shape.training_flops - shape.forward_flops, multiplications(shape, job)
        backward = self._bound(shape, flops, multiplied - multiplications(shape, "inference"), [])
        return Bound(forward.seconds + backward.seconds, max(forward, backward).by)

    def _bound(self, shape: Shape, flops: int, of_cell: int, inputs: list[int]) -> Bound:
        """That of a pass with so many multiplications, by register those of the cell, which reads weights of inputs."""
        registers = -(-shape.H // KIND.lanes)
        steps = int(shape.lengths.sum()) * len(shape.widths)
        whole = flops * registers * KIND.lanes / shape.H + 2 * KIND.lanes * of_cell * registers * steps
        level = self.level_of(shape.gates * shape.H * shape.H * WORD)
        read = WORD * shape.gates * shape.H * (shape.T * shape.H * len(shape.widths) + sum(inputs))
        return max(
            Bound(whole / self.gflops / 1e9, "arithmetic"),
            Bound(read / self.reads[level] / 1e9, f"weights from {level}"),
        )

    def level_of(self, size: int) -> str:
        """Where weights of this size stay; L1 and L2 are each core's own, which holds its share."""
        for level, capacity in cache_sizes().items():
            if size <= capacity * (self.threads if level in ("L1", "L2") else 1):
                return level
        return "memory"
