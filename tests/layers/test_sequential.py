"""Sequential by what it is made of, and what it hands on to its layers."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import numgru
from tests.cases import assert_same_bits, layer_of, parameters, problem_of


def test_sequential_is_its_layers_in_order() -> None:
    problem = problem_of(5, 3, 4, 6)
    problem["h_0"][...] = problem["dh_n"][...] = 0
    alone, head = layer_of(problem), numgru.Linear(6, 2, seed=1)
    model = numgru.Sequential(layer_of(problem), numgru.LastStep(), numgru.Linear(6, 2, seed=1))
    assert list(model.parameters) == [*(f"0.{name}" for name in parameters(problem)), "2.weight", "2.bias"]

    dy = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    y, _ = alone.forward(problem["x"])
    expected = {"y": head.forward(y[-1])}
    upstream = np.zeros_like(y)
    upstream[-1] = head.backward(dy)
    expected["dx"], _ = alone.backward(upstream)
    expected |= {f"0.{name}": value for name, value in alone.gradients.items()}
    expected |= {f"2.{name}": value for name, value in head.gradients.items()}

    assert_same_bits({"y": model(problem["x"])}, expected)
    results = {"y": model.forward(problem["x"]), "dx": model.backward(dy)}
    assert_same_bits(results | model.gradients, expected)

    model.zero_grad()
    model.forward(problem["x"])
    assert model.backward(dy, need_dx=False) is None
    assert_same_bits(model.gradients, expected)


def test_sequential_shares_one_buffer_and_one_state_dict() -> None:
    model = numgru.Sequential(numgru.GRU(2, 3, seed=0), numgru.LastStep(), numgru.Linear(3, 1, seed=0))
    other = numgru.Sequential(numgru.GRU(2, 3, seed=5), numgru.LastStep(), numgru.Linear(3, 1, seed=6))
    other.load_state_dict(model.state_dict())
    x = np.random.default_rng(0).standard_normal((4, 2, 2)).astype(np.float32)
    assert np.array_equal(model(x), other(x))
    model.flat_parameters[...] = 0
    assert not any(value.any() for value in model.parameters.values())
    assert not model(x).any()
    with pytest.raises(ValueError, match=r"missing.*0\.weight_hh_l0"):
        model.load_state_dict({k: v for k, v in other.state_dict().items() if k != "0.weight_hh_l0"})


def test_gradients_move_into_the_container() -> None:
    layer = numgru.Linear(2, 3, seed=0)
    layer.flat_gradients = np.arange(9)
    assert numgru.Sequential(layer).flat_gradients.tolist() == list(range(9))


class Ragged(numgru.Layer):
    """Takes all that a recurrent layer may take; adds the state, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__({})
        self.given: list[dict[str, Any]] = []

    def __call__(self, x: Any, h_0: Any = None, *, lengths: Any = None, reset: Any = None) -> Any:
        self.given.append({"lengths": lengths, "reset": reset})
        start = np.zeros((1, *x.shape[1:])) if h_0 is None else h_0
        return x + start, start + 1

    forward = __call__


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (
            (numgru.GRU(2, 3), numgru.Linear(4, 1)),
            r"1 Linear\(4, 1\) to take the 3 features that 0 GRU\(2, 3\) puts out",
        ),
        (
            (numgru.LSTM(2, 3, bidirectional=True), numgru.MeanOverTime(), numgru.Linear(3, 1)),
            "the 6 features that 1 Mean",
        ),
        ((numgru.Embedding(5, 2), numgru.GRU(5, 3)), r"1 GRU\(5, 3\) to take the 2 features .*, got 5; give both"),
        ((numgru.GRU(2, 3), numgru.Sequential(numgru.LastStep(), numgru.Linear(2, 1))), "1.1 Linear"),
        ((numgru.Linear(2, 3), numgru.RNN(2, 3)), "1 RNN"),
    ],
)
def test_layers_that_do_not_fit(layers: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        numgru.Sequential(*layers)


def test_layers_that_fit() -> None:
    numgru.Sequential(numgru.Linear(2, 3), numgru.GRU(3, 4, batch_first=True), numgru.LastStep(batch_first=True))
    numgru.Sequential(numgru.GRU(2, 3), Ragged(), numgru.Linear(4, 1))  # of which nothing is known
    numgru.Sequential(numgru.LastStep(), numgru.Linear(4, 1), numgru.Embedding(3, 2), numgru.Linear(2, 1))


LENGTHS, RESET = np.array([1, 3]), np.zeros((3, 2), bool)


@pytest.mark.parametrize("how", ["__call__", "forward"])
def test_each_layer_gets_what_it_takes(how: str) -> None:
    first, second = Ragged(), Ragged()
    model = numgru.Sequential(first, numgru.Linear(4, 4), numgru.Sequential(second, numgru.LastStep()))
    x = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)
    y = getattr(model, how)(x, lengths=LENGTHS, reset=RESET)
    for layer in (first, second):
        assert layer.given == [{"lengths": LENGTHS, "reset": RESET}]
    expected = model.layers[1](x)
    np.testing.assert_array_equal(y, expected[LENGTHS - 1, np.arange(2)])
    getattr(model, how)(x)
    assert first.given[1] == {"lengths": None, "reset": None}


@pytest.mark.parametrize("head", [numgru.LastStep, numgru.MeanOverTime, numgru.MaxOverTime])
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_ragged_batch_is_its_sequences(batch_first: bool, head: Any) -> None:
    """Padded or in a list, through two GRUs and a head, forward and backward."""
    options = {"batch_first": batch_first}
    model = numgru.Sequential(
        numgru.GRU(3, 4, 2, bidirectional=True, seed=0, **options), numgru.GRU(8, 5, seed=1, **options),
        head(**options), numgru.Linear(5, 2, seed=2),
    )  # fmt: skip
    rng = np.random.default_rng(0)
    x, dy, lengths = rng.standard_normal((7, 4, 3)), rng.standard_normal((4, 2)), [7, 1, 5, 3]
    x, dy = x.astype(np.float32), dy.astype(np.float32)

    def swap(a: Any) -> Any:
        return a.swapaxes(0, 1) if batch_first else a

    together = {"y": model.forward(swap(x), lengths=lengths), "dx": swap(model.backward(dy))}
    assert_same_bits({"y": model(swap(x), lengths=lengths)}, together)
    listed = model.forward([x[:length, b] for b, length in enumerate(lengths)])
    dx = model.backward(dy)
    assert_same_bits({"y": listed}, together)
    for b, length in enumerate(lengths):
        alone = {"y": model.forward(swap(x[:length, b : b + 1])), "dx": swap(model.backward(dy[b : b + 1]))}
        assert_same_bits(alone, {"y": together["y"][b : b + 1], "dx": together["dx"][:length, b : b + 1]})
        assert_same_bits({"dx": dx[b]}, {"dx": together["dx"][:length, b]})
        assert not together["dx"][length:, b].any()


def test_reset_begins_a_new_sequence() -> None:
    model = numgru.Sequential(numgru.GRU(3, 4, 2, seed=0), numgru.GRU(4, 5, seed=1), numgru.Linear(5, 2, seed=2))
    x = np.random.default_rng(0).standard_normal((7, 2, 3)).astype(np.float32)
    reset = np.zeros((7, 2), bool)
    reset[4] = True
    assert_same_bits({"y": model(x, reset=reset)}, {"y": np.concatenate([model(x[:4]), model(x[4:])])})


@pytest.mark.parametrize("option", [{"lengths": LENGTHS}, {"reset": RESET}])
def test_what_no_layer_takes_is_refused(option: dict[str, Any]) -> None:
    model = numgru.Sequential(numgru.Linear(4, 4))
    with pytest.raises(ValueError, match=rf"{next(iter(option))}: expected None, since no layer of Sequential\(Linear"):
        model(np.zeros((3, 2, 4)), **option)
    assert not model.takes


@pytest.mark.parametrize("how", ["__call__", "forward"])
def test_states_go_in_and_come_out_in_order(how: str) -> None:
    model = numgru.Sequential(Ragged(), numgru.Sequential(Ragged()))
    call = getattr(model, how)
    x = np.zeros((3, 2, 4))
    _, (a, b) = call(x, return_h_n=True)
    assert (a == 1).all() and (b == 1).all()
    y, (a, b) = call(x, (a, 5 * b), return_h_n=True)
    assert (a == 2).all() and (b == 6).all() and (y == 6).all()
    y, (a, b) = call(x, [None, b], return_h_n=True)
    assert (a == 1).all() and (b == 7).all() and (y == 6).all()
    assert (call(x, (a, b)) == 8).all()
    assert model.takes == {"h_0", "lengths", "reset", "return_h_n"}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_piece_by_piece_is_the_whole(dtype: Any) -> None:
    """Two layers and a head for every step, in inference and in training."""
    model = numgru.Sequential(
        numgru.GRU(3, 9, dtype=dtype, seed=0), numgru.LSTM(9, 5, dtype=dtype, seed=1), numgru.Linear(5, 2, dtype=dtype)
    )
    x = np.random.default_rng(0).standard_normal((7, 4, 3)).astype(dtype)
    whole, last = model(x, return_h_n=True)
    for call in (model, model.forward):
        h, pieces = None, []
        for start in (0, 3, 6):
            y, h = call(x[start : start + 3], h, return_h_n=True)
            pieces.append(y)
        assert_same_bits({"y": np.concatenate(pieces)}, {"y": whole})
        assert_same_bits(dict(enumerate(h)), dict(enumerate(last)))


@pytest.mark.parametrize(
    ("h_0", "error", "message"),
    [
        (np.zeros((1, 2, 4)), TypeError, r"h_0: expected a tuple or list of states, .* got ndarray; .*\(h_0,\)"),
        ((), ValueError, "h_0: expected 1 states, one a recurrent layer, got 0"),
        ((None, None), ValueError, "h_0: expected 1 states, one a recurrent layer, got 2"),
        ((np.zeros((1, 2, 5)),), ValueError, r"h_0: expected shape \(1, 2, 4\), got \(1, 2, 5\)"),
    ],
)
def test_bad_states(h_0: Any, error: Any, message: str) -> None:
    model = numgru.Sequential(numgru.GRU(3, 4), numgru.LastStep())
    with pytest.raises(error, match=message):
        model(np.zeros((5, 2, 3)), h_0)


def test_layers_agree_about_the_order_of_time_and_batch() -> None:
    """A head would silently take the last sequence for the last step."""
    gru = numgru.GRU(3, 4, batch_first=True)
    with pytest.raises(ValueError, match=r"batch_first or none, got .*'0 GRU': True, '1\.0 LastStep': False"):
        numgru.Sequential(gru, numgru.Sequential(numgru.LastStep()))
    x = np.ones((2, 5, 3))
    assert numgru.Sequential(gru, numgru.LastStep(batch_first=True))(x).shape == (2, 4)


def test_a_copy_runs_its_own_layers() -> None:
    model = numgru.Sequential(numgru.Sequential(numgru.Linear(2, 2, seed=0)))
    twin = copy.deepcopy(model)
    twin.flat_parameters[...] = 0
    assert not twin(np.ones((1, 2))).any()
    assert model(np.ones((1, 2))).all()


def test_a_layer_of_another_container_is_refused() -> None:
    """The first one would go on with buffers that nobody trains."""
    model = numgru.Sequential(numgru.Linear(2, 2, seed=0))
    for twin in (model, copy.deepcopy(model)):
        with pytest.raises(ValueError, match=r"layers\[1\]: expected a layer of its own, got Linear of another"):
            numgru.Sequential(numgru.Linear(2, 2), twin.layers[0])
    layers = numgru.Sequential(numgru.Linear(2, 2)).layers
    assert numgru.Sequential(numgru.Linear(2, 2), *layers).layers[1] is layers[0]  # there's no other any more
    assert numgru.Sequential(copy.deepcopy(model.layers[0])).layers[0] is not model.layers[0]


def test_each_layer_once_and_all_of_one_dtype() -> None:
    layer = numgru.Linear(2, 2)
    with pytest.raises(ValueError, match=r"layers\[1\]: expected each layer once, got the same one twice"):
        numgru.Sequential(layer, layer)
    with pytest.raises(ValueError, match=r"layers: expected one dtype, got \['float32', 'float64'\]"):
        numgru.Sequential(layer, numgru.Linear(2, 2, dtype=np.float64))
    assert numgru.Sequential(numgru.LastStep()).dtype == np.float32
    assert numgru.Sequential(numgru.LastStep(), numgru.Linear(2, 2, dtype=np.float64)).dtype == np.float64


def test_after_an_error_within_no_two_passes_are_mixed() -> None:
    model = numgru.Sequential(numgru.GRU(3, 4, seed=0), numgru.GRU(4, 4, seed=1))
    y = model.forward(np.ones((5, 2, 3)))
    with pytest.raises(ValueError, match="h_0: expected 3 dimensions"):
        model.forward(np.zeros((5, 2, 3)), (None, np.zeros((9, 9))))
    with pytest.raises(ValueError, match="backward: expected a forward pass"):
        model.backward(np.ones_like(y))
    assert not model.flat_gradients.any()


def test_what_touches_no_layer_leaves_a_waiting_backward_alone() -> None:
    """An inference that fails, or a forward pass that the first layer refuses."""
    model = numgru.Sequential(numgru.GRU(3, 4, seed=0), numgru.GRU(4, 4, seed=1))
    x, dy = np.ones((5, 2, 3)), np.ones((5, 2, 4))
    model.forward(x)
    expected = model.backward(dy)
    model.forward(x)
    with pytest.raises(ValueError, match="h_0: expected 3 dimensions"):
        model(x, (None, np.zeros((9, 9))))
    with pytest.raises(ValueError, match="x: expected"):
        model.forward(np.zeros((5, 2, 4)))
    assert_same_bits({"dx": model.backward(dy)}, {"dx": expected})
