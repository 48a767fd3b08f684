"""What the commands `python -m bench.NAME` share: options, notes, files of figures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from .workload import Shape


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """With the option that all have."""
    options = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    options.add_argument("--json", type=Path, help="write the figures to this file as well")
    return options


def add_picture(options: argparse.ArgumentParser) -> None:
    options.add_argument("--picture", type=Path, help="draw them into this file (.png, .svg, .pdf)")


def write(path: Path | None, figures: Any) -> None:
    """Into the file that was asked for, if one was."""
    if path:
        path.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def shape_of(text: str) -> Shape:
    """For an option's `type`."""
    try:
        return Shape.parse(text)
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(
            f"expected B,T,I,H as in 32,100,128,256, then none or some of layers=N, {', '.join(Shape._fields[5:])}; "
            f"got {text!r}"
        ) from None
