import json
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path

import pytest

from numgru.cli import run, temporal_order
from numgru.experiments.temporal_order import Results
from tests.experiments.test_temporal_order import SMALL, result, without_time


@pytest.fixture
def small(monkeypatch):
    """The quick plan, quicker."""
    monkeypatch.setattr(temporal_order, "QUICK", SMALL)


def test_the_command_and_what_it_goes_on_with(small, capsys):
    """In processes of their own the trials have the results that they have here."""
    assert run(["temporal-order", "--quick", "--processes", "2"]) == 0
    out = capsys.readouterr().out
    assert "RNN, smart tanh" in out and "runs/temporal-order-quick: written" in out
    kept = Path("runs/temporal-order-quick")
    assert sorted(each.name for each in kept.iterdir()) == ["success.png", "trials.csv", "trials.json"]
    done = Results(kept / "trials.json", SMALL).done
    assert without_time(done) == without_time([trial.run(2) for trial in SMALL.trials()])

    content = json.loads((kept / "trials.json").read_text())
    left = content["trials"].pop()
    (kept / "trials.json").write_text(json.dumps(content))
    assert run(["temporal-order", "--quick", "--quiet"]) == 0
    assert capsys.readouterr() == ("", "")
    assert without_time(Results(kept / "trials.json", SMALL).done) == without_time(done)
    assert json.loads((kept / "trials.json").read_text())["trials"][-1] | {"seconds": 0} == left | {"seconds": 0}


@pytest.mark.parametrize(
    ("end", "code", "words"),
    [(KeyboardInterrupt, 130, "interrupted"), (BrokenProcessPool, 1, "a process was ended from outside")],
)
def test_interrupted(end, code, words, small, monkeypatch, capsys):
    def one_and_a_half(results, *_):
        results.add(result(results.left[0]))
        yield results.done[-1]
        raise end

    monkeypatch.setattr(temporal_order, "run_trials", one_and_a_half)
    assert run(["temporal-order", "--quick", "--quiet"]) == code
    err = capsys.readouterr().err
    assert err == f"numgru: {words}; 1 of 16 trials are done: the same command goes on\n"
    assert len(Results(Path("runs/temporal-order-quick/trials.json"), SMALL).left) == 15


def test_overwrite_keeps_what_is_there_until_a_trial_takes_its_place(small, folder, monkeypatch, capsys):
    def interrupted_after(trials):
        def runs(results, *_):
            for trial in results.left[:trials]:
                results.add(result(trial))
                yield results.done[-1]
            if results.left:
                raise KeyboardInterrupt

        return runs

    kept = Path("runs/temporal-order-quick")
    command = ["temporal-order", "--quick", "--quiet"]
    monkeypatch.setattr(temporal_order, "run_trials", interrupted_after(16))
    assert run(command) == 0
    (kept / ".trials.json.abcd_123").touch()
    monkeypatch.setattr(temporal_order, "run_trials", interrupted_after(0))
    assert run([*command, "--overwrite"]) == 130
    assert capsys.readouterr().err.endswith("0 of 16 trials are done: the same command goes on without --overwrite\n")
    assert sorted(each.name for each in kept.iterdir()) == ["success.png", "trials.csv", "trials.json"]
    assert len(Results(kept / "trials.json", SMALL).done) == 16
    monkeypatch.setattr(temporal_order, "run_trials", interrupted_after(1))
    assert run([*command, "--overwrite"]) == 130
    assert [each.name for each in kept.iterdir()] == ["trials.json"]
    assert len(Results(kept / "trials.json", SMALL).done) == 1


def test_files_of_the_user_are_not_written_over(small, capsys):
    Path("mine").mkdir()
    Path("mine/trials.csv").write_text("mine")
    assert run(["temporal-order", "--quick", "--quiet", "--output", "mine"]) == 2
    assert "mine: has trials.csv, which would be written over; give --overwrite" in capsys.readouterr().err
    assert Path("mine/trials.csv").read_text() == "mine"


def test_a_folder_that_takes_no_file_is_noticed_before_the_first_trial(small, monkeypatch, capsys):
    def refused(dir):
        raise PermissionError(13, "Permission denied", f"{dir}/tmp123")

    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    monkeypatch.delattr(temporal_order, "run_trials")
    assert run(["temporal-order", "--quick", "--quiet", "--output", "shut"]) == 2
    assert capsys.readouterr().err == "numgru: shut: Permission denied\n"


def test_it_says_that_it_compiles(small, folder, monkeypatch, capsys):
    monkeypatch.setattr("numgru.experiments.temporal_order._PATIENCE", 0)
    monkeypatch.setattr(temporal_order, "QUICK", replace(SMALL, seeds=0))
    monkeypatch.setattr("numgru.experiments.folder.save_figure", lambda *_: None)
    assert run(["temporal-order", "--quick", "--processes", "1"]) == 0
    assert capsys.readouterr().out.startswith("compiling kernels (first run only)...\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--processes", "0"], "--processes"),
        (["--updates", "3"], "No such option"),
        (["--output", "file"], "file"),
    ],
)
def test_bad_input(arguments, words, capsys):
    Path("file").touch()
    assert run(["temporal-order", "--quick", "--quiet", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and words in err
