"""The oracle itself: its backward against central differences, and a step worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests import reference
from tests.cases import Arrays, difference, exact, gru_problem, parameters


def loss(problem: Arrays) -> float:
    """A number whose gradients with respect to y and h_n are dy and dh_n."""
    results = exact(problem)
    return float((results["y"] * problem["dy"]).sum() + (results["h_n"] * problem["dh_n"]).sum())


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (4, 3, 2, 5)])
def test_every_gradient_is_the_slope(shape: tuple[int, int, int, int], bias: bool) -> None:
    problem = gru_problem(*shape, np.float64, bias)
    gradients = exact(problem)
    for name, of in [("x", "dx"), ("h_0", "dh_0"), *((name, name) for name in parameters(problem))]:
        for index in np.ndindex(problem[name].shape):
            direction = np.zeros_like(problem[name])
            direction[index] = 1
            slope = difference(lambda: loss(problem), [(problem[name], direction)])
            assert gradients[of][index] == pytest.approx(slope, rel=1e-6, abs=1e-8), f"{name}[{index}]"


def test_gates_by_hand() -> None:
    """One unit, x = h = 1; each gate has its own weights, so that no two can be mistaken for each other."""
    p = {
        "weight_ih": np.array([[1.0], [2.0], [3.0]]),
        "weight_hh": np.array([[0.5], [-1.0], [0.25]]),
        "bias_ih": np.array([0.1, 0.2, 0.3]),
        "bias_hh": np.array([-0.4, 0.5, -2.0]),
    }
    one = np.ones((1, 1))
    r, z = 1 / (1 + np.exp(-1.2)), 1 / (1 + np.exp(-1.7))
    n = np.tanh(3.3 + r * (0.25 - 2.0))
    ((h,), _) = reference.gru_step(one, (one,), p)
    assert h[0, 0] == pytest.approx((1 - z) * n + z, rel=1e-15)


def test_linear_gradients() -> None:
    rng = np.random.default_rng(0)
    x, weight, bias, dy = (rng.standard_normal(shape) for shape in [(2, 3, 4), (5, 4), (5,), (2, 3, 5)])
    gradients = reference.linear_backward(dy, x, weight)
    for array, gradient in zip((x, weight, bias), gradients, strict=True):
        direction = rng.standard_normal(array.shape)
        slope = difference(lambda: float((reference.linear(x, weight, bias) * dy).sum()), [(array, direction)])
        assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-8)
