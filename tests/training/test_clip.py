"""What clipping computes: against NumPy in float64, at the ends of the floating-point range, and against PyTorch."""

import math
import platform

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numgru
from numgru import (
    ClipReport,
    clip_grad_adaptive_,
    clip_grad_norm_,
    clip_grad_norm_per_array_,
    clip_grad_value_,
)
from numgru.kernels.clip import CHUNK, SUMS
from tests.cases import copied, run_elsewhere

SIZES = [1, SUMS - 1, SUMS, SUMS + 1, 4 * SUMS + 7, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 65]
DTYPES = [np.float32, np.float64]
ORDERS = [1, 2, math.inf]


def gradients(n, dtype=np.float64, seed=0, size=1.0):
    rng = np.random.default_rng(seed)
    return {name: (rng.standard_normal(n) * size).astype(dtype) for name in ("W", "b", "V")}


def true_norm(arrays, order=2):
    """By Python's own sums, which are rounded once; math.hypot neither overflows nor underflows."""
    values = [abs(float(value)) for array in arrays for value in np.ravel(array)]
    return {1: math.fsum, 2: lambda v: math.hypot(*v), math.inf: max}[order](values)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_norm(n, dtype, order):
    grads = gradients(n, dtype)
    before = copied(grads)
    limit = true_norm(grads.values(), order) / 3
    report = clip_grad_norm_(grads, limit, order)
    assert type(report.norm) is float
    assert report.norm == pytest.approx(true_norm(before.values(), order), rel=1e-14, abs=0)
    assert report.norms == pytest.approx({k: true_norm([v], order) for k, v in before.items()}, rel=1e-14, abs=0)
    assert report.factor == limit / report.norm and set(report.factors.values()) == {report.factor}
    assert report.clipped == ("W", "b", "V") and report.share == 1.0 and not report.skipped
    for name, array in grads.items():
        np.testing.assert_array_equal(array, before[name] * dtype(report.factor))
    assert true_norm(grads.values(), order) == pytest.approx(limit, rel=1e-6)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_norm_per_array(dtype, order):
    grads = gradients(300, dtype)
    grads["b"] *= dtype(0.01)
    before = copied(grads)
    norms = {name: true_norm([array], order) for name, array in grads.items()}
    limit = 0.5 * min(norms["W"], norms["V"])
    report = clip_grad_norm_per_array_(grads, limit, order)
    assert report.clipped == ("W", "V") and report.parts == 3 and report.share == pytest.approx(2 / 3)
    assert report.norms == pytest.approx(norms, rel=1e-14) and report.factors["b"] == 1.0
    for name, array in grads.items():
        np.testing.assert_array_equal(array, before[name] * dtype(min(1.0, limit / report.norms[name])))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", SIZES)
def test_value(n, dtype):
    grads = gradients(n, dtype, size=2.0)
    before = copied(grads)
    expected = {name: np.clip(array, dtype(-0.7), dtype(0.7)) for name, array in grads.items()}
    counts = {name: int((expected[name] != grads[name]).sum()) for name in grads}
    report = clip_grad_value_(grads, 0.7)
    assert report.counts == counts and report.parts == 3 * n and report.share == sum(counts.values()) / (3 * n)
    assert report.norm == pytest.approx(true_norm(before.values()), rel=1e-14)
    for name, array in before.items():
        assert report.factors[name] == (pytest.approx(0.7 / np.abs(array).max()) if counts[name] else 1.0)
        np.testing.assert_array_equal(grads[name], expected[name])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(7, 1), (5, SUMS + 3), (3, 2, 9), (4,), ()])
def test_adaptive(dtype, shape):
    """Equation 3 of Brock et al. 2021, one unit after the other."""
    rng = np.random.default_rng(0)
    weight = np.asarray(rng.standard_normal(shape), dtype)
    gradient = np.asarray(rng.standard_normal(shape), dtype)
    if weight.ndim > 1:
        weight[0], gradient[1] = 0, 0  # one lets its gradient be eps clipping long, the other has none
    before, expected, count = gradient.copy(), gradient.copy(), 0
    rows = (np.atleast_1d(a).reshape(-1, a.shape[-1] if a.ndim else 1) for a in (expected, weight))
    for g, w in zip(*rows, strict=True):
        limit = 0.05 * max(true_norm([w]), 1e-3)
        if true_norm([g]) > limit:
            g *= dtype(limit / true_norm([g]))
            count += 1
    report = clip_grad_adaptive_(gradient, weight, 0.05)
    np.testing.assert_allclose(gradient, expected, rtol=2 * np.finfo(dtype).eps)
    assert count > 0 and report.counts == {"gradients": count}
    assert report.parts == math.prod(shape[:-1]) and report.norm == pytest.approx(true_norm([before]), rel=1e-14)


def test_adaptive_takes_a_layer_without_some_of_its_arrays():
    model = numgru.Sequential(numgru.GRU(3, 4, learn_h_0=True, seed=0), numgru.Linear(4, 1, seed=1))
    model.flat_gradients[...] = 1.0
    inner = {name: array for name, array in model.gradients.items() if not name.startswith("1.")}
    report = clip_grad_adaptive_(inner, model.parameters)
    assert report.parts == 12 + 12 + 1 + 1 + 1 and report.counts["0.h_0"] == 1
    np.testing.assert_allclose(np.linalg.norm(model.gradients["0.h_0"]), 1e-5, rtol=1e-6)  # eps clipping
    assert (model.gradients["1.weight"] == 1).all()


@pytest.mark.parametrize("limit", [1e9, math.inf])
def test_below_the_limit_nothing_changes(limit):
    grads = gradients(50)
    before = copied(grads)
    for report in (
        *(clip_grad_norm_(grads, limit, order) for order in ORDERS),
        clip_grad_norm_per_array_(grads, limit),
        clip_grad_value_(grads, limit),
        clip_grad_adaptive_(grads, copied(grads), limit),
    ):
        assert report.factor == 1.0 and report.clipped == () and report.share == 0.0
    for name in grads:
        np.testing.assert_array_equal(grads[name], before[name])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("clipping", "weight"), [(math.inf, 0.0), (math.inf, 1.0), (1e300, 1e300)])
def test_an_adaptive_limit_beyond_all_numbers(clipping, weight):
    gradient = np.ones(3)
    assert clip_grad_adaptive_(gradient, np.full(3, weight), clipping, 0.0).clipped == ()
    assert (gradient == 1).all()


EXTREMES = [
    (np.float32, 1e30),
    (np.float32, 3.4e38),
    (np.float32, 1e-38),
    (np.float32, 1e-40),
    (np.float64, 1e200),
    (np.float64, 1.7e307),
    (np.float64, 1e-160),
    (np.float64, 1e-300),
    (np.float64, 5e-324),
]


@pytest.mark.parametrize(("dtype", "value"), EXTREMES)
@pytest.mark.parametrize(("order", "times"), [(1, 10), (2, math.sqrt(10)), (math.inf, 1)])
def test_ends_of_the_range(dtype, value, order, times):
    """The square of every one of these overflows or underflows in its own dtype."""
    grads = [np.full(n, value, dtype) for n in (8, 2)]
    expected = float(dtype(value)) * times
    assert clip_grad_norm_(grads, math.inf, order).norm == pytest.approx(expected, rel=1e-12, abs=5e-324)
    clip_grad_norm_(grads, expected / 2, order)
    np.testing.assert_allclose(grads[0], float(dtype(value)) / 2, rtol=1e-4, atol=np.finfo(dtype).smallest_subnormal)


@pytest.mark.parametrize(("dtype", "value"), EXTREMES)
def test_units_at_the_ends_of_the_range(dtype, value):
    gradient, before = np.full((2, 5), value, dtype), float(dtype(value))
    clip_grad_adaptive_(gradient, gradient.copy(), 0.5, 0.0)
    np.testing.assert_allclose(gradient, before / 2, rtol=1e-6, atol=np.finfo(dtype).smallest_subnormal)


def test_large_and_small_values_together():
    grads = [np.array([3e200, 1e-200]), np.array([4e200])]
    assert clip_grad_norm_(grads, math.inf).norm == pytest.approx(5e200, rel=1e-15)


def test_a_factor_too_small_for_a_normal_number():
    """float32's begin at 1.2e-38; a factor below it takes two multiplications."""
    array = np.full(3, 3e38, np.float32)
    report = clip_grad_norm_(array, 1e-3)
    assert report.factor < 1e-41
    np.testing.assert_allclose(array, 1e-3 / math.sqrt(3), rtol=1e-6)


def test_units_whose_factors_are_too_small_for_normal_numbers():
    gradient = np.array([[3e38, 1e38], [1e38, 1.0], [3e-7, 4e-7], [0.0, 0.0]], np.float32)
    before = gradient.astype(np.float64)
    report = clip_grad_adaptive_(gradient, np.zeros_like(gradient), eps=1e-6)
    assert report.factor < 1e-46 and report.counts == {"gradients": 3}
    norms = np.linalg.norm(before, axis=1, keepdims=True)
    expected = before * np.divide(1e-8, norms, out=np.ones_like(norms), where=norms > 0)
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=np.finfo(np.float32).smallest_subnormal)


def test_more_than_rounding_is_clipped():
    array = np.array([1 + 32 * np.finfo(float).eps])
    assert clip_grad_norm_(array, 1.0).clipped == ("gradients",) and array == 1.0


def test_an_adaptive_factor_is_that_of_the_worst_unit():
    report = clip_grad_adaptive_(np.array([[1.0, 0.0], [100.0, 0.0]]), np.eye(2), 0.01)
    assert report.factor == pytest.approx(1e-4)


def test_zero_gradients():
    assert clip_grad_norm_([np.zeros(5), np.zeros(0)], 0.0).norm == 0.0
    assert clip_grad_adaptive_([np.zeros((5, 0))], [np.zeros((5, 0))]).norm == 0.0


def test_a_limit_of_zero_clears():
    array = np.ones(4)
    assert clip_grad_norm_(array, 0).norm == 2.0
    assert not array.any()


RULES = {
    "norm 2": lambda g, limit: clip_grad_norm_(g, limit),
    "norm 1": lambda g, limit: clip_grad_norm_(g, limit, 1),
    "norm inf": lambda g, limit: clip_grad_norm_(g, limit, math.inf),
    "per array": lambda g, limit: clip_grad_norm_per_array_(g, limit),
    "value": lambda g, limit: clip_grad_value_(g, limit),
    "adaptive": lambda g, limit: clip_grad_adaptive_(g, [np.ones_like(a) for a in g], limit),
}


@pytest.mark.parametrize("rule", RULES)
@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.sampled_from([np.float32, np.float64]), st.floats(1e-2, 3))
def test_twice_is_once_and_nothing_grows_or_turns_around(rule, seed, n, dtype, limit):
    rng = np.random.default_rng(seed)
    grads = [rng.standard_normal((n, 3)).astype(dtype), rng.standard_normal(2 * n).astype(dtype)]
    before = [array.copy() for array in grads]
    RULES[rule](grads, limit)
    once = [array.copy() for array in grads]
    assert RULES[rule](grads, limit).factor == 1.0
    for was, first, second in zip(before, once, grads, strict=True):
        np.testing.assert_array_equal(first, second)
        assert (np.abs(first) <= np.abs(was)).all() and (first * was >= 0).all()


def cosine(one, other):
    one, other = (np.concatenate([np.ravel(array) for array in arrays]).astype(np.float64) for arrays in (one, other))
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


KEEPS = {  # whether the direction is kept of all gradients together, of each array, of each unit
    "norm 2": (True, True, True),
    "norm 1": (True, True, True),
    "norm inf": (True, True, True),
    "per array": (False, True, True),
    "value": (False, False, False),
    "adaptive": (False, False, True),
}


@pytest.mark.parametrize("rule", RULES)
def test_which_directions_are_kept(rule):
    rng = np.random.default_rng(0)
    sizes = np.array([[1.0], [5.0], [25.0]])
    grads = [rng.standard_normal((3, 8)) * sizes, rng.standard_normal((3, 8)) * 7 * sizes]
    before = [array.copy() for array in grads]
    RULES[rule](grads, 0.5)
    kept = (
        cosine(before, grads),
        min(cosine([a], [b]) for a, b in zip(before, grads, strict=True)),
        min(cosine([a[i]], [b[i]]) for a, b in zip(before, grads, strict=True) for i in range(3)),
    )
    for cos, keeps in zip(kept, KEEPS[rule], strict=True):
        assert cos == pytest.approx(1.0, abs=1e-14) if keeps else cos < 0.99


@given(st.integers(0, 2**32 - 1), st.integers(1, 600), st.integers(-150, 150), st.floats(1e-3, 1e3))
def test_clipped_norm_is_the_limit_and_the_direction_stays(seed, n, exponent, share):
    rng = np.random.default_rng(seed)
    array = rng.standard_normal(n) * 10.0**exponent
    before, norm = array.copy(), true_norm([array])
    limit = norm * share
    assert clip_grad_norm_(array, limit).norm == pytest.approx(norm, rel=1e-13, abs=0)
    assert true_norm([array]) == pytest.approx(min(norm, limit), rel=1e-12, abs=0)
    np.testing.assert_allclose(array / true_norm([array]), before / norm, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_any_number_of_threads_gives_the_same_bits(rule, dtype):
    rng = np.random.default_rng(0)
    start = [(rng.standard_normal((5, 300_000))).astype(dtype), rng.standard_normal(1_100_000).astype(dtype)]
    results = []
    for threads in (1, 2, 3, 8):
        numgru.set_num_threads(threads)
        grads = [array.copy() for array in start]
        results.append((RULES[rule](grads, 0.3), *grads))
    for report, *grads in results[1:]:
        assert report == results[0][0]
        for array, expected in zip(grads, results[0][1:], strict=True):
            np.testing.assert_array_equal(array, expected)


def found_and_clipped(dtype):
    """One after the other on arrays that end within a register, a block of them, and a chunk."""
    found = []
    for n in (1, SUMS - 1, SUMS + 1, CHUNK + 70):
        grads = list(gradients(n, dtype).values())
        found += [(report.norm, report.factors) for report in (rule(grads, 0.01) for rule in RULES.values())]
        found += [array.tolist() for array in grads]
    return found


ELSEWHERE = (
    "from tests.training.test_clip import *; print(found_and_clipped(np.float32), found_and_clipped(np.float64))"
)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="they are units of x86 processors")
@pytest.mark.parametrize(("cpu", "features"), [("haswell", "+avx,+avx2,+fma"), ("x86-64", "+sse2")])
def test_any_vector_unit_gives_the_same_bits(cpu, features):
    there = run_elsewhere(ELSEWHERE, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features)
    assert there.strip() == f"{found_and_clipped(np.float32)} {found_and_clipped(np.float64)}"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, SUMS - 1, SUMS + 1, CHUNK - 1, CHUNK + 70])
def test_an_array_may_begin_anywhere_in_a_cache_line(n, dtype):
    """Registers are stored from the start of a line on; what lies before it and behind the array's end is as it was."""
    for first in range(0, 64 // np.dtype(dtype).itemsize + 2, 3):
        start = np.random.default_rng(n).standard_normal(first + n + 40).astype(dtype)
        for rule, expected in (
            (lambda array: clip_grad_norm_(array, 1e-3), lambda array, report: array * dtype(report.factor)),
            (lambda array: clip_grad_value_(array, 0.3), lambda array, _: np.clip(array, dtype(-0.3), dtype(0.3))),
        ):
            buffer = start.copy()
            report = rule(buffer[first : first + n])
            changed = expected(start[first : first + n], report)
            np.testing.assert_array_equal(buffer, np.concatenate([start[:first], changed, start[first + n :]]))


def test_an_array_that_no_cache_holds():
    """Memory is asked for early then, also behind the array's end; nothing else is different."""
    start = np.random.default_rng(0).standard_normal((4, 1 << 20)).astype(np.float32)[:, 3:]
    start = np.concatenate([start, start[:, :70]], axis=1)
    assert start.nbytes > 1 << 24
    norms = np.linalg.norm(start.astype(np.float64), axis=1)
    sizes = np.abs(start).astype(np.float64)
    for order, expected in ((1, sizes.sum()), (2, np.linalg.norm(norms)), (math.inf, sizes.max())):
        assert clip_grad_norm_(start, math.inf, order).norm == pytest.approx(expected, rel=1e-13)
    array = start.copy()
    report = clip_grad_norm_(array, 1.0)
    np.testing.assert_array_equal(array, start * np.float32(report.factor))
    array = start.copy()
    clip_grad_value_(array, 0.3)
    np.testing.assert_array_equal(array, np.clip(start, np.float32(-0.3), np.float32(0.3)))
    array = start.copy()
    clip_grad_adaptive_(array, np.zeros_like(array), 1.0, 2.0)
    np.testing.assert_allclose(array, start * (2.0 / norms[:, None]), rtol=2e-7)


@pytest.mark.parametrize("make", [dict, lambda d: list(d.values()), lambda d: iter(d.values())])
def test_mapping_iterable_and_views_into_one_buffer_agree(make, make_model):
    model = make_model(dtype=np.float32)
    model.flat_gradients[...] = np.random.default_rng(0).standard_normal(model.flat_gradients.size)
    copies = copied(model.gradients)
    report = clip_grad_norm_(make(model.gradients), 0.3)
    assert report.norm == clip_grad_norm_(copies, 0.3).norm
    assert list(report.norms) == (list(copies) if make is dict else [0, 1, 2])
    for name, array in copies.items():
        np.testing.assert_array_equal(array, model.gradients[name])


def test_a_report_of_nothing():
    report = ClipReport(0.0, {}, {}, {}, 0)
    assert (report.factor, report.clipped, report.share) == (1.0, (), 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pytorch_agrees(dtype):
    torch = pytest.importorskip("torch", reason="PyTorch isn't installed: parity not checked")

    def theirs():
        parameters = [torch.nn.Parameter(torch.zeros(301, dtype=getattr(torch, dtype.__name__))) for _ in range(3)]
        for parameter, gradient in zip(parameters, gradients(301, dtype).values(), strict=True):
            parameter.grad = torch.tensor(gradient)
        return parameters

    def compare(ours, parameters):
        for parameter, gradient in zip(parameters, ours.values(), strict=True):
            np.testing.assert_allclose(gradient, parameter.grad.numpy(), rtol=1e-6)

    for limit in (0.5, 1e6):
        for order in ORDERS:
            ours, parameters = gradients(301, dtype), theirs()
            expected = torch.nn.utils.clip_grad_norm_(parameters, limit, order).item()
            assert clip_grad_norm_(ours, limit, order).norm == pytest.approx(expected, rel=1e-6)
            # PyTorch divides by norm + 1e-6.
            for gradient in ours.values():
                gradient *= dtype(1 if expected < limit else expected / (expected + 1e-6))
            compare(ours, parameters)
    ours, parameters = gradients(301, dtype), theirs()
    torch.nn.utils.clip_grad_value_(parameters, 0.01)
    clip_grad_value_(ours, 0.01)
    compare(ours, parameters)
