import csv
import errno
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.core import event

import numgru
from numgru import _machine
from numgru._files import load_arrays, save_arrays
from numgru.cli import run
from numgru.data import Series
from numgru.forecasting import Forecaster, ForecastRun, Settings
from numgru.runs import Learner, learner
from numgru.training import History, TrainingDivergedError
from tests.cases import count_compiled, run_elsewhere

SMALL = ["--window", "12", "--horizon", "4", "--hidden-size", "8", "--epochs", "4", "--batch-size", "16"]
FILES = ["checkpoint.npz", "forecast.png", "metrics.json", "model.npz", "settings.json", "training.png"]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def sales(folder):
    """A small file with a date, another column and a season of 12; one gap."""
    time = np.arange(150)
    values = 100 + 0.5 * time + 10 * np.sin(2 * np.pi * time / 12) + np.random.default_rng(0).standard_normal(150)
    months = np.datetime64("2010-01") + time
    rows = [f"{month}-15,x,{value:.3f}" for month, value in zip(months, values, strict=True)]
    rows[30] = f"{months[30]}-15,x,"
    Path("sales.csv").write_text("\n".join(["month,shop,sold", *rows]) + "\n")
    return "sales.csv"


@pytest.fixture
def trained(sales):
    assert run(["train", sales, "--column", "sold", *SMALL, "--epochs", "1", "--quiet", "--output", "run"]) == 0


def names(path):
    return sorted(each.name for each in Path(path).iterdir())


def one_line(capsys, *words):
    """Stderr is one line with these words, stdout is empty."""
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and "Traceback" not in err
    for word in words:
        assert word in err
    return True


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


def test_forecasts_are_numbered_by_the_row_of_the_file(capsys):
    values = 1.5e9 + np.sin(np.arange(300) / 2)
    Path("gaps.csv").write_text("\n".join(["v", *[""] * 5, *map(str, values), "NaN", "NaN"]) + "\n")
    assert run(["train", "gaps.csv", *SMALL, "--quiet", "--output", "run"]) == 0
    assert run(["predict", "run"]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))[1:]
    assert [int(step) for step, _ in rows] == [305, 306, 307, 308]
    assert all(0 < abs(float(value) - 1.5e9) < 2 for _, value in rows)


def test_without_a_season_there_is_persistence_only(sales):
    assert run(["train", sales, "--column", "sold", *SMALL, "--season", "0", "--quiet"]) == 0
    assert set(json.loads(Path("runs/sales/metrics.json").read_text())["margin"]) == {"persistence"}


def test_quiet_prints_nothing(sales, capsys):
    assert run(["train", sales, "--column", "sold", *SMALL, "--clip-value", "0.1", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")


def test_the_first_run_compiles_before_the_bar(sales, capsys, monkeypatch):
    order, misses = [], 0

    def compiles(*_):
        order.append("compile")
        for _ in range(misses):
            event.broadcast(event.Event("numba:compile", event.EventStatus.START))

    monkeypatch.setattr(Forecaster, "compile_kernels", compiles)
    monkeypatch.setattr(Forecaster, "train", lambda *_, **__: order.append("train") or History())
    monkeypatch.setattr(ForecastRun, "finish", lambda *_: {"margin": {}})
    monkeypatch.setattr(ForecastRun, "summary", lambda *_: "")
    for number, (cached, quiet) in enumerate([(False, False), (False, True), (True, False)]):
        misses = 0 if cached else 2
        order.clear()
        train = ["train", sales, "--column", "sold", *SMALL, "--output", f"run{number}", *["--quiet"] * quiet]
        assert run(train) == 0
        assert order == ["compile", "train"]
        note = "compiling kernels (first run only)..."
        assert capsys.readouterr().out.count(note) == (not cached and not quiet)


def test_nothing_is_compiled_in_training_after_compile_kernels():
    code = "from tests.test_cli import compiled_later; compiled_later()"
    assert run_elsewhere(code).split() == ["0"]


def compiled_later():
    values = 10 + np.sin(np.arange(150) / 2) + np.arange(150) / 50
    series = Series("wave", values, np.zeros(150, bool))
    settings = Settings(window=12, horizon=4, hidden_size=8, epochs=2, batch_size=16)
    subject = Forecaster.untrained(settings, series)
    subject.compile_kernels(series)
    untouched = Forecaster.untrained(settings, series)
    assert (subject.model.flat_parameters == untouched.model.flat_parameters).all()
    before = count_compiled()
    subject.train(series)
    print(count_compiled() - before)


def test_only_what_the_cache_lacks_is_compiled(tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    code = "from tests.test_cli import compile_a_small_kernel; compile_a_small_kernel()"
    assert [run_elsewhere(code).split() for _ in range(2)] == [["1"], ["0"]]


def compile_a_small_kernel():
    told = []
    with _machine.told_of_compiling(lambda: told.append(1)):
        model = numgru.RNN(2, 3)
        model.zero_grad()
        numgru.clip_grad_value_(model.gradients, 1.0)
        numgru.clip_grad_value_({"a": np.zeros(3)}, 1.0)
    print(len(told))


def test_help_shows_each_command_in_a_whole_line(capsys):
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2].splitlines()
    assert len([line for line in listed if line.endswith(".") and not line.endswith("...")]) == 6


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


def raising(error):
    def raises(*_, **__):
        raise error

    return raises


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


def test_predict_through_a_link(trained):
    Path("target.csv").write_text("old")
    Path("link.csv").symlink_to("target.csv")
    assert run(["predict", "run", "--output", "link.csv", "--overwrite"]) == 0
    assert Path("link.csv").is_symlink() and Path("target.csv").read_text().startswith("date,forecast\n")


def test_interrupted_before_the_first_checkpoint_nothing_is_left(sales, capsys, monkeypatch):
    monkeypatch.setattr(learner, "fit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    assert run(["train", sales, "--column", "sold", *SMALL, "--quiet", "--output", "cut"]) == 130
    assert one_line(capsys, "interrupted; nothing is left of it")
    assert not Path("cut").exists()


def test_a_diverged_training_is_one_line(sales, capsys, monkeypatch):
    error = TrainingDivergedError(1, 3, "the loss is nan", None)
    monkeypatch.setattr(learner, "fit", lambda *_, **__: (_ for _ in ()).throw(error))
    assert run(["train", sales, "--column", "sold", *SMALL, "--quiet"]) == 1
    assert one_line(capsys, "epoch 1, step 3: the loss is nan")
    assert not Path("runs/sales").exists()


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
        (["--column", "a"], ["--column a", "CSV"]),
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], ["nowhere", "no trained model"]),
        (["sales.csv"], ["sales.csv", "got a file"]),
        (["foreign"], ["foreign", "expected a forecaster"]),
        (["damaged"], ["damaged", "expected a file saved by numgru"]),
        (["run", "none.csv"], ["none.csv", "no such file"]),
        (["run", "--column", "sold"], ["--column sold", "expected a CSV file with it, got none"]),
        (["run", "short.csv"], ["at least 12 values", "got 3"]),
        (["run", "--output", "none/next.csv"], ["none/next.csv", "can't be written"]),
        (["run", "--output", "sales.csv"], ["sales.csv", "exists", "--overwrite"]),
    ],
)
def test_a_mistake_in_predict_is_one_line_and_leaves_nothing(arguments, words, trained, folder, capsys):
    Path("short.csv").write_text("sold\n1\n2\n3\n")
    Path("foreign").mkdir()
    save_arrays("foreign/model.npz", {}, {"kind": "other"})
    Path("damaged").mkdir()
    Path("damaged/model.npz").write_bytes(b"PK")
    before = names(folder)
    assert run(["predict", *arguments]) == 2
    assert one_line(capsys, *words)
    assert names(folder) == before


def test_threads_are_set_and_change_no_bit(sales, monkeypatch):
    """So small a run is never cut; that calls which are cut have the same bits is tested where they are."""
    monkeypatch.setattr(numgru.kernels.threads, "_num_threads", numgru.get_num_threads())  # as it was, at the end
    train = ["train", sales, "--column", "sold", *SMALL, "--quiet"]
    assert run([*train, "--output", "one", "--threads", "1"]) == 0
    assert numgru.get_num_threads() == 1
    assert run([*train, "--output", "two", "--threads", "2"]) == 0
    assert numgru.get_num_threads() == 2
    one, two = load_arrays("one/model.npz")[0], load_arrays("two/model.npz")[0]
    assert all((one[name] == two[name]).all() for name in one)


def test_info(capsys):
    assert run(["info"]) == 0
    out = capsys.readouterr().out
    for word in ("numgru", "numba", "processor", "float32", "tile", "threads", "threading layer", "cache"):
        assert word in out


def test_info_of_a_run(trained, capsys):
    assert run(["info", "run"]) == 0
    out = capsys.readouterr().out
    assert "processor" in out and out.endswith(f"\n{ForecastRun(Path('run')).load().model.summary()}\n")
    assert run(["info", "nowhere"]) == 2
    assert one_line(capsys, "nowhere", "no trained model")


def test_a_process_of_its_own(sales, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(numgru.__file__).parents[1]))
    command = [sys.executable, "-m", "numgru"]
    train = subprocess.run([*command, "train", sales, "--column", "sold", *SMALL], capture_output=True, text=True)
    assert train.returncode == 0, train.stderr
    assert "persistence" in train.stdout
    assert names("runs/sales") == FILES
    wrong = subprocess.run([*command, "predict", "nowhere"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)


def test_a_network_beyond_the_memory_is_one_line(folder, capsys):
    assert run(["train", "--hidden-size", "10000000"]) == 1
    assert one_line(capsys, "too little memory", "allocate")
    assert names(folder) == []


def test_interrupted_while_it_is_imported(monkeypatch):
    from numgru import __main__

    monkeypatch.setattr("builtins.__import__", raising(KeyboardInterrupt()))
    with pytest.raises(SystemExit) as caught:
        __main__.main()
    assert caught.value.code == 130


def test_without_click_one_line_says_what_to_install(monkeypatch):
    from numgru import __main__

    monkeypatch.setattr(__main__, "find_spec", lambda name: None if name == "click" else object())
    with pytest.raises(SystemExit, match=r"click: pip install 'numgru\[cli\]'"):
        __main__.main()
