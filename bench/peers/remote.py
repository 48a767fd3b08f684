"""A process for each library and number of threads.

Only one works at a time; the others wait for a message and hold no core.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, NamedTuple

from ..workload import JOBS, Shape
from .peer import calls_of, load
from .problem import Array, Problem, Weights


class About(NamedTuple):
    version: str
    trains: bool
    lacks: frozenset[str]
    spins: float


class Results(NamedTuple):
    y: Array
    h_n: Array
    gradients: list[Weights] | None


class RemoteError(RuntimeError):
    """The library's process failed; the message ends with the line that says how."""


class Remote:
    """The library in its process, seen from outside."""

    def __init__(self, name: str, threads: int) -> None:
        self.name, self.threads = name, threads
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, name, threads), daemon=True)
        with confined(threads), uninterrupted():
            self.process.start()
        theirs.close()
        self.about: About = self._receive()

    def can(self, shape: Shape) -> bool:
        """Whether the library has the options."""
        return self.about.lacks.isdisjoint(shape.options)

    @property
    def jobs(self) -> list[str]:
        return JOBS if self.about.trains else JOBS[:1]

    def prepare(self, *shapes: Shape) -> list[Results]:
        """Build the layers, in place of those before, and return what they compute."""
        results: list[Results] = self._ask("prepare", *shapes)
        return results

    def burst(self, shape: Shape, job: str, calls: int, warm_up: float) -> float:
        """Seconds a call, of some calls in a row, after untimed ones."""
        seconds: float = self._ask("burst", shape, job, calls, warm_up)
        time.sleep(self.about.spins)  # until the next one's cores are free
        return seconds

    def close(self) -> None:
        self.connection.close()  # ends the process
        self.process.join()

    def _ask(self, *message: Any) -> Any:
        self.connection.send(message)
        return self._receive()

    def _receive(self) -> Any:
        try:
            result = self.connection.recv()
        except EOFError:
            raise RemoteError(f"{self.name}: its process ended") from None
        if isinstance(result, str):
            raise RemoteError(f"{self.name}, {self.threads} threads:\n{result}")
        return result


class Local:
    """The same inside that process."""

    def __init__(self, name: str, threads: int) -> None:
        self.peer_class, self.threads = load(name), threads

    def prepare(self, *shapes: Shape) -> list[Results]:
        self.calls: dict[tuple[Shape, str], Callable[[], object]] = {}
        gc.collect()
        return [self._prepared(shape) for shape in shapes]

    def _prepared(self, shape: Shape) -> Results:
        problem = Problem.of(shape)
        peer = self.peer_class(problem, self.threads)
        calls = calls_of(peer, problem)
        self.calls |= {(shape, job): call for job, call in calls.items()}
        y, h_n = calls["inference"]()
        gradients = peer.gradients(calls["training"]()) if peer.trains else None
        return Results(problem.like_y(y), problem.like_h_n(h_n), gradients)

    def burst(self, shape: Shape, job: str, calls: int, warm_up: float) -> float:
        call = self.calls[shape, job]
        start = time.perf_counter()
        while time.perf_counter() - start < warm_up:
            call()
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return (time.perf_counter() - start) / calls


def serve(connection: Connection, name: str, threads: int) -> None:
    """Answer until the other side hangs up; a string is an error."""
    try:
        local = Local(name, threads)
        peer = local.peer_class
        connection.send(About(peer.version, peer.trains, peer.lacks, peer.spins))
        gc.disable()
        while True:
            method, *arguments = connection.recv()
            connection.send(getattr(local, method)(*arguments))
    except (EOFError, BrokenPipeError):  # it hung up while this side waited, or computed
        pass
    except Exception:
        connection.send(traceback.format_exc())


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Processes started in here don't hear Ctrl-C: they end when the other side hangs up."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def confined(threads: int) -> Iterator[None]:
    """Processes started in here see `threads` processors: JAX has no other setting, and so it's the same for all."""
    settings = {"OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
    if threads == 1:
        settings["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
    before = {name: os.environ.get(name) for name in settings}
    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    os.environ.update(settings)
    if processors:
        os.sched_setaffinity(0, processors[-threads:])
    try:
        yield
    finally:
        if processors:
            os.sched_setaffinity(0, processors)
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
