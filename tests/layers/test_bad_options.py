"""A bad option, or a bad argument that goes with one, is refused with its name, what was expected and what came."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import numgru
from numgru.layers.recurrent import Recurrent
from tests.cases import Arrays, arguments, assert_same_bits, run, time_first
from tests.combinations import BOTH_WAYS, EVERYTHING, case

T, B, I, H = SHAPE = (4, 3, 5, 6)
LAYER = {**BOTH_WAYS, "batch_first": True}


def zeros(*shape: int) -> Any:
    return np.zeros(shape)


LENGTHS_CASES = {
    "zero": ([4, 0, 2], ValueError, r"lengths: expected .*1.*4.*got .*0"),
    "negative": ([4, -1, 2], ValueError, r"lengths: expected .*1.*4.*got .*-1"),
    "too long": ([4, 5, 2], ValueError, r"lengths: expected .*1.*4.*got .*5"),
    "too few": ([4, 2], ValueError, r"lengths: expected .*\(3,\).*got \(2,\)"),
    "too many": ([4, 2, 1, 1], ValueError, r"lengths: expected .*\(3,\).*got \(4,\)"),
    "one for all": (4, ValueError, "lengths: expected .*got "),
    "rank 2": ([[4, 2, 1]], ValueError, "lengths: expected .*got "),
    "floats": ([4.0, 2.0, 1.0], TypeError, "lengths: expected integers.*got .*float64"),
    "booleans": ([True, True, True], TypeError, "lengths: expected integers.*got .*bool"),
    "strings": (["4", "2", "1"], TypeError, "lengths: expected integers.*got .*<U1"),
}
RESET_CASES = {
    "time first": (np.zeros((T, B), bool), ValueError, r"reset: expected .*\(3, 4\).*got \(4, 3\)"),
    "rank 1": (np.zeros(T, bool), ValueError, r"reset: expected .*got "),
    "rank 3": (np.zeros((B, T, 1), bool), ValueError, r"reset: expected .*got "),
    "rows": (np.zeros((1, T), bool), ValueError, r"reset: expected .*\(3, 4\).*got \(1, 4\)"),
    "integers": (np.zeros((B, T), int), TypeError, "reset: expected booleans.*got .*int64"),
    "floats": (np.zeros((B, T)), TypeError, "reset: expected booleans.*got .*float64"),
}
H_0_CASES = {
    "one direction": (zeros(2, B, H), ValueError, r"h_0: expected .*\(4, 3, 6\).*got \(2, 3, 6\)"),
    "one row": (zeros(4, 1, H), ValueError, r"h_0: expected .*\(4, 3, 6\).*got \(4, 1, 6\)"),
}
X_CASES = {
    "vocabulary": (np.full((B, T), I), ValueError, r"x: expected .*0.*4.*got .*5"),
    "negative token": (np.full((B, T), -1), ValueError, r"x: expected .*0.*4.*got .*-1"),
    "tokens as floats": (zeros(B, T), ValueError, r"x: expected 3 dimensions .*got 2"),
    "tokens as booleans": (np.zeros((B, T), bool), (TypeError, ValueError), r"x: expected .*got "),
    "tokens of rank 1": (np.zeros(T, int), ValueError, r"x: expected .*got "),
    "no tokens": (np.zeros((B, 0), int), ValueError, r"x: expected .*got "),
    "list of other features": (
        [zeros(4, I), zeros(2, I + 1), zeros(1, I)],
        ValueError,
        r"x\[1\]: expected .*got \(2, 6\)",
    ),
    "list of rank 3": ([zeros(4, 1, I), zeros(2, 1, I), zeros(1, 1, I)], ValueError, r"x\[0\]: expected .*got "),
    "empty sequence": ([zeros(4, I), zeros(0, I), zeros(1, I)], ValueError, r"x\[1\]: expected .*got \(0, 5\)"),
    "list and lengths": ([zeros(4, I), zeros(2, I), zeros(1, I)], ValueError, r"lengths: expected .*got "),
    "empty list": ([], ValueError, r"x: expected .*got "),
}
FORWARD = {"lengths": LENGTHS_CASES, "reset": RESET_CASES, "h_0": H_0_CASES, "x": X_CASES}
PASSED = [
    pytest.param(name, *row, id=f"{name}: {label}") for name, table in FORWARD.items() for label, row in table.items()
]


@pytest.mark.parametrize("how", ["__call__", "forward"])
@pytest.mark.parametrize(("name", "value", "error", "message"), PASSED)
def test_forward(how: str, name: str, value: Any, error: Any, message: str) -> None:
    drawn = case(EVERYTHING, SHAPE, **LAYER)
    gru, problem = drawn.without_noise(), drawn.problem
    expected = run(gru, problem)
    gru.zero_grad()
    gru.forward(**arguments(gru, problem))
    bad = arguments(gru, problem) | {name: value}
    if isinstance(bad["x"], list) and message.startswith("x"):
        del bad["lengths"], bad["reset"]  # what a list may not have is another error
    with pytest.raises(error, match=message):
        getattr(gru, how)(**bad)
    assert not gru.flat_gradients.any()
    assert_waiting(gru, problem, expected)
    assert_same_bits(run(gru, problem), expected)


def assert_waiting(gru: Recurrent, problem: Arrays, expected: Arrays) -> None:
    """The forward pass before still waits for its backward."""
    dx, dh_0 = gru.backward(time_first(gru, problem["dy"]), problem["dh_n"])
    assert_same_bits({"dx": time_first(gru, dx), "dh_0": dh_0} | gru.gradients, expected)


LISTED = [zeros(4, I), zeros(2, I), zeros(1, I)]


@pytest.mark.parametrize(
    ("dy", "message"),
    [
        (zeros(B, T, 2 * H), "dy: expected .*list.*got "),
        ([zeros(4, 2 * H), zeros(2, 2 * H)], r"dy: expected .*\[4, 2, 1\].*got \[4, 2\]"),
        ([zeros(4, 2 * H), zeros(3, 2 * H), zeros(1, 2 * H)], r"dy: expected .*\[4, 2, 1\].*got \[4, 3, 1\]"),
        ([zeros(2, 2 * H), zeros(4, 2 * H), zeros(1, 2 * H)], r"dy: expected .*\[4, 2, 1\].*got \[2, 4, 1\]"),
        ([zeros(4, H), zeros(2, H), zeros(1, H)], r"dy\[0\]: expected .*12\).*got \(4, 6\)"),
    ],
)
def test_backward_of_a_list(dy: Any, message: str) -> None:
    gru = numgru.GRU(I, H, dtype=np.float64, **LAYER)
    gru.forward(LISTED)
    with pytest.raises((TypeError, ValueError), match=message):
        gru.backward(dy)
    assert not gru.flat_gradients.any()
    dx, _ = gru.backward([np.ones((len(x), 2 * H)) for x in LISTED])
    assert [part.shape for part in dx] == [x.shape for x in LISTED]


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout", "zoneout"])
@pytest.mark.parametrize(
    ("value", "error"),
    [(1.0, ValueError), (-0.1, ValueError), (np.nan, ValueError), (2, ValueError), ("0.5", TypeError)],
)
def test_rates(name: str, value: Any, error: Any) -> None:
    with pytest.raises(error, match=rf"{name}: expected .*got .*{value}"):
        numgru.GRU(I, H, 2, **{name: value})


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("zoneout", 1.0, ValueError),
        ("dropout", "much", TypeError),
        ("recurrent_dropout", -0.1, ValueError),
        ("checkpoint_every", 0, ValueError),
        ("clip_flow_norm", float("nan"), ValueError),
        ("clip_flow_norm", -1.0, ValueError),
        ("clip_flow_value", 0, ValueError),
    ],
)
def test_options_that_are_set_later(name: str, value: Any, error: Any) -> None:
    gru = numgru.GRU(I, H, 2, dropout=0.1)
    before = repr(gru)
    with pytest.raises(error, match=rf"{name}: expected .*got .*{value}"):
        setattr(gru, name, value)
    assert repr(gru) == before


def test_a_bound_that_is_set_later() -> None:
    bounded, later = numgru.GRU(I, H, clip_flow_norm=1.0, seed=0), numgru.GRU(I, H, seed=0)
    later.clip_flow_norm = 1  # an integer
    dy = 10 * np.ones((T, B, H), np.float32)
    for gru in (bounded, later):
        gru.forward(zeros(T, B, I))
        gru.backward(dy)
    assert_same_bits(later.gradients, bounded.gradients)


def test_zoneout_that_is_set_later() -> None:
    """A step reads its rate from the packed weights."""
    before, later = numgru.GRU(I, H, zoneout=0.5, seed=0), numgru.GRU(I, H, seed=0)
    x, h = np.ones((B, I), np.float32), np.ones((1, B, H), np.float32)
    later.step(x, h)
    later.zoneout = 0.5
    np.testing.assert_array_equal(later.step(x, h), before.step(x, h))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_layers": 0}, ValueError, "num_layers: expected an integer of at least 1, got 0"),
        ({"num_layers": 2.0}, TypeError, "num_layers: expected an integer of at least 1, got float"),
        ({"checkpoint_every": 0}, ValueError, "checkpoint_every: expected an integer of at least 1, got 0"),
        ({"checkpoint_every": 1.5}, TypeError, "checkpoint_every: expected an integer of at least 1, got float"),
    ],
)
def test_constructor(options: dict[str, Any], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        numgru.GRU(I, H, **options)


@pytest.mark.parametrize(
    ("x", "h", "error", "message"),
    [
        (zeros(B, I), zeros(2, B + 1, H), ValueError, r"h: expected .*\(2, 3, 6\).*got \(2, 4, 6\)"),
        (zeros(B, I), zeros(1, B, H), ValueError, r"h: expected .*\(2, 3, 6\).*got \(1, 3, 6\)"),
        (zeros(B, I), zeros(2, H), ValueError, r"h: expected .*got "),
        (zeros(I), zeros(2, B, H), ValueError, r"h: expected .*got "),
        (zeros(B, I), zeros(2, B, H).astype(np.complex64), TypeError, "h: expected .*got .*complex64"),
        (zeros(B, I), None, TypeError, "h: expected .*got "),
        (zeros(B, I + 1), zeros(2, B, H), ValueError, r"x_t: expected .*got .*\(3, 6\)"),
        (zeros(1, B, I), zeros(2, B, H), ValueError, r"x_t: expected .*got "),
        (zeros(), zeros(2, B, H), ValueError, r"x_t: expected .*got 0"),
        (zeros(B, I), zeros(), ValueError, r"h: expected .*got 0"),
        (zeros(0, I), zeros(2, 0, H), ValueError, r"x_t: expected .*no empty dimension, got "),
        (np.full(B, I), zeros(2, B, H), ValueError, r"x_t: expected .*0.*4.*got .*5"),
    ],
)
def test_step(x: Any, h: Any, error: Any, message: str) -> None:
    gru = numgru.GRU(I, H, 2, dtype=np.float64)
    for _ in range(2):
        with pytest.raises(error, match=message):
            gru.step(x, h)
        with pytest.raises(error, match=message):
            gru.step(x, h, out=zeros(2, B, H))
        gru.step(zeros(B, I), zeros(2, B, H))  # in a loop, with less to do for it


def test_step_and_stream_need_one_direction() -> None:
    """The other one would need the end of the sequence first."""
    gru = numgru.GRU(I, H, bidirectional=True)
    for call in (lambda: gru.step(zeros(B, I), zeros(2, B, H)), gru.stream):
        with pytest.raises(ValueError, match=r"bidirectional.*expected .*got "):
            call()


def strided(*shape: int) -> Any:
    return np.zeros((*shape[:-1], 2 * shape[-1]))[..., ::2]


def read_only(*shape: int) -> Any:
    array = np.zeros(shape)
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (zeros(T, B, H + 1), ValueError),
        (zeros(B, H), ValueError),
        (zeros(T, B, H).astype(np.float32), (TypeError, ValueError)),
        (strided(T, B, H), ValueError),
        (read_only(T, B, H), ValueError),
        ([0.0], TypeError),
    ],
    ids=["width", "rank", "dtype", "strided", "read-only", "list"],
)
def test_out(out: Any, error: Any) -> None:
    gru = numgru.GRU(I, H, dtype=np.float64)
    with pytest.raises(error, match=r"out: expected .*got "):
        gru(np.ones((T, B, I)), out=out)
    assert not np.any(out)


def test_a_list_has_no_out_and_resets_for_each_sequence() -> None:
    gru = numgru.GRU(I, H, dtype=np.float64)
    with pytest.raises(ValueError, match="out: expected none with a list of sequences, got one"):
        gru(LISTED, out=zeros(1, 7, H))
    with pytest.raises(ValueError, match="reset: expected a list of 3 arrays, as x is one, got list"):
        gru(LISTED, reset=[np.zeros(4, bool), np.zeros(2, bool)])


@pytest.mark.parametrize(
    ("out", "error"),
    [
        (zeros(1, B, H + 1), ValueError),
        (zeros(1, B + 1, H), ValueError),
        (zeros(2, B, H), ValueError),
        (zeros(B, H), ValueError),
        (zeros(1, B, H).astype(np.float32), ValueError),
        (zeros(1, H, B).swapaxes(1, 2), ValueError),
        (read_only(1, B, H), ValueError),
        (zeros(1, B, H).tolist(), TypeError),
    ],
)
def test_out_of_step(out: Any, error: Any) -> None:
    gru = numgru.GRU(I, H, dtype=np.float64)
    for x in (zeros(B, I), np.zeros(B, int)):
        with pytest.raises(error, match=r"out: expected .*got "):
            gru.step(x, zeros(1, B, H), out=out)
    assert not np.any(out)


def test_out_of_step_may_overlap_h_but_not_x() -> None:
    gru, memory = numgru.GRU(H, H, dtype=np.float64, seed=0), np.arange(float((B + 2) * H)) / 10
    x, h = memory[: B * H].reshape(B, H).copy(), memory[: B * H].reshape(1, B, H)
    expected = gru.step(x, h.copy())
    for shift in (0, 1, H, 2 * H):
        kept = memory.copy()
        out = kept[shift : shift + B * H].reshape(1, B, H)
        assert gru.step(x, kept[: B * H].reshape(1, B, H), out=out) is out
        np.testing.assert_array_equal(out, expected)
        with pytest.raises(ValueError, match="out: expected memory of its own"):
            gru.step(out[0], h, out=out)
    assert gru.step(x, h, out=h) is h
    np.testing.assert_array_equal(h, expected)


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (zeros(T, B + 1, I), ValueError, r"x: expected .*3.*got .*\(4, 4, 5\)"),
        (zeros(1, B, I + 1), ValueError, r"^x: expected .*got .*\(1, 3, 6\)"),
        (np.zeros((T, B + 1), int), ValueError, r"x: expected 3 sequences.*got .*\(4, 4\)"),
        (zeros(B, I), ValueError, "x: expected 3 dimensions .*got 2"),
        (zeros(T, B, I) * 1j, TypeError, "x: expected .*got .*complex128"),
    ],
)
def test_stream(x: Any, error: Any, message: str) -> None:
    stream = numgru.GRU(I, H, 2, dtype=np.float64).stream(B)
    stream(np.ones((T, B, I)))
    state = stream.state.copy()
    with pytest.raises(error, match=message):
        stream(x)
    assert_same_bits({"state": stream.state}, {"state": state})


@pytest.mark.parametrize("rows", [[3], [-4], 1.5, "all"], ids=str)
def test_stream_rows(rows: Any) -> None:
    stream = numgru.GRU(I, H, 2, dtype=np.float64).stream(B)
    stream(np.ones((T, B, I)))
    state = stream.state.copy()
    with pytest.raises((TypeError, ValueError, IndexError), match=r"rows: expected .*got "):
        stream.reset(rows)
    assert_same_bits({"state": stream.state}, {"state": state})


def test_stream_of_another_layers_file(tmp_path: Any) -> None:
    path = tmp_path / "state.npz"
    numgru.GRU(I, H + 1, 2, dtype=np.float64).stream(B).save(path)
    stream = numgru.GRU(I, H, 2, dtype=np.float64).stream(B)
    stream(np.ones((T, B, I)))
    state = stream.state.copy()
    with pytest.raises(ValueError, match=r"expected .*\(2, 3, 6\).*got \(2, 3, 7\)"):
        stream.load(path)
    path.write_bytes(b"not a state")
    with pytest.raises(ValueError, match=r"expected .*got "):
        stream.load(path)
    assert_same_bits({"state": stream.state}, {"state": state})


def test_stream_of_no_rows_or_another_state() -> None:
    gru = numgru.GRU(I, H, 2, dtype=np.float64)
    with pytest.raises(ValueError, match="batch_size: expected an integer of at least 1, got 0"):
        gru.stream(0)
    with pytest.raises(ValueError, match=r"h_0: expected .*\(2, 3, 6\).*got \(2, 4, 6\)"):
        gru.stream(B, zeros(2, B + 1, H))
