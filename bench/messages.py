"""How long a message takes from one thread to another: what threads that share the steps of a sequence wait for."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
from numpy.typing import NDArray

from numgru.kernels.team import publish, read

_APART = 32  # words: more than the cache lines that a processor fetches together


@numba.njit(nogil=True)
def _exchange(words: NDArray[np.int64], own: int, other: int, count: int) -> None:
    """Answer each message; the side of word 0 sends the first."""
    for n in range(1, count + 1):
        if own == 0:
            publish(words, own, n)
        while read(words, other) != n:
            pass
        if own != 0:
            publish(words, own, n)


def message_seconds(count: int = 20_000) -> float:
    """Half of there and back.

    Where a machine is a share of a larger one, this changes with the processors that it's given.
    """
    words = np.zeros(2 * _APART, np.int64)
    _exchange(words, 0, _APART, 0)

    def seconds(own: int) -> float:
        start = time.perf_counter()
        _exchange(words, own, _APART - own, count)
        return time.perf_counter() - start

    with ThreadPoolExecutor(2) as pool:
        return min(pool.map(seconds, (0, _APART))) / count / 2


if __name__ == "__main__":
    for _ in range(10):
        print(f"{message_seconds() * 1e9:.0f} ns")
        time.sleep(0.3)
