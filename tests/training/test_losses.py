"""Losses against a float64 oracle, numeric gradients and PyTorch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from numgru.kernels.loss import SUMS
from numgru.training import BCEWithLogitsLoss, CrossEntropyLoss, HuberLoss, L1Loss, MSELoss

SIZES = [1, 3, SUMS - 1, SUMS, SUMS + 1, 2 * SUMS + 5]
REGRESSION = [MSELoss(), L1Loss(), HuberLoss(), HuberLoss(0.3)]
ALL = [*REGRESSION, BCEWithLogitsLoss(), CrossEntropyLoss()]


def name(loss):
    return "".join(str(value) for value in loss.settings.values())


def softmax_log(p):
    shifted = p - p.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def oracle(loss, p, t):
    """The textbook definition, float64."""
    p = p.astype(np.float64)
    if isinstance(loss, CrossEntropyLoss):
        return -np.take_along_axis(softmax_log(p), t[..., None], -1).mean()
    t = t.astype(np.float64)
    if isinstance(loss, BCEWithLogitsLoss):
        s = 1 / (1 + np.exp(-p))
        return -(t * np.log(s) + (1 - t) * np.log(1 - s)).mean()
    d = np.abs(p - t)
    if isinstance(loss, MSELoss):
        return (d**2).mean()
    if isinstance(loss, L1Loss):
        return d.mean()
    return np.where(d <= loss.delta, d**2 / 2, loss.delta * (d - loss.delta / 2)).mean()


def problem(loss, n, seed=0, dtype=np.float64):
    rng = np.random.default_rng(seed)
    if isinstance(loss, CrossEntropyLoss):
        return rng.standard_normal((n, 5)).astype(dtype) * 3, rng.integers(0, 5, n)
    p = rng.standard_normal(n).astype(dtype)
    return p, (rng.random(n) if isinstance(loss, BCEWithLogitsLoss) else rng.standard_normal(n)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("loss", ALL, ids=name)
def test_value_is_the_definition(loss, n, dtype):
    p, t = problem(loss, n, dtype=dtype)
    value, dp = loss(p, t)
    assert type(value) is float
    assert dp.shape == p.shape and dp.dtype == p.dtype
    np.testing.assert_allclose(value, oracle(loss, p, t), rtol=1e-12)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("loss", ALL, ids=name)
def test_gradient_is_the_derivative_of_the_value(loss, n):
    p, t = problem(loss, n, seed=n)
    direction = np.random.default_rng(1).standard_normal(p.shape)
    eps = 1e-6
    numeric = (oracle(loss, p + eps * direction, t) - oracle(loss, p - eps * direction, t)) / (2 * eps)
    analytic = (loss(p, t)[1] * direction).sum()
    assert analytic == pytest.approx(numeric, rel=1e-6, abs=1e-8), f"{analytic=} {numeric=}"


@pytest.mark.parametrize("loss", ALL, ids=name)
def test_float32_gradient_is_the_float64_one_rounded(loss):
    p, t = problem(loss, 300, dtype=np.float32)
    wide = loss(p.astype(np.float64), t)[1]
    np.testing.assert_allclose(loss(p, t)[1], wide, rtol=3e-7, atol=1e-10)


@pytest.mark.parametrize("loss", ALL, ids=name)
def test_nan_in_nan_out(loss):
    p, t = problem(loss, 300)
    p.flat[7] = np.nan
    value, dp = loss(p, t)
    assert np.isnan(value)
    assert np.isnan(dp.flat[7])


@pytest.mark.parametrize("loss", [*REGRESSION, BCEWithLogitsLoss()], ids=name)
def test_nan_target_nan_out(loss):
    p, t = problem(loss, 9)
    t[3] = np.nan
    value, dp = loss(p, t)
    assert np.isnan(value) and np.isnan(dp[3]) and np.isfinite(np.delete(dp, 3)).all()


@pytest.mark.parametrize("loss", ALL, ids=name)
def test_layout_of_the_arguments_makes_no_difference(loss):
    p, t = problem(loss, 600)
    strided_p, strided_t = np.repeat(p, 2, axis=0)[::2], np.repeat(t, 2, axis=0)[::2]
    strided_p.flags.writeable = False
    value, dp = loss(p, t)
    again, again_dp = loss(strided_p, strided_t)
    assert value == again
    np.testing.assert_array_equal(dp, again_dp)


def test_several_axes():
    rng = np.random.default_rng(0)
    p, t = rng.standard_normal((4, 3, 5)), rng.integers(0, 5, (4, 3))
    value, dp = CrossEntropyLoss()(p, t)
    flat_value, flat_dp = CrossEntropyLoss()(p.reshape(12, 5), t.reshape(12))
    assert value == flat_value
    np.testing.assert_array_equal(dp.reshape(12, 5), flat_dp)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_logits_stay_finite(dtype):
    p = np.array([1e4, -1e4, 1e4, -1e4], dtype)
    value, dp = BCEWithLogitsLoss()(p, np.array([1, 0, 0, 1]))
    assert value == 5000.0
    np.testing.assert_allclose(dp, [0, 0, 0.25, -0.25])
    value, dp = CrossEntropyLoss()(p.reshape(2, 2), np.array([0, 1]))
    assert value == 10000.0
    np.testing.assert_allclose(dp, [[0, 0], [0.5, -0.5]])


def test_a_confident_right_answer_keeps_its_digits():
    """log(1 + e^-40) is 4.2e-18, and 1 + e^-40 is 1."""
    expected = pytest.approx(np.exp(-40.0), rel=1e-12, abs=0)
    value, dp = BCEWithLogitsLoss()(np.array([-40.0]), np.array([0.0]))
    assert (value, dp[0]) == (expected, expected)
    value, dp = CrossEntropyLoss()(np.array([[40.0, 0.0]]), np.array([0]))
    assert (value, -dp[0, 0], dp[0, 1]) == (expected, expected, expected)


def test_kinks():
    assert L1Loss()(np.zeros(2), np.zeros(2))[1].tolist() == [0, 0]
    value, dp = HuberLoss(1.0)(np.array([1.0, -3.0]), np.zeros(2))
    assert (value, dp.tolist()) == ((0.5 + 2.5) / 2, [0.5, -0.5])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 9), st.floats(-1e4, 1e4))
def test_cross_entropy_ignores_a_shift_and_its_gradient_sums_to_zero(seed, rows, classes, shift):
    rng = np.random.default_rng(seed)
    p, t = rng.standard_normal((rows, classes)) * 5, rng.integers(0, classes, rows)
    value, dp = CrossEntropyLoss()(p, t)
    assert value >= 0
    np.testing.assert_allclose(dp.sum(-1), 0, atol=1e-15)
    np.testing.assert_allclose(CrossEntropyLoss()(p + shift, t)[0], value, rtol=1e-9, atol=1e-10)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 700))
def test_huber_lies_between_its_two_limits(seed, n):
    rng = np.random.default_rng(seed)
    p, t = rng.standard_normal(n), rng.standard_normal(n)
    squared, absolute = MSELoss()(p, t)[0], L1Loss()(p, t)[0]
    assert HuberLoss(1e6)(p, t)[0] == pytest.approx(squared / 2)
    assert HuberLoss(1e-9)(p, t)[0] == pytest.approx(1e-9 * absolute, rel=1e-6, abs=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ALL, ids=name)
def test_pytorch_agrees(loss, dtype):
    torch = pytest.importorskip("torch", reason="PyTorch isn't installed: parity not checked")
    p, t = problem(loss, 301, dtype=dtype)
    options = {"delta": loss.delta} if isinstance(loss, HuberLoss) else {}
    prediction = torch.tensor(p, requires_grad=True)
    expected = getattr(torch.nn, type(loss).__name__)(**options)(prediction, torch.tensor(t))
    expected.backward()
    value, dp = loss(p, t)
    rtol = 2e-6 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(value, expected.item(), rtol=rtol)
    np.testing.assert_allclose(dp, prediction.grad.numpy(), rtol=rtol, atol=rtol * 1e-3)


def zeros(*shape, dtype=np.float32):
    return np.zeros(shape, dtype)


@pytest.mark.parametrize(
    ("loss", "p", "t", "error", "message"),
    [
        (
            MSELoss(),
            zeros(3, 1),
            zeros(3),
            ValueError,
            r"target: expected the prediction's shape \(3, 1\), got \(3,\)",
        ),
        (MSELoss(), zeros(0), zeros(0), ValueError, r"prediction: expected at least one value"),
        (
            MSELoss(),
            zeros(2, dtype=np.float16),
            zeros(2),
            TypeError,
            "prediction: expected dtype float32 or float64",
        ),
        (MSELoss(), zeros(2, dtype=complex), zeros(2), TypeError, "prediction: .* got complex128"),
        (
            MSELoss(),
            zeros(2),
            zeros(2, dtype=complex),
            TypeError,
            "target: expected real numbers, got dtype complex128",
        ),
        (MSELoss(), (zeros(2), zeros(2)), zeros(2), TypeError, r"prediction: expected an array, got a tuple"),
        (
            BCEWithLogitsLoss(),
            zeros(2),
            [0, 2],
            ValueError,
            "target: expected probabilities, .* from 0.0 to 2.0",
        ),
        (BCEWithLogitsLoss(), np.zeros(2), [-0.1, 0.5], ValueError, "target: .* from -0.1 to 0.5"),
        (BCEWithLogitsLoss(), zeros(3), [np.nan, 2, 0.5], ValueError, "target: .* from 0.5 to 2.0"),
        (CrossEntropyLoss(), zeros(2, 3), zeros(2), TypeError, "target: expected integers"),
        (
            CrossEntropyLoss(),
            zeros(2, 3),
            [0, 3],
            ValueError,
            "target: expected classes from 0 to 2, .* 0 to 3",
        ),
        (
            CrossEntropyLoss(),
            zeros(2, 3),
            [0, -1],
            ValueError,
            "target: expected classes from 0 to 2, .* -1 to 0",
        ),
        (
            CrossEntropyLoss(),
            zeros(2, 3),
            [[0, 1]],
            ValueError,
            r"without its last axis .* \(2,\), got \(1, 2\)",
        ),
        (CrossEntropyLoss(), np.float32(1), 0, ValueError, "without its last axis"),
    ],
)
def test_bad_input_is_named(loss, p, t, error, message):
    with pytest.raises(error, match=message):
        loss(p, t)


@pytest.mark.parametrize("delta", [0, -1, np.nan, np.inf])
def test_bad_delta(delta):
    with pytest.raises(ValueError, match="delta: expected a finite number above 0"):
        HuberLoss(delta)
