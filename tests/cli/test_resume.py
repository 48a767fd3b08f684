"""`numgru train` in a folder where there is a run: interrupted, gone on with, replaced."""

import errno
import json
from pathlib import Path

import pytest

from numgru._files import load_arrays
from numgru.cli import run
from numgru.forecasting import ForecastRun
from numgru.runs import Learner, learner
from numgru.training import TrainingDivergedError
from tests.cli.helpers import FILES, SMALL, names, one_line, raising


def test_an_interrupted_run_resumes_to_the_same_bits(sales, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        fit(*arguments, **{**options, "epochs": 2})
        raise KeyboardInterrupt

    fit = learner.fit
    train = ["train", sales, "--column", "sold", *SMALL, "--quiet"]
    assert run([*train, "--output", "whole"]) == 0
    monkeypatch.setattr(Learner, "compile_kernels", lambda *_: None)  # which fits, too
    monkeypatch.setattr(learner, "fit", interrupted)
    assert run([*train, "--output", "cut"]) == 130
    assert one_line(capsys, "interrupted", "numgru train --resume --output cut")
    assert names("cut") == ["checkpoint.npz", "settings.json"]
    assert run(["predict", "cut"]) == 2
    assert one_line(capsys, "no trained model", "numgru train --resume --output cut")
    assert run([*train, "--output", "cut"]) == 2
    assert one_line(capsys, "--resume", "--overwrite")

    monkeypatch.setattr(learner, "fit", fit)
    assert run(["train", "--resume", "--output", "cut", "--window", "13"]) == 2
    assert one_line(capsys, "--window", "12", "13")
    assert run([*train, "--resume", "--output", "cut", "--seed", "0"]) == 0
    whole, cut = load_arrays("whole/model.npz")[0], load_arrays("cut/model.npz")[0]
    assert all((whole[name] == cut[name]).all() for name in whole)


def test_a_checkpoint_of_something_else_is_one_line(sales, capsys):
    train = ["train", sales, "--column", "sold", *SMALL, "--quiet", "--output", "run"]
    assert run(train) == 0
    Path("run/checkpoint.npz").write_bytes(Path("run/model.npz").read_bytes())
    assert run(["train", "--resume", "--output", "run"]) == 2
    assert one_line(capsys, "run/checkpoint.npz", "--overwrite")


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("epochs", 9, ("checkpoint.npz", "another schedule", "--overwrite")),
        ("hidden_size", 5, ("checkpoint.npz", "another model", "--overwrite")),
        ("hidden_size", "many", ("settings.json", "hidden_size: expected an integer")),
    ],
)
def test_settings_that_were_edited_are_one_line(name, value, words, trained, capsys):
    path = Path("run/settings.json")
    kept = json.loads(path.read_text())
    kept["settings"][name] = value
    path.write_text(json.dumps(kept))
    assert run(["train", "--resume", "--output", "run", "--quiet"]) == 2
    assert one_line(capsys, *words)


def contents(path):
    return {each.name: each.read_bytes() for each in Path(path).iterdir()}


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (KeyboardInterrupt(), 130, "interrupted; the run before is still there"),
        (TrainingDivergedError(1, 3, "the loss is nan", None), 1, "the loss is nan"),
        (
            OSError(errno.ENOSPC, "No space left on device", "run/checkpoint.npz"),
            1,
            "run/checkpoint.npz: No space left",
        ),
        (MemoryError(), 1, "too little memory; the run before is still there"),
    ],
)
def test_overwrite_keeps_the_run_until_another_has_a_checkpoint(
    error, code, words, trained, sales, capsys, monkeypatch
):
    before = contents("run")
    with monkeypatch.context() as patch:
        patch.setattr(learner, "fit", raising(error))
        train = ["train", sales, "--column", "sold", *SMALL, "--quiet", "--output", "run", "--overwrite"]
        assert run(train) == code
    assert one_line(capsys, words)
    assert contents("run") == before

    def one_epoch(*arguments, on_epoch, **options):
        def interrupt(history):
            on_epoch(history)
            raise error

        fit(*arguments, on_epoch=interrupt, **options)

    fit = learner.fit
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "compile_kernels", lambda *_: None)
        patch.setattr(learner, "fit", one_epoch)
        assert run([*train, "--seed", "3"]) == code
    assert names("run") == ["checkpoint.npz", "settings.json"]
    assert json.loads(Path("run/settings.json").read_text())["settings"]["seed"] == 3
    assert run(["train", "--output", "run", "--resume", "--quiet"]) == 0


def test_a_run_killed_before_its_first_checkpoint_leaves_that_before_it(trained, sales):
    before = contents("run")
    place = ForecastRun(Path("run"))
    place.begin(*place.resume())
    assert not Path("run/checkpoint.npz").exists()
    Path("run/.checkpoint.npz.abcd_123").touch()
    assert run(["predict", "run"]) == 0
    assert run(["train", "--output", "run", "--resume", "--quiet"]) == 0
    assert names("run") == sorted(before) and contents("run")["model.npz"] == before["model.npz"]


@pytest.mark.parametrize("name", FILES)
def test_files_of_the_user_are_not_written_over(name, sales, capsys):
    Path("mine").mkdir()
    Path("mine", name).write_text("mine")
    assert run(["train", sales, "--column", "sold", *SMALL, "--quiet", "--output", "mine"]) == 2
    assert one_line(capsys, "mine: ", "--overwrite", "another --output")
    assert contents("mine") == {name: b"mine"}


def test_a_killed_run_leaves_no_temporary_file_to_the_next(trained, sales):
    for command in (["--resume"], [sales, "--column", "sold", *SMALL, "--overwrite"]):
        Path("run/.checkpoint.npz.abcd_123").touch()
        Path("run/.note").touch()
        assert run(["train", *command, "--quiet", "--output", "run"]) == 0
        assert names("run") == [".note", *FILES]


def test_a_run_follows_its_data(trained, sales, capsys):
    Path(sales).rename("moved.csv")
    resume = ["train", "--resume", "--output", "run", "--quiet"]
    assert run(resume) == 2
    assert one_line(capsys, f"{sales}: no such file; if it was moved, give its new place with --resume")
    assert run([*resume, "moved.csv"]) == 0
    Path("other.csv").write_text(Path("moved.csv").read_text().replace("2010-01-15,x,", "2010-01-15,x,1"))
    assert run([*resume, "other.csv"]) == 2
    assert one_line(capsys, "other.csv: expected the data that the run in run began with, got others; start anew")
    assert run(resume) == 0
    assert json.loads(Path("run/metrics.json").read_text())["settings"]["csv"].endswith("/moved.csv")


def test_a_folder_with_a_blank_is_quoted(sales, capsys, monkeypatch):
    def interrupted(*arguments, **options):
        fit(*arguments, **options)
        raise KeyboardInterrupt

    fit = learner.fit
    with monkeypatch.context() as patch:
        patch.setattr(learner, "fit", interrupted)
        patch.setattr(Learner, "compile_kernels", lambda *_: None)
        assert run(["train", sales, "--column", "sold", *SMALL, "--quiet", "--output", "a run"]) == 130
    assert one_line(capsys, "numgru train --resume --output 'a run'\n")
    assert run(["predict", "a run"]) == 2
    assert one_line(capsys, "numgru train --resume --output 'a run'\n")


def test_interrupted_before_the_first_checkpoint_nothing_is_left(sales, capsys, monkeypatch):
    monkeypatch.setattr(learner, "fit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(["train", sales, "--column", "sold", *SMALL, "--quiet", "--output", "cut"]) == 130
    assert one_line(capsys, "interrupted; nothing is left of it")
    assert not Path("cut").exists()


def test_overwrite_replaces_and_changed_data_does_not_resume(sales, capsys):
    train = ["train", sales, "--column", "sold", *SMALL, "--quiet"]
    assert run(train) == 0
    assert run(train) == 2
    assert one_line(capsys, "there is a run")
    Path(sales).write_text(Path(sales).read_text().replace("2010-01-15,x,", "2010-01-15,x,1"))
    assert run([*train, "--resume"]) == 2
    assert one_line(capsys, "has changed")
    assert run([*train, "--overwrite"]) == 0
    Path("runs/sales/checkpoint.npz").write_bytes(b"PK")
    assert run([*train, "--resume"]) == 2
    assert one_line(capsys, "checkpoint.npz", "expected")
