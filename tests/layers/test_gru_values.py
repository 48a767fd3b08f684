"""Values and gradients of a GRU against the oracle, at every edge of a register, a row tile and a loop."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import assert_exact, exact, layer_of, problem_of, run, tolerances

# 1, 2^k - 1, 2^k, 2^k + 1: registers hold 2 to 16 numbers, and wide tiles take up to four of them.
EDGES = sorted({1, *(2**k + d for k in range(1, 7) for d in (-1, 0, 1))})
UNITS = [*EDGES, 48, 96, 127, 128, 129]
# A row tile takes up to 8 rows, the rest of a batch takes smaller ones: every remainder, and two whole tiles.
ROWS = [*range(1, 10), 15, 16, 17, 31, 32, 33]

each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@each_dtype
@pytest.mark.parametrize("H", UNITS)
def test_hidden_sizes(H: int, dtype: Any) -> None:
    for B in (1, 3, 9):
        check(3, B, 5, H, dtype)


@each_dtype
@pytest.mark.parametrize("I", EDGES)
def test_input_sizes(I: int, dtype: Any) -> None:
    for B in (1, 9):
        check(3, B, I, 17, dtype)


@each_dtype
@pytest.mark.parametrize("B", ROWS)
def test_batch_sizes(B: int, dtype: Any) -> None:
    for H in (1, 16, 33):
        check(2, B, 3, H, dtype)


@each_dtype
@pytest.mark.parametrize("T", EDGES)
def test_lengths(T: int, dtype: Any) -> None:
    for B in (1, 5):
        check(T, B, 2, 9, dtype)


@each_dtype
@pytest.mark.parametrize(
    "shape", [(20, 33, 65, 130), (100, 2, 64, 64), (600, 1, 3, 17), (130, 7, 3, 17), (3, 601, 3, 17)]
)
def test_more_than_a_pass_of_the_weight_gradients(shape: tuple[int, int, int, int], dtype: Any) -> None:
    check(*shape, dtype)


@given(
    shape=st.tuples(st.integers(1, 12), st.integers(1, 20), st.integers(1, 40), st.integers(1, 70)),
    dtype=st.sampled_from([np.float32, np.float64]),
    bias=st.booleans(),
    batch_first=st.booleans(),
)
def test_any_shape(shape: tuple[int, int, int, int], dtype: Any, bias: bool, batch_first: bool) -> None:
    problem = problem_of(*shape, dtype, bias)
    assert_exact(run(layer_of(problem, batch_first=batch_first), problem), problem)


@each_dtype
@pytest.mark.parametrize("scale", [1e-30, 1e-4, 30.0, 1e4])
def test_from_linear_to_saturated_gates(scale: float, dtype: Any) -> None:
    problem = problem_of(6, 5, 7, 20, dtype)
    problem["x"] *= dtype(scale)
    assert_exact(run(layer_of(problem), problem), problem)


def test_missing_state_is_zero() -> None:
    problem = problem_of(4, 3, 5, 6)
    problem["h_0"][...] = 0
    gru = layer_of(problem)
    y, h_n = gru(problem["x"])
    assert_exact({"y": y, "h_n": h_n}, problem)
    y, h_n = gru.forward(problem["x"])
    assert_exact({"y": y, "h_n": h_n}, problem)


def test_last_output_is_the_last_state() -> None:
    problem = problem_of(4, 3, 5, 6)
    y, h_n = layer_of(problem)(problem["x"], problem["h_0"])
    assert np.array_equal(y[-1:], h_n)


def test_results_are_the_callers() -> None:
    """A later call changes no array that was given out."""
    problem, other = problem_of(4, 3, 5, 6), problem_of(4, 3, 5, 6, seed=1)
    gru = layer_of(problem)
    first = run(gru, problem)
    copies = {name: value.copy() for name, value in first.items()}
    run(gru, other | {name: problem[name] for name in gru.parameters if name in problem})
    gru(other["x"], other["h_0"])
    for name, value in first.items():
        assert np.array_equal(value, copies[name]), name


def test_tolerances_are_tight() -> None:
    """They would notice a bias that is off by a few thousandths of a percent."""
    problem = problem_of(6, 5, 7, 20)
    tolerance, expected = tolerances(problem), exact(problem)
    problem["bias_hh_l0"] *= np.float32(1 + 4e-5)
    assert all(np.abs(value - expected[name]).max() > tolerance[name] for name, value in exact(problem).items())


def check(T: int, B: int, I: int, H: int, dtype: Any) -> None:
    problem = problem_of(T, B, I, H, dtype)
    assert_exact(run(layer_of(problem), problem), problem)
