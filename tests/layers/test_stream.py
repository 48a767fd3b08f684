"""Step by step and piece by piece: the same bits as the whole sequence, and a state that is the caller's."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numgru
from numgru._files import save_arrays
from tests.cases import assert_same_bits, by_name, infer, states
from tests.combinations import BEFORE, LSTM, RELU, RESET, ZONEOUT, case

SHAPE = (9, 11, 3, 17)
T, B, I, H = SHAPE
L = 3
each_kind = pytest.mark.parametrize(
    ("combination", "dtype"),
    [
        ((), np.float32),
        ((), np.float64),
        ((BEFORE, ZONEOUT), np.float64),
        ((RELU, ZONEOUT), np.float64),
        ((LSTM,), np.float64),
        ((LSTM, ZONEOUT), np.float64),
    ],
    ids=["float32", "float64", "before, zoneout", "relu, zoneout", "LSTM", "LSTM, zoneout"],
)


def problem_and_layer(combination: Any = (), dtype: Any = np.float64, **options: Any) -> tuple[Any, numgru.GRU]:
    drawn = case(frozenset(combination), SHAPE, dtype, **({"num_layers": L} | options))
    return drawn.problem, drawn.layer()


@each_kind
@pytest.mark.parametrize("num_layers", [1, L])
def test_step(combination: Any, dtype: Any, num_layers: int) -> None:
    problem, gru = problem_and_layer(combination, dtype, num_layers=num_layers)
    expected = infer(gru, problem)
    h = np.array(states(problem, "h_0"))
    row = h[..., 4, :].copy()
    into = np.empty_like(h)
    for t in range(T):
        before = h.copy()
        after = gru.step(problem["x"][t], h)
        assert gru.step(problem["x"][t], h, out=into) is into
        row = gru.step(problem["x"][t, 4], row)
        assert_same_bits({"h": h}, {"h": before})
        h = after
        last = h.reshape(-1, num_layers, B, H)[0, -1]
        assert_same_bits({"y": last, "into": into, "row": row}, {"y": expected["y"][t], "into": h, "row": h[..., 4, :]})
    assert_same_bits(by_name(h, "h_n"), expected)


@each_kind
def test_steps_of_the_same_shape_in_other_arrays(combination: Any, dtype: Any) -> None:
    """After a step that was checked, another of its shapes is looked at all the same."""
    problem, gru = problem_and_layer(combination, dtype)
    x, h = problem["x"][0], np.array(states(problem, "h_0"))
    expected = gru.step(x, h)
    frozen = x.copy()
    frozen.flags.writeable = False
    strided = np.zeros((*x.shape, 2), dtype)
    strided[..., 0] = x
    for same in (frozen, strided[..., 0], np.asfortranarray(x), x.tolist(), x.astype(x.dtype.newbyteorder())):
        assert_same_bits({"h": gru.step(same, h)}, {"h": expected})
        assert_same_bits({"h": gru.step(x, np.asfortranarray(h))}, {"h": expected})
    narrow = gru.step(x.astype(np.float16), h)
    assert_same_bits({"h": narrow}, {"h": gru.step(x.astype(np.float16).astype(dtype), h)})
    assert_same_bits({"h": gru.step(x[:3], h[..., :3, :].copy())}, {"h": expected[..., :3, :]})
    assert_same_bits({"h": gru.step(x, h)}, {"h": expected})


def test_integers_with_features_are_no_tokens() -> None:
    problem, gru = problem_and_layer()
    x, h = np.arange(B * I).reshape(B, I) % 2, problem["h_0"]
    assert_same_bits({"h": gru.step(x, h)}, {"h": gru.step(x.astype(float), h)})


@pytest.mark.parametrize("combination", [(), (LSTM,)], ids=["GRU", "LSTM"])
def test_step_of_tokens(combination: Any) -> None:
    problem, gru = problem_and_layer(combination, tokens=True)
    h = np.array(states(problem, "h_0"))
    row = h[..., 4, :]
    for x in problem["x"]:
        into = h.copy()
        assert gru.step(x, into, out=into) is into
        h, row = gru.step(x, h), gru.step(x[4], row)
        assert_same_bits({"into": into}, {"into": h})
    assert_same_bits(by_name(h, "h_n"), infer(gru, problem))
    assert_same_bits({"row": row}, {"row": h[..., 4, :]})


@each_kind
@pytest.mark.parametrize("pieces", [[1] * T, [4, 5], [2, 3, 1, 3], [T]], ids=str)
def test_stream(combination: Any, dtype: Any, pieces: list[int]) -> None:
    problem, gru = problem_and_layer(combination, dtype)
    stream = gru.stream(B, states(problem, "h_0"))
    assert_same_bits(by_name(stream.state, "h_0"), problem)
    y = np.concatenate([stream(x) for x in np.split(problem["x"], np.cumsum(pieces)[:-1])])
    assert_same_bits({"y": y, **by_name(stream.state, "h_n")}, infer(gru, problem))


def test_stream_of_one_row_starts_from_zero() -> None:
    problem, gru = problem_and_layer()
    stream = gru.stream()
    assert_same_bits({"state": stream.state}, {"state": np.zeros((L, 1, H))})
    y, h_n = gru(problem["x"][:, :1])
    assert_same_bits({"y": stream(problem["x"][:, :1]), "h_n": stream.state}, {"y": y, "h_n": h_n})


@pytest.mark.parametrize("combination", [(), (LSTM,)], ids=["GRU", "LSTM"])
def test_stream_starts_from_the_learned_state(combination: Any) -> None:
    problem, gru = problem_and_layer(combination, learn_h_0=True)
    stream = gru.stream(B)
    assert_same_bits({"y": stream(problem["x"]), **by_name(stream.state, "h_n")}, infer(gru, problem))


def test_the_states_of_streams_are_their_own() -> None:
    """What one does changes neither a copy, nor another stream, nor the array that it began with."""
    problem, gru = problem_and_layer()
    h_0 = problem["h_0"].copy()
    one, other = gru.stream(B, h_0), gru.stream(B, h_0)
    one(problem["x"][:4])
    copy = one.copy()
    at_four = one.state.copy()
    one(problem["x"][4:])
    assert_same_bits({"other": other.state, "h_0": h_0}, {"other": problem["h_0"], "h_0": problem["h_0"]})
    assert_same_bits({"copy": copy.state}, {"copy": at_four})
    copy(problem["x"][4:])
    assert_same_bits({"copy": copy.state}, {"copy": one.state})


def test_arrays_are_the_streams_own_but_for_the_view() -> None:
    problem, gru = problem_and_layer()
    h_0, given = {"state": problem["h_0"]}, problem["h_0"].copy()
    stream = gru.stream(B, given)
    copy = stream.copy()
    given[...] = 9
    seen = stream.state
    seen[:, 1] = 0
    assert not stream.state[:, 1].any()
    assert_same_bits({"state": copy.state}, h_0)
    stream.reset()
    copy.state = given
    given[...] = 8
    assert (copy.state == 9).all() and not seen[:, 1].any()
    copy.reset()
    for each in (stream, copy):
        assert_same_bits({"state": each.state}, h_0)


@pytest.mark.parametrize("combination", [(), (LSTM,)], ids=["GRU", "LSTM"])
def test_saved_and_loaded(combination: Any, tmp_path: Path) -> None:
    problem, gru = problem_and_layer(combination)
    stream = gru.stream(B, states(problem, "h_0"))
    stream(problem["x"][:4])
    stream.save(tmp_path / "state.npz")
    again = gru.stream(B)
    again.load(tmp_path / "state.npz")
    assert_same_bits({"y": again(problem["x"][4:])}, {"y": stream(problem["x"][4:])})


@pytest.mark.parametrize("combination", [(RESET,), (LSTM, RESET)], ids=["GRU", "LSTM"])
@pytest.mark.parametrize("rows", [None, [0], [3, 7], slice(2, 5), [], slice(0)], ids=str)
def test_reset(rows: Any, combination: Any) -> None:
    """Of all rows or of some: back to the state it began with, the other rows go on."""
    problem, gru = problem_and_layer(combination)
    problem["reset"][...] = False
    problem["reset"][4, slice(None) if rows is None else rows] = True
    stream = gru.stream(B, states(problem, "h_0"))
    first = stream(problem["x"][:4])
    stream.reset(rows)
    y = np.concatenate([first, stream(problem["x"][4:])])
    assert_same_bits({"y": y, **by_name(stream.state, "h_n")}, infer(gru, problem))


@pytest.mark.parametrize("options", [{}, {"num_layers": 1}, {"num_layers": 2, "bidirectional": True}], ids=str)
@pytest.mark.parametrize("batch_first", [False, True])
def test_out(options: dict[str, Any], batch_first: bool) -> None:
    """The output lies where it's wanted, and all of it is written."""
    problem, gru = problem_and_layer(batch_first=batch_first, **options)
    expected = infer(gru, problem)
    out = np.full(expected["y"].swapaxes(0, 1).shape if batch_first else expected["y"].shape, np.nan)
    x = np.ascontiguousarray(problem["x"].swapaxes(0, 1)) if batch_first else problem["x"]
    y, h_n = gru(x, problem["h_0"], out=out)
    assert y is out
    assert_same_bits({"y": out.swapaxes(0, 1) if batch_first else out, "h_n": h_n}, expected)


def test_out_of_ragged_rows_is_zero_past_their_ends() -> None:
    problem, gru = problem_and_layer(("lengths",))
    out = np.full((T, B, H), np.nan)
    y, _ = gru(problem["x"], problem["h_0"], lengths=problem["lengths"], out=out)
    assert y is out
    assert_same_bits({"y": out}, infer(gru, problem))


def test_an_older_state_goes_on_with_changed_parameters() -> None:
    """A stream computes with the values that the parameters have now."""
    problem, gru = problem_and_layer()
    stream = gru.stream(B, problem["h_0"])
    stream(problem["x"][:4])
    gru.flat_parameters *= 0.5
    y, _ = gru(problem["x"][4:], stream.state.copy())
    assert_same_bits({"y": stream(problem["x"][4:])}, {"y": y})


@given(pieces=st.lists(st.integers(1, 4), min_size=1, max_size=9), rows=st.integers(1, 11), batch_first=st.booleans())
def test_any_pieces(pieces: list[int], rows: int, batch_first: bool) -> None:
    problem, gru = problem_and_layer(batch_first=batch_first, zoneout=0.3)
    x, h_0 = np.resize(problem["x"], (sum(pieces), B, I))[:, :rows], problem["h_0"][:, :rows]
    axis = 0
    if batch_first:
        x, axis = x.swapaxes(0, 1), 1
    stream = gru.stream(rows, h_0)
    y = np.concatenate([stream(piece) for piece in np.split(x, np.cumsum(pieces)[:-1], axis)], axis)
    whole, h_n = gru(x, h_0)
    assert_same_bits({"y": y, "h_n": stream.state}, {"y": whole, "h_n": h_n})


def test_outputs_and_states_stay_as_they_were() -> None:
    """What was returned doesn't change when the stream goes on, nor the stream when it's changed."""
    problem, gru = problem_and_layer()
    stream = gru.stream(B, problem["h_0"])
    y, state = stream(problem["x"][:1]), stream.state
    expected = {"y": y.copy(), "state": state.copy()}
    stream(problem["x"][1:2])
    stream.reset()
    assert_same_bits({"y": y, "state": state}, expected)
    stream(problem["x"][:1])[...] = np.nan
    assert_same_bits({"state": stream.state}, expected)


def test_reset_to_the_state_learned_by_then() -> None:
    _, gru = problem_and_layer(learn_h_0=True)
    stream = gru.stream(2)
    gru.parameters["h_0"] *= 2
    stream.reset([True, False])
    learned = gru.parameters["h_0"]
    assert_same_bits({"rows": stream.state}, {"rows": np.concatenate([learned, learned / 2], axis=1)})


def test_a_given_state_is_taken() -> None:
    problem, gru = problem_and_layer()
    stream = gru.stream(B)
    stream.state = problem["h_0"]
    assert_same_bits({"y": stream(problem["x"])}, infer(gru, problem))
    with pytest.raises(ValueError, match=r"state: expected .*got "):
        stream.state = problem["h_0"][:, 1:]


def test_states_of_another_dtype_or_no_states(tmp_path: Path) -> None:
    path = tmp_path / "state.npz"
    problem_and_layer()[1].stream(B).save(path)
    stream = problem_and_layer(dtype=np.float32)[1].stream(B)
    with pytest.raises(ValueError, match=r"state.npz: expected .*float32, got .*float64"):
        stream.load(path)
    state = {"state": stream.state}
    for arrays, metadata in ((state, {"format": "another"}), (state, {}), ({}, {"format": "numgru stream 1"})):
        save_arrays(path, arrays, metadata)
        with pytest.raises(ValueError, match=r"state.npz: expected the states of a stream, got "):
            stream.load(path)


def test_streams_on_several_threads() -> None:
    """Two and more of one layer, at once."""
    problem, gru = problem_and_layer()
    expected = infer(gru, problem)["y"]

    def work(row: int) -> Any:
        stream = gru.stream(1, problem["h_0"][:, row : row + 1])
        pieces = [1, 3, 4, 8] if row % 2 else [2, 3, 7]
        return np.concatenate([stream(x) for x in np.split(problem["x"][:, row : row + 1], pieces)])

    with ThreadPoolExecutor(4) as pool:
        rows = list(pool.map(work, list(range(B)) * 3))
    assert_same_bits({"y": np.concatenate(rows, axis=1)}, {"y": np.concatenate([expected] * 3, axis=1)})
