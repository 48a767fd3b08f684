"""Threads that share the units of few rows: the same bits as one thread, whatever becomes of the threads."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from numgru.kernels import threads
from tests.cases import Arrays, assert_same_bits, gru_layer, gru_problem, run, run_elsewhere
from tests.layers.test_concurrency import threading_layers

BUSY_PROCESSES, BUSY_SECONDS = 8, 40
BUSY = f"import time\nend = time.monotonic() + {BUSY_SECONDS}\nwhile time.monotonic() < end: pass"


def in_parts(parts: int, shape: tuple[int, int, int, int], dtype: Any = np.float32) -> Arrays:
    """Inference and all gradients of a problem, cut into `parts` whatever its size."""
    problem = gru_problem(*shape, dtype)
    gru = gru_layer(problem)
    with threads.in_parts(parts):
        used = gru._directions[0]._parts(shape[0] * shape[1], shape[1])
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
    shapes = [(20, 1, 30, 200), (12, 3, 17, 130), (9, 8, 40, 150)]
    expected = [in_parts(1, shape) for shape in shapes]
    end = time.monotonic() + 8

    def work(worker: int) -> None:
        call = 0
        while call < 2 or (time.monotonic() < end and call < 20):
            i = (worker + call) % len(shapes)
            assert_same_bits(in_parts(2 + call % 3, shapes[i]), expected[i])
            call += 1

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(work, range(3)))
