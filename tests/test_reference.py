"""The oracle itself: its backward against complex steps, its options against what they mean, a step by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import reference
from tests.cases import Arrays, difference, exact, glued, parameters, problem_of, ragged

T, B, I, H = 4, 3, 2, 3
CELLS = {
    "after": reference.GRU,
    "before": reference.GRU_BEFORE,
    "tanh": reference.RNN,
    "relu": reference.RNN_RELU,
    "lstm": reference.LSTM,
}
each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def noisy(problem: Arrays) -> Arrays:
    """The problem with all noises; the zoneout keeps some states, some not, and some in part, as inference does."""
    rng = np.random.default_rng(7)
    T, B, width = problem["dy"].shape
    H = problem["weight_hh_l0"].shape[1]
    drawn: Arrays = {}
    for name in parameters(problem):
        if name.startswith("weight_hh"):
            suffix = name.removeprefix("weight_hh")
            drawn[f"recurrent_dropout{suffix}"] = rng.choice([0, 1 / 0.7], (B, H))
            drawn[f"zoneout{suffix}"] = rng.choice([0, 0.4, 1], (T, B, H))
            if "c_0" in problem:
                drawn[f"zoneout_c{suffix}"] = rng.choice([0, 0.3, 1], (T, B, H))
    layers = sum(name.startswith("recurrent_dropout") for name in drawn) * H // width
    for k in range(layers - 1):
        drawn[f"dropout_l{k}"] = rng.choice([0, 2], (T, B, width))
    return problem | drawn


def plain(cell: reference.Cell, **options: Any) -> Arrays:
    return problem_of(T, B, I, H, np.float64, cell=cell, **options)


def wholly(cell: reference.Cell, **options: Any) -> Arrays:
    """Everything at once."""
    return noisy(glued(ragged(plain(cell, num_layers=2, **options))))


def slope_by_complex_step(problem: Arrays, cell: reference.Cell, name: str, index: tuple[int, ...]) -> float:
    """Of a number whose gradients with respect to y and the last states are dy and dh_n; exact but for roundings."""
    moved = {n: value.astype(complex) if value.dtype.kind == "f" else value for n, value in problem.items()}
    moved[name][index] += 1e-30j
    results = exact(moved, cell)
    upstream = {"y": "dy", "h_n": "dh_n", "c_n": "dc_n"}
    total = sum((results[name] * problem[d]).sum() for name, d in upstream.items() if name in results)
    return float(total.imag / 1e-30)


@each_cell
@pytest.mark.parametrize(
    "made",
    [
        lambda cell: problem_of(1, 1, 1, 1, np.float64, cell=cell),
        lambda cell: plain(cell, bias=False),
        lambda cell: noisy(plain(cell)),
        lambda cell: wholly(cell),
        lambda cell: wholly(cell, bidirectional=True),
        lambda cell: wholly(cell, bidirectional=True, bias=False),
    ],
    ids=["one of all", "no bias", "noise", "one way", "both ways", "both ways, no bias"],
)
def test_every_gradient_is_the_slope(made: Any, cell: reference.Cell) -> None:
    problem = made(cell)
    gradients = exact(problem, cell)
    states = [(name, f"d{name}") for name in ("h_0", "c_0") if name in problem]
    for name, of in [("x", "dx"), *states, *((name, name) for name in parameters(problem))]:
        assert gradients[of].shape == problem[name].shape
        for index in np.ndindex(problem[name].shape):
            slope = slope_by_complex_step(problem, cell, name, index)
            assert gradients[of][index] == pytest.approx(slope, rel=1e-12, abs=1e-13), f"{name}[{index}]"


def test_gates_by_hand() -> None:
    """One unit, x = 1, h = 2; each gate has its own weights, so that no two can be mistaken for each other."""
    p = {
        "weight_ih": np.array([[1.0], [2.0], [3.0]]),
        "weight_hh": np.array([[0.5], [-1.0], [0.25]]),
        "bias_ih": np.array([0.1, 0.2, 0.3]),
        "bias_hh": np.array([-0.4, 0.5, -2.0]),
    }
    x, h = np.ones((1, 1)), np.full((1, 1), 2.0)
    r, z = 1 / (1 + np.exp(-1.7)), 1 / (1 + np.exp(-0.7))
    candidates = {reference.GRU: 3.3 + r * (0.5 - 2.0), reference.GRU_BEFORE: 3.3 + 0.25 * (r * 2.0) - 2.0}
    for cell, candidate in candidates.items():
        new, _ = cell.step(x, h, p, None)
        assert new[0, 0] == pytest.approx((1 - z) * np.tanh(candidate) + z * 2.0, rel=1e-15)


def test_a_step_of_the_others_by_hand() -> None:
    """One unit, x = 1, h = 2, c = -0.5."""
    x, h = np.ones((1, 1)), np.full((1, 1), 2.0)
    p = {"weight_ih": np.array([[1.0]]), "weight_hh": np.array([[-0.75]])}
    assert reference.RNN.step(x, h, p, None)[0][0, 0] == pytest.approx(np.tanh(1 - 1.5), rel=1e-15)
    assert reference.RNN_RELU.step(x, h, p, None)[0][0, 0] == 0
    assert reference.RNN_RELU.step(x, -h, p, None)[0][0, 0] == 1 + 1.5
    p = {
        "weight_ih": np.array([[1.0], [2.0], [3.0], [4.0]]),
        "weight_hh": np.array([[0.5], [-1.0], [0.25], [-2.0]]),
        "bias_ih": np.array([0.1, 0.2, 0.3, 0.4]),
        "bias_hh": np.array([-0.4, 0.5, -2.0, 1.0]),
    }
    i, f, o = (1 / (1 + np.exp(-v)) for v in (1.7, 0.7, 1.4))
    c = f * -0.5 + i * np.tanh(3 + 0.5 + 0.3 - 2)
    new, _ = reference.LSTM.step(x, np.array([[2.0, -0.5]]), p, None)
    np.testing.assert_allclose(new, [[o * np.tanh(c), c]], rtol=1e-15)


@each_cell
def test_recurrent_dropout_scales_the_weights_columns(cell: reference.Cell) -> None:
    """For one sequence, W (h * mask) is (W diag(mask)) h, with the reset gate before the product or after it."""
    problem = problem_of(T, 1, I, H, np.float64, cell=cell)
    mask = np.array([[0.0, 1.25, 1.25]])
    scaled = exact(problem | {"weight_hh_l0": problem["weight_hh_l0"] * mask}, cell)
    scaled["weight_hh_l0"] *= mask
    masked = exact(problem | {"recurrent_dropout_l0": mask}, cell)
    for name, value in scaled.items():
        np.testing.assert_allclose(masked[name], value, rtol=1e-13, atol=1e-14, err_msg=name)


@each_cell
def test_zoneout_of_one_keeps_and_of_zero_changes_nothing(cell: reference.Cell) -> None:
    problem, names = plain(cell), ["zoneout_l0", "zoneout_c_l0"][: cell.states]
    never = exact(problem | dict.fromkeys(names, np.zeros((T, B, H))), cell)
    for name, value in exact(problem, cell).items():
        np.testing.assert_array_equal(never[name], value, err_msg=name)
    kept = exact(problem | dict.fromkeys(names, np.ones((T, B, H))), cell)
    np.testing.assert_array_equal(kept["y"], np.repeat(problem["h_0"], T, axis=0))
    assert not kept["dx"].any()
    one_step = np.zeros((T, B, H))
    one_step[2] = 1
    skipped = {name: np.delete(problem[name], 2, axis=0) for name in ("x", "dy")}
    expected = exact(problem | skipped, cell)["y"]
    got = exact(problem | dict.fromkeys(names, one_step), cell)["y"]
    np.testing.assert_array_equal(np.delete(got, 2, axis=0), expected)


@each_cell
def test_a_reset_row_is_its_parts(cell: reference.Cell) -> None:
    """The two parts of a row alone, each from h_0."""
    problem = problem_of(T, 1, I, H, np.float64, cell=cell)
    reset = np.zeros((T, 1), bool)
    reset[3] = True
    whole = exact(problem | {"reset": reset}, cell)
    parts = [exact(problem | {n: problem[n][s] for n in ("x", "dy")}, cell) for s in (slice(3), slice(3, None))]
    np.testing.assert_array_equal(whole["y"], np.concatenate([part["y"] for part in parts]))
    no_more = {name: 0 * problem[name] for name in ("dh_n", "dc_n") if name in problem}
    first = exact(problem | {n: problem[n][:3] for n in ("x", "dy")} | no_more, cell)
    np.testing.assert_allclose(whole["dx"], np.concatenate([first["dx"], parts[1]["dx"]]), rtol=1e-14)
    for name in ("dh_0", "dc_0")[: cell.states]:
        np.testing.assert_allclose(whole[name], first[name] + parts[1][name], rtol=1e-14)


@each_cell
def test_a_ragged_row_is_that_sequence_alone(cell: reference.Cell) -> None:
    problem = ragged(problem_of(6, 4, I, H, np.float64, num_layers=2, bidirectional=True, cell=cell))
    whole = exact(problem, cell)
    for row, n in enumerate(problem["lengths"]):
        alone = {name: problem[name][:n, [row]] for name in ("x", "dy")}
        alone |= {name: problem[name][:, [row]] for name in ("h_0", "dh_n", "c_0", "dc_n") if name in problem}
        results = exact(parameters(problem) | alone, cell)
        for name in ("y", "dx"):
            np.testing.assert_allclose(whole[name][:n, [row]], results[name], rtol=1e-12, atol=1e-15, err_msg=name)
            assert not whole[name][n:, row].any()
        for name in ("h_n", "dh_0", "c_n", "dc_0")[: 2 * cell.states]:
            np.testing.assert_allclose(whole[name][:, [row]], results[name], rtol=1e-12, atol=1e-15, err_msg=name)


def test_linear_gradients() -> None:
    rng = np.random.default_rng(0)
    x, weight, bias, dy = (rng.standard_normal(shape) for shape in [(2, 3, 4), (5, 4), (5,), (2, 3, 5)])
    gradients = reference.linear_backward(dy, x, weight)
    for array, gradient in zip((x, weight, bias), gradients, strict=True):
        direction = rng.standard_normal(array.shape)
        slope = difference(lambda: float((reference.linear(x, weight, bias) * dy).sum()), [(array, direction)])
        assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-8)
