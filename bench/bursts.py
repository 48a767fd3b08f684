"""Short calls beside PyTorch's, by size and number of threads: what the commands that measure such calls share.

Calls take turns, and of each the fastest counts: other programs' work makes calls slower, never faster.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

import numgru

from .command import parser, write
from .load import Load, said
from .tables import count
from .workload import burst

BURST = 0.02  # seconds, but at least three calls; in the first of them the other library's threads may still spin


class Measured(NamedTuple):
    """By name the rows of each table, and the tables."""

    rows: dict[str, Sequence[Any]]  # NamedTuples
    tables: list[str]


def gradients(size: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(size, np.float32)


def fastest(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Of each call, in bursts that take turns."""
    least = [math.inf] * len(calls)
    for _ in range(rounds):
        for at, call in enumerate(calls):
            least[at] = min(least[at], *burst(call, BURST))
    return least


def with_torch(threads: int) -> bool:
    """Whether PyTorch is there; it gets so many threads, as numgru does."""
    numgru.set_num_threads(threads)
    if find_spec("torch") is None:
        return False
    import torch

    torch.set_num_threads(threads)
    return True


def command(
    name: str, description: str | None, sizes: Sequence[int], measure: Callable[[Sequence[int], int, int], Measured],
    arguments: Sequence[str] | None,
) -> None:  # fmt: skip
    """`python -m bench.NAME`: prints what `measure(sizes, threads, rounds)` finds."""
    options = parser(name, description)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--threads", type=int, nargs="+", default=sorted({1, numgru.get_num_threads()}))
    options.add_argument("--sizes", type=int, nargs="+", default=sizes, help="numbers of values")
    asked = options.parse_args(arguments)
    figures: list[dict[str, Any]] = []
    for threads in asked.threads:
        load = Load()
        measured = measure(asked.sizes, threads, asked.rounds)
        taken = load.of_others()
        print(f"\nfloat32, {count(threads)}, the fastest calls of {asked.rounds} bursts")
        print(said(taken))
        print(*measured.tables, sep="\n\n")
        rows = {name: [one._asdict() for one in rows] for name, rows in measured.rows.items()}
        figures.append({"threads": threads, "cores_taken_by_others": taken, **rows})
    write(asked.json, figures)
