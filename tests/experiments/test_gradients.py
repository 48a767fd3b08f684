import csv
from pathlib import Path

import numpy as np
import pytest
from numba.core import event

from numgru.cli import run
from numgru.data import Adding, DataError, Memorization, Series, TemporalOrder
from numgru.experiments import gradients
from numgru.experiments.flow import flow_figure, norms_csv, reach
from numgru.experiments.gradients import NETWORKS, STAGES, Measurement, NextValue, state_gradient_norms
from numgru.experiments.networks import vectors
from numgru.runs import RunError

FILES = ["gradients.csv", "gradients.png"] + [
    f"{network}-{kind}.npz" for network in ("gru", "lstm", "rnn") for kind in ("clipped", "not-clipped")
]
SMALL = ["--length", "12", "--updates", "2", "--quiet"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sales():
    values = 10 + np.sin(np.arange(60) / 3)
    Path("sales.csv").write_text("sold\n" + "".join(f"{value:.4f}\n" for value in values))
    return "sales.csv"


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("task", [TemporalOrder(12), Adding(12), Memorization(12)])
def test_norms_are_those_of_sequences_that_begin_later(network, task):
    """With the state after step t in the place of h_0, the gradient of h_0 is dL/dh_t, but for the loss of step t."""
    rng = np.random.default_rng(0)
    model = NETWORKS[network](task, rng)
    x, y = task.batch(5, rng)
    x = vectors(task, x)
    norms = state_gradient_norms(model, task.loss, x, y)
    assert norms.shape == (12,) and not model.flat_gradients.any()

    recurrent, *head = model.layers
    dy = task.loss(model.forward(x), y)[1]
    for layer in reversed(head):
        dy = layer.backward(dy)
    for t in (0, 5, 10):
        _, state = recurrent(x[: t + 1])
        recurrent.forward(x[t + 1 :], state)
        _, d_state = recurrent.backward(dy[t + 1 :])
        d_state = d_state.reshape(-1, 5, 50)  # an LSTM's other state is c
        d_state[0] += dy[t]
        assert norms[t] == pytest.approx(np.linalg.norm(d_state), rel=1e-4)
    assert norms[11] == pytest.approx(np.linalg.norm(dy[11]), rel=1e-5)


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
        for network in NETWORKS
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


def test_the_command(capsys, monkeypatch):
    assert run(["gradients", *SMALL[:-1]]) == 0
    assert "runs/gradients-temporal-order: written" in capsys.readouterr().out
    kept = Path("runs/gradients-temporal-order")
    assert sorted(each.name for each in kept.iterdir()) == sorted(FILES)
    content = (kept / "gradients.csv").read_bytes()
    rows = list(csv.DictReader(content.decode().splitlines()))
    assert len(rows) == 3 * 3 * 12 and {row["updates"] for row in rows} == {"0", "2"}

    def no_training(*arguments):
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(gradients, "train_step", no_training)
        assert run(["gradients", *SMALL]) == 0
        assert (kept / "gradients.csv").read_bytes() == content
    assert run(["gradients", *SMALL, "--seed", "1"]) == 2
    assert "was trained with other settings; give --overwrite" in capsys.readouterr().err
    assert run(["gradients", *SMALL, "--seed", "1", "--overwrite"]) == 0
    assert (kept / "gradients.csv").read_bytes() != content


def test_of_a_series(sales, capsys):
    assert run(["gradients", sales, *SMALL]) == 0
    assert Path("runs/gradients-sales/gradients.png").exists()
    Path(sales).write_text(Path(sales).read_text().replace("10.0000", "10.5000"))
    assert run(["gradients", sales, *SMALL]) == 2
    assert "other settings" in capsys.readouterr().err


def test_training_stops_where_a_gradient_is_not_finite(monkeypatch, folder):
    monkeypatch.setattr(gradients, "LEARNING_RATE", 1e38)
    study = gradients.Study("temporal-order", TemporalOrder(10), 50, 0, folder)
    calls = []
    found = list(study.measurements(lambda: calls.append(1)))
    assert len(calls) == sum(each.updates for each in found) and min(each.updates for each in found[1::3]) < 50


def test_interrupted(monkeypatch, capsys):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(gradients, "train_step", interrupt)
    assert run(["gradients", *SMALL]) == 130
    assert "the same command goes on" in capsys.readouterr().err


def test_overwrite_keeps_what_is_there_until_a_network_takes_its_place(monkeypatch, capsys):
    def after(updates):
        """An interrupt."""

        def step(*arguments):
            nonlocal updates
            updates -= 1
            if updates < 0:
                raise KeyboardInterrupt
            return train_step(*arguments)

        return step

    train_step, kept = gradients.train_step, Path("runs/gradients-temporal-order")
    anew = ["gradients", *SMALL, "--seed", "1", "--overwrite"]
    assert run(["gradients", *SMALL]) == 0
    (kept / "data.npz").touch()
    (kept / ".gru-clipped.npz.abcd_123").touch()
    before = (kept / "gradients.csv").read_bytes()

    monkeypatch.setattr(gradients, "train_step", after(1))
    assert run(anew) == 130
    assert "goes on after the last trained network without --overwrite\n" in capsys.readouterr().err
    assert sorted(each.name for each in kept.iterdir()) == sorted([*FILES, "data.npz"])
    assert (kept / "gradients.csv").read_bytes() == before
    monkeypatch.setattr(gradients, "train_step", after(3))
    assert run(anew) == 130
    assert sorted(each.name for each in kept.iterdir()) == ["data.npz", "rnn-not-clipped.npz"]
    monkeypatch.setattr(gradients, "train_step", train_step)
    assert run(anew[:-1]) == 0
    assert sorted(each.name for each in kept.iterdir()) == sorted([*FILES, "data.npz"])


def test_it_says_that_it_compiles(monkeypatch, capsys):
    def compiles(*arguments):
        event.broadcast(event.Event("numba:compile", event.EventStatus.START))
        return train_step(*arguments)

    train_step = gradients.train_step
    monkeypatch.setattr(gradients, "train_step", compiles)
    assert run(["gradients", *SMALL[:-1]]) == 0
    assert capsys.readouterr().out.startswith("compiling kernels (first run only)...\n")
    assert run(["gradients", *SMALL[:-1], "--overwrite"]) == 0
    assert capsys.readouterr().out.count("compiling") == 1
    assert run(["gradients", *SMALL, "--overwrite"]) == 0
    assert capsys.readouterr().out == ""


def test_files_of_the_user_are_not_written_over(capsys):
    Path("mine").mkdir()
    Path("mine/gradients.csv").write_text("mine")
    assert run(["gradients", *SMALL, "--output", "mine"]) == 2
    assert "mine: has gradients.csv, which would be written over; give --overwrite" in capsys.readouterr().err
    assert Path("mine/gradients.csv").read_text() == "mine"


def test_a_folder_that_takes_no_file_is_noticed_before_training(monkeypatch, capsys):
    def refused(dir):
        raise PermissionError(13, "Permission denied", f"{dir}/tmp123")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    monkeypatch.delattr(gradients, "train_step")
    assert run(["gradients", *SMALL, "--output", "shut"]) == 2
    assert capsys.readouterr().err == "numgru: shut: Permission denied\n"


def test_a_damaged_file(folder):
    study = gradients.Study("temporal-order", TemporalOrder(10), 1, 0, folder)
    (folder / "rnn-not-clipped.npz").write_text("?")
    with pytest.raises(RunError, match="expected a file saved by numgru, got another kind of file; give --overwrite"):
        list(study.measurements(lambda: None))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "parity"], "'parity' is not one of 'adding'"),
        (
            ["--task", "copy", "--length", "19"],
            "--length for copy: length: expected an integer of at least 20, got 19.",
        ),
        (["--length", "0"], "--length"),
        (["--length", "9" * 14], "--length"),
        (["--updates", "9" * 20], "--updates"),
        (["sales.csv", "--length", "1"], "--length for sales: length: expected an integer of at least 2, got 1."),
        (["--column", "sold"], "--column sold: expected a CSV file with it, got none."),
        (["sales.csv", "--task", "copy"], "--task copy: expected a task or a CSV file, got both."),
        (["sales.csv", "--length", "59"], "length: expected at most 58, as sold has, got 59"),
        (["sales.csv", "--column", "price"], "price"),
        (["none.csv"], "none.csv: no such file"),
    ],
)
def test_bad_input(arguments, words, sales, capsys):
    assert run(["gradients", "--quiet", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and words in err
    assert not Path("runs").exists()
