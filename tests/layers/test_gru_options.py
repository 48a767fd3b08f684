"""Every option of a GRU, alone and with others, against the oracle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given

import numgru
from tests.cases import assert_exact, assert_same_bits, layer_of, learned, problem_of, run
from tests.combinations import COMBINATIONS, EVERYTHING, PLAIN, UNITS, Case, case, cases, name_of

SHAPE = (7, 5, 3, 17)


@pytest.mark.parametrize("combination", COMBINATIONS, ids=name_of)
@pytest.mark.parametrize("B", [1, 2, 9, 17])
def test_combination(combination: frozenset[str], B: int) -> None:
    case(combination, (6, B, 3, 17)).check()


@pytest.mark.parametrize(
    "options",
    [
        {"num_layers": 2},
        {"num_layers": 5, "bias": False},
        {"bidirectional": True},
        {"bidirectional": True, "batch_first": True},
        {"num_layers": 3, "bidirectional": True},
        {"num_layers": 3, "dropout": 0.5},
        {"num_layers": 2, "dropout": 0.5, "bidirectional": True, "batch_first": True},
        {"learn_h_0": True},
        {"learn_h_0": True, "num_layers": 2, "bidirectional": True},
        {"tokens": True},
        {"tokens": True, "num_layers": 2, "batch_first": True},
        {"checkpoint_every": 1},
        {"checkpoint_every": 3, "num_layers": 2, "bidirectional": True},
    ],
    ids=lambda options: ", ".join(f"{name}={value}" for name, value in options.items()),
)
@pytest.mark.parametrize("combination", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_option(combination: frozenset[str], options: dict[str, Any]) -> None:
    case(combination, SHAPE, **options).check()


@given(drawn=cases())
def test_any_combination(drawn: Case) -> None:
    drawn.check()


@pytest.mark.parametrize("combination", [PLAIN, EVERYTHING], ids=["plain", "everything"])
@pytest.mark.parametrize("H", UNITS)
def test_float32(H: int, combination: frozenset[str]) -> None:
    case(combination, (6, 9, 5, H), np.float32, num_layers=2, bidirectional=True, dropout=0.25).check()


@pytest.mark.parametrize("shape", [(40, 9, 20, 65), (130, 5, 3, 17), (3, 17, 33, 130)])
def test_more_than_a_tile_and_a_pass_of_everything(shape: tuple[int, int, int, int]) -> None:
    numgru.set_num_threads(1)  # more of them, which compile kernels of their own, have their tests
    case(EVERYTHING, shape, num_layers=2).check()


def test_a_state_that_is_given_comes_before_the_learned_one() -> None:
    """It gets the gradient, too: that of the learned one stays zero."""
    problem = problem_of(4, 3, 5, 6, np.float64, num_layers=2)
    gru = layer_of(learned(problem), learn_h_0=True)
    y, h_n = gru.forward(problem["x"], problem["h_0"])
    _, dh_0 = gru.backward(problem["dy"], problem["dh_n"])
    assert_exact({"y": y, "h_n": h_n, "dh_0": dh_0}, problem)
    assert not gru.gradients["h_0"].any()


@pytest.mark.parametrize("cell", [numgru.GRU, numgru.LSTM])
def test_states_of_a_layer_that_learns_the_first_ones_go_into_a_step(cell: Any) -> None:
    x = np.ones((4, 3, 5), np.float32)
    layer = cell(5, 6, learn_h_0=True, seed=0)
    y, h_n = layer.forward(x)
    _, dh_0 = layer.backward(np.ones_like(y))
    assert h_n.flags.c_contiguous and dh_0.flags.c_contiguous and layer.stream(3).state.flags.c_contiguous
    after = layer.step(x[0], h_n)
    assert_same_bits({"h": layer.step(x[0], h_n, out=h_n)}, {"h": after})


def test_gradients_of_every_direction_accumulate() -> None:
    problem = problem_of(4, 3, 5, 6, np.float64, num_layers=2, bidirectional=True)
    gru = layer_of(learned(problem), learn_h_0=True)
    once = run(gru, problem)
    gru.forward(problem["x"])
    gru.backward(problem["dy"], problem["dh_n"])
    for name, gradient in gru.gradients.items():
        np.testing.assert_allclose(gradient, 2 * once[name], rtol=1e-12, atol=1e-13, err_msg=name)


@pytest.mark.parametrize("options", [{}, {"num_layers": 2}, {"batch_first": True}])
@pytest.mark.parametrize("with_reset", [False, True])
def test_states_and_resets_may_change_before_backward(options: dict[str, Any], with_reset: bool) -> None:
    """As those of someone who carries them on in place."""
    results = []
    for in_place in (False, True):
        gru = numgru.GRU(3, 4, seed=0, dtype=np.float64, **options)
        h, reset = np.full((gru.num_layers, 4, 4), 0.3), np.eye(4, dtype=bool)
        y, h_n = gru.forward(np.ones((4, 4, 3)), h, reset=reset if with_reset else None)
        if in_place:
            h[...], reset[...] = h_n, False
        gru.backward(np.ones_like(y))
        results.append(gru.flat_gradients)
    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize(
    ("option", "first", "then"),
    [
        ("checkpoint_every", 2, None),
        ("checkpoint_every", 2, 3),
        ("checkpoint_every", None, 2),
        ("clip_flow_value", None, 1e-3),
        ("clip_flow_value", 1e-3, None),
        ("clip_flow_norm", None, 1e-3),
        ("clip_flow_norm", 1e-3, None),
    ],
)
def test_options_that_change_before_backward_wait_for_the_next_forward(
    option: str, first: Any, then: Any, num_layers: int
) -> None:
    results = []
    for change in (False, True):
        gru = numgru.GRU(3, 4, num_layers, seed=0, dtype=np.float64, **{option: first})
        y, _ = gru.forward(np.ones((7, 2, 3)))
        if change:
            setattr(gru, option, then)
        gru.backward(np.ones_like(y))
        results.append(gru.flat_gradients)
    np.testing.assert_array_equal(*results)


def test_gates_are_those_that_forward_kept_whatever_changes_later() -> None:
    gru = numgru.GRU(3, 4, seed=0, dtype=np.float64)
    gru.forward(np.ones((7, 2, 3)))
    kept, gru.checkpoint_every = gru.gates, 2
    np.testing.assert_array_equal(gru.gates["z_l0"], kept["z_l0"])
    gru.forward(np.ones((7, 2, 3)))
    gru.checkpoint_every = None
    with pytest.raises(ValueError, match="gates: expected checkpoint_every=None, which keeps them, got 2"):
        _ = gru.gates


def test_output_does_not_share_memory_with_the_states() -> None:
    gru, y = numgru.GRU(3, 4, seed=0, dtype=np.float64), np.zeros((5, 2, 4))
    for options in ({}, {"reset": np.zeros((5, 2), bool)}):
        with pytest.raises(ValueError, match="out: expected memory of its own"):
            gru(np.ones((5, 2, 3)), y[:1], out=y, **options)


def test_gates_and_flow_have_all_steps_of_x() -> None:
    gru = numgru.GRU(3, 4, seed=0, dtype=np.float64)
    gru.measure_flow = True
    y, _ = gru.forward(np.ones((10, 2, 3)), lengths=[4, 6])
    assert gru.gates["r_l0"].shape == (10, 2, 4) and not gru.gates["r_l0"][6:].any()
    gru.backward(np.ones_like(y))
    assert gru.gradient_flow.shape == (1, 10, 2) and not gru.gradient_flow[0, 6:].any()
    assert gru.gradient_flow[0, 5, 1] > 0
