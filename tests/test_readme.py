"""What the README shows runs: its Python, its `numgru` commands, and the command that the CI takes from it."""

from __future__ import annotations

import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from numgru.cli import run

ROOT = Path(__file__).parents[1]


class Block(NamedTuple):
    language: str
    code: str


def blocks_of(page: str) -> list[Block]:
    text = (ROOT / page).read_text("utf-8")
    return [Block(*found) for found in re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def run_python(page: str) -> dict[str, Any]:
    """The page's blocks in order and in one namespace, as a reader would type them; returns the names."""
    names: dict[str, Any] = {}
    blocks = [block.code for block in blocks_of(page) if block.language == "python"]
    assert len(blocks) > 2
    for number, code in enumerate(blocks, 1):
        if "import torch" in code and not find_spec("torch"):
            continue
        exec(compile(code, f"<Python block {number} of {page}>", "exec"), names)
    return names


BLOCKS = blocks_of("README.md")


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_python("README.md")
    assert names["history"].loss[-1] < 0.01


def test_python_of_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_python("docs/training.md")
    assert len(names["history"]) == 20
    assert names["value"] < 0.1


def test_python_of_streaming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = run_python("docs/streaming.md")
    assert np.array_equal(names["later"].state[:, 0], names["stream"].state[:, 0])
    assert not names["stream"].state[:, 1].any()
    assert abs(names["swing"](names["weights"], names["readout"], 0)) == 0.5


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Those of `numgru`, on a series of a month of hours and a text of a few pages."""
    monkeypatch.chdir(tmp_path)
    values = 10 + np.sin(np.arange(720) * 2 * np.pi / 24)
    Path("demand.csv").write_text("hour,demand\n" + "".join(f"{i},{value:.4f}\n" for i, value in enumerate(values)))
    Path("notes.txt").write_text("The same again, and the same again.\n" * 100)
    lines = [line for block in BLOCKS[2:] for line in block.code.splitlines() if line.startswith("numgru ")]
    assert len(lines) > 5
    for line in lines:
        assert run(shlex.split(line)[1:]) == 0, f"{line}\n{capsys.readouterr().err}"
    assert len(Path("next.csv").read_text().splitlines()) == 13


def test_first_two_blocks_are_single_commands() -> None:
    install, tests = (block.code.splitlines() for block in BLOCKS[:2])
    assert len(install) == len(tests) == 1
    assert install[0].endswith("numgru train")
    assert tests[0].endswith("pytest")


def test_ci_runs_the_second_block() -> None:
    """`.ci/run` cuts it out with awk; that program must find this block."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    (program,) = re.findall(r"test_command=\$\(awk '([^']+)' README\.md\)", script)
    found = subprocess.run(
        ["awk", program, "README.md"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout == BLOCKS[1].code
    assert 'bash -euo pipefail -c "$test_command"' in script
