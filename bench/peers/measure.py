"""Taking turns: short bursts of calls, round after round, so that a slow moment of the machine falls on all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..workload import Shape
from .problem import Array, Weights, beside
from .remote import Remote, Results
from .report import OURS

# Largest difference over largest value. float32 sums of another order differ by less; a coarser format by more.
TOLERANCE = 1e-4

Case = tuple[str, int]  # a job, a number of threads
Samples = dict[Case, dict[str, list[float]]]  # seconds a call in each burst, by library


class Plan(NamedTuple):
    """How long to measure; times in seconds."""

    shape: float  # all bursts of a shape; more where the fewest rounds take longer
    burst: float  # the timed calls of a burst; one call where that takes longer
    warm_up: float  # untimed calls before; at least one
    rounds: tuple[int, int]  # fewest, most


FULL = Plan(shape=60, burst=0.02, warm_up=0.005, rounds=(5, 25))
QUICK = Plan(shape=2, burst=0.005, warm_up=0.005, rounds=(2, 9))


class Turn(NamedTuple):
    """One library's next burst of one job."""

    remote: Remote
    shape: Shape
    job: str
    calls: int
    cost: float


def measure(shape: Shape, remotes: Sequence[Remote], plan: Plan) -> dict[Shape, Samples]:
    """Compare all results with those of the first, numgru, then time them all, and numgru at what it's set beside."""
    other = beside(shape)
    shapes = [shape] if other is None else [shape, other]
    own = {remote: shapes if remote.name == OURS else [shape] for remote in remotes}
    expected, *of_other = remotes[0].prepare(*shapes)
    if shape.tokens:
        compare(OURS, shape, expected, *of_other)
    for remote in remotes[1:]:
        compare(remote.name, shape, remote.prepare(*own[remote])[0], expected)
    turns = [turn(remote, each, job, plan) for remote in remotes for each in own[remote] for job in remote.jobs]
    fewest, most = plan.rounds
    rounds = int(np.clip(plan.shape / sum(turn.cost for turn in turns), fewest, most))
    samples: dict[Shape, Samples] = {each: {} for each in shapes}
    for n in range(rounds):
        for remote, each, job, calls, _ in turns[:: -1 if n % 2 else 1]:
            seconds = remote.burst(each, job, calls, plan.warm_up)
            samples[each].setdefault((job, remote.threads), {}).setdefault(remote.name, []).append(seconds)
    return samples


def turn(remote: Remote, shape: Shape, job: str, plan: Plan) -> Turn:
    once = remote.burst(shape, job, 1, 0)
    if once < plan.burst:
        once = remote.burst(shape, job, 1, plan.warm_up)
    calls = max(1, round(plan.burst / once))
    return Turn(remote, shape, job, calls, remote.about.spins + max(plan.warm_up, once) + calls * once)


def compare(name: str, shape: Shape, results: Results, expected: Results) -> None:
    """Refuse to time what computes something else."""
    pairs: list[tuple[str, Array, Array]] = [
        ("y", results.y, expected.y),
        ("h_n", results.h_n, expected.h_n),
    ]
    if results.gradients is not None and expected.gradients is not None:
        for each, of_ours in zip(results.gradients, expected.gradients, strict=True):
            pairs += zip((f"d{field}" for field in Weights._fields), each, of_ours, strict=True)
    for what, theirs, ours in pairs:
        off, largest = float(np.abs(theirs - ours).max()), float(np.abs(ours).max())
        if not off <= TOLERANCE * largest:
            raise ValueError(
                f"{name}, {shape}: expected numgru's {what}, got {off:.1e} off where the largest is {largest:.1e}"
            )
