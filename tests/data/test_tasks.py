import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import numgru
from numgru.data import SOLVED_BELOW, TASKS, Adding, Memorization, TemporalOrder, tasks

NAMES = st.sampled_from(list(TASKS))
LENGTHS, SIZES, SEEDS = st.integers(20, 150), st.integers(1, 40), st.integers(0, 2**40)


@pytest.mark.parametrize(("name", "pattern", "values"), [("copy", 10, 8), ("memorization-20-bits", 10, 5)])
def test_tasks_by_name(name, pattern, values):
    assert tasks.make(name, 20) == Memorization(20, pattern, values)


@given(NAMES, LENGTHS, SIZES, SEEDS)
def test_shapes_and_the_seed(name, length, size, seed):
    task = tasks.make(name, length)
    x, y = task.batch(size, seed)
    if x.dtype == np.int32:
        assert x.shape == (length, size) and x.min() >= 0 and x.max() < task.input_size
    else:
        assert x.dtype == np.float32 and x.shape == (length, size, task.input_size)
    if task.loss.settings["name"] == "CrossEntropyLoss":
        assert y.shape == ((length, size) if task.every_step else (size,))
        assert y.min() >= 0 and y.max() < task.output_size
    else:
        assert y.shape == (size, task.output_size)
    again, going_on = task.batch(size, seed), task.batch(size, np.random.default_rng(seed))
    for one, other, third in zip((x, y), again, going_on, strict=True):
        assert np.array_equal(one, other) and np.array_equal(one, third)


@given(NAMES, SEEDS)
def test_a_generator_goes_on(name, seed):
    task, rng = tasks.make(name, 40), np.random.default_rng(seed)
    assert not np.array_equal(task.batch(20, rng)[0], task.batch(20, rng)[0])


@given(st.integers(10, 150), SIZES, SEEDS)
def test_adding(length, size, seed):
    x, y = Adding(length).batch(size, seed)
    assert (x >= 0).all() and (x[:, :, 0] < 1).all()
    for b in range(size):
        first, second = np.flatnonzero(x[:, b, 1])
        assert first < length // 10 <= second < length // 2
        assert y[b, 0] == np.float32(x[first, b, 0] + x[second, b, 0]) / 2


@given(st.integers(10, 150), SIZES, SEEDS, st.sampled_from([(2, (1, 5)), (3, (1, 3, 6))]))
def test_temporal_order(length, size, seed, symbols_and_tenths):
    symbols, tenths = symbols_and_tenths
    x, y = TemporalOrder(length, symbols).batch(size, seed)
    for b in range(size):
        at = np.flatnonzero(x[:, b] < 2)
        assert len(at) == symbols
        assert all(t * length // 10 <= step < (t + 1) * length // 10 for t, step in zip(tenths, at, strict=True))
        assert y[b] == sum(int(x[step, b]) << digit for digit, step in enumerate(at))


def test_temporal_order_draws_every_class_and_place():
    x, y = TemporalOrder(30, 3).batch(2000, 0)
    assert set(y) == set(range(8))
    assert set(np.nonzero(x < 2)[0]) == {3, 4, 5, 9, 10, 11, 18, 19, 20}
    assert set(x.ravel()) == set(range(6))


@given(st.integers(1, 12), st.integers(2, 9), st.integers(0, 60), SIZES, SEEDS)
def test_memorization(pattern, values, blanks, size, seed):
    length = 2 * pattern + blanks
    x, y = Memorization(length, pattern, values).batch(size, seed)
    blank, signal = values, values + 1
    assert (x[:pattern] < values).all() and np.array_equal(y[-pattern:], x[:pattern])
    assert (y[:-pattern] == blank).all()
    assert (x[pattern:-pattern] == blank).all() and (x[-pattern] == signal).all()
    assert (x[length - pattern + 1 :] == blank).all()


def right(task, y):
    """What a perfect model puts out for targets y."""
    return y.copy() if y.dtype == np.float32 else np.eye(task.output_size, dtype=np.float32)[y]


@given(NAMES, SEEDS)
def test_wrong_answers(name, seed):
    task = tasks.make(name, 20)
    _, y = task.batch(30, seed)
    prediction = right(task, y)
    assert not task.wrong(prediction, y).any()
    prediction[..., 3, :] = np.roll(prediction[..., 3, :], 1, -1) + 0.3
    prediction[..., 7, 0] = np.nan
    assert np.flatnonzero(task.wrong(prediction, y)).tolist() == [3, 7]


def test_one_wrong_step_is_enough():
    task = Memorization(20)
    _, y = task.batch(5, 0)
    prediction = right(task, y)
    prediction[-1, 2] = prediction[-1, 2][[1, 0, 2]]
    assert np.flatnonzero(task.wrong(prediction, y)).tolist() == [2]


def test_the_bound_of_adding():
    y = np.zeros((3, 1), np.float32)
    assert Adding(10).wrong(np.array([[0.19], [-0.19], [0.21]]), y).tolist() == [False, False, True]


def test_error_rate():
    """Of a model that says always the same: right in one of four, seen in parts as well as at once."""
    task = TemporalOrder(20)
    constant = np.eye(4, dtype=np.float32)[0]
    sizes = []

    def model(x):
        sizes.append(x.shape[1])
        return np.tile(constant, (x.shape[1], 1))

    rate = task.error_rate(model, 2500, 0)
    assert sizes == [1000, 1000, 500]
    assert abs(rate - 0.75) < 0.05
    assert task.error_rate(model, 2500, 0) == rate


def test_a_gru_learns_a_short_one():
    task = TemporalOrder(10)
    model = numgru.Sequential(
        numgru.GRU(task.input_size, 16, seed=0), numgru.LastStep(), numgru.Linear(16, task.output_size, seed=1)
    )
    optimizer, rng = numgru.Adam(model, lr=0.01), np.random.default_rng(0)
    assert task.error_rate(model, 200, 1) > 0.5
    for _ in range(300):
        x, y = task.batch(32, rng)
        model.zero_grad()
        model.backward(task.loss(model.forward(x), y)[1], need_dx=False)
        optimizer.step()
    assert task.error_rate(model, 1000, 1) < SOLVED_BELOW


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: tasks.make("parity", 50), ValueError, "task: expected one of 'adding', .*, got 'parity'"),
        (lambda: Adding(9), ValueError, "length: expected an integer of at least 10, got 9"),
        (lambda: TemporalOrder(9), ValueError, "length: expected an integer of at least 10, got 9"),
        (lambda: tasks.make("copy", 19), ValueError, "length: expected an integer of at least 20, got 19"),
        (lambda: Adding(50.0), TypeError, "length: expected an integer of at least 10, got float"),
        (lambda: TemporalOrder(50, 2.0), TypeError, "symbols: expected an integer of at least 2, got float"),
        (lambda: TemporalOrder(50, 4), ValueError, r"symbols: expected one of 2, 3, got 4"),
        (lambda: Memorization(50, 0), ValueError, "pattern: expected an integer of at least 1, got 0"),
        (lambda: Memorization(50, 5, 1), ValueError, "values: expected an integer of at least 2, got 1"),
        (lambda: Adding(50).batch(0, 0), ValueError, "size: expected an integer of at least 1, got 0"),
        (lambda: Adding(50).batch(4, -1), ValueError, "rng: expected an integer of at least 0, got -1"),
        (lambda: Adding(50).batch(4, None), TypeError, "rng: expected an integer of at least 0, got NoneType"),
        (lambda: Adding(50).error_rate(len, 0, 0), ValueError, "size: expected an integer of at least 1, got 0"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call()
