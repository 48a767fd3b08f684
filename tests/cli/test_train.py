import csv
import json
from pathlib import Path

import numpy as np
import pytest

import numgru
from numgru._files import load_arrays
from numgru.cli import run
from numgru.runs import learner
from numgru.training import TrainingDivergedError
from tests.cli.helpers import FILES, SMALL, names, one_line


def test_the_embedded_series(capsys):
    assert run(["train", "--epochs", "2", "--hidden-size", "8", "--window", "26"]) == 0
    out = capsys.readouterr().out
    assert "59 of 2284 values were missing" in out and "seasonal naive with drift" in out and "persistence" in out
    assert names("runs/co2") == FILES
    metrics = json.loads(Path("runs/co2/metrics.json").read_text())
    assert metrics["settings"]["season"] == 52
    assert set(metrics["tail"]) == {"numgru", "seasonal naive", "seasonal naive with drift", "persistence"}
    for name, margin in metrics["margin"].items():
        assert margin == pytest.approx(1 - metrics["tail"]["numgru"]["mae"] / metrics["tail"][name]["mae"])

    assert run(["predict", "runs/co2"]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))
    assert rows[0] == ["date", "forecast"]
    assert [rows[1][0], rows[-1][0], len(rows)] == ["2002-01-05", "2002-06-29", 27]
    assert all(360 < float(value) < 385 for _, value in rows[1:])


def test_a_file_of_the_user(sales, capsys):
    assert run(["train", sales, "--column", "sold", *SMALL]) == 0
    out = capsys.readouterr().out
    assert "sold: 1 of 150 values was missing, in one gap" in out
    metrics = json.loads(Path("runs/sales/metrics.json").read_text())
    assert metrics["settings"]["season"] == 12  # found in the fitted part

    Path("next.csv").touch()
    assert run(["predict", "runs/sales", "--output", "next.csv", "--overwrite"]) == 0
    assert capsys.readouterr().out == ""
    assert Path("next.csv").read_text().splitlines()[1].startswith("2022-07-15,")

    Path("other.csv").write_text("sold\n" + "\n".join(str(value) for value in range(20)) + "\n")
    assert run(["predict", "runs/sales", "other.csv"]) == 0
    assert capsys.readouterr().out.splitlines()[:2][0] == "step,forecast"


def test_the_column_of_the_training_is_kept(capsys):
    rows = [f"{10 + np.sin(i / 2):.3f}" for i in range(120)]
    Path("one.csv").write_text("\n".join(["v", *rows]) + "\n")
    Path("two.csv").write_text("\n".join(["w,v", *(f"7,{row}" for row in rows)]) + "\n")
    Path("other.csv").write_text("\n".join(["w", *rows]) + "\n")
    assert run(["train", "one.csv", *SMALL, "--quiet", "--output", "run"]) == 0
    assert json.loads(Path("run/settings.json").read_text())["settings"]["column"] == "v"
    forecasts = []
    for given in ([], ["two.csv"], ["other.csv", "--column", "w"]):
        assert run(["predict", "run", *given]) == 0
        forecasts.append(capsys.readouterr().out)
    assert forecasts[0] == forecasts[1] == forecasts[2]
    assert run(["predict", "run", "other.csv"]) == 2
    assert one_line(capsys, "other.csv", "no column 'v'; the file has 'w'")
    assert run(["train", "--resume", "one.csv", "--column", "v", "--output", "run", "--quiet"]) == 0


def test_without_a_season_there_is_persistence_only(sales):
    assert run(["train", sales, "--column", "sold", *SMALL, "--season", "0", "--quiet"]) == 0
    assert set(json.loads(Path("runs/sales/metrics.json").read_text())["margin"]) == {"persistence"}


def test_quiet_prints_nothing(sales, capsys):
    assert run(["train", sales, "--column", "sold", *SMALL, "--clip-value", "0.1", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("option", ["--learning-rate", "--clip-norm", "--clip-value"])
def test_a_huge_number_warns_of_nothing(option, sales, capsys):
    code = run(["train", sales, "--column", "sold", *SMALL, "--quiet", option, "1e300"])
    err = capsys.readouterr().err
    if option == "--learning-rate":
        assert code == 1 and err.endswith("; give a lower --learning-rate or --clip-norm\n") and err.count("\n") == 1
    else:
        assert (code, err) == (0, "")


def test_outliers_are_named_as_the_cause(folder, capsys):
    values = np.arange(150.0)
    values[110] = 1e60
    Path("outlier.csv").write_text("sold\n" + "".join(f"{value}\n" for value in values))
    assert run(["train", "outlier.csv", *SMALL, "--quiet"]) == 1
    assert one_line(capsys, "epoch 1, validation: the loss is", "some values are too large beside the others")


def test_a_diverged_training_is_one_line(sales, capsys, monkeypatch):
    error = TrainingDivergedError(1, 3, "the loss is nan", None)
    monkeypatch.setattr(learner, "fit", lambda *_, **__: (_ for _ in ()).throw(error))
    assert run(["train", sales, "--column", "sold", *SMALL, "--quiet"]) == 1
    assert one_line(capsys, "epoch 1, step 3: the loss is nan")
    assert not Path("runs/sales").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["none.csv", "--column", "a"], ["none.csv", "no such file"]),
        (["sales.csv", "--column", "price"], ["no column 'price'", "'month', 'shop', 'sold'"]),
        (["sales.csv"], ["which column", "'month', 'shop', 'sold'"]),
        (["sales.csv", "--column", "shop"], ["line 2", "expected a number", "'x'"]),
        (["sales.csv", "--column", "sold", "--window", "140"], ["150 values are too few", "window 140"]),
        (["sales.csv", "--column", "sold", "--horizon", "30"], ["150 values are too few", "horizon 30"]),
        (
            ["sales.csv", "--column", "sold", *SMALL, "--season", "105"],
            ["season: expected less than the 105 values", "got 105"],
        ),
        (["sales.csv", "--column", "sold", *SMALL, "--output", "sales.csv"], ["sales.csv", "got a file"]),
        (["sales.csv", "--column", "sold", *SMALL, "--output", "sales.csv/run"], ["sales.csv/run"]),
        (["empty.csv", "--column", "a"], ["empty.csv", "expected a header"]),
        (["flat.csv", *SMALL], ["constant"]),
        (["--column", "a"], ["--column a: expected a CSV file with it, got none\n"]),
        (["--window", "0"], ["--window", "0", "numgru train --help"]),
        (["--window", "9" * 20], ["--window", "9" * 20]),
        (["--horizon", "9" * 20], ["--horizon", "9" * 20]),
        (["--window", str(10**8)], ["2284 values are too few", "window 100000000"]),
        (["--horizon", str(10**8)], ["2284 values are too few", "horizon 100000000"]),
        (["--epochs", "many"], ["--epochs", "many"]),
        (["--learning-rate", "-1"], ["--learning-rate", "-1"]),
        (["--learning-rate", "nan"], ["--learning-rate", "nan"]),
        (["--clip-norm", "0"], ["--clip-norm"]),
        (["--clip-norm", "1", "--clip-value", "1"], ["--clip-norm", "--clip-value", "both"]),
        (["--threads", "0"], ["--threads", "0"]),
        (["--resume"], ["no run to resume"]),
        (["--resume", "--overwrite"], ["--resume", "--overwrite", "both"]),
        (["--colour", "red"], ["--colour"]),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(arguments, words, sales, folder, capsys):
    Path("empty.csv").touch()
    Path("flat.csv").write_text("a\n" + "1\n" * 150)
    before = names(folder)
    assert run(["train", *arguments]) == 2
    assert one_line(capsys, *words)
    assert names(folder) == before


def test_threads_are_set_and_change_no_bit(sales):
    """So small a run is never cut; that calls which are cut have the same bits is tested where they are."""
    train = ["train", sales, "--column", "sold", *SMALL, "--quiet"]
    assert run([*train, "--output", "one", "--threads", "1"]) == 0
    assert numgru.get_num_threads() == 1
    assert run([*train, "--output", "two", "--threads", "2"]) == 0
    assert numgru.get_num_threads() == 2
    one, two = load_arrays("one/model.npz")[0], load_arrays("two/model.npz")[0]
    assert all((one[name] == two[name]).all() for name in one)


def test_a_network_beyond_the_memory_is_one_line(folder, capsys):
    assert run(["train", "--hidden-size", "10000000"]) == 1
    assert one_line(capsys, "too little memory", "allocate")
    assert names(folder) == []
