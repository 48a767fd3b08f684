"""Threads that share the units of few rows: the same bits as one thread, whatever becomes of the threads."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher

from numgru.kernels import team, threads
from numgru.kernels.tiles import ROWS
from tests.cases import Arrays, assert_same_bits, layer_of, problem_of, run, run_elsewhere
from tests.layers.test_concurrency import threading_layers

BUSY_PROCESSES, BUSY_SECONDS = 8, 40
BUSY = f"import time\nend = time.monotonic() + {BUSY_SECONDS}\nwhile time.monotonic() < end: pass"


def in_parts(parts: int, shape: tuple[int, int, int, int], dtype: Any = np.float32) -> Arrays:
    """Inference and all gradients of a problem, cut into `parts` whatever its size."""
    problem = problem_of(*shape, dtype)
    gru = layer_of(problem)
    with threads.in_parts(parts):
        used = gru._directions[0].parts(shape[0] * shape[1], shape[1])
        assert used == parts, "too few units to share out: nothing would be tested"
        y, h_n = gru(problem["x"], problem["h_0"])
        return {"y alone": y, "h_n alone": h_n, **run(gru, problem)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("parts", [2, 3, 8])
@pytest.mark.parametrize("B", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize(("T", "I", "H"), [(1, 3, 150), (33, 17, 129), (67, 1, 131), (21, 7, 90)])
def test_same_bits(T: int, B: int, I: int, H: int, parts: int, dtype: Any) -> None:
    shape = (T, B, I, H)
    assert_same_bits(in_parts(parts, shape, dtype), in_parts(1, shape, dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("parts", [4, 7, 12])
@pytest.mark.parametrize("B", [9, 12, 17])
def test_same_bits_of_a_team_for_each_tile(B: int, parts: int, dtype: Any) -> None:
    shape = (33, B, 17, 150)
    assert_same_bits(in_parts(parts, shape, dtype), in_parts(1, shape, dtype))


@pytest.mark.parametrize("layer", threading_layers())
def test_it_never_hangs(layer: str) -> None:
    """Many teams at once, on a machine with more busy processes than processors, in every threading layer."""
    code = "from tests.kernels.test_team import overloaded; overloaded()"
    busy = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(BUSY_PROCESSES)]
    try:
        run_elsewhere(code, NUMBA_THREADING_LAYER=layer)
    finally:
        for process in busy:
            process.kill()
            process.wait()


def overloaded() -> None:
    shapes = [(20, 1, 30, 200), (12, 3, 17, 130), (9, 8, 40, 150), (7, 2 * ROWS, 20, 140)]
    expected = [in_parts(1, shape) for shape in shapes]
    end = time.monotonic() + 8

    def work(worker: int) -> None:
        call = 0
        while call < 2 or (time.monotonic() < end and call < 20):
            i = (worker + call) % len(shapes)
            tiles = -(-shapes[i][1] // ROWS)
            assert_same_bits(in_parts(tiles * (2 + call % 3), shapes[i]), expected[i])
            call += 1

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))


class Turns:
    """Lets one thread go on at a time; which one, a seed decides anew before every access to what they share."""

    def __init__(self, seed: int, parts: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.speed = 10.0 ** -self.rng.integers(0, 4, parts)  # some come late, or are stopped for long
        self.alive = list(range(parts))
        self.changed = threading.Condition()
        self.me = threading.local()
        self.turn = self._next()
        self.count = 0

    def _next(self) -> int:
        speed = self.speed[self.alive]
        return int(self.rng.choice(self.alive, p=speed / speed.sum())) if self.alive else -1

    def begin(self, part: int) -> None:
        self.me.part = part
        with self.changed:
            self.changed.wait_for(lambda: self.turn == part)

    def pass_on(self) -> None:
        with self.changed:
            self.count += 1
            assert self.count < 100_000, "they wait for each other for ever"
            self.turn = self._next()
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.turn == self.me.part)

    def end(self) -> None:
        with self.changed:
            self.alive.remove(self.me.part)
            self.turn = self._next()
            self.changed.notify_all()


def in_turns(turns: Turns) -> SimpleNamespace:
    """The functions of team.py as Python runs them, which pass the turn on at each access."""

    def read(words: list[int], index: int) -> int:
        turns.pass_on()
        return words[index]

    def publish(words: list[int], index: int, value: int) -> None:
        turns.pass_on()
        words[index] = value

    def exchange(words: list[int], index: int, value: int) -> int:
        turns.pass_on()
        before, words[index] = words[index], value
        return before

    def replace(words: list[int], index: int, before: int, value: int) -> bool:
        turns.pass_on()
        if words[index] != before:
            return False
        words[index] = value
        return True

    names: dict[str, Any] = dict(vars(team))
    names |= {
        name: FunctionType(value.py_func.__code__, names)
        for name, value in names.items()
        if isinstance(value, Dispatcher)
    }
    names |= {"read": read, "publish": publish, "_exchange": exchange, "_replace": replace, "_SPINS": 2}
    names |= {"_yield_processor": lambda: None}
    return SimpleNamespace(**names)


@pytest.mark.parametrize("seed", range(150))
def test_every_share_is_done_once_and_in_time(seed: int) -> None:
    """Whatever the order in which threads come and go on; some phases and shares have nothing to wait for."""
    rng = np.random.default_rng([seed, 1])
    parts, phases = int(rng.integers(2, 5)), int(rng.integers(2, 7))
    empty, alone = rng.random(parts) < 0.2, rng.random(phases + 1) < 0.2
    turns = Turns(seed, parts)
    t = in_turns(turns)
    words = [0] * (2 * parts * t._APART)
    done: set[tuple[int, int]] = set()

    def do_share(view: Any, part: int, phase: int) -> bool:
        """As a tile: it waits for one share after the other, and gives up after a while."""
        assert phase == 1 or (part, phase - 1) in done
        for other in range(0 if empty[part] or alone[phase] else parts):
            if not any(t.read(words, t._finished(view, other)) >= phase - 1 for _ in range(3)):
                return False
            assert phase == 1 or (other, phase - 1) in done
        for _ in range(int(rng.integers(10))):  # it takes some time
            turns.pass_on()
        assert (part, phase) not in done
        done.add((part, phase))
        return True

    def work(me: int) -> None:
        turns.begin(me)
        try:
            view = t.Team(words, parts, me)
            left = t.join(view)
            for phase in range(1, phases + 1):
                for o in range(parts):
                    part = (me + o) % parts
                    mine, left = t.claim(view, part, phase, left)
                    while mine and not do_share(view, part, phase):
                        assert part == me, "whoever claims another's share is never late"
                        mine, left = t.give_up(view, phase, left)
                    if mine:
                        t.finish(view, part, phase)
        finally:
            turns.end()

    with ThreadPoolExecutor(parts) as pool:
        list(pool.map(work, range(parts)))
    assert len(done) == parts * phases
