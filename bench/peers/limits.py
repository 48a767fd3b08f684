"""What the machine allows at most: arithmetic, and reading from each cache level and from memory.

A share of these limits compares across machines. They leave out that each step waits for the one before, and of the
gates' functions all that isn't multiplied. Messages between threads are measured, but no limit: small calls need none.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from ..machine import fma_peak
from ..messages import message_seconds
from ..workload import Shape
from .instructions import KIND, multiplications

WORD = 4  # bytes of a float32
LARGEST_BUFFER = 256 * 2**20


@numba.njit(nogil=True)
def read_words(buffer: NDArray[np.int64], times: int) -> np.int64:
    total = np.int64(0)
    for _ in range(times):
        for i in range(buffer.size):
            total += buffer[i]  # an integer: LLVM may reorder the sum, and so reads whole registers
    return total


def _bytes(size: str) -> int:
    return int(size.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(size[-1], 1)


@cache
def cache_sizes() -> dict[str, int]:
    """Bytes by level, as of the first processor; usual sizes where the system doesn't tell."""
    sizes = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (index / "type").read_text().strip() != "Instruction":
            sizes["L" + (index / "level").read_text().strip()] = _bytes((index / "size").read_text().strip())
    return sizes or {"L1": 32 * 2**10, "L2": 512 * 2**10, "L3": 16 * 2**20}


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
        """The least time by the limit that binds.

        A register of units is multiplied whole, also where H ends within it, and so is what the cell computes of it.
        Each step reads its recurrent weights at least once, forward and again backward; the input's are read once.
        """
        passes = 1 if job == "inference" else 2
        registers = -(-shape.H // KIND.lanes)
        steps = int(shape.lengths.sum()) * len(shape.widths)
        flops = shape.flops(job) * registers * KIND.lanes / shape.H
        flops += 2 * KIND.lanes * multiplications(shape, job) * registers * steps
        level = self.level_of(shape.gates * shape.H * shape.H * WORD)
        read = WORD * shape.gates * shape.H * (passes * shape.T * shape.H * len(shape.widths) + sum(shape.multiplied))
        return max(
            Bound(flops / self.gflops / 1e9, "arithmetic"),
            Bound(read / self.reads[level] / 1e9, f"weights from {level}"),
        )

    def level_of(self, size: int) -> str:
        """Where weights of this size stay; L1 and L2 are each core's own, which holds its share."""
        for level, capacity in cache_sizes().items():
            if size <= capacity * (self.threads if level in ("L1", "L2") else 1):
                return level
        return "memory"


def levels() -> list[str]:
    return [*cache_sizes(), "memory"]


@cache
def _buffers(level: str, threads: int) -> list[NDArray[np.int64]]:
    """Half a level, or far more than all; a core's own caches whole, what is shared by parts."""
    sizes = cache_sizes()
    size = sizes[level] // 2 if level in sizes else min(8 * max(sizes.values()), LARGEST_BUFFER)
    words = size // 8 // (1 if level in ("L1", "L2") else threads)
    return [_aligned_ones(words) for _ in range(threads)]


def _aligned_ones(words: int) -> NDArray[np.int64]:
    """From the start of a cache line on: a register's load that straddles two takes twice as long."""
    array = np.ones(words + 8, np.int64)
    start = -array.ctypes.data % 64 // 8
    return array[start : start + words]


def reads(level: str, threads: int, repeats: int = 3) -> float:
    """The most GB/s that this many cores read from a level at once."""
    buffers = _buffers(level, threads)
    times = max(1, 2**28 // buffers[0].nbytes)

    def rate(buffer: NDArray[np.int64]) -> float:
        start = time.perf_counter()
        read_words(buffer, times)
        return times * buffer.nbytes / (time.perf_counter() - start) / 1e9

    read_words(buffers[0], 1)
    with ThreadPoolExecutor(threads) as pool:
        return max(sum(pool.map(rate, buffers)) for _ in range(repeats))
