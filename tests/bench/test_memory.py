from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.memory import CLEAR, WORD, allowed, main, measure, table
from bench.workload import JOBS, Shape

pytestmark = pytest.mark.skipif(not CLEAR.exists(), reason="reads Linux's /proc")

LONG = Shape(16, 2000, 8, 96)


@pytest.mark.parametrize("job", JOBS)
def test_resident_memory_stays_within_the_bound(job: str) -> None:
    """That of kernels included."""
    taken = measure("numgru", LONG, job, 1)
    output = WORD * LONG.T * LONG.B * LONG.H
    assert output < taken < allowed(LONG, job) + 1e6


def test_what_a_layer_keeps_counts() -> None:
    """Its gradients and packed weights: preparing the call has touched neither."""
    shape = Shape(1, 2, 512, 512)
    assert measure("numgru", shape, JOBS[1], 1) > 2 * WORD * 3 * shape.H * (shape.I + shape.H)


def test_table() -> None:
    rows = [{"B,T,I,H": "1,2,3,4", "job": "training", "bytes": {"numgru": 2e6, "PyTorch": 5e6}, "allowed": 3e6}]
    assert table(rows).endswith("| training | 1,2,3,4 | 2.0 | 5.0 | 3.0 | 0.40 |")
    rows[0]["bytes"] = {"numgru": 2e6}
    assert table(rows).endswith("| 2.0 | 3.0 |")


def test_allowed() -> None:
    assert allowed(Shape(2, 5, 3, 4), "inference") == 4 * (5 * 2 * 4 + 12 * 9)
    assert allowed(Shape(2, 5, 3, 4), "training") == 4 * (6 * 5 * 2 * 4 + 3 * 12 * 9)


def test_figures_as_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("bench.memory.measure", lambda name, shape, job, threads: 1000 * threads)
    monkeypatch.setattr("bench.memory.installed", lambda name: True)
    figures = tmp_path / "memory.json"
    main(["--shapes", "1,2,3,4", "--threads", "2", "--json", str(figures)])
    result = json.loads(figures.read_text())
    assert [each["job"] for each in result["rows"]] == JOBS
    assert result["rows"][0]["bytes"] == {"numgru": 2000, "PyTorch": 2000}
    assert "| 1.00 |" in capsys.readouterr().out


def test_shapes_with_options_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--shapes", "1,2,3,4,ragged"])
    assert "expected B,T,I,H alone, got 1,2,3,4,ragged" in capsys.readouterr().err
