import csv
from dataclasses import replace

import numpy as np
import pytest

import numgru
from numgru.data import Adding, DataError, Memorization, Series, TemporalOrder, tasks
from numgru.experiments import gradients
from numgru.experiments.gradients import STAGES, STUDIED, Measurement, NextValue, state_gradient_norms
from numgru.experiments.gradients_report import flow_figure, norms_csv, reach
from numgru.experiments.networks import smart_tanh, vectors
from numgru.runs import RunError


@pytest.mark.parametrize("network", STUDIED)
@pytest.mark.parametrize("task", [TemporalOrder(12), Adding(12), Memorization(12)])
def test_norms_are_those_of_sequences_that_begin_later(network, task):
    """With the state after step t in the place of h_0, the gradient of h_0 is dL/dh_t."""
    rng = np.random.default_rng(0)
    model = STUDIED[network](task, rng)
    x, y = task.batch(5, rng)
    x = vectors(task, x)
    norms = state_gradient_norms(model, task, x, y)
    assert norms.shape == (12,) and not model.flat_gradients.any()

    recurrent, *head = model.layers
    dy = task.loss(model.forward(x), y)[1]
    if task.every_step:
        dy[:-1], dy[-1] = 0, 12 * dy[-1]  # the mean of one step's loss, not of 12
    for layer in reversed(head):
        dy = layer.backward(dy)
    for t in (0, 5, 10):
        _, state = recurrent(x[: t + 1])
        recurrent.forward(x[t + 1 :], state)
        _, d_state = recurrent.backward(dy[t + 1 :])
        assert norms[t] == pytest.approx(np.linalg.norm(d_state), rel=1e-4)
    assert norms[11] == pytest.approx(np.linalg.norm(dy[11]), rel=1e-5)


@pytest.mark.parametrize("name", tasks.TASKS)
def test_without_a_memory_nothing_reaches_back(name):
    task = tasks.make(name, 24)
    model = smart_tanh(task, np.random.default_rng(0))
    model.parameters["0.weight_hh_l0"][...] = 0
    x, y = task.batch(5, 0)
    *before, last = state_gradient_norms(model, task, vectors(task, x), y)
    assert last > 0 and not any(before)


@pytest.mark.parametrize(("task", "loss"), [(Adding(10), "of the mean loss"), (Memorization(10), "of the last step's")])
def test_the_title_says_of_which_loss(task, loss, tmp_path):
    assert f"gradient {loss}" in gradients.Study("a task", task, 1, 0, tmp_path).title


def test_next_value():
    values = np.arange(30.0) ** 2
    task = NextValue.of(Series("squares", values, np.zeros(30, bool)), 5)
    x, y = task.batch(200, 0)
    assert x.shape == (5, 200, 1) and y.shape == (200, 1) and not x[-1].any()
    change = y[:, 0] * task.scaler.scale
    before = x[-2, :, 0] * -task.scaler.scale
    assert np.allclose(change, before + 2, atol=1e-3)  # (n + 1)^2 - n^2 grows by 2
    assert set(np.round(change).astype(int)) == set(range(9, 59, 2))
    assert not task.wrong(y, y).any() and task.wrong(np.zeros_like(y), y).all() and task.wrong(y * np.nan, y).all()


def test_next_value_neither_ends_a_window_nor_begins_a_target_in_a_gap():
    values, filled = np.arange(30.0) ** 2, np.zeros(30, bool)
    filled[[10, 11, 20]] = True
    task = NextValue.of(Series("squares", values, filled), 5)
    _, y = task.batch(500, 0)
    drawn = set(np.round(y[:, 0] * task.scaler.scale).astype(int))
    assert drawn == {(n + 1) ** 2 - n**2 for n in range(4, 29) if n not in (9, 10, 11, 19, 20)}
    with pytest.raises(DataError, match="squares: expected measured values right after others, got 0"):
        NextValue.of(Series("squares", values[:29], np.arange(29) % 2 == 1), 5)


@pytest.mark.parametrize("length", [29, 50])
def test_next_value_of_a_short_series(length):
    with pytest.raises(DataError, match=f"length: expected at most 28, as squares has, got {length}"):
        NextValue.of(Series("squares", np.arange(30.0) ** 2, np.zeros(30, bool)), length)


def measurements():
    return [
        Measurement(network, stage, 3, 0.5, np.array([4.0, 2.0, 0.0 if network == "RNN" else 1.0]))
        for network in STUDIED
        for stage in STAGES
    ]


def test_csv_and_table():
    rows = list(csv.DictReader(norms_csv(measurements()).splitlines()))
    assert len(rows) == 27
    assert rows[1] == {
        "network": "RNN", "stage": "before training", "updates": "3", "loss": "0.5", "lag": "1", "gradient_norm": "2",
    }  # fmt: skip
    lines = reach(measurements()).splitlines()
    assert lines[2].split() == ["RNN", "0,", "0.5", "0,", "0.5", "0,", "0.5"] and "0.25, 0.5" in lines[-1]


def test_figure():
    figure = flow_figure(measurements(), "title")
    assert [axes.get_title("left") for axes in figure.axes] == list(STAGES)
    rnn, lstm, gru = figure.axes[1].lines
    assert np.array_equal(rnn.get_ydata(), [4, 2, np.nan], equal_nan=True)
    assert gru.get_ydata().tolist() == [4, 2, 1] and lstm.get_label() == "LSTM: loss 0.5"


def test_a_training_that_exploded_is_named():
    norms = np.array([np.nan, np.inf, 1.0])
    exploded = [each if each.network != "RNN" else replace(each, norms=norms) for each in measurements()]
    assert "exploded, 3 updates" in reach(exploded).splitlines()[2]
    figure = flow_figure(exploded, "title")
    assert {axes.lines[0].get_label() for axes in figure.axes} == {"RNN: exploded, 3 updates"}


def test_training_stops_where_a_gradient_is_not_finite(monkeypatch, tmp_path):
    numgru.set_num_threads(1)  # so that no kernels are compiled for more
    monkeypatch.setattr(gradients, "LEARNING_RATE", 1e38)
    study = gradients.Study("temporal-order", TemporalOrder(10), 50, 0, tmp_path)
    calls = []
    found = list(study.measurements(lambda: calls.append(1)))
    assert len(calls) == sum(each.updates for each in found) and min(each.updates for each in found[1::3]) < 50


def test_a_damaged_file(tmp_path):
    study = gradients.Study("temporal-order", TemporalOrder(10), 1, 0, tmp_path)
    (tmp_path / "rnn-not-clipped.npz").write_text("?")
    with pytest.raises(RunError, match="expected a file saved by numgru, got another kind of file; give --overwrite"):
        list(study.measurements(lambda: None))
