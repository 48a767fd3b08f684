"""The heads against their definitions, one sequence at a time in float64; the same bits however they come."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numgru
from tests.cases import assert_same_bits, difference

HEADS = [numgru.LastStep, numgru.MeanOverTime, numgru.MaxOverTime]
DTYPES = [np.float32, np.float64]
SHAPES = [(1, 1, 1), (2, 3, 1), (7, 1, 5), (9, 4, 3), (16, 17, 33)]
each_head = pytest.mark.parametrize("head", HEADS, ids=lambda head: head.__name__)


def definition(head: Any, x: Any) -> Any:
    """For one sequence (T, H) the output, and its derivative with respect to every step."""
    if head is numgru.LastStep:
        return x[-1], np.arange(len(x))[:, None] == len(x) - 1
    if head is numgru.MeanOverTime:
        return x.sum(0) / len(x), np.full(x.shape, 1 / len(x))
    return x.max(0), np.arange(len(x))[:, None] == np.argmax(x, 0)


def problem(shape: Any, dtype: Any) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(shape)
    T, B, H = shape
    x = rng.integers(-9, 9, shape).astype(dtype) / 8  # with equal maxima
    return x, rng.integers(1, T + 1, B), rng.standard_normal((B, H)).astype(dtype)


@each_head
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_definition(head: Any, shape: Any, ragged: bool, batch_first: bool, dtype: Any) -> None:
    x, lengths, dy = problem(shape, dtype)
    if not ragged:
        lengths[:] = shape[0]
    layer = head(batch_first=batch_first)
    given = x.swapaxes(0, 1) if batch_first else x
    options = {"lengths": lengths} if ragged else {}
    y = layer(given, **options)
    assert_same_bits({"y": layer.forward(given, **options)}, {"y": y})
    dx = layer.backward(dy)
    assert dx.shape == given.shape
    assert y.dtype == dx.dtype == dtype
    dx = dx.swapaxes(0, 1) if batch_first else dx
    for b, length in enumerate(lengths):
        expected, derivative = definition(head, x[:length, b].astype(np.float64))
        # Sums of multiples of 1/8 are exact: one division and one rounding are left, as for the gradient.
        eps = np.finfo(dtype).eps
        np.testing.assert_allclose(y[b], expected, rtol=2 * eps, atol=0)
        np.testing.assert_allclose(dx[:length, b], derivative * dy[b].astype(np.float64), rtol=2 * eps, atol=0)
        assert not dx[length:, b].any()
    assert layer.forward(given).shape == y.shape
    assert layer.backward(dy, need_dx=False) is None


@each_head
def test_gradient(head: Any) -> None:
    rng = np.random.default_rng(0)
    x, dy, direction = (rng.standard_normal(shape) for shape in ((6, 4, 3), (4, 3), (6, 4, 3)))
    lengths = [6, 1, 3, 5]
    layer = head()
    layer.forward(x, lengths=lengths)
    analytic = (layer.backward(dy) * direction).sum()
    numeric = difference(lambda: (layer(x, lengths=lengths) * dy).sum(), [(x, direction)])
    assert analytic == pytest.approx(numeric, rel=1e-7)


@each_head
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_sequence_alone_has_the_same_bits(head: Any, dtype: Any) -> None:
    """Padded, in a list, with the batch first; forward and backward."""
    rng = np.random.default_rng(1)
    x, dy = rng.standard_normal((300, 5, 1)).astype(dtype), rng.standard_normal((5, 1)).astype(dtype)
    lengths = np.array([300, 1, 17, 256, 2])
    layer, first = head(), head(batch_first=True)
    sequences = [x[:length, b] for b, length in enumerate(lengths)]
    whole = {"y": layer.forward(x, lengths=lengths), "dx": layer.backward(dy)}
    turned = {"y": first.forward(x.swapaxes(0, 1), lengths=lengths), "dx": first.backward(dy).swapaxes(0, 1)}
    assert_same_bits(turned, whole)
    listed, dx = layer.forward(sequences), layer.backward(dy)
    assert_same_bits({"y": listed}, whole)
    for b, length in enumerate(lengths):
        alone = {"y": layer.forward(x[:length, b : b + 1]), "dx": layer.backward(dy[b : b + 1])}
        assert_same_bits(alone, {"y": whole["y"][b : b + 1], "dx": whole["dx"][:length, b : b + 1]})
        assert_same_bits({"dx": dx[b]}, {"dx": whole["dx"][:length, b]})


@each_head
def test_nan_reaches_its_own_sequence_and_feature_and_none_past_the_end(head: Any) -> None:
    x, _, dy = problem((9, 4, 3), np.float32)
    lengths = [9, 4, 5, 9]
    layer = head()
    expected = {"y": layer.forward(x, lengths=lengths), "dx": layer.backward(dy)}
    x[4:, 1] = np.nan
    assert_same_bits({"y": layer.forward(x, lengths=lengths), "dx": layer.backward(dy)}, expected)
    x[4, 2, 0] = np.nan
    y = layer(x, lengths=lengths)
    assert np.isnan(y[2, 0])
    y[2, 0] = expected["y"][2, 0]
    assert_same_bits({"y": y}, expected)


def test_the_first_of_equal_maxima_gets_the_gradient_and_so_does_the_first_nan() -> None:
    x = np.array([1, 2, 2, np.nan, 3, np.nan], np.float32)[:, None, None]
    layer = numgru.MaxOverTime()
    for length, value, at in ((3, 2, 1), (4, np.nan, 3), (6, np.nan, 3)):
        y = layer.forward(x, lengths=[length])
        np.testing.assert_array_equal(y, [[value]])
        assert np.flatnonzero(layer.backward(np.ones((1, 1)))) == [at]


def test_a_long_mean_is_summed_in_double_precision() -> None:
    x = np.full((1_000_000, 1, 1), 0.1, np.float32)
    assert numgru.MeanOverTime()(x) == np.float32(0.1)


@each_head
def test_neither_lengths_nor_outputs_are_shared(head: Any) -> None:
    x, lengths, dy = problem((9, 4, 3), np.float64)
    layer = head()
    layer.forward(x, lengths=lengths)
    expected = layer.backward(dy)
    y = layer.forward(x, lengths=lengths)
    lengths[...] = 3
    assert_same_bits({"dx": layer.backward(dy)}, {"dx": expected})
    assert not np.shares_memory(y, x) and not np.shares_memory(layer(x), x)


@each_head
def test_one_wide_sequence_makes_all_wide(head: Any) -> None:
    narrow = np.ones((3, 2), np.float32)
    assert [head()([narrow, narrow.astype(kind)]).dtype for kind in DTYPES] == DTYPES


@each_head
def test_integers_are_taken_as_float64(head: Any) -> None:
    y = head()(np.arange(6).reshape(3, 2, 1))
    assert y.dtype == np.float64
    assert y.ravel().tolist() == ([2, 3] if head is numgru.MeanOverTime else [4, 5])


@each_head
@pytest.mark.parametrize(
    ("x", "lengths", "error", "message"),
    [
        (np.zeros((3, 2)), None, ValueError, r"x: expected shape \(T, B, H\) .* got \(3, 2\)"),
        (np.zeros((3, 2, 1)), [1], ValueError, r"lengths: expected shape \(2,\), .* got \(1,\)"),
        (np.zeros((3, 2, 1)), [1, 4], ValueError, "lengths: expected 1 to 3, the steps of x, got 4"),
        (np.zeros((3, 2, 1)), [0, 3], ValueError, "lengths: expected 1 to 3, the steps of x, got 0"),
        (np.zeros((3, 2, 1)), [1.0, 3.0], TypeError, "lengths: expected integers, got dtype float64"),
        (np.zeros((3, 2, 1)), [True, True], TypeError, "lengths: expected integers, got dtype bool"),
        ([np.zeros((3, 2)), np.zeros((3, 1))], None, ValueError, r"x\[1\]: expected shape \(T, 2\), got \(3, 1\)"),
        ([np.zeros((3, 2)), np.zeros((0, 2))], None, ValueError, r"x\[1\]: expected .* empty .*, got \(0, 2\)"),
        ([1.0], None, ValueError, r"x: expected shape \(T, B, H\) .* got \(1,\)"),
        ([], None, ValueError, "x: expected a list of sequences, at least one, got list"),
        ([np.zeros((3, 2))], [3], ValueError, "lengths: expected none, as a list of sequences"),
    ],
)
def test_bad_input(head: Any, x: Any, lengths: Any, error: Any, message: str) -> None:
    layer = head()
    for call in (layer, layer.forward):
        with pytest.raises(error, match=message):
            call(x, lengths=lengths)
    with pytest.raises(ValueError, match="backward: expected a forward pass before it"):
        layer.backward(np.zeros((1, 1)))


@each_head
def test_nested_lists_are_one_array(head: Any) -> None:
    rows = [[[1.0, 2.0]], [[3.0, 4.0]]]
    assert head()(rows).tolist() == head()(np.array(rows)).tolist()
