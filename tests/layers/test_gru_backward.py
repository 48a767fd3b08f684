"""The backward pass: the slope of the loss in float64, and the contract around it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numgru.layers.recurrent import Recurrent
from tests.cases import assert_same_bits, difference, layer_of, problem_of, run

SHAPES = [(1, 1, 1, 1), (5, 3, 4, 9), (7, 10, 6, 33)]
GRADIENT_OF = {"x": "dx", "h_0": "dh_0"}


def loss_of(gru: Recurrent, problem: dict[str, Any]) -> float:
    """A number whose gradients with respect to y and h_n are dy and dh_n."""
    y, h_n = gru(problem["x"], problem["h_0"])
    return float((y * problem["dy"]).sum() + (h_n * problem["dh_n"]).sum())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_slope_along_random_directions(shape: tuple[int, int, int, int], bias: bool) -> None:
    """Each array alone, and all of them at once."""
    problem = problem_of(*shape, np.float64, bias)
    gru = layer_of(problem)
    gradients = run(gru, problem)
    arrays = {"x": problem["x"], "h_0": problem["h_0"], **gru.parameters}
    rng = np.random.default_rng(2)
    for names in [[name] for name in arrays] + [list(arrays)] * 3:
        moves = {name: rng.standard_normal(arrays[name].shape) for name in names}
        numeric = difference(lambda: loss_of(gru, problem), [(arrays[name], moves[name]) for name in names])
        analytic = sum((gradients[GRADIENT_OF.get(name, name)] * moves[name]).sum() for name in names)
        assert analytic == pytest.approx(numeric, rel=1e-6, abs=1e-7), f"along {names}"


def test_slope_of_every_single_parameter() -> None:
    problem = problem_of(4, 2, 3, 5, np.float64)
    gru = layer_of(problem)
    run(gru, problem)
    for name, parameter in gru.parameters.items():
        for index in np.ndindex(parameter.shape):
            direction = np.zeros_like(parameter)
            direction[index] = 1
            numeric = difference(lambda: loss_of(gru, problem), [(parameter, direction)])
            assert gru.gradients[name][index] == pytest.approx(numeric, rel=1e-6, abs=1e-8), f"{name}[{index}]"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_without_dx_nothing_else_changes(dtype: Any) -> None:
    problem = problem_of(5, 9, 4, 17, dtype)
    gru = layer_of(problem)
    expected = run(gru, problem)
    gru.zero_grad()
    gru.forward(problem["x"], problem["h_0"])
    dx, dh_0 = gru.backward(problem["dy"], problem["dh_n"], need_dx=False)
    assert dx is None
    assert_same_bits({"dh_0": dh_0} | gru.gradients, expected)


def test_missing_gradient_of_the_last_state_is_zero() -> None:
    problem = problem_of(5, 3, 4, 6)
    problem["dh_n"][...] = 0
    gru = layer_of(problem)
    expected = run(gru, problem)
    gru.zero_grad()
    gru.forward(problem["x"], problem["h_0"])
    dx, dh_0 = gru.backward(problem["dy"])
    assert_same_bits({"dx": dx, "dh_0": dh_0} | gru.gradients, expected)


def test_gradient_of_the_last_state_adds_to_that_of_the_last_output() -> None:
    problem = problem_of(5, 3, 4, 6)
    gru = layer_of(problem)
    expected = run(gru, problem)
    joined = problem | {"dy": problem["dy"].copy(), "dh_n": np.zeros_like(problem["dh_n"])}
    joined["dy"][-1] += problem["dh_n"][0]
    for name, value in run(gru, joined).items():
        assert value == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name


def test_gradients_accumulate() -> None:
    """Two calls give the sum of both; here float32 rounds it once, as adding the two does."""
    first, second = problem_of(5, 3, 4, 6), problem_of(2, 7, 4, 6, seed=1)
    gru = layer_of(first)
    alone = [{name: value.copy() for name, value in run(gru, p).items()} for p in (first, second)]
    gru.zero_grad()
    for p in (first, second):
        gru.forward(p["x"], p["h_0"])
        gru.backward(p["dy"], p["dh_n"])
    for name, value in gru.gradients.items():
        assert value == pytest.approx(alone[0][name] + alone[1][name], rel=1e-5, abs=1e-5), name


def test_zero_grad_and_views() -> None:
    problem = problem_of(5, 3, 4, 6)
    gru = layer_of(problem)
    run(gru, problem)
    assert np.array_equal(gru.flat_gradients, np.concatenate([g.ravel() for g in gru.gradients.values()]))
    assert np.array_equal(gru.flat_parameters, np.concatenate([p.ravel() for p in gru.parameters.values()]))
    gru.zero_grad()
    assert not any(g.any() for g in gru.gradients.values())


@pytest.mark.parametrize("view", ["named", "flat"])
def test_changed_parameters_are_seen(view: str) -> None:
    """Both passes compute with the values that the parameters have now, however they were changed."""
    problem = problem_of(5, 3, 4, 6)
    gru = layer_of(problem)
    run(gru, problem)
    gru(problem["x"])
    for array in gru.parameters.values() if view == "named" else [gru.flat_parameters]:
        array *= np.float32(0.5)
    changed = problem | gru.state_dict()
    expected = run(layer_of(changed), changed)
    assert_same_bits(run(gru, changed), expected)
    y, h_n = gru(problem["x"], problem["h_0"])
    assert_same_bits({"y": y, "h_n": h_n}, expected)


@pytest.mark.parametrize("asked", ["before", "after", "twice", "by another call"])
def test_a_change_is_seen_whenever_its_view_was_asked_for(asked: str) -> None:
    problem = problem_of(5, 3, 4, 6)
    gru = layer_of(problem)
    view = gru.flat_parameters if asked == "before" else None
    gru(problem["x"])
    if asked == "twice":
        assert gru.flat_parameters.any()
    if asked == "by another call":
        view = gru.flat_parameters
        gru(problem["x"])
    if view is None:
        view = gru.flat_parameters
    for factor in (0.5, 3.0):
        view *= np.float32(factor)
        changed = problem | gru.state_dict()
        y, h_n = gru(problem["x"], problem["h_0"])
        expected = layer_of(changed)(problem["x"], problem["h_0"])
        assert_same_bits({"y": y, "h_n": h_n}, {"y": expected[0], "h_n": expected[1]})
    view[0] = -view[0]
    del view
    changed = problem | gru.state_dict()
    assert_same_bits({"y": gru(problem["x"])[0]}, {"y": layer_of(changed)(problem["x"])[0]})


def test_inference_leaves_a_waiting_backward_alone() -> None:
    problem, other = problem_of(5, 3, 4, 6), problem_of(9, 8, 4, 6, seed=1)
    gru = layer_of(problem)
    expected = run(gru, problem)
    gru.zero_grad()
    gru.forward(problem["x"], problem["h_0"])
    gru(other["x"], other["h_0"])
    dx, dh_0 = gru.backward(problem["dy"], problem["dh_n"])
    assert_same_bits({"dx": dx, "dh_0": dh_0} | gru.gradients, expected)


@pytest.mark.parametrize("num_layers", [1, 2])
def test_a_changed_state_is_not_the_one_of_the_forward_pass(num_layers: int) -> None:
    problem = problem_of(5, 3, 4, 9, np.float64, num_layers=num_layers)
    gru = layer_of(problem)
    expected = run(gru, problem)
    gru.zero_grad()
    h_0 = problem["h_0"].copy()
    gru.forward(problem["x"], h_0)
    h_0[...] = 9
    gru.backward(problem["dy"], problem["dh_n"])
    assert_same_bits(gru.gradients, expected)


def test_the_callers_arrays_are_not_changed() -> None:
    problem = problem_of(5, 3, 4, 6)
    before = {name: value.copy() for name, value in problem.items()}
    run(layer_of(problem), problem)
    assert_same_bits(problem, before)
