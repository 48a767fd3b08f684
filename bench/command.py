"""What the commands `python -m bench.NAME` share: options, notes, files of figures."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from .workload import Shape

PICTURES = (".png", ".svg", ".pdf")


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """With the option that all have."""
    options = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=description)
    options.add_argument("--json", type=output, help="write the figures to this file as well")
    return options


def add_picture(options: argparse.ArgumentParser) -> None:
    options.add_argument("--picture", type=picture, help=f"draw them into this file ({', '.join(PICTURES)})")


def output(text: str) -> Path:
    """For an option's `type`: whether a file can be written shows before anything is measured."""
    path = Path(text)
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"expected a file that can be written, in a folder that exists, got {text!r}")
    return path


def picture(text: str) -> Path:
    path = output(text)
    if path.suffix.lower() not in PICTURES:
        raise argparse.ArgumentTypeError(f"expected a name that ends in one of {', '.join(PICTURES)}, got {text!r}")
    return path


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
            f"expected B,T,I,H as in 32,100,128,256, then none or some of layers=N, {', '.join(Shape._fields[5:])}, of "
            f"which reset_before is a GRU's, and tokens and one_hot aren't both; got {text!r}"
        ) from None
