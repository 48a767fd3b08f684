"""The same values, gradients and state dicts as PyTorch's layers have, for every option that they have too."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numgru
from tests import reference
from tests.cases import (
    assert_close,
    assert_exact,
    gates_of,
    layer_of,
    parameters,
    problem_of,
    ragged,
    run,
    states,
    tolerances,
)

torch = pytest.importorskip("torch", reason="PyTorch isn't installed; the oracle's tests cover the same equations")


LAYERS = {3: torch.nn.GRU, 1: torch.nn.RNN, 4: torch.nn.LSTM}  # by gates


def torch_layer(problem: dict[str, Any], batch_first: bool = False, **options: Any) -> Any:
    (rows, I), p, gates = problem["weight_ih_l0"].shape, parameters(problem), gates_of(problem)
    layer = LAYERS[gates](
        I,
        rows // gates,
        num_layers=sum(name.startswith("weight_ih") and not name.endswith("_reverse") for name in p),
        bias="bias_ih_l0" in p,
        batch_first=batch_first,
        bidirectional="weight_ih_l0_reverse" in p,
        dtype=torch.from_numpy(problem["x"]).dtype,
        **options,
    )
    layer.load_state_dict({name: torch.from_numpy(value) for name, value in p.items()})
    return layer


def run_torch(problem: dict[str, Any], batch_first: bool = False, **options: Any) -> dict[str, Any]:
    """With lengths, packed for PyTorch: the only way it has to run sequences of different lengths."""

    def swap(a: Any) -> Any:
        return a.swapaxes(0, 1) if batch_first else a

    layer = torch_layer(problem, batch_first, **options)
    first = {name: torch.from_numpy(problem[name]).requires_grad_() for name in ("h_0", "c_0") if name in problem}
    x = torch.from_numpy(problem["x"]).requires_grad_()
    given = swap(x)
    if "lengths" in problem:
        lengths = torch.from_numpy(problem["lengths"])
        given = torch.nn.utils.rnn.pack_padded_sequence(given, lengths, batch_first, enforce_sorted=False)
    y, last = layer(given, states(first, "h_0"))
    last = last if isinstance(last, tuple) else (last,)
    if "lengths" in problem:
        y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, batch_first, total_length=len(problem["x"]))
    upstream = [torch.from_numpy(problem[name]) for name in ("dy", "dh_n", "dc_n")[: 1 + len(last)]]
    torch.autograd.backward([swap(y), *last], upstream)
    results = {"y": swap(y), "dx": x.grad, **dict(zip(("h_n", "c_n"), last, strict=False))}
    results |= {f"d{name}": state.grad for name, state in first.items()}
    results |= {name: parameter.grad for name, parameter in layer.named_parameters()}
    return {name: value.detach().numpy() for name, value in results.items()}


def check(problem: dict[str, Any], batch_first: bool = False, cell: Any = None, **options: Any) -> None:
    """Both are within the same tolerances of the oracle, and so within twice of each other."""
    theirs = run_torch(problem, batch_first, **options)
    assert_exact(theirs, problem, cell)
    ours = run(layer_of(problem, batch_first=batch_first, **options), problem)
    assert_close(ours, theirs, {name: 2 * value for name, value in tolerances(problem, cell).items()})


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (7, 5, 3, 17), (30, 9, 20, 64)])
def test_values_and_gradients(shape: tuple[int, int, int, int], batch_first: bool, bias: bool, dtype: Any) -> None:
    check(problem_of(*shape, dtype, bias), batch_first)


@pytest.mark.parametrize("lengths", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_layers_and_directions(num_layers: int, bidirectional: bool, lengths: bool) -> None:
    problem = problem_of(7, 5, 3, 17, np.float64, num_layers=num_layers, bidirectional=bidirectional)
    check(ragged(problem) if lengths else problem)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [False, True])
def test_everything_pytorch_has(batch_first: bool, bias: bool) -> None:
    check(ragged(problem_of(6, 9, 4, 15, np.float64, bias, num_layers=2, bidirectional=True)), batch_first)


@pytest.mark.parametrize("lengths", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize(
    ("cell", "options"),
    [(reference.RNN, {}), (reference.RNN_RELU, {"nonlinearity": "relu"}), (reference.LSTM, {})],
    ids=["tanh", "relu", "LSTM"],
)
def test_other_cells(cell: reference.Cell, options: dict[str, Any], lengths: bool) -> None:
    problem = problem_of(6, 9, 4, 15, np.float64, num_layers=2, bidirectional=True, cell=cell)
    check(ragged(problem) if lengths else problem, cell=cell, **options)


HEADS = {
    numgru.LastStep: lambda x: x[-1],
    numgru.MeanOverTime: lambda x: x.mean(0),
    numgru.MaxOverTime: lambda x: x.max(0).values,
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)
def test_heads(head: Any, dtype: Any) -> None:
    """One sequence at a time, as long as it is."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((9, 4, 3)).astype(dtype), rng.standard_normal((4, 3)).astype(dtype)
    lengths = [9, 1, 4, 6]
    layer = head()
    y, dx = layer.forward(x, lengths=lengths), layer.backward(dy)
    theirs = torch.from_numpy(x).requires_grad_()
    expected = torch.stack([HEADS[head](theirs[:length, b]) for b, length in enumerate(lengths)])
    expected.backward(torch.from_numpy(dy))
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(y, expected.detach().numpy(), rtol=0, atol=4 * eps)
    np.testing.assert_allclose(dx, theirs.grad.numpy(), rtol=2 * eps, atol=0)


@pytest.mark.parametrize(("num_layers", "bidirectional"), [(1, False), (2, True)])
def test_state_dict_there_and_back(num_layers: int, bidirectional: bool) -> None:
    problem = problem_of(3, 2, 4, 5, num_layers=num_layers, bidirectional=bidirectional)
    theirs = torch_layer(problem)
    ours = numgru.GRU(4, 5, num_layers, bidirectional=bidirectional)
    ours.load_state_dict(dict(theirs.named_parameters()))  # these require gradients; a state dict's don't
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    again = torch.nn.GRU(4, 5, num_layers, bidirectional=bidirectional)
    again.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
    for name, value in parameters(problem).items():
        assert np.array_equal(again.state_dict()[name].numpy(), value), name


def test_dropout_of_one_layer_warns_as_pytorch_does() -> None:
    with pytest.warns(UserWarning, match="dropout") as theirs:
        torch.nn.GRU(4, 5, dropout=0.5)
    with pytest.warns(UserWarning, match="dropout") as ours:
        numgru.GRU(4, 5, dropout=0.5)
    assert len(ours) == len(theirs) == 1
