"""Clipping against NumPy float64, at the ends of the floating-point range, and against PyTorch."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numgru import GRU, Linear, Sequential
from numgru.kernels.loss import LANES
from numgru.training import NonFiniteGradientError, clip_grad_norm_, clip_grad_value_

SIZES = [1, 3, LANES - 1, LANES, LANES + 1, 4 * LANES + 7]
DTYPES = [np.float32, np.float64]


def gradients(n, dtype=np.float64, seed=0, size=1.0):
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(n) * size).astype(dtype) for name in ("W", "b", "V")}


def true_norm(arrays):
    """math.hypot scales, so it neither overflows nor underflows."""
    return math.hypot(*(float(value) for array in arrays for value in np.ravel(array)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_norm_and_scaled_values(n, dtype):
    grads = gradients(n, dtype)
    before = {name: array.astype(np.float64) for name, array in grads.items()}
    norm = clip_grad_norm_(grads, 0.5)
    assert type(norm) is float
    assert norm == pytest.approx(true_norm(before.values()), rel=1e-14, abs=0)
    for name, array in grads.items():
        np.testing.assert_array_equal(array, (before[name] * (0.5 / norm)).astype(dtype))
    assert true_norm(grads.values()) == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize("limit", [1e9, math.inf])
def test_below_the_limit_nothing_changes(limit):
    grads = gradients(50)
    before = {name: array.copy() for name, array in grads.items()}
    clip_grad_norm_(grads, limit)
    assert clip_grad_value_(grads, limit) == 0
    for name in grads:
        np.testing.assert_array_equal(grads[name], before[name])


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.float32, 1e30),
        (np.float32, 3.4e38),
        (np.float32, 1e-40),
        (np.float64, 1e200),
        (np.float64, 1.7e307),
        (np.float64, 1e-160),
        (np.float64, 1e-300),
        (np.float64, 5e-324),
    ],
)
def test_ends_of_the_range(dtype, value):
    """The square of every one of these overflows or underflows in its own dtype."""
    grads = [np.full(n, value, dtype) for n in (20, 5)]
    expected = float(dtype(value)) * 5
    assert clip_grad_norm_(grads, math.inf) == pytest.approx(expected, rel=1e-12, abs=0)
    clip_grad_norm_(grads, expected / 2)
    np.testing.assert_allclose(grads[0], float(dtype(value)) / 2, rtol=1e-4, atol=np.finfo(dtype).smallest_subnormal)


def test_large_and_small_values_together():
    assert clip_grad_norm_([np.array([3e200, 1e-200]), np.array([4e200])], math.inf) == pytest.approx(5e200, rel=1e-15)


def test_zero_gradients():
    assert clip_grad_norm_([np.zeros(5), np.zeros(0)], 0.0) == 0.0
    assert clip_grad_norm_([], 1.0) == 0.0


def test_a_limit_of_zero_clears():
    array = np.ones(4)
    assert clip_grad_norm_(array, 0) == 2.0
    assert not array.any()


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 600), st.integers(-150, 150), st.floats(1e-3, 1e3))
def test_clipped_norm_is_the_limit_and_the_direction_stays(seed, n, exponent, share):
    rng = np.random.default_rng(seed)
    array = rng.standard_normal(n) * 10.0**exponent
    before, norm = array.copy(), true_norm([array])
    limit = norm * share
    assert clip_grad_norm_(array, limit) == pytest.approx(norm, rel=1e-13, abs=0)
    assert true_norm([array]) == pytest.approx(min(norm, limit), rel=1e-12, abs=0)
    np.testing.assert_allclose(array / true_norm([array]), before / norm, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_value(n, dtype):
    grads = gradients(n, dtype, size=2.0)
    expected = {name: np.clip(array, dtype(-0.7), dtype(0.7)) for name, array in grads.items()}
    changed = sum(int((expected[name] != grads[name]).sum()) for name in grads)
    assert clip_grad_value_(grads, 0.7) == changed
    for name in grads:
        np.testing.assert_array_equal(grads[name], expected[name])


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
@pytest.mark.parametrize(
    "view",
    [lambda a: a[::2], lambda a: a[::-1], lambda a: a.reshape(20, 15).T, lambda a: a.reshape(20, 15)[:, 3:9]],
    ids=["strided", "reversed", "transposed", "columns"],
)
def test_any_layout_and_nothing_beside_it(clip, view):
    storage = np.random.default_rng(0).standard_normal(300)
    expected_storage = storage.copy()
    contiguous = view(storage).copy(order="C")
    clip(contiguous, 0.1)
    view(expected_storage)[...] = contiguous
    clip([view(storage)], 0.1)
    np.testing.assert_array_equal(storage, expected_storage)


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_unaligned_array(clip):
    raw = np.zeros(8 * 10 + 1, np.uint8)
    array = raw[1:].view(np.float64)
    array[:] = 1.0
    clip(array, 0.25)
    assert (array < 1).all()


@pytest.mark.parametrize("make", [dict, lambda d: list(d.values()), lambda d: iter(d.values())])
def test_mapping_iterable_and_views_into_one_buffer_agree(make, make_model):
    model = make_model(dtype=np.float32)
    model.flat_gradients[...] = np.random.default_rng(0).standard_normal(model.flat_gradients.size)
    copies = {name: array.copy() for name, array in model.gradients.items()}
    assert clip_grad_norm_(make(model.gradients), 0.3) == clip_grad_norm_(copies, 0.3)
    for name, array in copies.items():
        np.testing.assert_array_equal(array, model.gradients[name])


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", DTYPES)
def test_non_finite_gradient_is_named_and_nothing_changes(clip, bad, dtype):
    grads = gradients(300, dtype, size=10.0)
    grads["b"][123] = bad
    before = {name: array.copy() for name, array in grads.items()}
    with pytest.raises(
        NonFiniteGradientError, match=r"gradients\['b'\]: expected finite values, got 1 NaN or infinite"
    ):
        clip(grads, 1.0)
    with pytest.raises(NonFiniteGradientError, match=r"gradients\[1\]"):
        clip(grads.values(), math.inf)
    for name in grads:
        np.testing.assert_array_equal(grads[name], before[name])


def test_a_norm_beyond_float64():
    array = np.full(10, 1.5e308)
    with pytest.raises(NonFiniteGradientError, match="expected a norm within float64"):
        clip_grad_norm_(array, 1.0)
    assert (array == 1.5e308).all()


@pytest.mark.parametrize(
    ("clip", "argument"),
    [(clip_grad_norm_, "max_norm"), (clip_grad_value_, "clip_value")],
    ids=["norm", "value"],
)
def test_bad_arguments(clip, argument):
    array = np.ones(3)
    for limit in (-1.0, np.nan):
        with pytest.raises(ValueError, match=f"{argument}: expected a number of at least 0"):
            clip(array, limit)
    with pytest.raises(TypeError, match=f"{argument}: expected a number of at least 0, got str"):
        clip(array, "1")
    for dtype in (np.float16, np.int64, np.complex128, np.dtype(">f4")):
        with pytest.raises(TypeError, match=r"gradients\['W'\]: expected dtype float32 or float64"):
            clip({"V": array, "W": np.ones(3, dtype)}, 0.1)
    with pytest.raises(TypeError, match=r"gradients\[0\]: expected a NumPy array, got list"):
        clip([[1.0]], 0.1)
    read_only = np.ones(3)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match=r"gradients\[1\]: expected a writeable array"):
        clip([array, read_only], 0.1)
    assert (array == 1).all()


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_value_])
def test_a_layer_and_its_parameters_are_no_gradients(clip):
    model = Sequential(GRU(3, 4, seed=0), Linear(4, 1, seed=1))
    before = model.state_dict()
    for layer in (model, model.layers[0]):
        with pytest.raises(TypeError, match=r"gradients: expected gradients, got the layer .*; pass layer\.gradients"):
            clip(layer, 0.01)
        with pytest.raises(TypeError, match=r"gradients: expected gradients, got a layer's parameters; pass layer\.g"):
            clip(layer.parameters, 0.01)
        clip(layer.gradients, 0.01)
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("dtype", DTYPES)
def test_pytorch_agrees(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch isn't installed: parity not checked")
    for limit in (0.5, 1e6):
        ours, theirs = gradients(301, dtype), gradients(301, dtype)
        parameters = [torch.nn.Parameter(torch.zeros(301, dtype=getattr(torch, dtype.__name__))) for _ in theirs]
        for parameter, gradient in zip(parameters, theirs.values(), strict=True):
            parameter.grad = torch.tensor(gradient)
        expected = torch.nn.utils.clip_grad_norm_(parameters, limit).item()
        assert clip_grad_norm_(ours, limit) == pytest.approx(expected, rel=1e-6)
        for parameter, gradient in zip(parameters, ours.values(), strict=True):
            # PyTorch divides by norm + 1e-6.
            np.testing.assert_allclose(gradient, parameter.grad.numpy(), rtol=1e-6)
        torch.nn.utils.clip_grad_value_(parameters, 0.01)
        clip_grad_value_(ours, 0.01)
        for parameter, gradient in zip(parameters, ours.values(), strict=True):
            np.testing.assert_allclose(gradient, parameter.grad.numpy(), rtol=1e-6)
