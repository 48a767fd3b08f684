import csv
import errno
import os
from pathlib import Path

import numpy as np
import pytest

from numgru._files import save_arrays
from numgru.cli import run
from tests.cli.helpers import SMALL, names, one_line, raising


def test_forecasts_are_numbered_by_the_row_of_the_file(capsys):
    values = 1.5e9 + np.sin(np.arange(300) / 2)
    Path("gaps.csv").write_text("\n".join(["v", *[""] * 5, *map(str, values), "NaN", "NaN"]) + "\n")
    assert run(["train", "gaps.csv", *SMALL, "--quiet", "--output", "run"]) == 0
    assert run(["predict", "run"]) == 0
    rows = list(csv.reader(capsys.readouterr().out.splitlines()))[1:]
    assert [int(step) for step, _ in rows] == [305, 306, 307, 308]
    assert all(0 < abs(float(value) - 1.5e9) < 2 for _, value in rows)


def test_a_series_that_leaps_out_of_float32(capsys):
    values = np.random.default_rng(0).standard_normal(60)
    np.savetxt("calm.csv", values, header="v", comments="")
    np.savetxt("leaping.csv", [*values[:-1], 1e40], header="v", comments="")
    assert run(["train", "calm.csv", *SMALL, "--quiet", "--output", "run"]) == 0
    assert run(["predict", "run", "leaping.csv"]) == 2
    assert one_line(capsys, "v: expected changes like those of the training")


def test_predict_through_a_link(trained):
    Path("target.csv").write_text("old")
    Path("link.csv").symlink_to("target.csv")
    assert run(["predict", "run", "--output", "link.csv", "--overwrite"]) == 0
    assert Path("link.csv").is_symlink() and Path("target.csv").read_text().startswith("date,forecast\n")


def test_a_full_disk_is_no_mistake(trained, capsys, monkeypatch):
    monkeypatch.setattr(os, "fsync", raising(OSError(errno.ENOSPC, "No space left on device")))
    assert run(["predict", "run", "--output", "next.csv"]) == 1
    assert one_line(capsys, "next.csv: No space left")
    assert not Path("next.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], ["nowhere", "no trained model"]),
        (["sales.csv"], ["sales.csv", "got a file"]),
        (["foreign"], ["foreign", "expected a forecaster"]),
        (["damaged"], ["damaged", "expected a file saved by numgru"]),
        (["run", "none.csv"], ["none.csv", "no such file"]),
        (["run", "--column", "sold"], ["--column sold: expected a CSV file with it, got none\n"]),
        (["run", "short.csv"], ["at least 12 values", "got 3"]),
        (["run", "--output", "none/next.csv"], ["none/next.csv", "No such file"]),
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
