"""Jacobians of the state, estimated without building them, against those that are built."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numgru
from numgru.diagnostics import jacobian, jacobian_growth

T, B, I, H = 6, 2, 3, 8


def exact_growth(layer: Any, x: Any) -> Any:
    """From all of J's rows: one backward pass for each unit."""
    squares = np.zeros((T, B))
    layer.measure_flow = True
    states = 2 if isinstance(layer, numgru.LSTM) else 1
    for unit in range(states * H):
        y, last = layer.forward(x)
        v = np.zeros_like(last)
        v.reshape(states, B, H)[unit // H, :, unit % H] = 1
        layer.backward(np.zeros_like(y), v)
        squares += layer.gradient_flow[0] ** 2
    layer.measure_flow = False
    return np.sqrt(squares.mean(axis=1) / (states * H))[::-1]


@pytest.mark.parametrize("cell", [numgru.GRU, numgru.RNN, numgru.LSTM])
def test_estimate(cell: Any) -> None:
    x = np.random.default_rng(0).standard_normal((T, B, I))
    layer = cell(I, H, dtype=np.float64, seed=0)
    expected = exact_growth(layer, x)
    layer.zero_grad()
    found = jacobian_growth(layer, x, draws=500, seed=1)
    assert found.growth.shape == found.error.shape == (1, T)
    assert (np.abs(found.growth[0] - expected) <= 4 * found.error[0] + 1e-12).all()
    assert (found.error[0] < 0.05 * expected).all()
    assert not layer.flat_gradients.any() and not layer.measure_flow


def test_layers_and_directions() -> None:
    """Each for itself: lags of the other direction count from its own last step, the first time."""
    x = np.random.default_rng(0).standard_normal((T, B, I))
    layer = numgru.GRU(I, H, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    found = jacobian_growth(layer, x, draws=300)
    assert found.growth.shape == (4, T)
    np.testing.assert_allclose(found.growth[:, 0], 1, rtol=1e-12)
    assert (np.diff(found.growth) < 0).all()  # small weights: gradients vanish


@pytest.mark.parametrize("cell", [numgru.GRU, numgru.RNN, numgru.LSTM])
def test_one_at_a_lag_of_zero(cell: Any) -> None:
    found = jacobian_growth(cell(I, H, seed=0), np.ones((T, B, I)), draws=2)
    assert found.growth[0, 0] == pytest.approx(1, rel=1e-6)
    assert found.error[0, 0] == pytest.approx(0, abs=1e-6)


def test_batch_first() -> None:
    x = np.random.default_rng(0).standard_normal((T, B, I))
    one, other = (numgru.GRU(I, H, batch_first=first, dtype=np.float64, seed=0) for first in (False, True))
    expected, found = jacobian_growth(one, x), jacobian_growth(other, x.swapaxes(0, 1))
    np.testing.assert_allclose(found.growth, expected.growth, rtol=1e-12)
    np.testing.assert_allclose(found.error, expected.error, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("bound", [{"clip_flow_value": 0.01}, {"clip_flow_norm": 0.1}])
def test_bounds_are_left_out(bound: dict[str, float]) -> None:
    """And are there again afterwards."""
    x = np.random.default_rng(0).standard_normal((T, B, I))
    layer = numgru.LSTM(I, H, seed=0, **bound)  # type: ignore[arg-type]
    np.testing.assert_array_equal(jacobian_growth(layer, x), jacobian_growth(numgru.LSTM(I, H, seed=0), x))
    assert {name: getattr(layer, name) for name in bound} == bound


def test_the_error_is_that_of_the_mean_of_squares_through_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    norms = np.random.default_rng(0).random((T, 2 * B)) + 1
    monkeypatch.setattr(jacobian, "_flow_from", lambda *_: (norms, 2))
    found = jacobian_growth(numgru.GRU(I, H), np.ones((T, B, I)), draws=2)
    squares = norms[::-1] ** 2 / (2 * H)
    np.testing.assert_allclose(found.growth[0] ** 2, squares.mean(1))
    of_the_mean = squares.std(1, ddof=1) / np.sqrt(2 * B)
    np.testing.assert_allclose(found.error[0], of_the_mean / (2 * np.sqrt(squares.mean(1))))


@pytest.mark.parametrize("exponent", [-500, -300, 300, 500])
def test_growth_and_error_of_which_squares_are_no_numbers(monkeypatch: pytest.MonkeyPatch, exponent: int) -> None:
    norms = np.random.default_rng(0).random((T, 2 * B)) + 1
    monkeypatch.setattr(jacobian, "_flow_from", lambda *_: (norms, 2))
    expected = jacobian_growth(numgru.GRU(I, H), np.ones((T, B, I)), draws=2)
    monkeypatch.setattr(jacobian, "_flow_from", lambda *_: (np.ldexp(norms, exponent), 2))
    found = jacobian_growth(numgru.GRU(I, H), np.ones((T, B, I)), draws=2)
    np.testing.assert_array_equal(found.growth, np.ldexp(expected.growth, exponent))
    np.testing.assert_array_equal(found.error, np.ldexp(expected.error, exponent))


def test_where_nothing_flows_there_is_no_error() -> None:
    rnn = numgru.RNN(I, H, dtype=np.float64, seed=0)
    rnn.parameters["weight_hh_l0"] = 0
    found = jacobian_growth(rnn, np.ones((T, B, I)))
    assert found.growth[0, 0] > 0 and not found.growth[0, 1:].any() and not found.error[0, 1:].any()


def test_growth_that_is_no_number_has_no_error_either() -> None:
    found = jacobian_growth(numgru.GRU(I, H, dtype=np.float64, seed=0), np.full((T, B, I), np.nan))
    assert np.isnan(found.growth[0, 1:]).all() and np.isnan(found.error[0, 1:]).all()


def test_gradients_flow_and_noise_are_left_as_they_were() -> None:
    layer = numgru.GRU(I, H, recurrent_dropout=0.5, seed=0)
    jacobian_growth(layer, np.ones((T, B, I)))
    with pytest.raises(ValueError, match="gradient_flow"):
        _ = layer.gradient_flow  # nobody has asked for one
    layer.measure_flow = True
    y, _ = layer.forward(np.ones((T, B, I)))
    layer.backward(np.ones_like(y))
    expected = layer.gradient_flow.copy()
    layer.flat_gradients[...] = 3
    state = layer.random_state
    jacobian_growth(layer, np.ones((T, B, I)))
    assert (layer.flat_gradients == 3).all() and layer.random_state == state
    np.testing.assert_array_equal(layer.gradient_flow, expected)


def test_bad_input() -> None:
    with pytest.raises(ValueError, match="draws: expected an integer of at least 2, got 1"):
        jacobian_growth(numgru.GRU(I, H), np.ones((T, B, I)), draws=1)
    with pytest.raises(TypeError, match="layer: expected a GRU, LSTM or RNN, got Linear"):
        jacobian_growth(numgru.Linear(I, H), np.ones((T, B, I)))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="x: expected one array of sequences of one length, got a list of arrays"):
        jacobian_growth(numgru.GRU(I, H), [np.ones((T, I))] * 2)
    for shape, message in (
        ((3,), r"x: expected 3 dimensions \(T, B, 3\), got 1: shape \(3,\)"),
        ((3, 2), r"x: expected 3 dimensions \(T, B, 3\), got 2: shape \(3, 2\)"),
        ((3, 1, 2), r"x: expected shape \(T, B, 3\), got \(3, 1, 2\)"),
    ):
        with pytest.raises(ValueError, match=message):
            jacobian_growth(numgru.GRU(I, H), np.ones(shape))
