from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import scaling
from bench.scaling import Curve, doubled_up_to, main, tables
from bench.workload import JOBS, Shape


def test_numbers_of_threads() -> None:
    assert doubled_up_to(1) == [1]
    assert doubled_up_to(2) == [1, 2]
    assert doubled_up_to(12) == [1, 2, 4, 8, 12]


def test_table() -> None:
    curve = Curve("4,100,64,128", "inference", [1, 2], [3e-4, 1.5e-4])
    training = curve._replace(job="training", seconds=[1e-3, 8e-4])
    *_, last = tables([curve, training]).splitlines()
    assert last == "| 4,100,64,128 | 1000 (1.0) | 800 (1.2) |"


def test_short_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(scaling, "SHAPES", [Shape(2, 3, 4, 5)])
    monkeypatch.setattr(scaling, "BURST", 0)
    figures, picture = tmp_path / "scaling.json", tmp_path / "scaling.png"
    main(["--rounds", "1", "--threads", "2", "1", "--json", str(figures), "--picture", str(picture)])
    result = json.loads(figures.read_text())
    assert [(each["job"], each["threads"]) for each in result["curves"]] == [(job, [1, 2]) for job in JOBS]
    assert all(seconds > 0 for each in result["curves"] for seconds in each["seconds"])
    assert picture.stat().st_size > 1000
    assert "threads: 2" in capsys.readouterr().out
