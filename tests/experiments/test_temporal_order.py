import csv
import math
import multiprocessing
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.text import Text

import numgru
from numgru.data import SOLVED_BELOW, TemporalOrder
from numgru.experiments import temporal_order
from numgru.experiments.networks import NETWORKS, UNITS, gru, lstm, train_step
from numgru.experiments.temporal_order import Plan, Result, Results, Trial, run_trials
from numgru.experiments.temporal_order_report import rates, success_figure, table, trials_csv
from numgru.runs import RunError

SMALL = Plan(lengths=(10, 12), seeds=1, updates=2)


def result(trial, **values):
    fate = {"solved": False, "updates": 2, "error_rate": 0.7, "diverged": False, "seconds": 0.1}
    norms = {"share_beyond_threshold": 0.5, "largest_norm": 2.0}
    return Result(**vars(trial), **(fate | norms | values))


def without_time(results):
    return sorted((replace(each, seconds=0.0) for each in results), key=str)


def weights(model):
    return model.parameters["0.weight_hh_l0"]


def test_the_first_weights():
    task = TemporalOrder(50)
    smart, basic, lstm, gru = (make(task, np.random.default_rng(0)) for make in NETWORKS.values())
    assert ((weights(smart) != 0).sum(1) == 15).all()
    assert abs(np.abs(np.linalg.eigvals(weights(smart).astype(float))).max() - 0.95) < 1e-5
    assert abs(weights(basic).std() - 0.1) < 0.01
    for model in smart, basic:
        assert not any(values.any() for name, values in model.parameters.items() if "bias" in name)
    i, f, g, o = lstm.parameters["0.bias_hh_l0"].reshape(4, UNITS)
    r, z, n = gru.parameters["0.bias_hh_l0"].reshape(3, UNITS)
    assert np.array_equal(i, -f) and not any(gate.any() for gate in (g, o, r, n))
    for keeps in f, z:
        assert 0 <= keeps.min() < 1.5 and math.log(40) < keeps.max() <= math.log(49)


@pytest.mark.parametrize("make", [lstm, gru])
def test_the_biases_of_inputs_begin_at_zero(make):
    assert not make(TemporalOrder(10), np.random.default_rng(0)).parameters["0.bias_ih_l0"].any()


def test_a_step_is_sgd_on_clipped_gradients():
    task, rng = TemporalOrder(20), np.random.default_rng(0)
    x, y = task.batch(20, 1)
    model = NETWORKS["RNN, basic tanh"](task, rng)
    before = model.flat_parameters.copy()
    norm = train_step(model, numgru.SGD(model, lr=0.5), task, x, y, math.inf)
    whole = before - model.flat_parameters
    assert abs(np.linalg.norm(whole) - 0.5 * norm) < 1e-5 * norm
    model.flat_parameters[...] = before
    assert train_step(model, numgru.SGD(model, lr=0.5), task, x, y, norm / 4) == norm
    assert np.allclose(before - model.flat_parameters, whole / 4, atol=1e-6)


def test_a_trial_learns_and_says_so():
    done = Trial("GRU", True, 10, 0).run(4000)
    assert done.solved and done.error_rate < SOLVED_BELOW and done.updates < 4000 and done.updates % 500 == 0
    assert done.trial == Trial("GRU", True, 10, 0)
    assert 0 < done.share_beyond_threshold < 1 < done.largest_norm


def test_a_trial_gives_up_and_is_repeatable():
    trial = Trial("RNN, smart tanh", False, 12, 3)
    once, again = trial.run(3), trial.run(3)
    assert not once.solved and not once.diverged and once.updates == 3 and 0.5 < once.error_rate < 0.9
    assert replace(once, seconds=0) == replace(again, seconds=0)


def test_a_trial_that_diverges(monkeypatch):
    monkeypatch.setattr(temporal_order, "LEARNING_RATE", 1e38)
    done = Trial("RNN, basic tanh", False, 10, 0).run(50)
    assert done.diverged and not done.solved and done.error_rate == 1 and done.updates < 50


def test_the_plan():
    trials = Plan().trials()
    assert len(trials) == len(set(trials)) == 5 * 4 * 2 * 5
    assert [trial.length for trial in trials] == sorted((trial.length for trial in trials), reverse=True)


def test_results_are_kept_and_gone_on_with(tmp_path):
    path, trials = tmp_path / "trials.json", SMALL.trials()
    results = Results(path, SMALL)
    assert results.left == trials
    for trial in trials[:3]:
        results.add(result(trial))
    again = Results(path, SMALL)
    assert again.done == results.done and again.left == trials[3:]
    with pytest.raises(RunError, match="there are trials with other settings; give --overwrite"):
        Results(path, replace(SMALL, updates=3))
    for content in "{", "[]", '{"settings": {}, "trials": [{"a": 1}]}':
        path.write_text(content)
        with pytest.raises(RunError, match="expected trials of this experiment, got something else"):
            Results(path, SMALL)


def test_rates_table_and_csv():
    trials = Plan(lengths=(10, 20), seeds=2, updates=7)
    results = [
        result(trial, solved=trial.clipped and trial.length == 10 and trial.seed == 1)
        for trial in trials.trials()
        if trial.network != "GRU" or trial.length == 10
    ]
    counted = rates(results)
    assert list(counted) == [(network, clipped) for network in NETWORKS for clipped in (False, True)]
    assert counted["LSTM", True] == {10: (1, 2), 20: (0, 2)} and counted["LSTM", False] == {10: (0, 2), 20: (0, 2)}
    lines = table(results, trials).splitlines()
    assert "at most 7 updates" in lines[0] and lines[1].split() == ["10", "20"]
    assert lines[3].split()[-2:] == ["1/2", "0/2"] and lines[-1].split()[-2:] == ["1/2", "-"]
    rows = list(csv.DictReader(trials_csv(results[::-1]).splitlines()))
    assert len(rows) == len(results)
    assert [row["seed"] for row in rows[:4]] == ["0", "1", "0", "1"]
    panels = success_figure(results, trials).axes
    assert [axes.get_title("left") for axes in panels] == list(NETWORKS)
    unclipped, clipped = panels[2].lines
    assert clipped.get_xdata().tolist() == [10, 20] and clipped.get_ydata().tolist() == [0.5, 0]
    assert unclipped.get_ydata().tolist() == [0, 0]


def test_markers_lie_below_the_titles():
    figure = success_figure([result(trial, solved=True) for trial in SMALL.trials()], SMALL)
    figure.draw_without_rendering()
    for axes in figure.axes:
        (title,) = (each for each in axes.findobj(Text) if each.get_text() == axes.get_title("left"))
        _, top = axes.transData.transform((0, 1))
        half = max(line.get_markersize() + line.get_markeredgewidth() for line in axes.lines) / 2
        assert title.get_window_extent().y0 > top + half * figure.dpi / 72


def parent_of_a_process():
    with temporal_order._pool(1) as pool:
        pool.submit(os.getpid).result()
        print("ready", flush=True)
        pool.submit(time.sleep, 1000).result()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_is_left_when_the_parent_is_killed(number, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(numgru.__file__).parents[1]))
    code = "from tests.experiments.test_temporal_order import parent_of_a_process as f; f()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as parent:
        assert parent.stdout.readline() == b"ready\n"
        parent.send_signal(number)
        readable, _, _ = select.select([parent.stdout], [], [], 60)
        # The end of the output comes when the last process that could write to it has ended.
        assert readable and parent.stdout.read() == b""


def test_no_trials_no_results(tmp_path):
    assert list(run_trials(Results(tmp_path / "none.json", replace(SMALL, seeds=0)), 1)) == []


def test_no_process_is_left_when_interrupted(tmp_path):
    results = Results(tmp_path / "trials.json", replace(SMALL, updates=10**9))
    with pytest.raises(KeyboardInterrupt), temporal_order._pool(2) as pool:
        pool.submit(results.left[0].run, 10**9)
        raise KeyboardInterrupt
    assert not multiprocessing.active_children()
