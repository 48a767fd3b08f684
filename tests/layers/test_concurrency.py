"""Python threads and forked children: the same bits and no crash, under each of Numba's threading layers."""

from __future__ import annotations

import importlib
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest

import numgru
from tests.cases import Arrays, assert_same_bits, layer_of, problem_of, run, run_elsewhere

# One below and one above the size from which a call uses several threads.
PROBLEMS = [problem_of(4, 2, 3, 9), problem_of(10, 40, 70, 150)]
_POOLS = {"omp": "omppool", "tbb": "tbbpool", "workqueue": "workqueue"}


def threading_layers() -> list[str]:
    """Those that can be loaded here."""
    found = []
    for name, module in _POOLS.items():
        try:
            importlib.import_module(f"numba.np.ufunc.{module}")
        except ImportError:
            continue
        found.append(name)
    return found


@pytest.mark.parametrize("layer", threading_layers())
@pytest.mark.parametrize("subject", ["many_threads", "forked_child", "forked_pool", "forked_while_busy"])
def test_each_threading_layer(subject: str, layer: str) -> None:
    """In a process of its own, since a layer is chosen once and its failure takes the process down."""
    code = f"import numba\nfrom {__name__} import {subject}\n{subject}()\nprint(numba.threading_layer())"
    settings = {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "4", "OMP_WAIT_POLICY": "passive"}
    assert run_elsewhere(code, **settings).strip() == layer


def many_threads() -> None:
    """All call the same layers for inference; each has its own for training."""
    numgru.set_num_threads(2)
    layers = [layer_of(problem) for problem in PROBLEMS]
    expected = [run(layer_of(problem), problem) for problem in PROBLEMS]

    def work(worker: int) -> None:
        own = [layer_of(problem) for problem in PROBLEMS]
        for call in range(6):
            i = (worker + call) % len(PROBLEMS)
            y, h_n = layers[i](PROBLEMS[i]["x"], PROBLEMS[i]["h_0"])
            assert_same_bits({"y": y, "h_n": h_n}, expected[i])
            assert_same_bits(run(own[i], PROBLEMS[i]), expected[i])

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))


def results() -> list[Arrays]:
    numgru.set_num_threads(2)
    return [run(layer_of(problem), problem) for problem in PROBLEMS]


def in_child(work: Callable[[], None], seconds: int = 60) -> None:
    """Do it in a forked child, which must end well."""
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)  # a child that waits for its parent's threads would wait for ever
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0, "the child crashed, hung or computed something else"


def forked_child() -> None:
    expected = results()

    def compare() -> None:
        for got, wanted in zip(results(), expected, strict=True):
            assert_same_bits(got, wanted)

    in_child(compare)
    compare()


def forked_while_busy() -> None:
    """The child uses the very layer that another thread of the parent is using at the moment of the fork."""
    results()
    problem = problem_of(1, 1, 256, 256)
    gru = layer_of(problem)
    numgru.warmup(gru)  # a fork while Numba compiles leaves the child without Numba's lock
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            gru(problem["x"])

    with ThreadPoolExecutor(2) as pool:
        busy = [pool.submit(work) for _ in range(2)]
        try:
            for _ in range(10):
                in_child(lambda: gru(problem["x"]), seconds=5)
        finally:
            done.set()
        for call in busy:
            call.result()


def forked_pool() -> None:
    expected = results()
    with get_context("fork").Pool(2) as pool:
        for there in pool.starmap_async(results, [()] * 4).get(timeout=60):
            for got, wanted in zip(there, expected, strict=True):
                assert_same_bits(got, wanted)


def test_threads_of_a_caller_are_left_alone() -> None:
    """Numba's own number of threads is a caller's setting, not the library's."""
    import numba

    before = numba.get_num_threads()
    numgru.set_num_threads(2)
    run(layer_of(PROBLEMS[1]), PROBLEMS[1])
    assert numba.get_num_threads() == before


def test_one_layer_used_by_two_threads_for_inference_while_another_trains() -> None:
    problem = PROBLEMS[0]
    gru = layer_of(problem)
    expected = run(gru, problem)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(gru, problem["x"], problem["h_0"]) for _ in range(50)]
        for _ in range(20):
            assert_same_bits(run(gru, problem), expected)
        assert all(np.array_equal(call.result()[0], expected["y"]) for call in calls)
