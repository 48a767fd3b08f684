"""numgru and each installed peer side by side, in one run.

Each library has a process of its own for each number of threads. They take turns, in short bursts of calls. Before
anything is timed, results and gradients are compared with numgru's. All compute in float32.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, closing, suppress

from numgru.kernels.threads import available_cpus

from ..command import add_picture, note, parser, shape_of, write
from ..load import Load, said
from ..machine import about, cache_sizes
from ..tables import count
from ..workload import SHAPES, Shape
from .limits import Limits
from .measure import FULL, QUICK, TOLERANCE, Plan, Samples, measure
from .peer import PEERS, installed
from .picture import draw
from .remote import Remote, RemoteError
from .report import OURS, Cell, beside_table, summary, tables


def arguments_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    others = [name for name in PEERS if name != OURS]
    options = parser("peers", __doc__)
    options.add_argument("--quick", action="store_true", help="fewer, shorter bursts: a first look")
    options.add_argument("--shapes", nargs="+", type=shape_of, default=SHAPES, metavar="B,T,I,H")
    options.add_argument("--threads", nargs="+", type=int, default=[1, 2], metavar="N")
    options.add_argument("--peers", nargs="*", choices=others, default=others, help="only these; none: numgru alone")
    add_picture(options)
    return options.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    asked = arguments_of(arguments)
    threads = [n for n in asked.threads if 1 <= n <= available_cpus()]
    names = [name for name in (OURS, *asked.peers) if installed(name)]
    for missing in (name for name in asked.peers if name not in names):
        note(f"{missing}: left out, not installed")
    for left_out in (n for n in asked.threads if n not in threads):
        note(f"{left_out} threads: left out, this process may use {available_cpus()}")

    if not threads:
        sys.exit("nothing to measure")

    load = Load()
    with ExitStack() as stack:
        remotes = start(names, threads, stack)
        versions = {remote.name: remote.about.version for remote in remotes}
        measured, limits = measure_all(asked.shapes, remotes, QUICK if asked.quick else FULL)
    interrupted = len(measured) < len(asked.shapes)
    if not measured:
        sys.exit("interrupted before any shape was measured")
    taken = load.of_others()
    groups = [[cells_of(*each, limits) for each in samples.items()] for samples in measured]
    cells = [cell for group in groups for cell in group[0]]
    pairs = [pair for first, *others in groups for other in others for pair in zip(first, other, strict=True)]
    machine = about() | versions
    figures = {
        "machine": machine,
        "quick": asked.quick,
        "interrupted": interrupted,
        "cores_taken_by_others": taken,
        "agreement": TOLERANCE,
        "limits": [each._asdict() for each in limits.values()],
        "cache_bytes": cache_sizes(),
        "cells": [cell.as_json() for cell in cells],
        "summary": summary(cells),
        "beside": [{"this": this.as_json(), "other": other.as_json()} for this, other in pairs],
    }
    print(", ".join(f"{name} {version}" for name, version in machine.items()))
    print(*map(limits_line, limits.values()), sep="\n")
    print(said(taken))
    print(f"Results and gradients agree with numgru's within {TOLERANCE:g} of the largest.\n")
    print(tables(cells))
    if pairs:
        print("", beside_table(pairs), sep="\n")
    write(asked.json, figures)
    if asked.picture:
        draw(cells, asked.picture)
    if interrupted:
        sys.exit(130)  # as shells say of what Ctrl-C has ended


def start(names: Iterable[str], threads: Iterable[int], stack: ExitStack) -> list[Remote]:
    """A process for each number of threads and library, but for those that can't be loaded."""
    remotes, failed = [], set[str]()
    for n in threads:
        for name in (name for name in names if name not in failed):
            try:
                remotes.append(stack.enter_context(closing(Remote(name, n))))
            except RemoteError as error:
                if name == OURS:
                    raise
                failed.add(name)
                note(f"{name}: left out, it can't be loaded: {str(error).splitlines()[-1]}")
    return remotes


def measure_all(
    shapes: Iterable[Shape], remotes: list[Remote], plan: Plan
) -> tuple[list[dict[Shape, Samples]], dict[int, Limits]]:
    """Shape by shape, each with what it's set beside; in between, the machine's limits: the best measured count.

    Ctrl-C ends it; what was measured before is returned.
    """
    measured = []
    limits: dict[int, Limits] = {}
    with suppress(KeyboardInterrupt):
        for shape in shapes:
            note(str(shape))
            for name in dict.fromkeys(remote.name for remote in remotes if not remote.can(shape)):
                note(f"{name}: left out, has nothing of the kind")
            for n in dict.fromkeys(remote.threads for remote in remotes):
                now = Limits.measured(n)
                limits[n] = now.best(limits.get(n, now))
            measured.append(measure(shape, [remote for remote in remotes if remote.can(shape)], plan))
    return measured, limits


def cells_of(shape: Shape, samples: Samples, limits: dict[int, Limits]) -> list[Cell]:
    return [
        Cell(shape, job, threads, times, limits[threads].bound(shape, job)) for (job, threads), times in samples.items()
    ]


def limits_line(limits: Limits) -> str:
    reads = ", ".join(f"{level} {rate:.0f}" for level, rate in limits.reads.items())
    line = f"{count(limits.threads)} at most: {limits.gflops:.0f} GFLOP/s of FMAs; reads in GB/s: {reads}"
    if limits.threads == 1:
        return line
    least, most = (1e9 * seconds for seconds in limits.message)
    return f"{line}; a message to another thread takes {least:.0f} to {most:.0f} ns"


if __name__ == "__main__":
    main()
