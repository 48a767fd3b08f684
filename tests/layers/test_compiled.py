"""A step in a user's compiled loop and in C: the same bits, and errors where it checks."""

from __future__ import annotations

import copy
import ctypes
import gc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import Any

import numba
import numpy as np
import pytest
from numba.core.errors import TypingError
from numba.core.runtime import rtsys
from numba.core.runtime._nrt_python import memsys_disable_stats, memsys_enable_stats

import numgru
from numgru.kernels import single_step
from tests import reference
from tests.cases import Arrays, assert_same_bits, infer, layer_of, problem_of, states

T, I, H, L = 6, 5, 37, 3
GRU, LSTM = reference.GRU, reference.LSTM
KINDS = [(np.float32, 0.0, GRU), (np.float64, 0.0, GRU), (np.float32, 0.25, GRU), (np.float64, 0.25, LSTM)]
each_kind = pytest.mark.parametrize(
    ("dtype", "zoneout", "cell"), KINDS, ids=["float32", "float64", "zoneout", "LSTM, zoneout"]
)
step = single_step.step


@numba.njit(nogil=True)
def loop(weights: Any, x: Any, h: Any, out: Any) -> Any:
    """Every step of x; `h` and `out` take turns, and the last states are in what is returned."""
    for t in range(x.shape[0]):
        step(weights, x[t], h, out)
        h, out = out, h
    return h


def run_loop(weights: Any, x: Any, h_0: Any) -> Any:
    return loop(weights, x, h_0.copy(), np.empty_like(h_0))


def layer_and_problem(
    B: int, dtype: Any = np.float32, num_layers: int = L, cell: reference.Cell = GRU, **options: Any
) -> tuple[Any, Arrays]:
    problem = problem_of(T, B, I, H, dtype, num_layers=num_layers, cell=cell)
    return layer_of(problem, **options), problem


def first_and_last(gru: Any, problem: Arrays) -> tuple[Any, Any]:
    """The states as a step takes them, and those after all steps."""
    h_0 = np.array(states(problem, "h_0"))
    return h_0, gru(problem["x"], h_0)[1]


@each_kind
@pytest.mark.parametrize("num_layers", [1, L])
def test_in_a_compiled_loop(num_layers: int, dtype: Any, zoneout: float, cell: reference.Cell) -> None:
    gru, problem = layer_and_problem(3, dtype, num_layers, cell, zoneout=zoneout)
    h_0, expected = first_and_last(gru, problem)
    compiled_step, weights = gru.compiled()
    assert compiled_step is step
    row = run_loop(weights, problem["x"][:, 1].copy(), h_0[..., 1, :].copy())
    batch = run_loop(weights, problem["x"], h_0)
    assert_same_bits({"row": row, "batch": batch}, {"row": expected[..., 1, :], "batch": expected})


@each_kind
@pytest.mark.parametrize("B", [1, 2, 4, 5, 7, 8, 9, 12, 13, 17])
def test_any_batch(B: int, dtype: Any, zoneout: float, cell: reference.Cell) -> None:
    gru, problem = layer_and_problem(B, dtype, cell=cell, zoneout=zoneout)
    h_0, expected = first_and_last(gru, problem)
    assert_same_bits({"h": run_loop(gru.compiled().weights, problem["x"], h_0)}, {"h": expected})


@pytest.mark.parametrize("units", [1, 15, 16, 17, 64, 80])
def test_any_number_of_units(units: int) -> None:
    problem = problem_of(T, 2, 70, units, num_layers=2)
    gru = layer_of(problem)
    assert_same_bits({"h_n": run_loop(gru.compiled().weights, problem["x"], problem["h_0"])}, infer(gru, problem))


def test_nan_stays_in_its_row() -> None:
    gru, problem = layer_and_problem(3)
    expected = run_loop(gru.compiled().weights, problem["x"], problem["h_0"])
    problem["x"][2, 1, 0] = np.nan
    got = run_loop(gru.compiled().weights, problem["x"], problem["h_0"])
    assert np.isnan(got[:, 1]).all()
    assert_same_bits({"others": got[:, ::2]}, {"others": expected[:, ::2]})


def test_weights_are_a_copy() -> None:
    """Of the layer's at that time, which outlives the layer."""
    gru, problem = layer_and_problem(2)
    x, h_0 = problem["x"], problem["h_0"]
    before, weights = infer(gru, problem)["h_n"], gru.compiled().weights
    gru.flat_parameters *= 0.5
    after, halved = infer(gru, problem)["h_n"], gru.compiled().weights
    gru.compiled().weights.block[:] = 0
    assert_same_bits({"h_n": infer(gru, problem)["h_n"]}, {"h_n": after})
    del gru
    gc.collect()
    assert_same_bits({"h_n": run_loop(weights, x, h_0)}, {"h_n": before})
    weights.block[:] = halved.block
    assert_same_bits({"h_n": run_loop(weights, x, h_0)}, {"h_n": after})


def test_weights_of_a_copied_process() -> None:
    """Another process has the function at another address."""
    gru, problem = layer_and_problem(2)
    weights, x, h_0 = gru.compiled().weights, problem["x"], problem["h_0"]
    expected = infer(gru, problem)
    assert_same_bits({"h_n": run_loop(copy.deepcopy(weights), x, h_0)}, expected)
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        assert_same_bits({"h_n": pool.submit(run_loop, weights, x, h_0).result(timeout=120)}, expected)


def test_nothing_is_allocated() -> None:
    gru, problem = layer_and_problem(13)
    weights, x = gru.compiled().weights, np.concatenate([problem["x"]] * 10)
    h, out = problem["h_0"], np.empty_like(problem["h_0"])
    loop(weights, x, h, out)

    def allocations(steps: int) -> int:
        before = rtsys.get_allocation_stats().alloc
        loop(weights, x[:steps], h, out)
        return rtsys.get_allocation_stats().alloc - before

    memsys_enable_stats()
    try:
        assert allocations(60) == allocations(1)
    finally:
        memsys_disable_stats()


def f32(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


SHARED = f32(L * H + I)


@pytest.mark.parametrize(
    ("x", "h", "out", "message"),
    [
        (f32(T, I + 1), f32(L, H), f32(L, H), "x: expected"),
        (f32(T, 0, I), f32(L, 0, H), f32(L, 0, H), "x: expected"),
        (f32(T, I), f32(L, H + 1), f32(L, H + 1), "h: expected"),
        (f32(T, I), f32(L + 1, H), f32(L + 1, H), "h: expected"),
        (f32(T, 2, I), f32(L, 3, H), f32(L, 3, H), "h: expected"),
        (f32(T, I), f32(2, L, H), f32(2, L, H), "h: expected .* of an LSTM h and c"),
        (f32(T, I), f32(L, H), f32(L, H - 1), "out: expected"),
        (f32(T, 2, I), f32(L, 2, H), f32(L, 1, H), "out: expected"),
        (f32(T, I), *[f32(L, H)] * 2, "out: expected memory of its own"),
        (SHARED[:I].reshape(1, I), f32(L, H), SHARED[: L * H].reshape(L, H), "out: expected memory of its own"),
    ],
)
def test_wrong_shapes(x: Any, h: Any, out: Any, message: str) -> None:
    weights = layer_and_problem(1)[0].compiled().weights
    with pytest.raises(ValueError, match=message):
        loop(weights, x, h, out)
    assert not np.any(h) and not np.any(out)


@pytest.mark.parametrize(
    ("x", "h", "out", "message"),
    [
        (f32(T, I).astype(np.float64), f32(L, H), f32(L, H), "x: expected a C-contiguous array of float32"),
        (f32(T, 2 * I)[:, ::2], f32(L, H), f32(L, H), "x: expected a C-contiguous array of float32"),
        (f32(T, I), f32(1, 1, L, H), f32(1, 1, L, H), "h: expected x .*got array"),
        (f32(T, 2, 1, I), f32(L, 2, H), f32(L, 2, H), "h: expected x .*got array"),
    ],
)
def test_wrong_types(x: Any, h: Any, out: Any, message: str) -> None:
    """Found when the loop is compiled."""
    weights = layer_and_problem(1)[0].compiled().weights
    with pytest.raises(TypingError, match=message):
        loop(weights, x, h, out)


@pytest.mark.parametrize("shape", [(L, H), (1, L, H), (2, L + 1, H), (2, L, H + 1)], ids=str)
def test_wrong_states_of_an_lstm(shape: tuple[int, ...]) -> None:
    weights = layer_and_problem(1, np.float64, cell=LSTM)[0].compiled().weights
    with pytest.raises(ValueError, match="h: expected"):
        loop(weights, np.zeros((T, I)), np.zeros(shape), np.zeros(shape))


def test_wrong_weights_and_read_only_output() -> None:
    x, h, out = f32(I), f32(L, H), f32(L, H)
    with pytest.raises(TypingError, match=r"weights: expected those of compiled\(\), got array"):
        step(x, x, h, out)
    weights = layer_and_problem(1)[0].compiled().weights
    with pytest.raises(TypingError, match="out: expected as many dimensions as h has, got array"):
        step(weights, x, h, f32(1, L, H))
    out.flags.writeable = False
    with pytest.raises(TypingError, match="out: expected an array that can be written to"):
        step(weights, x, h, out)


def test_constants_of_a_loop_are_read() -> None:
    """To Numba, a global array is one that can't be written to: another type."""
    gru, problem = layer_and_problem(1)
    x = problem["x"][0, 0].copy()

    @numba.njit
    def constant_input(weights: Any, h: Any, out: Any) -> None:
        step(weights, x, h, out)

    h, out = problem["h_0"][:, 0].copy(), f32(L, H)
    constant_input(gru.compiled().weights, h, out)
    assert_same_bits({"h": out}, {"h": gru.step(x, h)})


@each_kind
def test_from_c(dtype: Any, zoneout: float, cell: reference.Cell) -> None:
    """By address, on threads that Python lets go of during the call."""
    gru, problem = layer_and_problem(2, dtype, cell=cell, zoneout=zoneout)
    compiled = gru.compiled()
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64)(compiled.address)
    x, (h_0, expected) = problem["x"], first_and_last(gru, problem)

    def sequence(row: int) -> Any:
        h, out = h_0[..., row, :].copy(), np.empty_like(h_0[..., row, :])
        for x_t in x[:, row]:
            function(compiled.weights_address, x_t.ctypes.data, h.ctypes.data, out.ctypes.data, 1)
            h, out = out, h
        return h

    with ThreadPoolExecutor(2) as pool:
        rows = list(pool.map(sequence, [0, 1, 0, 1]))
    for row, got in zip([0, 1, 0, 1], rows, strict=True):
        assert_same_bits({"h": got}, {"h": expected[..., row, :]})
    out = np.empty_like(h_0)
    function(compiled.weights_address, x[0].ctypes.data, h_0.ctypes.data, out.ctypes.data, 2)
    assert_same_bits({"h": out}, {"h": gru.step(x[0], h_0)})


def test_a_bidirectional_layer_has_no_step() -> None:
    with pytest.raises(ValueError, match=r"bidirectional: expected .*got both"):
        numgru.GRU(I, H, bidirectional=True).compiled()
