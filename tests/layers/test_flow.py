"""The gradient that flows from step to step: its norms, and bounds that hold it.

The oracle: the same layer, unbounded and one step at a time, with the bound applied by NumPy in between.
"""

from __future__ import annotations

import itertools
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numgru
from tests.cases import Arrays, assert_same_bits, run_elsewhere
from tests.test_invariance import AVX2

CELLS = [numgru.GRU, numgru.RNN, numgru.LSTM]
BOUNDS: list[dict[str, float]] = [
    {},
    {"clip_flow_value": 0.05},
    {"clip_flow_norm": 0.2},
    {"clip_flow_norm": 0.6, "clip_flow_value": 0.2},
]
I, H = 5, 19
each_cell = pytest.mark.parametrize("cell", CELLS)
each_bound = pytest.mark.parametrize("bound", BOUNDS, ids=["free", "value", "norm", "both"])


def problem(T: int, B: int, D: int = 1, dtype: Any = np.float64) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.standard_normal((T, B, I)).astype(dtype), rng.standard_normal((T, B, D * H)).astype(dtype)


def bounded(dh: Any, clip_flow_value: float = np.inf, clip_flow_norm: float = np.inf) -> Any:
    """Each state's rows for themselves."""
    norms = np.linalg.norm(dh, axis=-1, keepdims=True)
    dh = dh * np.where(norms > clip_flow_norm, clip_flow_norm / np.maximum(norms, 1e-300), 1.0)
    return np.clip(dh, -clip_flow_value, clip_flow_value)


def step_by_step(cell: Any, x: Any, dy: Any, **bound: float) -> Arrays:
    layer = cell(I, H, dtype=np.float64, seed=0)
    states = [None]
    for x_t in x:
        states.append(layer(x_t[None], states[-1])[1])
    layer.zero_grad()
    dh, norms, dx = np.zeros_like(states[-1]), np.zeros(x.shape[:2]), np.zeros_like(x)  # type: ignore[call-overload]
    flowed, factors, counts = np.zeros((3, *dh.shape[:-2], *x.shape[:2]))
    for t in reversed(range(len(x))):
        whole = dh.reshape(-1, *dh.shape[-2:]).copy()  # (S, B, H)
        whole[0] += dy[t]
        norms[t] = np.linalg.norm(whole, axis=(0, 2))
        layer.forward(x[t : t + 1], states[t])
        dx[t], dh = layer.backward(dy[t : t + 1], dh)
        free, dh = dh, bounded(dh, **bound)
        flowed[..., t, :], counts[..., t, :] = np.linalg.norm(free, axis=-1), (dh != free).sum(axis=-1)
        factors[..., t, :] = (dh / free).min(axis=-1)
    report = {"report.norms": flowed, "report.factors": factors, "report.counts": counts} if bound else {}
    return {"dx": dx, "dh_0": dh, "gradients": layer.flat_gradients.copy(), "norms": norms[None], **report}


def at_once(layer: Any, x: Any, dy: Any, **options: Any) -> Arrays:
    layer.measure_flow = True
    layer.zero_grad()
    layer.forward(x, **options)
    dx, dh_0 = layer.backward(dy)
    found = {"dx": dx, "dh_0": dh_0, "gradients": layer.flat_gradients.copy(), "norms": layer.gradient_flow}
    if layer.clip_flow_value or layer.clip_flow_norm:
        report = layer.flow_report
        found |= {f"report.{name}": getattr(report, name) for name in ("norms", "factors", "counts")}
    return found


@each_cell
@each_bound
@pytest.mark.parametrize("B", [1, 3, 9, 17])
def test_whole_sequence_is_every_step_with_the_bound_between(cell: Any, bound: dict[str, float], B: int) -> None:
    x, dy = problem(7, B)
    found = at_once(cell(I, H, dtype=np.float64, seed=0, **bound), x, dy)
    expected = step_by_step(cell, x, dy, **bound)
    if bound:
        free = step_by_step(cell, x, dy)
        assert np.abs(free["dx"] - expected["dx"]).max() > 1e-3  # the bound does something
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-13 * max(1.0, np.abs(value).max()), err_msg=name)


@each_bound
def test_measuring_changes_nothing(bound: dict[str, float]) -> None:
    x, dy = problem(7, 9)
    layer = numgru.GRU(I, H, dtype=np.float64, seed=0, **bound)  # type: ignore[arg-type]
    measured = at_once(layer, x, dy)
    layer.measure_flow = False
    layer.zero_grad()
    layer.forward(x)
    dx, dh_0 = layer.backward(dy)
    assert_same_bits(
        {"dx": dx, "dh_0": dh_0, "gradients": layer.flat_gradients},
        {name: measured[name] for name in list(measured)[:3]},
    )


@each_cell
@each_bound
def test_bits_of_a_row_are_those_of_the_row_alone(cell: Any, bound: dict[str, float]) -> None:
    """Layers, directions, lengths and pieces that are computed again among it."""
    x, dy = problem(8, 19, D=2)
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "seed": 0, **bound}
    lengths = np.random.default_rng(1).integers(1, 9, 19)
    layer = cell(I, H, dtype=np.float64, **options)
    whole = at_once(layer, x, dy, lengths=lengths)
    again = at_once(cell(I, H, dtype=np.float64, checkpoint_every=3, **options), x, dy, lengths=lengths)
    assert_same_bits(again, whole)
    for row, n in enumerate(lengths):
        alone = at_once(layer, x[:n, row : row + 1], dy[:n, row : row + 1])
        np.testing.assert_array_equal(alone["norms"][:, :, 0], whole["norms"][:, :n, row])
        np.testing.assert_array_equal(alone["dx"][:, 0], whole["dx"][:n, row])
        assert not whole["norms"][:, n:, row].any()
        for name in whole.keys() & {"report.norms", "report.factors", "report.counts"}:
            np.testing.assert_array_equal(alone[name][..., 0], whole[name][..., :n, row], err_msg=name)
            assert np.all(whole[name][..., n:, row] == (name == "report.factors"))


@pytest.mark.parametrize("B", [4, 40])
def test_any_number_of_threads(B: int) -> None:
    rng, sizes = np.random.default_rng(0), (12, B, 300)
    x, dy = (rng.standard_normal(sizes).astype(np.float32) for _ in range(2))
    layer = numgru.GRU(300, 300, seed=0, clip_flow_norm=0.1, clip_flow_value=0.02)
    numgru.set_num_threads(1)
    expected = at_once(layer, x, dy)
    for threads in (2, 3):
        numgru.set_num_threads(threads)
        assert_same_bits(at_once(layer, x, dy), expected)


def results() -> Arrays:
    x, dy = problem(5, 11, dtype=np.float32)
    return at_once(numgru.GRU(I, H, seed=0, clip_flow_norm=0.6, clip_flow_value=0.2), x, dy)


ELSEWHERE = """
import numpy, numgru
from tests.layers.test_flow import results
numgru.set_num_threads(1)
numpy.savez({path!r}, **results())
"""


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="they are units of x86 processors")
def test_other_vector_units(tmp_path: Path) -> None:
    path = str(tmp_path / "results.npz")
    run_elsewhere(ELSEWHERE.format(path=path), NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=AVX2)
    with np.load(path) as saved:
        assert_same_bits(dict(saved), results())


def test_a_norm_keeps_the_direction_and_a_value_may_not() -> None:
    x, _ = problem(1, 4)
    dh_n = np.random.default_rng(2).standard_normal((1, 4, H)) * 100

    def flow(**bound: float) -> Any:
        layer = numgru.GRU(I, H, dtype=np.float64, seed=0, **bound)  # type: ignore[arg-type]
        layer.forward(x)
        return layer.backward(np.zeros((1, 4, H)), dh_n)[1][0]

    free, by_norm, by_value = flow(), flow(clip_flow_norm=0.5), flow(clip_flow_value=0.5)
    norms = np.linalg.norm(free, axis=1, keepdims=True)
    np.testing.assert_allclose(by_norm, free * (0.5 / norms), rtol=1e-12)
    np.testing.assert_array_equal(by_value, np.clip(free, -0.5, 0.5))
    cosine = (by_value * free).sum(axis=1) / np.linalg.norm(by_value, axis=1) / norms[:, 0]
    assert (cosine < 0.99).all()


def test_report_sums_up_what_was_held() -> None:
    x, dy = problem(6, 4)
    layer = numgru.LSTM(I, H, 2, bidirectional=True, dtype=np.float64, seed=0, clip_flow_value=0.03)
    layer.forward(x, lengths=[6, 2, 1, 4])
    layer.backward(np.concatenate([dy, dy], axis=2), np.ones((2, 4, 4, H)))
    report = layer.flow_report
    assert report.norms.shape == report.factors.shape == report.counts.shape == (2, 4, 6, 4)
    assert report.parts == 2 * 4 * H * (6 + 2 + 1 + 4)
    assert 0.1 < report.share == report.counts.sum() / report.parts < 1
    np.testing.assert_array_equal(report.clipped, report.counts > 0)
    np.testing.assert_array_equal(report.clipped, report.factors < 1)
    assert report.norm == report.norms.max() > 0.03
    assert report.factor == report.factors.min() < 1


def test_report_of_a_bound_that_is_never_met() -> None:
    x, dy = problem(6, 4)
    layer = numgru.GRU(I, H, dtype=np.float64, seed=0, clip_flow_value=1e3, clip_flow_norm=1e4)
    at_once(layer, x, dy)
    report = layer.flow_report
    assert report.share == 0 and report.factor == 1 and not report.clipped.any() and (report.norms > 0).all()


def test_report_with_states_that_start_anew() -> None:
    """What flows out of a step that starts from h_0 goes there, and is held, too."""
    x, dy = problem(7, 9)
    reset = np.random.default_rng(3).random((7, 9)) < 0.3
    layer = numgru.GRU(I, H, dtype=np.float64, seed=0, clip_flow_value=0.05)
    whole = at_once(layer, x, dy, reset=reset)
    for row in range(9):
        cuts = [0, *np.flatnonzero(reset[1:, row]) + 1, 7]
        for begin, end in itertools.pairwise(cuts):
            alone = at_once(layer, x[begin:end, row : row + 1], dy[begin:end, row : row + 1])
            for name in ("report.norms", "report.factors", "report.counts"):
                np.testing.assert_array_equal(alone[name][0, :, 0], whole[name][0, begin:end, row], err_msg=name)


def test_squares_that_float32_cannot_hold() -> None:
    layer = numgru.GRU(I, H, seed=0, clip_flow_norm=1.0)
    layer.measure_flow = True
    for size in (1e-30, 1e30):
        layer.forward(np.zeros((2, 3, I)))
        _, dh_0 = layer.backward(np.full((2, 3, H), size))
        expected = size * np.sqrt(H)
        np.testing.assert_allclose(layer.gradient_flow[0, 1], expected, rtol=1e-6)
        norm = np.linalg.norm(dh_0[0].astype(np.float64), axis=1)
        np.testing.assert_allclose(norm, 1.0, rtol=1e-5) if size > 1 else np.testing.assert_array_less(norm, 1e-28)


def test_nan_stays_nan() -> None:
    for bound in BOUNDS:
        layer = numgru.GRU(I, H, dtype=np.float64, seed=0, **bound)  # type: ignore[arg-type]
        dy = np.zeros((4, 2, H))
        dy[3, 1, 0] = np.nan
        found = at_once(layer, np.zeros((4, 2, I)), dy)
        assert np.isnan(found["dx"][:, 1]).all() and np.isfinite(found["dx"][:, 0]).all()


@pytest.mark.parametrize("size", [1e200, np.inf])
def test_a_norm_that_is_not_known_gives_nan_not_zero(size: float) -> None:
    """The square of 1e200 is infinite."""
    layer = numgru.GRU(I, H, dtype=np.float64, seed=0, clip_flow_norm=0.2)
    dy = np.zeros((4, 2, H))
    dy[3, 1, 0] = size
    found = at_once(layer, np.zeros((4, 2, I)), dy)
    assert np.isinf(found["norms"][0, 3, 1])
    assert np.isnan(found["dx"][:3, 1]).all() and np.isfinite(found["dx"][:, 0]).all()
    report = layer.flow_report
    assert not np.isfinite(report.norms[0, 3, 1])
    assert np.isnan(report.factor) == (size < np.inf)  # infinity times zero was NaN before any bound


@pytest.mark.parametrize("name", ["clip_flow_value", "clip_flow_norm"])
@pytest.mark.parametrize("value", [0, -1.0, float("nan")])
def test_bad_bound(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected a number above 0, or None, got {value}"):
        numgru.GRU(I, H, **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["1", True])
def test_bad_type_of_bound(value: Any) -> None:
    with pytest.raises(TypeError, match="clip_flow_norm: expected a number above 0, or None"):
        numgru.LSTM(I, H, clip_flow_norm=value)


def test_flow_that_was_not_measured() -> None:
    layer = numgru.GRU(I, H)
    with pytest.raises(ValueError, match="gradient_flow: expected a backward with measure_flow=True"):
        _ = layer.gradient_flow


def test_report_without_bounds() -> None:
    layer = numgru.GRU(I, H, seed=0)
    layer.forward(np.zeros((2, 1, I)))
    layer.backward(np.zeros((2, 1, H)))
    with pytest.raises(ValueError, match="flow_report: expected a backward with clip_flow_value or clip_flow_norm"):
        _ = layer.flow_report
