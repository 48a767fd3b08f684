"""Linear against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numgru
from numgru.kernels.threads import in_parts
from tests import reference
from tests.cases import Arrays, assert_close, assert_same_bits

EDGES = [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 65]


def linear_problem(shape: tuple[int, ...], O: int, dtype: Any, bias: bool = True) -> Arrays:
    rng = np.random.default_rng([O, *shape])
    shapes = {"x": shape, "dy": (*shape[:-1], O), "weight": (O, shape[-1])} | ({"bias": (O,)} if bias else {})
    return {name: rng.standard_normal(s).astype(dtype) for name, s in shapes.items()}


def exact(x: Any, dy: Any, weight: Any, bias: Any = None) -> Arrays:
    dx, dweight, dbias = reference.linear_backward(dy, x, weight)
    y = reference.linear(x, weight, bias)
    return {"y": y, "dx": dx, "weight": dweight, "bias": dbias}


def assert_exact(got: Arrays, problem: Arrays) -> None:
    """K additions round K times, by up to eps times the sum of all sizes; a random walk makes it sqrt(K)."""
    wide = {name: value.astype(np.float64) for name, value in problem.items()}
    sizes = exact(**{name: np.abs(value) for name, value in wide.items()})
    chain = max(problem["x"].size, problem["dy"].size)
    eps = np.finfo(problem["x"].dtype).eps
    assert_close(got, exact(**wide), {name: eps * chain**0.5 * size.max() for name, size in sizes.items()})
    assert all(value.dtype == problem["x"].dtype for value in got.values())


def run(layer: numgru.Linear, problem: Arrays) -> Arrays:
    layer.zero_grad()
    y = layer.forward(problem["x"])
    dx = layer.backward(problem["dy"])
    return {"y": y, "dx": dx} | {name: value.copy() for name, value in layer.gradients.items()}


def linear_layer(problem: Arrays) -> numgru.Linear:
    O, I = problem["weight"].shape
    layer = numgru.Linear(I, O, bias="bias" in problem, dtype=problem["x"].dtype)
    layer.load_state_dict({name: problem[name] for name in layer.parameters})
    return layer


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dimension", [0, 1, 2])
@pytest.mark.parametrize("edge", EDGES)
def test_sizes(edge: int, dimension: int, dtype: Any) -> None:
    rows, I, O = [edge if i == dimension else 7 for i in range(3)]
    problem = linear_problem((rows, I), O, dtype)
    layer = linear_layer(problem)
    results = run(layer, problem)
    assert_exact(results, problem)
    assert_same_bits({"y": layer(problem["x"])}, results)


@pytest.mark.parametrize("shape", [(5,), (1, 5), (3, 4, 5), (2, 3, 4, 5)])
@pytest.mark.parametrize("bias", [True, False])
def test_ranks(shape: tuple[int, ...], bias: bool) -> None:
    problem = linear_problem(shape, 6, np.float32, bias)
    assert_exact(run(linear_layer(problem), problem), problem)


def test_without_dx_and_accumulation() -> None:
    problem = linear_problem((3, 4, 5), 6, np.float32)
    layer = linear_layer(problem)
    once = run(layer, problem)
    layer.forward(problem["x"])
    assert layer.backward(problem["dy"], need_dx=False) is None
    for name, value in layer.gradients.items():
        assert value == pytest.approx(2 * once[name], rel=1e-5, abs=1e-5), name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("features", [(1, 1), (37, 1), (150, 37)])
def test_same_bits_for_any_rows_and_threads(features: tuple[int, int], dtype: Any, regions: list[int]) -> None:
    I, O = features
    problem = linear_problem((700, I), O, dtype)
    layer = linear_layer(problem)
    with in_parts(1):
        whole = run(layer, problem)
    for parts in (2, 3):
        with in_parts(parts):
            assert_same_bits(run(layer, problem), whole)
    assert regions == [2] * 3 + [3] * 3
    for rows in (slice(0, 1), slice(5, 14), slice(699, None)):
        part = run(layer, problem | {"x": problem["x"][rows], "dy": problem["dy"][rows]})
        assert_same_bits({"y": part["y"], "dx": part["dx"]}, {name: whole[name][rows] for name in ("y", "dx")})


def test_nan_stays_in_its_row() -> None:
    problem = linear_problem((20, 5), 6, np.float32)
    layer = linear_layer(problem)
    expected = layer(problem["x"])
    problem["x"][3, 2] = np.nan
    y = layer(problem["x"])
    assert np.isnan(y[3]).all()
    assert_same_bits({"y": np.delete(y, 3, 0)}, {"y": np.delete(expected, 3, 0)})
