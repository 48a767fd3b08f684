"""How many threads a call runs on, and whether it may enter a parallel region at all.

A call that may not runs serially, with the same bits.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.np.ufunc import parallel as numba_parallel

from .._check import integer
from ._jit import SharedKernel, piece

# Below this many operations a region's fork and join cost more than the second thread saves.
SERIAL_WORK = 5_000_000
# Below this many, so does waking threads, which sleep some milliseconds after their last region.
_WAKING_WORK = 12_000_000
_PAUSE = 1e-3  # seconds between calls, after which threads may sleep
_MANY = 8  # calls in a row: more than a single step of a training makes

_one_region = threading.Lock()
_one_at_a_time = threading.Lock()
_forked_after_start = False
_last_call, _in_a_row = -np.inf, 0


def available_cpus() -> int:
    """Processors this process may use: the smaller of its affinity and its control group's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(affinity, _cgroup_quota() or affinity))


def _cgroup_quota() -> int | None:
    """Whole processors the control group grants; None without a limit."""
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return None if quota == "max" else max(1, round(int(quota) / int(period)))
    except (OSError, ValueError):
        return None


_num_threads = available_cpus()


def get_num_threads() -> int:
    """Threads that a call may use; at first the processors this process may use."""
    return _num_threads


def set_num_threads(n: int) -> None:
    """Let calls use `n` threads from now on. Results don't depend on it, only speed does.

    Raises
    ------
    TypeError, ValueError
        If `n` isn't an integer of at least 1.
    """
    global _num_threads
    _num_threads = integer("n", n, 1)


def parts_for(work: int, shares: int, kernel: SharedKernel | None = None) -> int:
    """Into how many parts a call of `work` operations is cut, where it can be cut into `shares` at most.

    Work of a moderate size is cut only if its `kernel` is compiled for threads anyway, and these are awake.
    """
    return _forced.parts or _parts_by_work(work, shares, kernel)


def are_not_worth(work: int) -> bool:
    """Whether a call of `work` operations is never cut."""
    return work < SERIAL_WORK and not _forced.parts


def parts_for_layer(work: int, shares: int) -> int:
    """The same where the layer alone decides: what is small is never cut, not even to compile the kernel for it."""
    parts = _parts_by_work(work, shares)
    return min(parts, _forced.parts or parts)


def _parts_by_work(work: int, shares: int, kernel: SharedKernel | None = None) -> int:
    most = min(_num_threads, shares)
    if work < SERIAL_WORK or most < 2:
        return 1
    follows_many = _follows_many()
    if work >= _WAKING_WORK:
        return most
    return most if follows_many and kernel is not None and kernel.parallel.overloads else 1


def _follows_many() -> bool:
    """Whether calls that are worth threads came so fast that these are awake, or worth waking."""
    global _last_call, _in_a_row
    before, _last_call = _last_call, time.monotonic()
    _in_a_row = _in_a_row + 1 if _last_call - before < _PAUSE else 0
    return _in_a_row >= _MANY


class _Forced(threading.local):
    parts: int | None = None


_forced = _Forced()


@contextmanager
def in_parts(parts: int) -> Iterator[None]:
    """Cut this thread's calls into `parts` shares, whatever their size: to compile either kind of kernel."""
    _forced.parts = parts
    try:
        yield
    finally:
        _forced.parts = None


@piece
def share(count, part, parts, step):
    """The first and last + 1 of a part's share of `count`, in whole steps."""
    steps = (count + step - 1) // step
    return min(steps * part // parts * step, count), min(steps * (part + 1) // parts * step, count)


def run(kernel: SharedKernel, parts: int, *args: Any) -> None:
    """Call it with `parts` shares; or with one, where no parallel region may be entered."""
    if parts == 1 or _forked_after_start:
        kernel.serial(*args, 1)
        return
    before = numba.get_num_threads()  # also starts the threading layer
    if numba.threading_layer() != "workqueue":
        _in_region(kernel.parallel, parts, before, args)
    elif _one_region.acquire(blocking=False):  # workqueue aborts the process when two regions are entered at once
        try:
            _in_region(kernel.parallel, parts, before, args)
        finally:
            _one_region.release()
    else:
        kernel.serial(*args, 1)


def _in_region(parallel: Callable[..., None], parts: int, before: int, args: tuple[Any, ...]) -> None:
    wanted = min(parts, numba.config.NUMBA_NUM_THREADS)
    if wanted == before:  # setting it takes microseconds
        parallel(*args, parts)
        return
    numba.set_num_threads(wanted)
    try:
        parallel(*args, parts)
    finally:
        numba.set_num_threads(before)


def one_at_a_time() -> threading.Lock:
    """The lock for changes of what a layer's threads share."""
    return _one_at_a_time


def _after_fork() -> None:
    """A forked child has one thread: the layer's are missing, of which GNU OpenMP dies, and so are holders of locks."""
    global _forked_after_start, _one_region, _one_at_a_time
    _forked_after_start = bool(numba_parallel._is_initialized)
    _one_region, _one_at_a_time = threading.Lock(), threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
