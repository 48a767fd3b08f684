"""How fast clipping by the global norm is: `python -m bench.clipping`, some 20 seconds for each number of threads.

Beside PyTorch's `clip_grad_norm_`, if that is installed, and beside what the memory allows: gradients are read once,
and if they are to be clipped, read and written once more. PyTorch does the second in any case.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

import numgru

from .bursts import Measured, command, fastest, gradients, with_torch
from .machine import read_words
from .tables import head, row

SIZES = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 40_000_000]
BEYOND_THE_CACHE = 40_000_000  # values and more


class Row(NamedTuple):
    """Seconds of the fastest call."""

    values: int
    clipped: bool
    numgru: float
    torch: float | None
    bandwidth: float | None  # the time that the memory needs


class Steps(NamedTuple):
    """Seconds of clipping and a step of SGD."""

    values: int
    two_passes: float
    one_pass: float


def falling(norm: float) -> Callable[[], float]:
    """A limit that is just below that of the call before, so that each call has something to clip."""
    limits = (norm * 0.9999**n for n in iter(range(10**9)))
    return lambda: next(limits)


def ours(size: int, clipped: bool) -> Callable[[], object]:
    array = gradients(size)
    limit = falling(0.99 * float(np.linalg.norm(array))) if clipped else lambda: math.inf
    return lambda: numgru.clip_grad_norm_(array, limit())


def theirs(size: int, clipped: bool) -> Callable[[], object]:
    import torch

    parameter = torch.nn.Parameter(torch.zeros(size))
    parameter.grad = torch.tensor(gradients(size))
    limit = falling(0.99 * float(parameter.grad.norm())) if clipped else lambda: math.inf
    return lambda: torch.nn.utils.clip_grad_norm_([parameter], limit())


def passes(size: int, threads: int) -> list[Callable[[], object]]:
    """Reading an array, and NumPy's product in place, a share of the array a thread."""
    parts = np.array_split(gradients(size // (2 * threads) * 2 * threads), threads)
    pool = ThreadPoolExecutor(threads)
    return [
        lambda: list(pool.map(lambda part: read_words(part.view(np.int64), 1), parts)),
        lambda: list(pool.map(lambda part: np.multiply(part, np.float32(1), out=part), parts)),
    ]


def measure(sizes: Sequence[int], threads: int, rounds: int) -> Measured:
    has_torch = with_torch(threads)
    clipping, steps = measure_clipping(sizes, threads, rounds, has_torch), measure_steps(sizes, rounds)
    rows: dict[str, Sequence[Row | Steps]] = {"clipping": clipping, "clipping_and_a_step": steps}
    return Measured(rows, [table(clipping), table_of_steps(steps)])


def measure_clipping(sizes: Sequence[int], threads: int, rounds: int, has_torch: bool) -> list[Row]:
    rows = []
    for size in sizes:
        for clipped in (True, False):
            calls = {"numgru": ours(size, clipped)} | ({"torch": theirs(size, clipped)} if has_torch else {})
            if size >= BEYOND_THE_CACHE:
                calls |= zip(("read", "read and write"), passes(size, threads), strict=True)
            least = dict(zip(calls, fastest(list(calls.values()), rounds), strict=True))
            needed = least.get("read")
            if needed and clipped:
                needed += least["read and write"]
            rows.append(Row(size, clipped, least["numgru"], least.get("torch"), needed))
    return rows


def measure_steps(sizes: Sequence[int], rounds: int) -> list[Steps]:
    rows = []
    for size in sizes:
        calls = []
        for in_place in (True, False):
            model = numgru.Linear(size // 100, 100, bias=False, seed=0)
            model.flat_gradients[...] = gradients(model.flat_gradients.size)
            calls.append(clip_and_step(model, in_place))
        rows.append(Steps(size, *fastest(calls, rounds)))
    return rows


def clip_and_step(model: numgru.Linear, in_place: bool) -> Callable[[], object]:
    optimizer = numgru.SGD(model, lr=1e-9)
    limit = falling(0.99 * float(np.linalg.norm(model.flat_gradients)))
    return lambda: optimizer.step(numgru.clip_grad_norm_(model.gradients, limit(), in_place=in_place))


def table(rows: Sequence[Row]) -> str:
    lines = head(["values", "clipped", "numgru, µs", "PyTorch, µs", "ratio", "of the bandwidth"])
    for one in rows:
        peer = [f"{one.torch * 1e6:.1f}", f"{one.torch / one.numgru:.2f}"] if one.torch else ["", ""]
        share = f"{one.bandwidth / one.numgru:.0%}" if one.bandwidth else ""
        lines.append(row([f"{one.values:,}", "yes" if one.clipped else "no", f"{one.numgru * 1e6:.1f}", *peer, share]))
    return "\n".join(lines)


def table_of_steps(rows: Sequence[Steps]) -> str:
    lines = head(["values", "clip, then step, µs", "step that clips, µs", "ratio"])
    for one in rows:
        times = [f"{one.two_passes * 1e6:.1f}", f"{one.one_pass * 1e6:.1f}", f"{one.two_passes / one.one_pass:.2f}"]
        lines.append(row([f"{one.values:,}", *times]))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    command("clipping", __doc__, SIZES, measure, arguments)


if __name__ == "__main__":
    main()
