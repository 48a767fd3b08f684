"""Embedding against the oracle, its order of additions, PyTorch, finite differences, and bad tokens."""

from __future__ import annotations

import copy
import pickle
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numgru
from tests import reference
from tests.cases import assert_same_bits, count_compiled, difference, run_elsewhere

V, E = 7, 5
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SHAPES = [(), (1,), (9,), (1, 1), (4, 3), (30, 16), (2, 3, 4)]


def problem(shape: tuple[int, ...], dtype: Any, E: int = E) -> tuple[numgru.Embedding, Any, Any]:
    """A layer, tokens and an upstream gradient."""
    rng = np.random.default_rng([E, *shape])
    dy = rng.standard_normal((*shape, E)).astype(dtype)
    return numgru.Embedding(V, E, dtype=dtype, seed=0), rng.integers(0, V, shape), dy


@each_dtype
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("columns", [1, 5, 16, 33])
def test_values_and_gradients(columns: int, shape: tuple[int, ...], dtype: Any) -> None:
    layer, tokens, dy = problem(shape, dtype, columns)
    weight = layer.state_dict()["weight"]
    y = layer.forward(tokens)
    assert_same_bits({"y": y, "call": layer(tokens)}, dict.fromkeys(("y", "call"), reference.embedding(tokens, weight)))
    assert layer.backward(dy) is None
    wide = dy.astype(np.float64), tokens, weight.astype(np.float64)
    sizes = reference.embedding_backward(np.abs(wide[0]), *wide[1:])
    error = np.abs(layer.gradients["weight"] - reference.embedding_backward(*wide))
    assert (error <= np.finfo(dtype).eps * tokens.size**0.5 * sizes).all()


@each_dtype
@pytest.mark.parametrize("shape", [(30, 16), (30, 4, 4)])
def test_one_chain_a_row_from_the_last_step_to_the_first(shape: tuple[int, ...], dtype: Any) -> None:
    layer, tokens, dy = problem(shape, dtype)
    layer.flat_gradients[...] = np.random.default_rng(1).standard_normal(V * E)
    expected = layer.gradients["weight"].copy()
    for t in range(29, -1, -1):
        for i in np.ndindex(shape[1:]):
            expected[tokens[t][i]] += dy[t][i]
    layer.forward(tokens)
    layer.backward(dy, need_dx=False)
    assert_same_bits(layer.gradients, {"weight": expected})


def test_other_rows_are_not_touched() -> None:
    layer, tokens, dy = problem((4, 3), np.float32)
    tokens[...] = tokens % 2 * 4  # 0 and 4
    dy[2, 1, 3] = np.nan
    layer.flat_gradients[...] = before = np.random.default_rng(1).standard_normal(V * E).astype(np.float32)
    layer.forward(tokens)
    layer.backward(dy)
    others = [1, 2, 3, 5, 6]
    assert_same_bits({"others": layer.gradients["weight"][others]}, {"others": before.reshape(V, E)[others]})
    assert np.argwhere(np.isnan(layer.gradients["weight"])).tolist() == [[tokens[2, 1], 3]]


def test_nothing_of_the_size_of_the_vocabulary_is_allocated() -> None:
    layer = numgru.Embedding(100_000, 16, seed=0)
    tokens, dy = np.arange(6).reshape(3, 2), np.ones((3, 2, 16), np.float32)
    layer.forward(tokens)
    layer.backward(dy)  # compiles
    tracemalloc.start()
    try:
        layer.forward(tokens)
        layer.backward(dy)
        assert tracemalloc.get_traced_memory()[1] < layer.flat_gradients.nbytes / 10
    finally:
        tracemalloc.stop()


def test_initial_weights_are_standard_normal() -> None:
    weight = numgru.Embedding(200, 100, seed=3).parameters["weight"]
    assert abs(weight.mean()) < 0.03 and abs(weight.std() - 1) < 0.03
    assert_same_bits(numgru.Embedding(200, 100, seed=3).parameters, {"weight": weight})
    assert not np.array_equal(numgru.Embedding(200, 100, seed=4).parameters["weight"], weight)


@pytest.mark.parametrize("kind", [np.uint8, np.int32, np.uint64, ">i8", list])
def test_any_integers(kind: Any) -> None:
    layer, tokens, _ = problem((4, 3), np.float32)
    expected = {"y": layer(tokens)}
    given = tokens.tolist() if kind is list else tokens.astype(kind)
    compiled = count_compiled()
    assert_same_bits({"y": layer(given)}, expected)
    assert_same_bits({"y": layer(np.asfortranarray(given))}, expected)
    assert count_compiled() == compiled


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        ([[0, V]], ValueError, "x: expected tokens from 0 to 6, got values from 0 to 7"),
        ([[-1, 2]], ValueError, "x: expected tokens from 0 to 6, got values from -1 to 2"),
        (np.array([2**64 - 1], np.uint64), ValueError, "x: expected tokens from 0 to 6, got .*18446744073709551615"),
        ([[0.0]], TypeError, r"x: expected integers, got dtype float64"),
        ([[True]], TypeError, r"x: expected integers, got dtype bool"),
        (["a"], TypeError, "x: expected .*got dtype <U1"),
        ([], ValueError, r"x: expected at least one token, got shape \(0,\)"),
        (np.zeros((0, 3), int), ValueError, r"x: expected at least one token, got shape \(0, 3\)"),
        (None, TypeError, "x: expected .*got dtype object"),
    ],
)
def test_bad_tokens(x: Any, error: Any, message: str) -> None:
    layer, tokens, dy = problem((4, 3), np.float32)
    layer.forward(tokens)
    for call in (layer, layer.forward):
        with pytest.raises(error, match=message):
            call(x)
    layer.backward(dy)  # the forward pass still waits for it
    with pytest.raises(ValueError, match="backward: expected a forward pass before it, got none"):
        layer.backward(dy)


def test_bad_gradient_and_bad_sizes() -> None:
    layer, tokens, dy = problem((4, 3), np.float32)
    layer.forward(tokens)
    with pytest.raises(ValueError, match=r"dy: expected .*\(4, 3, 5\), got \(4, 3, 4\)"):
        layer.backward(dy[..., 1:])
    assert not layer.flat_gradients.any()
    with pytest.raises(ValueError, match="num_embeddings: expected an integer of at least 1, got 0"):
        numgru.Embedding(0, 1)
    with pytest.raises(TypeError, match="embedding_dim: expected an integer of at least 1, got float"):
        numgru.Embedding(1, 1.0)  # type: ignore[arg-type]


def language_model(dtype: Any = np.float32) -> numgru.Sequential:
    layers = numgru.Embedding(V, E, dtype=dtype, seed=0), numgru.GRU(E, 9, dtype=dtype, seed=1)
    return numgru.Sequential(*layers, numgru.Linear(9, V, dtype=dtype, seed=2))


def windows() -> tuple[Any, Any]:
    tokens = np.random.default_rng(0).integers(0, V, (12, 3))
    return tokens[:-1], tokens[1:]


def train_step(model: numgru.Sequential) -> None:
    x, t = windows()
    model.backward(numgru.CrossEntropyLoss()(model.forward(x), t)[1], need_dx=False)


def test_a_language_models_gradient_is_its_slope() -> None:
    model = language_model(np.float64)
    x, t = windows()
    train_step(model)
    direction = np.random.default_rng(1).standard_normal(model.flat_parameters.size)
    numeric = difference(lambda: numgru.CrossEntropyLoss()(model(x), t)[0], [(model.flat_parameters, direction)])
    analytic = (model.flat_gradients * direction).sum()
    assert analytic == pytest.approx(numeric, rel=1e-6), f"{analytic=} {numeric=}"


@each_dtype
def test_pytorch_agrees(dtype: Any) -> None:
    torch = pytest.importorskip("torch", reason="PyTorch isn't installed; the oracle's tests cover the same")
    model, (x, t) = language_model(dtype), windows()
    theirs = torch.nn.ModuleList([torch.nn.Embedding(V, E), torch.nn.GRU(E, 9), torch.nn.Linear(9, V)])
    theirs = theirs.to(torch.float32 if dtype == np.float32 else torch.float64)
    theirs.load_state_dict({name: torch.from_numpy(value) for name, value in model.state_dict().items()})
    logits = theirs[2](theirs[1](theirs[0](torch.from_numpy(x)))[0])
    loss = torch.nn.CrossEntropyLoss()(logits.reshape(-1, V), torch.from_numpy(t).reshape(-1))
    loss.backward()
    train_step(model)
    tolerance = {"rtol": 1e-4, "atol": 1e-6} if dtype == np.float32 else {"rtol": 1e-11, "atol": 1e-13}
    np.testing.assert_allclose(model(x), logits.detach().numpy(), **tolerance)
    for name, parameter in theirs.named_parameters():
        np.testing.assert_allclose(model.gradients[name], parameter.grad.numpy(), err_msg=name, **tolerance)
    embedding = numgru.Embedding(V, E, dtype=dtype)
    embedding.load_state_dict(theirs[0].state_dict())
    assert list(embedding.state_dict()) == list(theirs[0].state_dict())


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_a_copy_is_a_layer_of_its_own(duplicate: Callable[[Any], Any]) -> None:
    model = language_model()
    model.forward(windows()[0])
    twin = duplicate(model)
    with pytest.raises(ValueError, match="expected a forward pass"):
        twin.layers[0].backward(np.zeros((11, 3, E)))
    train_step(twin)
    assert twin.gradients["0.weight"].any() and not model.flat_gradients.any()
    twin.flat_parameters -= twin.flat_gradients
    assert not np.array_equal(twin(windows()[0]), model(windows()[0]))


def test_nothing_is_compiled_after_warmup() -> None:
    """In a new process, since this one has compiled it already."""
    assert run_elsewhere("from tests.layers.test_embedding import compiled_later; compiled_later()").split() == ["0"]


def compiled_later() -> None:
    numgru.set_num_threads(1)
    model = language_model()
    assert model.input_dtype == np.int64
    numgru.warmup(model, training=True, need_dx=False)
    before = count_compiled()
    train_step(model)  # and the loss
    print(count_compiled() - before - 1)
