"""Who else was at work: figures of a busy machine are worth little."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path


class Load:
    """From here on, the processors' time that other programs take."""

    def __init__(self) -> None:
        self.start = time.perf_counter(), _busy_seconds(), _own_seconds()

    def of_others(self) -> float | None:
        """Cores that others kept busy, on average; known only on Linux, once this program's children have ended."""
        elapsed, busy, own = time.perf_counter(), _busy_seconds(), _own_seconds()
        if busy is None or self.start[1] is None:
            return None
        return max(0.0, (busy - self.start[1] - own + self.start[2]) / (elapsed - self.start[0]))


def said(taken: float | None) -> str:
    """What `of_others` found, as a line to print."""
    return "" if taken is None else f"Other programs took {taken:.2f} cores meanwhile."


def _busy_seconds() -> float | None:
    """Of all processors and programs, since the system's start."""
    try:
        user, nice, system, _, _, irq, softirq, steal = Path("/proc/stat").read_text().split()[1:9]
    except (OSError, ValueError):
        return None
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in both)
