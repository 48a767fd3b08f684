"""What a pass allocates: nothing as large as a sequence but what its design names.

`tracemalloc` counts NumPy's arrays. It doesn't see those that kernels make: the GRU's hold the sums of few rows over a
few steps, and backward a state of each row. Resident memory, which knows no such difference, is measured in
tests/bench/test_memory.py.

Shapes: T time, B batch, I input, H hidden.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numgru
from numgru.kernels.blocks import blocks_of
from numgru.kernels.target import TARGET
from numgru.layers.recurrent import Recurrent
from tests import reference
from tests.cases import Arrays, layer_of, problem_of, states

B, I = 12, 40


def allocated(call: Callable[[], object]) -> int:
    """Bytes of the arrays that are alive at once, at most, of those made within the call."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def train(gru: Recurrent, problem: Arrays) -> list[Any]:
    y = gru.forward(problem["x"], states(problem, "h_0"))
    return [y, gru.backward(problem["dy"], states(problem, "dh_n"))]


def passes(T: int, H: int, dtype: Any) -> tuple[int, int]:
    """Bytes of inference and of training, each by a layer that hasn't packed its weights."""
    numgru.set_num_threads(1)  # each thread has a workspace
    problem = problem_of(T, B, I, H, dtype)
    one, other = layer_of(problem), layer_of(problem)
    return allocated(lambda: one(problem["x"], problem["h_0"])), allocated(lambda: train(other, problem))


@pytest.fixture(autouse=True, scope="module")
def _compiled() -> None:
    """A compiler's own arrays aren't meant."""
    before = numgru.get_num_threads()
    numgru.set_num_threads(1)  # so that no kernels are compiled for more
    for dtype in (np.float32, np.float64):
        numgru.warmup(numgru.GRU(1, 1, dtype=dtype), training=True)
    numgru.set_num_threads(before)


def padded(n: int, dtype: Any) -> int:
    """In whole registers."""
    return blocks_of(n, np.dtype(dtype)) * TARGET.lanes(np.dtype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("H", [1, 17, 64, 100])
def test_what_grows_with_the_sequence(H: int, dtype: Any) -> None:
    """Inference: the output. Training: that, dx, and four values a unit, which fill whole registers."""
    short, long = (np.array(passes(T, H, dtype)) // np.dtype(dtype).itemsize for T in (100, 1100))
    inference, training = (long - short) / (1000 * B)
    assert inference <= 1.01 * H  # Python's own objects are counted, too
    assert training <= 1.01 * (4 * padded(H, dtype) + H + I)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("H", [64, 100])
@pytest.mark.parametrize("T", [1, 20, 400])
def test_bound(T: int, H: int, dtype: Any) -> None:
    """5 T B H, the output and dx; packed weights; states, sums of few rows and workspaces."""
    inference, training = (size // np.dtype(dtype).itemsize for size in passes(T, H, dtype))
    weights = 3 * (padded(I, dtype) + padded(H, dtype)) * padded(H, dtype)
    small = 10 * B * H + 40_000  # bundles, sums of weight gradients, Python's own objects
    sums = min(T, 32) * (B % TARGET.rows) * 4 * padded(H, dtype)  # of rows that fill no tile
    assert inference <= T * B * H + weights + sums + small
    assert training <= 5 * T * B * H + T * B * H + T * B * I + 3 * weights + small


def test_parameters_are_copied_where_somebody_may_change_them() -> None:
    """Beside the packed weights of inference; who only asked for them before leaves no copy behind."""
    numgru.set_num_threads(1)
    gru, x = numgru.GRU(300, 320, seed=0), np.zeros((1, 1, 300), np.float32)
    packed = 4 * 3 * (300 + 320) * 320
    assert allocated(lambda: gru(x)) < 1.2 * packed
    for _ in range(2):  # the first time kernels are compiled, or loaded
        gru = numgru.GRU(300, 320, seed=0)
        views = gru.parameters
        tracemalloc.start()
        try:
            gru(x)
            while_held = tracemalloc.get_traced_memory()[0]
            del views
            gru(x)
            afterwards = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
    assert 1.9 * packed < while_held < 2.2 * packed
    assert afterwards < 1.2 * packed


def test_what_an_lstm_keeps_beside_pieces_that_are_computed_again() -> None:
    """The output, dx, and c of every step, and where these lie, but no gates."""
    numgru.set_num_threads(1)

    def values(T: int) -> int:
        problem = problem_of(T, B, I, 64, cell=reference.LSTM)
        lstm = layer_of(problem, checkpoint_every=10)
        return allocated(lambda: train(lstm, problem)) // 4

    values(20)  # a compiler's own arrays aren't meant
    assert (values(1100) - values(100)) / (1000 * B) <= 2 * 64 + I + 4


@pytest.mark.parametrize("options", [{}, {"bidirectional": True}], ids=["one direction", "two"])
def test_layers_take_turns_with_two_arrays(options: dict[str, Any]) -> None:
    """Inference, whatever the number of layers; with `out` one of the two is the user's."""
    numgru.set_num_threads(1)
    x = np.zeros((600, B, I), np.float32)
    for num_layers, others in ((1, 0), (2, 1), (3, 1), (6, 1)):
        gru = numgru.GRU(I, 64, num_layers, seed=0, **options)
        out, _ = gru(x)  # weights are packed
        assert allocated(lambda gru=gru: gru(x)) <= (1.2 + others) * out.nbytes  # type: ignore[misc]
        assert allocated(lambda gru=gru, out=out: gru(x, out=out)) <= (0.2 + others) * out.nbytes  # type: ignore[misc]


def test_second_pass_reuses_what_the_first_kept() -> None:
    problem = problem_of(300, B, I, 64)
    gru = layer_of(problem)
    train(gru, problem)
    values = allocated(lambda: train(gru, problem)) // 4
    assert values <= 300 * B * (64 + I) + 3 * (I + 64 + 16) * 64 + 10 * B * 64 + 40_000
