from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import bursts, clipping, optimizers
from bench.clipping import Row, Steps, clip_and_step, falling, main, ours, table, table_of_steps


def test_each_call_has_something_to_clip() -> None:
    limit = falling(5.0)
    assert limit() == 5.0 and 4.99 < limit() < 5.0
    for clipped in (True, False):
        call = ours(1000, clipped)
        assert [bool(call().clipped) for _ in range(5)] == [clipped] * 5  # type: ignore[attr-defined]


def test_both_steps_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(clipping.numgru.SGD, "step", lambda self, report: seen.append(report))
    for in_place in (True, False):
        model = clipping.numgru.Linear(10, 100, bias=False, seed=0)
        model.flat_gradients[...] = 1.0
        clip_and_step(model, in_place)()
    assert [report.in_place for report in seen] == [True, False] and all(report.clipped for report in seen)


def test_tables() -> None:
    rows = [Row(1000, True, 2e-6, 3e-6, None), Row(40_000_000, False, 2e-3, None, 1.8e-3)]
    assert table(rows).splitlines()[2:] == [
        "| 1,000 | yes | 2.0 | 3.0 | 1.50 |  |",
        "| 40,000,000 | no | 2000.0 |  |  | 90% |",
    ]
    assert table_of_steps([Steps(1000, 3e-6, 2e-6)]).endswith("| 1,000 | 3.0 | 2.0 | 1.50 |")


def test_a_short_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(clipping, "BEYOND_THE_CACHE", 2000)
    monkeypatch.setattr(bursts, "BURST", 0.0)
    path = tmp_path / "clipping.json"
    main(["--rounds", "1", "--threads", "1", "--sizes", "1000", "2000", "--json", str(path)])
    (figures,) = json.loads(path.read_text())
    assert [row["values"] for row in figures["clipping"]] == [1000, 1000, 2000, 2000]
    assert [row["bandwidth"] is None for row in figures["clipping"]] == [True, True, False, False]
    assert "step that clips" in capsys.readouterr().out


def test_a_short_run_of_optimizers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bursts, "BURST", 0.0)
    path = tmp_path / "optimizers.json"
    optimizers.main(["--rounds", "1", "--threads", "1", "--sizes", "1000", "--json", str(path)])
    (figures,) = json.loads(path.read_text())
    assert [row["optimizer"] for row in figures["steps"]] == ["SGD", "SGD, momentum 0.9", "RMSprop", "Adam", "AdamW"]
    assert "| 1,000 | SGD, momentum 0.9 |" in capsys.readouterr().out


def test_the_faster_of_the_others_counts() -> None:
    rows = [optimizers.Row("Adam", 1000, 2e-6, 4e-6, 3e-6), optimizers.Row("Adam", 1000, 2e-6, None, None)]
    assert optimizers.table(rows).splitlines()[2:] == [
        "| 1,000 | Adam | 2.0 | 4.0 | 3.0 | 1.50 |",
        "| 1,000 | Adam | 2.0 |  |  |  |",
    ]
