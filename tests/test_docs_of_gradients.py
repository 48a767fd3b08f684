"""What docs/gradients.md shows: its Python and what that prints, its commands, and the code beside its equations."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from numgru.cli import run, temporal_order
from numgru.experiments.temporal_order import QUICK
from tests.test_readme import ROOT, blocks_of, run_python

PAGE = "docs/gradients.md"
TEXT = (ROOT / PAGE).read_text("utf-8")


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["gradients", "--updates", "1", "--quiet"]) == 0
    run_python(PAGE)
    drawn = {path.name for path in tmp_path.glob("*.png")}
    assert drawn == {"jacobian.png", "gates.png", "jacobian-trained.png", "monitor.png"}
    assert all(f"(images/{name})" in TEXT for name in drawn)
    assert capsys.readouterr().out == "".join(block.code for block in blocks_of(PAGE) if block.language == "text")


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(temporal_order, "QUICK", replace(QUICK, lengths=(10,), seeds=1, updates=1))
    shorter = {"gradients": ["--updates", "1"], "temporal-order": ["--quick"]}
    lines = [line for block in blocks_of(PAGE) if block.language == "bash" for line in block.code.splitlines()]
    assert len(lines) == 2
    for line in lines:
        _, command, *arguments = shlex.split(line)
        assert run([command, *arguments, *shorter[command], "--quiet"]) == 0, capsys.readouterr().err
    made = {path.name for path in tmp_path.glob("runs/*/*.png")}
    assert made == {"gradients.png", "success.png"}


@pytest.mark.parametrize(("line", "file"), re.findall(r"\| `([^`]+)` \| \[[^\]]+\]\(\.\./([^)]+)\) \|", TEXT))
def test_lines_of_code(line: str, file: str) -> None:
    """Some end with a comment that the page leaves out."""
    lines = [each.strip() for each in (ROOT / file).read_text("utf-8").splitlines()]
    assert any(each == line or each.startswith(line + "  # ") for each in lines)


def test_every_row_with_an_equation_has_its_line() -> None:
    rows = [row for row in TEXT.splitlines() if row.startswith("| ") and "=" in row]
    assert len(rows) == len(re.findall(r"\| `([^`]+)` \| \[[^\]]+\]\(\.\./([^)]+)\) \|", TEXT)) > 10
