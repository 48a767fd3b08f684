import csv
from pathlib import Path

import numpy as np
import pytest
from numba.core import event

from numgru.cli import run
from numgru.experiments import gradients

FILES = ["gradients.csv", "gradients.png"] + [
    f"{network}-{kind}.npz" for network in ("gru", "lstm", "rnn") for kind in ("clipped", "not-clipped")
]
SMALL = ["--length", "12", "--updates", "2", "--quiet"]


@pytest.fixture
def sales():
    values = 10 + np.sin(np.arange(60) / 3)
    Path("sales.csv").write_text("sold\n" + "".join(f"{value:.4f}\n" for value in values))
    return "sales.csv"


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


@pytest.mark.parametrize("other", ["lstm-clipped.npz", "rnn-not-clipped.npz"])
def test_a_file_in_the_place_of_another(other, capsys):
    kept = Path("runs/gradients-temporal-order")
    assert run(["gradients", *SMALL]) == 0
    (kept / "rnn-clipped.npz").write_bytes((kept / other).read_bytes())
    assert run(["gradients", *SMALL]) == 2
    message = f"numgru: {kept}/rnn-clipped.npz: was trained with other settings; give --overwrite or another --output\n"
    assert capsys.readouterr().err == message


def test_of_a_series(sales, capsys):
    assert run(["gradients", sales, *SMALL]) == 0
    assert Path("runs/gradients-sales/gradients.png").exists()
    Path(sales).write_text(Path(sales).read_text().replace("10.0000", "10.5000"))
    assert run(["gradients", sales, *SMALL]) == 2
    assert "other settings" in capsys.readouterr().err


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
        (["--column", "sold"], "--column sold: expected a CSV file with it, got none\n"),
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
