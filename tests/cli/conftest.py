"""Each test has a folder of its own; in some there is a file of numbers, or a run."""

from pathlib import Path

import numpy as np
import pytest

from numgru.cli import run
from tests.cli.helpers import SMALL


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
