"""`python -m numgru` as a process, and what it says before there is a command."""

import subprocess
import sys
from pathlib import Path

import pytest

import numgru
from numgru.cli import run
from tests.cli.helpers import FILES, SMALL, names, raising


def test_help_shows_each_command_in_a_whole_line(capsys):
    assert run(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2].splitlines()
    assert len([line for line in listed if line.endswith(".") and not line.endswith("...")]) == 6


def test_a_process_of_its_own(sales, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(numgru.__file__).parents[1]))
    command = [sys.executable, "-m", "numgru"]
    train = subprocess.run([*command, "train", sales, "--column", "sold", *SMALL], capture_output=True, text=True)
    assert train.returncode == 0, train.stderr
    assert "persistence" in train.stdout
    assert names("runs/sales") == FILES
    wrong = subprocess.run([*command, "predict", "nowhere"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)


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
