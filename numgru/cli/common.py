"""What commands share: arguments, options, mistakes, the run in a folder, the note that kernels are compiled."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from .. import _machine, set_num_threads
from ..forecasting import ForecastRun
from ..language import TextRun
from ..runs import Run, kind_in

AnyRun = Run[Any, Any, Any]

POSITIVE = click.IntRange(1, 10**8)  # of larger arrays NumPy can't even say how much memory they would take


def number_above_zero(text: str) -> float:
    """Unlike click's own range, takes no NaN and no infinity."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise click.BadParameter(f"expected a finite number above zero, got {text}.")
    return value


def _set_threads(context: click.Context, option: click.Parameter, threads: int | None) -> None:
    if threads is not None:
        set_num_threads(threads)


csv_argument = click.argument("csv_file", metavar="[CSV]", required=False, type=click.Path(path_type=Path))
quiet_option = click.option("--quiet", is_flag=True, help="Print nothing but errors.")
threads_option = click.option(
    "--threads", type=POSITIVE, expose_value=False, callback=_set_threads, help="Threads to run on; all if left out."
)


class Mistake(click.ClickException):
    """What is asked for can't be done."""

    exit_code = 2


def column_without_csv(column: str) -> Mistake:
    """For a command to raise."""
    return Mistake(f"--column {column}: expected a CSV file with it, got none")


class Interrupted(click.ClickException):
    """By Ctrl-C."""

    exit_code = 130


def failure(error: OSError | MemoryError) -> str:
    """What went wrong, and with which file."""
    if isinstance(error, MemoryError):
        return f"too little memory{f' ({error})' if str(error) else ''}"
    where = "" if error.filename is None else f"{error.filename}: "
    return f"{where}{error.strerror or error}"


def run_in(folder: Path) -> AnyRun:
    """The run of the kind that was begun there; a forecaster's if there is none."""
    return TextRun(folder) if kind_in(folder) == TextRun.learner_type.kind else ForecastRun(folder)


@contextmanager
def compilation_announced(quiet: bool) -> Iterator[None]:
    """Say it if something is compiled."""
    with _machine.told_of_compiling(lambda: say_that_it_compiles(quiet)):
        yield


def say_that_it_compiles(quiet: bool) -> None:
    """Above a bar, if there is one."""
    if not quiet:
        tqdm.write("compiling kernels (first run only)...")
