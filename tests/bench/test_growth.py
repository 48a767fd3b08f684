from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import growth
from bench.growth import STARTS, Curve, main, measure, others, sizes_of, slope, tables
from bench.workload import JOBS


def test_slope_of_the_largest_sizes() -> None:
    sizes = [1, 2, 4, 8, 16, 32, 64]
    assert slope(sizes, [3 * n**2 for n in sizes]) == pytest.approx(2)
    assert slope(sizes, [9, 9, 9, 8, 16, 32, 64]) == pytest.approx(1)


def test_each_axis_is_doubled_six_times() -> None:
    for axis in STARTS:
        sizes = sizes_of(axis)
        assert len(sizes) == 7
        assert sizes == [sizes[0] * 2**n for n in range(7)]
    assert others("B") == "T = 64, I = 64, H = 128"


def test_table() -> None:
    curve = Curve("T", "inference", sizes_of("T"), [size * 1e-6 for size in sizes_of("T")], sizes_of("T"))
    assert tables([curve]).endswith("| inference | 4 | 8 | 16 | 32 | 64 | 128 | 256 | 1.00 | 1.00 |")


def test_short_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(growth, "DOUBLINGS", 2)
    monkeypatch.setattr(growth, "BURST", 0)
    figures, picture = tmp_path / "growth.json", tmp_path / "growth.png"
    main(["--rounds", "1", "--json", str(figures), "--picture", str(picture)])
    result = json.loads(figures.read_text())
    assert [(each["axis"], each["job"]) for each in result["curves"]] == [(a, j) for a in "TBIH" for j in JOBS]
    assert all(seconds > 0 for each in result["curves"] for seconds in each["seconds"])
    assert picture.stat().st_size > 1000
    assert "1 thread" in capsys.readouterr().out


def test_operations_are_those_of_the_shape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growth, "DOUBLINGS", 1)
    monkeypatch.setattr(growth, "BURST", 0)
    curves = {(curve.axis, curve.job): curve for curve in measure(1)}
    assert curves["T", "inference"].operations == [2 * T * 16 * 3 * 128 * 192 for T in (4, 8)]
    assert curves["B", "training"].exponent_of_operations == pytest.approx(1)
