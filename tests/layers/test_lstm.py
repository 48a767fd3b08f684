"""The LSTM's pair of states, and the options of the plain RNN: given, given back, refused."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import numgru
from tests import reference
from tests.cases import assert_exact, assert_same_bits, by_name, layer_of, problem_of, run

T, B, I, H = SHAPE = (4, 3, 5, 6)


def pair(*shape: int) -> tuple[Any, Any]:
    return np.zeros(shape), np.zeros(shape)


def test_a_pair_of_states_and_an_array_of_both_are_the_same() -> None:
    problem = problem_of(*SHAPE, np.float64, cell=reference.LSTM)
    lstm, both = layer_of(problem), np.stack([problem["h_0"], problem["c_0"]])
    for call in (lstm, lstm.forward):
        y, (h_n, c_n) = call(problem["x"], both)
        assert_exact({"y": y, "h_n": h_n, "c_n": c_n}, problem)
    dx, (dh_0, dc_0) = lstm.backward(problem["dy"], np.stack([problem["dh_n"], problem["dc_n"]]))
    assert_exact({"dx": dx, "dh_0": dh_0, "dc_0": dc_0}, problem)


def test_missing_states_and_gradients_are_zero() -> None:
    problem = problem_of(*SHAPE, np.float64, cell=reference.LSTM)
    for name in ("h_0", "c_0", "dh_n", "dc_n"):
        problem[name][...] = 0
    lstm = layer_of(problem)
    expected = run(lstm, problem)
    lstm.zero_grad()
    for call in (lstm, lstm.forward):
        y, last = call(problem["x"])
        assert_same_bits({"y": y, **by_name(last, "h_n")}, expected)
    dx, first = lstm.backward(problem["dy"])
    assert_same_bits({"dx": dx, **by_name(first, "dh_0"), **lstm.gradients}, expected)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((1, B, H)), r"h_0: expected 4 dimensions \(2, 1, 3, 6\), got 3: shape \(1, 3, 6\)"),
        (np.zeros((2, 1, B, H + 1)), r"h_0: expected shape \(2, 1, 3, 6\), got \(2, 1, 3, 7\)"),
        ((*pair(1, B, H), np.zeros((1, B, H))), r"h_0: expected \(h_0, c_0\), or one array of both, got tuple"),
        (3.0, r"h_0: expected \(h_0, c_0\), or one array of both, got float"),
        ((np.zeros((1, B, H)), np.zeros((1, B + 1, H))), r"c_0: expected shape \(1, 3, 6\), got \(1, 4, 6\)"),
        ((np.zeros((1, B, 1)), np.zeros((1, B, H))), r"h_0: expected shape \(1, 3, 6\), got \(1, 3, 1\)"),
    ],
    ids=["h alone", "both", "three", "a number", "c", "h"],
)
@pytest.mark.parametrize("how", ["__call__", "forward", "stream"])
def test_bad_states(how: str, given: Any, message: str) -> None:
    lstm = numgru.LSTM(I, H, seed=0)
    x = B if how == "stream" else np.zeros((T, B, I))
    with pytest.raises(ValueError, match=message):
        getattr(lstm, how)(x, given)


def test_bad_gradients_and_a_bad_state_of_a_step() -> None:
    lstm = numgru.LSTM(I, H, seed=0)
    lstm.forward(np.zeros((T, B, I)))
    with pytest.raises(ValueError, match=r"dc_n: expected shape \(1, 3, 6\), got \(1, 3, 5\)"):
        lstm.backward(np.zeros((T, B, H)), (np.zeros((1, B, H)), np.zeros((1, B, H - 1))))
    lstm.backward(np.zeros((T, B, H)), pair(1, B, H))
    with pytest.raises(ValueError, match=r"c: expected shape \(1, 3, 6\), got \(1, 3, 5\)"):
        lstm.step(np.zeros((B, I)), (np.zeros((1, B, H)), np.zeros((1, B, H - 1))))
    with pytest.raises(ValueError, match=r"out: expected float32 of shape \(2, 1, 3, 6\), got float32 of shape"):
        lstm.step(np.zeros((B, I)), pair(1, B, H), out=np.zeros((1, B, H), np.float32))


@pytest.mark.parametrize(("layer", "gates"), [(numgru.LSTM, 4), (numgru.RNN, 1)])
def test_names_and_shapes_of_parameters(layer: Any, gates: int) -> None:
    shapes = {name: p.shape for name, p in layer(I, H, bidirectional=True, learn_h_0=True).parameters.items()}
    expected: dict[str, tuple[int, ...]] = {}
    for suffix in ("l0", "l0_reverse"):
        expected |= {f"weight_ih_{suffix}": (gates * H, I), f"weight_hh_{suffix}": (gates * H, H)}
        expected |= {f"bias_ih_{suffix}": (gates * H,), f"bias_hh_{suffix}": (gates * H,)}
    expected |= {"h_0": (2, 1, H), "c_0": (2, 1, H)} if layer is numgru.LSTM else {"h_0": (2, 1, H)}
    assert shapes == expected
    assert list(shapes) == list(expected)


def test_how_they_show_themselves() -> None:
    assert repr(numgru.LSTM(I, H, 2, zoneout=0.1)) == "LSTM(5, 6, num_layers=2, zoneout=0.1)"
    assert repr(numgru.RNN(I, H, nonlinearity="relu", bias=False)) == "RNN(5, 6, nonlinearity=relu, bias=False)"
    assert repr(numgru.RNN(I, H)) == "RNN(5, 6)"


@pytest.mark.parametrize("given", ["sigmoid", None, "ReLU", ["tanh"]])
def test_a_nonlinearity_that_there_is_not(given: Any) -> None:
    with pytest.raises(ValueError, match=re.escape(f"nonlinearity: expected one of 'tanh', 'relu', got {given!r}")):
        numgru.RNN(I, H, nonlinearity=given)
