"""`numgru train --text` and `numgru sample`."""

import json
from pathlib import Path

import pytest

import numgru
from numgru._files import load_arrays
from numgru.cli import run
from numgru.language import TextRun
from numgru.runs import Learner, learner
from tests.cases import sentences
from tests.cli.helpers import names, one_line

SMALL = ["--hidden-size", "12", "--epochs", "3", "--batch-size", "4", "--window", "16"]
TRAIN = ["train", "--text", "pets.txt", *SMALL, "--quiet"]
FILES = ["checkpoint.npz", "metrics.json", "model.npz", "settings.json", "training.png"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("pets.txt").write_text(sentences())
    return tmp_path


def test_train_and_sample(capsys):
    assert run(["train", "--text", "pets.txt", *SMALL]) == 0
    out, err = capsys.readouterr()
    assert "pets.txt: 4279 characters, 19 different ones in the fitted 3423" in out
    assert "bits per character" in out and "3/3" in err
    assert names("runs/pets") == FILES
    metrics = json.loads(Path("runs/pets/metrics.json").read_text())
    assert list(metrics["tail"]) == [line[:26].rstrip() for line in out.splitlines()[-6:-1]]
    for name, margin in metrics["margin"].items():
        assert margin == pytest.approx(1 - metrics["tail"]["numgru"] / metrics["tail"][name])
    assert metrics["tail"]["numgru"] < metrics["tail"]["uniform"]
    assert metrics["settings"]["clip_norm"] == 1.0 and len(metrics["history"]["validation_loss"]) == 3

    sample = ["sample", "runs/pets", "--prompt", "the ", "--length", "40", "--seed"]
    assert run([*sample, "1"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("the ") and written.endswith("\n") and len(written) == 4 + 40 + 1
    assert run([*sample, "1"]) == 0
    assert capsys.readouterr().out == written
    assert run([*sample, "2"]) == 0
    assert capsys.readouterr().out != written
    assert run(["sample", "runs/pets", "--length", "5", "--temperature", "0.1"]) == 0
    assert len(capsys.readouterr().out) == 6


def test_a_window_of_one_character(capsys):
    Path("short.txt").write_text("hello numgru\n" * 20)
    assert run(["train", "--text", "short.txt", "--window", "1", "--epochs", "1", "--quiet"]) == 0


def test_info_of_a_run_shows_its_layers(capsys):
    assert run(TRAIN) == 0
    assert run(["info", "runs/pets"]) == 0
    out = capsys.readouterr().out
    assert out.endswith(f"\n{TextRun(Path('runs/pets')).load().model.summary()}\n")


def test_sample_writes_each_character_at_once(capsys, monkeypatch):
    assert run(TRAIN) == 0
    seen = []

    def stopped(_, prompt, **options):
        for character in "abc":
            seen.append(capsys.readouterr().out)
            yield character
        raise KeyboardInterrupt

    monkeypatch.setattr(numgru.language, "sample", stopped)
    assert run(["sample", "runs/pets", "--prompt", "the"]) == 130
    assert seen == ["the", "a", "b"]


def test_an_interrupted_run_resumes_to_the_same_bits(capsys, monkeypatch):
    def interrupted(*arguments, **options):
        fit(*arguments, **{**options, "epochs": 2})
        raise KeyboardInterrupt

    fit = learner.fit
    assert run([*TRAIN, "--output", "whole"]) == 0
    monkeypatch.setattr(Learner, "compile_kernels", lambda *_: None)  # which fits, too
    monkeypatch.setattr(learner, "fit", interrupted)
    assert run([*TRAIN, "--output", "cut"]) == 130
    assert one_line(capsys, "interrupted", "numgru train --resume --output cut")
    assert run(["sample", "cut"]) == 2
    assert one_line(capsys, "no trained model", "--resume")

    monkeypatch.setattr(learner, "fit", fit)
    assert run(["train", "--resume", "--output", "cut", "--window", "13"]) == 2
    assert one_line(capsys, "--window", "16", "13")
    assert run(["train", "--resume", "--output", "cut", "--horizon", "4"]) == 2
    assert one_line(capsys, "--horizon", "None", "4")
    assert run(["train", "--resume", "--output", "cut", "--quiet"]) == 0
    whole, cut = load_arrays("whole/model.npz")[0], load_arrays("cut/model.npz")[0]
    assert all((whole[name] == cut[name]).all() for name in whole)

    Path("pets.txt").write_text(sentences(seed=1))
    assert run(["train", "--resume", "--output", "cut"]) == 2
    assert one_line(capsys, "pets.txt", "has changed")


def test_threads_change_no_bit():
    train = [*TRAIN, "--epochs", "1", "--hidden-size", "130", "--batch-size", "32", "--window", "32"]
    models = []
    for threads in ("1", "2"):
        assert run([*train, "--output", threads, "--threads", threads]) == 0
        models.append(load_arrays(f"{threads}/model.npz")[0])
    assert all((models[0][name] == models[1][name]).all() for name in models[0])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--text", "none.txt"], ["none.txt", "no such file"]),
        (["--text", "."], ["can't be read"]),
        (["--text", "latin.txt"], ["latin.txt", "expected a text in UTF-8"]),
        (["--text", "short.txt"], ["short.txt", "40 characters are too few", "window", "2562"]),
        (["--text", "empty.txt"], ["empty.txt", "got 0 characters"]),
        (["--text", "pets.txt", "sales.csv"], ["--text", "both"]),
        (["--text", "pets.txt", "--horizon", "3"], ["--horizon", "series", "--text"]),
        (["--text", "pets.txt", "--column", "a"], ["--column a", "CSV"]),
        (["--text", "pets.txt", "--window", "0"], ["--window", "0"]),
        (["--text", "pets.txt", "--window", "5000"], ["pets.txt", "too few", "5000"]),
        (["--text", "pets.txt", "--resume"], ["runs/pets", "no run to resume"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(arguments, words, folder, capsys):
    Path("latin.txt").write_bytes("café ".encode("latin-1") * 100)
    Path("short.txt").write_text("a word " * 5 + "more\n")
    Path("empty.txt").touch()
    before = names(folder)
    assert run(["train", *arguments]) == 2
    assert one_line(capsys, *words)
    assert names(folder) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], ["nowhere", "no trained model"]),
        (["pets.txt"], ["pets.txt", "got a file"]),
        (["run", "--prompt", "Où?"], ["--prompt", "'?Où'", "run"]),
        (["run", "--temperature", "0"], ["--temperature", "above zero", "got 0"]),
        (["run", "--temperature", "-1"], ["--temperature", "got -1"]),
        (["run", "--temperature", "hot"], ["--temperature", "got hot"]),
        (["run", "--length", "0"], ["--length", "0"]),
        (["run", "--seed", "-1"], ["--seed", "-1"]),
        (["series"], ["series", "expected a character model", "got numgru forecaster 1"]),
    ],
)
def test_a_mistake_in_sample_is_one_line(arguments, words, two_runs, capsys):
    assert run(["sample", *arguments]) == 2
    assert one_line(capsys, *words)


@pytest.fixture
def two_runs():
    assert run([*TRAIN, "--epochs", "1", "--output", "run"]) == 0
    small = ["--window", "12", "--horizon", "4", "--hidden-size", "4", "--epochs", "1", "--quiet"]
    assert run(["train", *small, "--output", "series"]) == 0


def test_overwriting_a_run_of_the_other_kind_leaves_none_of_its_files(two_runs):
    Path("series/note.txt").touch()
    assert run([*TRAIN, "--output", "series", "--overwrite"]) == 0
    assert names("series") == sorted([*FILES, "note.txt"])


def test_runs_of_the_other_kind(two_runs, capsys):
    assert run(["predict", "run"]) == 2
    assert one_line(capsys, "run", "expected a forecaster", "got numgru character model 1")
    assert run(["train", "--text", "pets.txt", "--resume", "--output", "series"]) == 2
    assert one_line(capsys, "series", "expected the run of a character model to resume, got a forecaster's")
    assert run(["train", "pets.csv", "--resume", "--output", "run"]) == 2
    assert one_line(capsys, "run", "expected the run of a forecaster to resume, got a character model's")
