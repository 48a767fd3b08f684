"""The same values, gradients and state dicts as torch.nn.GRU, where PyTorch is installed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numgru
from tests.cases import assert_close, assert_exact, gru_layer, gru_problem, parameters, run, tolerances

torch = pytest.importorskip("torch", reason="PyTorch isn't installed; the oracle's tests cover the same equations")


def torch_gru(problem: dict[str, Any], batch_first: bool = False) -> Any:
    three_h, I = problem["weight_ih_l0"].shape
    bias, dtype = "bias_ih_l0" in problem, torch.from_numpy(problem["x"]).dtype
    gru = torch.nn.GRU(I, three_h // 3, bias=bias, batch_first=batch_first, dtype=dtype)
    gru.load_state_dict({name: torch.from_numpy(value) for name, value in parameters(problem).items()})
    return gru


def run_torch(problem: dict[str, Any], batch_first: bool) -> dict[str, Any]:
    def swap(a: Any) -> Any:
        return a.swapaxes(0, 1) if batch_first else a

    gru = torch_gru(problem, batch_first)
    x, h_0 = (torch.from_numpy(problem[name]).requires_grad_() for name in ("x", "h_0"))
    y, h_n = gru(swap(x), h_0)
    torch.autograd.backward([swap(y), h_n], [torch.from_numpy(problem["dy"]), torch.from_numpy(problem["dh_n"])])
    results = {"y": swap(y).detach(), "h_n": h_n.detach(), "dx": x.grad, "dh_0": h_0.grad}
    results |= {name: parameter.grad for name, parameter in gru.named_parameters()}
    return {name: value.numpy() for name, value in results.items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (7, 5, 3, 17), (30, 9, 20, 64)])
def test_values_and_gradients(shape: tuple[int, int, int, int], batch_first: bool, bias: bool, dtype: Any) -> None:
    """Both are within the same tolerances of the oracle, and so within twice of each other."""
    problem = gru_problem(*shape, dtype, bias)
    theirs = run_torch(problem, batch_first)
    assert_exact(theirs, problem)
    ours = run(gru_layer(problem, batch_first=batch_first), problem)
    assert_close(ours, theirs, {name: 2 * value for name, value in tolerances(problem).items()})


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


def test_state_dict_there_and_back() -> None:
    problem = gru_problem(3, 2, 4, 5)
    theirs = torch_gru(problem)
    ours = numgru.GRU(4, 5)
    ours.load_state_dict(dict(theirs.named_parameters()))  # these require gradients; a state dict's don't
    ours.load_state_dict(theirs.state_dict())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    again = torch.nn.GRU(4, 5)
    again.load_state_dict({name: torch.from_numpy(value) for name, value in ours.state_dict().items()})
    for name, value in parameters(problem).items():
        assert np.array_equal(again.state_dict()[name].numpy(), value), name
