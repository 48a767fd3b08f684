"""Statistics of gates that are set by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numgru
from numgru.diagnostics import gate_statistics

T, B, I, H = 5, 3, 2, 4


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def test_gates_are_those_of_the_equations() -> None:
    x = np.random.default_rng(0).standard_normal((T, B, I))
    gru = numgru.GRU(I, H, dtype=np.float64, seed=0)
    y, _ = gru.forward(x)
    before = np.concatenate([np.zeros((1, B, H)), y[:-1]])
    p = gru.parameters
    sums = x @ p["weight_ih_l0"].T + p["bias_ih_l0"] + before @ p["weight_hh_l0"].T + p["bias_hh_l0"]
    np.testing.assert_allclose(gru.gates["r_l0"], sigmoid(sums[..., :H]), rtol=1e-13)
    np.testing.assert_allclose(gru.gates["z_l0"], sigmoid(sums[..., H : 2 * H]), rtol=1e-13)
    z, n = gru.gates["z_l0"], gru.gates["n_l0"]
    np.testing.assert_allclose(y, (1 - z) * n + z * before, rtol=1e-12)
    gru.backward(np.zeros_like(y))
    with pytest.raises(ValueError, match="forward"):
        _ = gru.gates


def test_gates_of_both_directions_and_of_ragged_batches() -> None:
    x = np.random.default_rng(0).standard_normal((T, B, I))
    lengths = np.array([5, 2, 4])
    lstm = numgru.LSTM(I, H, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    lstm.forward(x, lengths=lengths)
    whole = lstm.gates
    assert sorted({name[0] for name in whole}) == ["f", "g", "i", "o"] and len(whole) == 16
    for row, n in enumerate(lengths):
        lstm.forward(x[:n, row : row + 1])
        for name, alone in lstm.gates.items():
            np.testing.assert_array_equal(alone[:, 0], whole[name][:n, row])
            assert not whole[name][n:, row].any()


def test_statistics() -> None:
    gru = numgru.GRU(I, H, dtype=np.float64)
    gru.flat_parameters[...] = 0
    bias = gru.parameters["bias_ih_l0"].reshape(3, H)
    bias[1] = [0, np.log(9), 40, -40]  # z: 0.5, 0.9, 1, 0
    bias[2, 3] = 1
    found = gate_statistics(gru, np.ones((T, B, I)))
    z = found.gates["z_l0"]
    np.testing.assert_allclose(z.mean, [0.5, 0.9, 1, 0], atol=1e-15)
    assert z.memory is not None
    np.testing.assert_allclose(z.memory[[0, 1, 3]], [2, 10, 1])
    assert z.memory[2] > 1e15
    assert (z.saturated_low, z.saturated_high) == (0.25, 0.25)
    assert z.frozen.tolist() == [2, 3]
    assert z.histogram.sum() == T * B * H and z.histogram[0] == T * B
    assert found.gates["r_l0"].memory is None and found.gates["n_l0"].range == (-1, 1)
    assert found.dead["l0"].tolist() == [0, 1, 2, 3]  # unit 3 is tanh(1) at every step


def test_a_candidate_is_saturated_near_minus_one() -> None:
    """The margin is a share of a range of two: tanh(-1.6) is -0.92."""
    gru = numgru.GRU(I, H, dtype=np.float64)
    gru.flat_parameters[...] = 0
    gru.parameters["bias_ih_l0"][2 * H :] = -1.6
    assert gate_statistics(gru, np.ones((T, B, I))).gates["n_l0"].saturated_low == 1
    assert gate_statistics(numgru.LSTM(I, H, dtype=np.float64), np.ones((T, B, I))).gates["g_l0"].range == (-1, 1)


def test_a_gate_that_goes_from_end_to_end_is_not_frozen() -> None:
    gru = numgru.GRU(1, 1, dtype=np.float64)
    gru.flat_parameters[...] = 0
    gru.parameters["weight_ih_l0"][1] = 40
    z = gate_statistics(gru, np.array([1.0, -1, 1]).reshape(3, 1, 1)).gates["z_l0"]
    assert z.saturated_low + z.saturated_high == 1 and z.frozen.size == 0


def test_outputs_of_the_last_layer_are_dead_by_direction() -> None:
    x = np.random.default_rng(0).standard_normal((T, B, I))
    gru = numgru.GRU(I, H, num_layers=2, bidirectional=True, dtype=np.float64, seed=0)
    for name, values in gru.parameters.items():
        if name.endswith("l1_reverse"):
            values[...] = 0
    dead = gate_statistics(gru, x).dead
    assert {place: units.tolist() for place, units in dead.items()} == {"l1": [], "l1_reverse": [0, 1, 2, 3]}


def test_units_that_live() -> None:
    rnn = numgru.RNN(I, H, seed=0)
    found = gate_statistics(rnn, np.random.default_rng(0).standard_normal((T, B, I)))
    assert found.gates == {} and found.dead["l0"].size == 0


def test_noise_goes_on_as_if_nobody_had_looked() -> None:
    gru = numgru.GRU(I, H, zoneout=0.5, seed=0)
    state = gru.random_state
    gate_statistics(gru, np.ones((T, B, I)))
    assert gru.random_state == state


def test_no_backward_pass_follows() -> None:
    gru, x = numgru.GRU(I, H, seed=0), np.ones((T, B, I))
    y, _ = gru.forward(x)
    gate_statistics(gru, np.zeros((T, B, I)))
    with pytest.raises(ValueError, match="backward: expected a forward pass before it, got none"):
        gru.backward(np.ones_like(y))


def test_gates_of_a_layer_that_keeps_none() -> None:
    gru, x = numgru.GRU(I, H, seed=0), np.random.default_rng(0).standard_normal((T, B, I))
    expected = gate_statistics(gru, x).gates["z_l0"]
    gru.checkpoint_every = 2
    np.testing.assert_array_equal(gate_statistics(gru, x).gates["z_l0"].mean, expected.mean)
    assert gru.checkpoint_every == 2


def test_bad_input() -> None:
    with pytest.raises(TypeError, match="x: expected one array of sequences of one length, got a list of arrays"):
        gate_statistics(numgru.GRU(I, H), [np.ones((T, I))] * 2)
    for margin in (0.0, 0.5):
        with pytest.raises(ValueError, match=rf"margin: expected a number above 0 and below 0\.5, got {margin}"):
            gate_statistics(numgru.GRU(I, H), np.ones((T, B, I)), margin=margin)
    with pytest.raises(TypeError, match="layer: expected a GRU, LSTM or RNN, got Linear"):
        gate_statistics(numgru.Linear(I, H), np.ones((T, B, I)))  # type: ignore[arg-type]
