"""The temporal order experiment of Pascanu, Mikolov and Bengio 2013, figure 7: who learns the task, at which length.

A trial trains one network, with clipping or without, on sequences of one length. Trials need nothing of each other, so
they run in several processes, and a file keeps those that are done.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from .._files import atomic_write
from ..data.tasks import SOLVED_BELOW, TemporalOrder
from ..kernels.threads import set_num_threads
from ..runs import RunError
from ..training import SGD, NonFiniteGradientError
from .networks import NETWORKS, train_step, vectors

BATCH_SIZE, LEARNING_RATE, THRESHOLD = 20, 0.1, 1.0
CHECK_EVERY, TEST_SIZE = 500, 10_000
_PATIENCE = 10  # seconds, for processes to start and to load kernels from the cache


@dataclass(frozen=True)
class Plan:
    """What is tried, each with the others, and for how long.

    The updates are as many as an hour on two processors has room for if no trial ends early: on average over the
    lengths, one took 0.9 ms of a processor's time for an RNN, 1.8 ms for a GRU and 2.5 ms for an LSTM.

    Attributes
    ----------
    lengths : tuple of int
    seeds : int
        Trials with the same network, length and clipping.
    updates : int
        Of the parameters, at most; a trial ends when it has learned the task.
    """

    lengths: tuple[int, ...] = (50, 100, 150, 200, 250)
    seeds: int = 5
    updates: int = 20_000

    def trials(self) -> list[Trial]:
        """All trials, the longest first, so that none is left for the end alone."""
        each = product(sorted(self.lengths, reverse=True), NETWORKS, (True, False), range(self.seeds))
        return [Trial(network, clipped, length, seed) for length, network, clipped, seed in each]


QUICK = Plan(lengths=(20, 50), seeds=2, updates=6_000)


@dataclass(frozen=True)
class Trial:
    """One network, its data and its fate; the same trial has the same result everywhere, but for the time."""

    network: str
    clipped: bool
    length: int
    seed: int

    def run(self, updates: int) -> Result:
        """Train until the task is learned, a gradient isn't finite any more, or so many updates are made."""
        started = time.process_time()
        task = TemporalOrder(self.length)
        numbers = np.random.default_rng([list(NETWORKS).index(self.network), self.length, self.seed])
        first_weights, training, testing = numbers.spawn(3)  # the same ones with clipping and without
        model = NETWORKS[self.network](task, first_weights)
        optimizer = SGD(model, lr=LEARNING_RATE)
        limit = THRESHOLD if self.clipped else math.inf

        def error_rate(size: int) -> float:
            return task.error_rate(lambda x: model(vectors(task, x)), size, testing)

        diverged, beyond, largest, error = False, 0, 0.0, 1.0
        for update in range(1, updates + 1):
            try:
                norm = train_step(model, optimizer, task, *task.batch(BATCH_SIZE, training), limit)
            except NonFiniteGradientError:
                diverged = True
                break
            beyond, largest = beyond + (norm > THRESHOLD), max(largest, norm)
            # Few sequences tell whether it's worth to try them all.
            if update % CHECK_EVERY == 0 and error_rate(500) < SOLVED_BELOW:
                error = error_rate(TEST_SIZE)
                if error < SOLVED_BELOW:
                    break
        else:
            error = error_rate(TEST_SIZE)
        return Result(
            **asdict(self), solved=error < SOLVED_BELOW, updates=optimizer.steps, error_rate=error, diverged=diverged,
            share_beyond_threshold=beyond / max(1, optimizer.steps), largest_norm=largest,
            seconds=time.process_time() - started,
        )  # fmt: skip


@dataclass(frozen=True)
class Result(Trial):
    """What became of a trial.

    Attributes
    ----------
    solved : bool
        Whether less than 1 % of 10,000 new sequences were classified wrongly.
    updates : int
    error_rate : float
        Of those sequences; 1 if the trial diverged.
    diverged : bool
        Whether a gradient was NaN or infinite.
    share_beyond_threshold, largest_norm : float
        Of the gradient's norms before clipping.
    seconds : float
        Of processor time.
    """

    solved: bool
    updates: int
    error_rate: float
    diverged: bool
    share_beyond_threshold: float
    largest_norm: float
    seconds: float

    @property
    def trial(self) -> Trial:
        """What was tried."""
        return Trial(self.network, self.clipped, self.length, self.seed)


class Results:
    """The trials that are done, in a file that is written anew after each of them.

    Parameters
    ----------
    path : path
        Of a JSON file; need not exist.
    plan : Plan
    anew : bool
        Whether the first result replaces what is in the file.

    Raises
    ------
    RunError
        If the file holds something else, or trials of another plan.
    """

    def __init__(self, path: Path, plan: Plan, *, anew: bool = False) -> None:
        self.path, self.plan, self.done = path, plan, []
        if anew or not path.exists():
            return
        try:
            kept = json.loads(path.read_text("utf-8"))
            settings, self.done = kept["settings"], [Result(**result) for result in kept["trials"]]
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{path}: expected trials of this experiment, got something else") from error
        if settings != self._settings:
            raise RunError(f"{path.parent}: there are trials with other settings; give --overwrite or another --output")

    done: list[Result]

    @property
    def _settings(self) -> dict[str, Any]:
        plan = {name: list(each) if isinstance(each, tuple) else each for name, each in asdict(self.plan).items()}
        return plan | {"batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "threshold": THRESHOLD}

    @property
    def left(self) -> list[Trial]:
        """The trials that aren't done."""
        done = {result.trial for result in self.done}
        return [trial for trial in self.plan.trials() if trial not in done]

    def add(self, result: Result) -> None:
        """Keep a result."""
        self.done.append(result)
        with atomic_write(self.path) as file:
            json.dump({"settings": self._settings, "trials": [asdict(each) for each in self.done]}, file, indent=1)
            file.write("\n")


def run_trials(results: Results, processes: int, on_compiling: Callable[[], object] = lambda: None) -> Iterator[Result]:
    """Run what is left in so many processes, of one thread each; keep and give each result as it comes.

    `on_compiling` is called if the first steps take so long that they seem to be compiled.
    """
    with _pool(processes) as pool:
        # A process that compiles keeps the kernels for all; two that compile the same lose time.
        first = [pool.submit(Trial(network, True, 10, 0).run, 1) for network in ("LSTM", "GRU", "RNN, smart tanh")]
        if wait(first, _PATIENCE).not_done:
            on_compiling()
            wait(first)
        futures = [pool.submit(trial.run, results.plan.updates) for trial in results.left]
        for future in as_completed(futures):
            results.add(future.result())
            yield results.done[-1]


@contextmanager
def _pool(processes: int) -> Iterator[ProcessPoolExecutor]:
    """Processes that end at once when this one is interrupted."""
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _begin)
    try:
        yield pool
    except BaseException:
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    set_num_threads(1)


def _end_with_parent() -> None:
    """A parent that is killed can't end its children."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
