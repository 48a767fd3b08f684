"""NaN stays in its batch row and reaches all that depends on it; an infinity does what the equations say."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import reference
from tests.cases import Arrays, assert_same_bits, exact, layer_of, noise, problem_of, run
from tests.combinations import COMBINATIONS, case, name_of

ROWS = {"y": 1, "h_n": 1, "dx": 1, "dh_0": 1}  # the axis of the batch in each result


def rows(results: Arrays, keep: Any) -> Arrays:
    return {name: results[name].take(keep, axis=axis) for name, axis in ROWS.items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("where", ["x", "h_0", "dy", "dh_n"])
@pytest.mark.parametrize("B", [2, 9])
@pytest.mark.parametrize("row", [0, 1, -1])
def test_nan_stays_in_its_row(where: str, row: int, B: int, dtype: Any) -> None:
    """The row is cut out of the whole tile's batch, so the others share its registers."""
    problem = problem_of(4, B, 5, 17, dtype)
    gru = layer_of(problem)
    expected = run(gru, problem)
    spoiled = problem | {where: problem[where].copy()}
    spoiled[where][min(1, len(spoiled[where]) - 1), row, 2] = np.nan
    others = np.delete(np.arange(B), row)
    got = run(gru, spoiled)
    assert_same_bits(rows(got, others), rows(expected, others))
    assert_same_nan(got, spoiled)


@pytest.mark.parametrize("combination", COMBINATIONS, ids=name_of)
@pytest.mark.parametrize("where", ["x", "h_0", "dy", "dh_n"])
def test_nan_with_options(where: str, combination: frozenset[str]) -> None:
    """It stays in its row and, if that is several sequences one after the other, in its sequence."""
    drawn = case(combination, (6, 9, 5, 17), num_layers=2)
    problem, row = drawn.problem, 4
    if "lengths" in problem:
        problem["lengths"][row] = 6
    if "reset" in problem:
        problem["reset"][:, row] = [False, False, True, False, True, False]
    expected = run(drawn.layer(), problem)
    problem[where][-1 if where in ("h_0", "dh_n") else 2, row, 2] = np.nan
    got = run(drawn.layer(), problem)
    others = np.delete(np.arange(9), row)
    assert_same_bits(rows(got, others), rows(expected, others))
    assert_same_nan(got, problem | noise(got), drawn.cell)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize("where", ["x", "h_0", "dy", "dh_n"])
def test_infinities(where: str, value: float, dtype: Any) -> None:
    problem = problem_of(3, 5, 4, 17, dtype)
    problem[where][0, 1, 2] = value
    got = run(layer_of(problem), problem)
    assert_same_nan(got, problem)
    with np.errstate(invalid="ignore"):
        expected = exact(problem)
    for name in got:
        finite = np.isfinite(expected[name])
        assert np.array_equal(got[name][~finite], expected[name][~finite].astype(dtype), equal_nan=True), name
        assert got[name][finite] == pytest.approx(expected[name][finite], rel=1e-4, abs=1e-4), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"])
@pytest.mark.parametrize("gate", [0, 1, 2])
def test_nan_in_a_parameter(name: str, gate: int, dtype: Any) -> None:
    H = 9
    problem = problem_of(3, 4, 5, H, dtype)
    problem[name][gate * H + 2] = np.nan
    assert_same_nan(run(layer_of(problem), problem), problem)


def test_no_warning_from_huge_inputs() -> None:
    """1e30 saturates every gate; the run has warnings as errors."""
    problem = problem_of(3, 4, 5, 9)
    problem["x"] *= np.float32(1e30)
    y, _ = layer_of(problem)(problem["x"], problem["h_0"])
    assert np.isfinite(y).all()


def assert_same_nan(got: Arrays, problem: Arrays, cell: reference.Cell = reference.GRU) -> None:
    with np.errstate(invalid="ignore"):
        expected = exact(problem, cell)
    for name, value in got.items():
        assert np.array_equal(np.isnan(value), np.isnan(expected[name])), f"{name}: NaN elsewhere than in the oracle"
