"""How fast clipping by the global norm is: `python -m bench.clipping`, some 20 seconds for each number of threads.

Beside PyTorch's `clip_grad_norm_`, if that is installed, and beside what the memory allows: gradients are read once,
and if they are to be clipped, read and written once more. PyTorch does the second in any case.
A row's calls take turns, and of each the fastest counts: other programs' work makes calls slower, never faster.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import numgru

from .peers.limits import read_words
from .peers.load import Load
from .peers.report import count, head, row
from .workload import seconds

SIZES = [1_000, 10_000, 100_000, 1_000_000, 10_000_000, 40_000_000]
BEYOND_THE_CACHE = 40_000_000  # values and more
BURST = 0.02  # seconds, but at least three calls; in the first of them the other library's threads may still spin


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


def gradients(size: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(size, np.float32)


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


def fastest(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Of each call, in bursts that take turns."""
    least = [math.inf] * len(calls)
    for _ in range(rounds):
        for at, call in enumerate(calls):
            times: list[float] = []
            while len(times) < 3 or sum(times) < BURST:
                times.append(seconds(call))
            least[at] = min(least[at], *times)
    return least


def passes(size: int, threads: int) -> list[Callable[[], object]]:
    """Reading an array, and NumPy's product in place, a share of the array a thread."""
    parts = np.array_split(gradients(size // (2 * threads) * 2 * threads), threads)
    pool = ThreadPoolExecutor(threads)
    return [
        lambda: list(pool.map(lambda part: read_words(part.view(np.int64), 1), parts)),
        lambda: list(pool.map(lambda part: np.multiply(part, np.float32(1), out=part), parts)),
    ]


def measure(sizes: Sequence[int], threads: int, rounds: int) -> list[Row]:
    numgru.set_num_threads(threads)
    has_torch = find_spec("torch") is not None
    if has_torch:
        import torch

        torch.set_num_threads(threads)
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
    parser = argparse.ArgumentParser(prog="python -m bench.clipping", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, nargs="+", default=sorted({1, numgru.get_num_threads()}))
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="numbers of values")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    asked = parser.parse_args(arguments)
    figures: list[dict[str, Any]] = []
    for threads in asked.threads:
        load = Load()
        rows = measure(asked.sizes, threads, asked.rounds)
        steps = measure_steps(asked.sizes, asked.rounds)
        taken = load.of_others()
        print(f"\nfloat32, {count(threads)}, the fastest calls of {asked.rounds} bursts")
        if taken is not None:
            print(f"Other programs took {taken:.2f} cores meanwhile.")
        print(table(rows), table_of_steps(steps), sep="\n\n")
        figures.append(
            {
                "threads": threads,
                "cores_taken_by_others": taken,
                "clipping": [one._asdict() for one in rows],
                "clipping_and_a_step": [one._asdict() for one in steps],
            }
        )
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
