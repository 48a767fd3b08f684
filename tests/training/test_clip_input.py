"""What clipping takes and what it refuses; gradients that aren't finite."""

import math

import numpy as np
import pytest

from numgru import GRU, SGD, LastStep, Linear, Sequential
from numgru.training import (
    NonFiniteGradientError,
    clip_grad_adaptive_,
    clip_grad_norm_,
    clip_grad_norm_per_array_,
    clip_grad_value_,
)
from tests.cases import copied


def adaptive(gradients, limit, **options):
    """With weights of ones."""
    if isinstance(gradients, np.ndarray):
        weights = np.ones_like(gradients)
    elif isinstance(gradients, dict):
        weights = {name: np.ones_like(array) for name, array in gradients.items()}
    else:
        weights = [np.ones_like(array) for array in gradients]
    return clip_grad_adaptive_(gradients, weights, limit, **options)


CLIPS = [clip_grad_norm_, clip_grad_norm_per_array_, clip_grad_value_, adaptive]
each_clip = pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.__name__)


def some(dtype=np.float64, seed=0):
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(300) * 10).astype(dtype) for name in ("W", "b", "V")}


def assert_same(grads, before):
    for name in before:
        np.testing.assert_array_equal(grads[name], before[name])


@each_clip
@pytest.mark.parametrize(
    "view",
    [lambda a: a[::2], lambda a: a[::-1], lambda a: a.reshape(20, 15).T, lambda a: a.reshape(20, 15)[:, 3:9]],
    ids=["strided", "reversed", "transposed", "columns"],
)
def test_any_layout_and_nothing_beside_it(clip, view):
    storage = np.random.default_rng(0).standard_normal(300)
    expected_storage = storage.copy()
    contiguous = view(storage).copy(order="C")
    clip([contiguous], 0.1)
    view(expected_storage)[...] = contiguous
    clip([view(storage)], 0.1)
    np.testing.assert_array_equal(storage, expected_storage)


@each_clip
def test_unaligned_array(clip):
    raw = np.zeros(8 * 10 + 1, np.uint8)
    array = raw[1:].view(np.float64)
    array[:] = 1.0
    clip(array, 0.25)
    assert (array < 1).all()


@each_clip
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_is_not_finite_is_named_and_nothing_changes(clip, bad, dtype):
    grads = some(dtype)
    grads["b"][123] = bad
    grads["V"][[7, 8]] = bad
    before = copied(grads)
    message = r"gradients\['b'\]: expected finite values, got 1 NaN or infinite of 300; gradients\['V'\]: .* got 2 NaN"
    for limit in (1.0, math.inf):
        with pytest.raises(NonFiniteGradientError, match=message):
            clip(grads, limit)
    with pytest.raises(NonFiniteGradientError, match=r"gradients\[1\].*gradients\[2\]"):
        clip(list(grads.values()), 1.0)
    assert_same(grads, before)


@each_clip
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_zeroed(clip, bad):
    grads = some(np.float32)
    grads["b"][[5, 299]] = 0
    expected = copied(grads)
    clean = clip(expected, 0.5)
    grads["b"][[5, 299]] = bad
    report = clip(grads, 0.5, nonfinite="zero")
    assert_same(grads, expected)
    assert report.nonfinite == {"b": 2} and not report.skipped
    assert (report.norm, report.counts, report.factors) == (clean.norm, clean.counts, clean.factors)


@each_clip
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_skipped(clip, bad):
    grads = some(np.float32)
    grads["b"][5] = bad
    before = copied(grads)
    report = clip(grads, 0.5, nonfinite="skip")
    assert_same(grads, before)
    assert report.skipped and report.nonfinite == {"b": 1} and not math.isfinite(report.norm)
    assert report.factor == 1.0 and report.clipped == () and math.isfinite(report.norms["W"])
    assert clip(some(), 0.5, nonfinite="skip").skipped is False


@each_clip
def test_a_norm_beyond_float64(clip):
    array = np.full(10, 1.5e308)
    for options in ({}, {"nonfinite": "zero"}):
        with pytest.raises(NonFiniteGradientError, match="expected a norm within float64"):
            clip(array, 1.0, **options)
    assert clip(array, 1.0, nonfinite="skip").skipped
    assert (array == 1.5e308).all()


def test_a_sum_beyond_float64():
    with pytest.raises(NonFiniteGradientError, match="expected a norm within float64"):
        clip_grad_norm_([np.array([1e308]), np.array([1e308])], 1.0, 1)


@pytest.mark.parametrize("clip", CLIPS[:2], ids=lambda clip: clip.__name__)
def test_measured_only(clip):
    grads = some()
    before = copied(grads)
    report = clip(grads, 0.5, in_place=False)
    assert_same(grads, before)
    assert not report.in_place and report.factor < 1
    done = clip(grads, 0.5)
    assert done.in_place and (done.norms, done.factors) == (report.norms, report.factors)


@pytest.mark.parametrize(
    ("clip", "argument"),
    list(zip(CLIPS, ["max_norm", "max_norm", "clip_value", "clipping"], strict=True)),
    ids=["norm", "per array", "value", "adaptive"],
)
def test_bad_arguments(clip, argument):
    array = np.ones(3)
    for limit in (-1.0, np.nan):
        with pytest.raises(ValueError, match=f"{argument}: expected a number of at least 0"):
            clip(array, limit)
    with pytest.raises(TypeError, match=f"{argument}: expected a number of at least 0, got str"):
        clip(array, "1")
    with pytest.raises(ValueError, match=r"nonfinite: expected one of 'raise', 'zero', 'skip', got 'ignore'"):
        clip(array, 0.1, nonfinite="ignore")
    for dtype in (np.float16, np.int64, np.complex128, np.dtype(">f4")):
        with pytest.raises(TypeError, match=r"gradients\['W'\]: expected dtype float32 or float64, got"):
            clip({"V": array, "W": np.ones(3, dtype)}, 0.1)
    read_only = np.ones(3)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match=r"gradients\[1\]: expected a writeable array"):
        clip([array, read_only], 0.1)
    with pytest.raises(ValueError, match="gradients: expected at least one array, got none"):
        clip([], 0.1)
    assert (array == 1).all()


@pytest.mark.parametrize("clip", CLIPS[:3], ids=lambda clip: clip.__name__)
@pytest.mark.parametrize("kind", [np.matrix, np.ma.MaskedArray])
def test_arrays_that_are_more_than_arrays(clip, kind):
    array = np.ones((2, 3))
    with pytest.raises(TypeError, match=rf"gradients\[0\]: expected a NumPy array, got {kind.__name__}"):
        clip([array.view(kind)], 0.1)
    with pytest.raises(TypeError, match=rf"parameters\[0\]: expected a NumPy array, got {kind.__name__}"):
        clip_grad_adaptive_([array], [array.view(kind)])
    assert (array == 1).all()


@pytest.mark.parametrize("clip", [clip_grad_norm_, clip_grad_norm_per_array_])
def test_unknown_norms(clip):
    array = np.ones(3)
    for norm_type in (0, 3, -1, 1.5, -math.inf, math.nan):
        with pytest.raises(ValueError, match=r"norm_type: expected 1, 2 or math\.inf, got"):
            clip(array, 0.1, norm_type)
    for norm_type in ("2", None, True):
        with pytest.raises(TypeError, match=r"norm_type: expected 1, 2 or math\.inf, got"):
            clip(array, 0.1, norm_type)
    assert (array == 1).all()


@pytest.mark.parametrize("clip", CLIPS[:3], ids=lambda clip: clip.__name__)
def test_no_arrays(clip):
    with pytest.raises(TypeError, match=r"gradients: expected arrays, got NoneType; a layer has them after"):
        clip(None, 0.1)
    with pytest.raises(TypeError, match=r"gradients\['W'\]: expected a NumPy array, got NoneType; it is there after"):
        clip({"W": None}, 0.1)
    with pytest.raises(TypeError, match=r"gradients\[0\]: expected a NumPy array, got list"):
        clip([[1.0]], 0.1)
    used_up = iter([np.ones(3)])
    clip(used_up, 0.1)
    with pytest.raises(ValueError, match="gradients: expected at least one array, got none"):
        clip(used_up, 0.1)


@each_clip
def test_overlapping_arrays(clip):
    storage = np.ones((6, 10))
    row = storage[0]
    for arrays in (
        {"a": storage[:4], "b": storage[3:]},
        {"a": storage[0], "other": np.ones(3), "b": storage[:, 9:]},
        {"a": storage, "b": storage},
        {"a": storage[::-1, ::-1], "b": storage[5:]},
        {"a": row[9:3:-1], "b": row[4:6]},
        {"a": row[::2], "other": row[3:6:2], "b": row[6:9:2]},
        {"a": row[::2], "other": row[1:8:2], "b": row[6:9:2]},
    ):
        with pytest.raises(ValueError, match=r"expected arrays that don't overlap, got gradients\['.'\] and gradients"):
            clip(arrays, 0.1)
    assert (storage == 1).all()
    clip({"even": storage[::2], "odd": storage[1::2], "none": storage[:0]}, 0.1)  # interleaved, and yet apart
    assert (storage < 1).all()


@pytest.mark.parametrize("clip", CLIPS[:3], ids=lambda clip: clip.__name__)
def test_a_layer_and_its_parameters_are_no_gradients(clip):
    model = Sequential(GRU(3, 4, seed=0), Linear(4, 1, seed=1))
    before = model.state_dict()
    for layer in (model, model.layers[0]):
        with pytest.raises(TypeError, match=r"gradients: expected gradients, got the layer .*; pass layer\.gradients"):
            clip(layer, 0.01)
        with pytest.raises(TypeError, match=r"gradients: expected gradients, got a layer's parameters; pass layer\.g"):
            clip(layer.parameters, 0.01)
        clip(layer.gradients, 0.01)
    assert_same(model.parameters, before)


def test_weights_that_do_not_fit():
    grads = some()
    before = copied(grads)
    model = GRU(1, 1)
    for weights, error, message in (
        (model, TypeError, r"parameters: expected arrays, got the layer GRU.*; pass layer\.parameters"),
        ({"W": grads["W"]}, ValueError, r"parameters: expected one for every gradient, .* missing: \['b', 'V'\]"),
        (
            grads | {"b": np.ones(299)},
            ValueError,
            r"parameters\['b'\]: expected float64 of shape .* \(299,\)",
        ),
        (grads | {"b": np.ones(300, np.float32)}, ValueError, r"parameters\['b'\]: expected float64 .* got float32"),
        (grads | {"b": [1.0] * 300}, TypeError, r"parameters\['b'\]: expected a NumPy array, got list"),
        (grads | {"b": np.full(300, np.nan)}, ValueError, r"parameters\['b'\]: expected finite values"),
    ):
        with pytest.raises(error, match=message):
            clip_grad_adaptive_(grads, weights)
    with pytest.raises(ValueError, match="eps: expected a finite number of at least 0, got -1"):
        clip_grad_adaptive_(grads, grads, eps=-1)
    assert_same(grads, before)
    read_only = np.ones(300)
    read_only.flags.writeable = False
    assert clip_grad_adaptive_(grads["W"], read_only).clipped == ("gradients",)


def test_a_layer_without_parameters_has_nothing_to_clip():
    assert clip_grad_norm_(LastStep().gradients, 1.0).norm == 0.0


def test_an_optimizer_takes_the_report_of_some_arrays_that_are_clipped(make_model):
    model = make_model()
    model.flat_gradients[...] = 1
    some = {name: model.gradients[name] for name in ("W", "b")}
    before = model.flat_parameters.copy()
    SGD(model, lr=1.0).step(clip_grad_norm_(some, 1e-3))
    assert np.array_equal(model.flat_parameters, before - model.flat_gradients)
    with pytest.raises(ValueError, match="clip: expected a report of the model's gradients"):
        SGD(model).step(clip_grad_norm_(some, 1e-3, in_place=False))
    some["W"][0] = np.nan
    before = model.flat_parameters.copy()
    SGD(model, lr=1.0).step(clip_grad_norm_(some, 1e-3, nonfinite="skip"))
    assert np.array_equal(before, model.flat_parameters)


def test_an_optimizer_takes_the_report_of_its_own_model(make_model):
    model, other = make_model(), Sequential(Linear(3, 2, seed=0))
    report = clip_grad_norm_(other.gradients, 1.0, in_place=False)
    with pytest.raises(ValueError, match=r"clip: expected a report of the model's gradients, \['W', 'b', 'V'\], got"):
        SGD(model).step(report)
    with pytest.raises(TypeError, match="clip: expected a ClipReport or None, got float"):
        SGD(model).step(0.5)
