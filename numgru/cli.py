"""The commands: train a forecaster, forecast with it, say what numgru runs on.

A mistake in what was asked is one line on stderr and exit code 2.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource
from tqdm import tqdm

from . import __version__, _machine, set_num_threads
from ._files import atomic_write
from .data import DataError, Series, read_csv
from .data.windows import split_in_time
from .forecasting import Forecaster, Run, RunError, Settings, beyond, compile_kernels
from .forecasting import train as train_forecaster
from .forecasting.report import forecast_csv, summary
from .training import History, TrainingDivergedError

POSITIVE = click.IntRange(min=1)


def number_above_zero(text: str) -> float:
    """Unlike click's own range, takes no NaN and no infinity."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise click.BadParameter(f"expected a finite number above zero, got {text}.")
    return value


class Mistake(click.ClickException):
    """What is asked for can't be done."""

    exit_code = 2


class Interrupted(click.ClickException):
    """By Ctrl-C, while training."""

    exit_code = 130


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns 0 if done, 1 if failed, 2 after a mistake, 130 if interrupted."""
    try:
        commands.main(arguments, "numgru", standalone_mode=False)
    except click.ClickException as error:
        context = getattr(error, "ctx", None)  # a click.UsageError has one
        hint = f" See {context.command_path} --help." if context else ""
        click.echo(f"numgru: {error.format_message()}{hint}", err=True)
        return error.exit_code
    except (DataError, RunError) as error:
        click.echo(f"numgru: {error}", err=True)
        return 2
    except OSError as error:
        where = "" if error.filename is None else f"{error.filename}: "
        click.echo(f"numgru: {where}{error.strerror}", err=True)
        return 2
    except click.Abort:
        return 130
    return 0


@click.group(context_settings={"show_default": True}, invoke_without_command=True)
@click.version_option(__version__)
@click.pass_context
def commands(context: click.Context) -> None:
    """GRU networks on CPUs: train a forecaster, forecast with it."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def _setting(name: str, kind: Any, text: str) -> Callable[..., Any]:
    """An option that becomes a field of Settings and has its default."""
    field = name.removeprefix("--").replace("-", "_")
    return click.option(name, type=kind, default=getattr(Settings, field), help=text)


@commands.command(short_help="Train a forecaster on a column of a CSV file.")
@click.argument("csv_file", metavar="[CSV]", required=False, type=click.Path(path_type=Path))
@_setting("--column", kind=str, text="Column to forecast; may be left out if it is the only one.")
@_setting("--window", kind=POSITIVE, text="Values that a forecast sees.")
@_setting("--horizon", kind=POSITIVE, text="Values that a forecast is made of.")
@_setting("--hidden-size", kind=POSITIVE, text="Size of the GRU's state.")
@_setting("--epochs", kind=POSITIVE, text="Passes over the fitted part.")
@_setting("--batch-size", kind=POSITIVE, text="Examples a step.")
@_setting("--learning-rate", kind=number_above_zero, text="Of Adam, at the start; it falls along a cosine.")
@_setting("--clip-norm", kind=number_above_zero, text="Largest norm of the gradient.")
@_setting("--clip-value", kind=number_above_zero, text="Largest entry of the gradient; instead of --clip-norm.")
@_setting("--season", kind=click.IntRange(min=0), text="Values a season, 0 for none; found if left out.")
@_setting("--seed", kind=click.IntRange(min=0), text="The same seed, the same bits.")
@click.option("--threads", type=POSITIVE, help="Threads to run on; all if left out.")
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the run; runs/NAME if left out.")
@click.option("--resume", is_flag=True, help="Go on with the interrupted run in the folder.")
@click.option("--overwrite", is_flag=True, help="Replace the run in the folder.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def train(
    context: click.Context,
    /,
    csv_file: Path | None,
    threads: int | None,
    output: Path | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Train a GRU to forecast a column of CSV, or weekly CO2 at Mauna Loa if there is none.

    The last 15 % of the series are held out. There the forecasts are compared with a value that persists and,
    where there is a season, with the values of a season ago.
    """
    started = time.perf_counter()
    if threads is not None:
        set_num_threads(threads)
    left_out = ParameterSource.DEFAULT
    given = {name: settings[name] for name in settings if context.get_parameter_source(name) is not left_out}
    if csv_file is not None:
        given["csv"] = os.path.abspath(csv_file)
    place = Run(output or Path("runs") / (csv_file.stem if csv_file else "co2"))
    chosen, series = _resumed(place, given) if resume else _new(place, given, overwrite)
    forecaster = Forecaster.untrained(chosen, series)
    if not resume:
        place.begin(chosen, series)
    if not quiet:
        click.echo(f"{series.name}: {series.note}")
    with _ended_early(place):
        if not _machine.has_cached_kernels():
            if not quiet:
                click.echo("compiling kernels (first run only)...")
            compile_kernels(forecaster, series)
        with _bar(chosen.epochs, quiet) as show:
            history = train_forecaster(forecaster, series, checkpoint=place.checkpoint, resume=resume, on_epoch=show)
        seconds = time.perf_counter() - started
        about = {"seconds_until_trained": seconds, "versions": _machine.versions()}
        metrics = place.finish(series, forecaster, history, about)
    if not quiet:
        click.echo(summary(metrics, series))
        click.echo(f"{place.folder}: written after {time.perf_counter() - started:.1f} s")


@commands.command(short_help="Forecast what follows the end of a series.")
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.argument("csv_file", metavar="[CSV]", required=False, type=click.Path(path_type=Path))
@click.option("--output", default="-", help="File to write; - is standard output.")
@click.option("--threads", type=POSITIVE, help="Threads to run on; all if left out.")
def predict(folder: Path, csv_file: Path | None, output: str, threads: int | None) -> None:
    """Forecast what follows the end of the series that RUN was trained on, or of the same column of CSV."""
    if threads is not None:
        set_num_threads(threads)
    forecaster = Run(folder).load()
    column = forecaster.settings.column
    series = forecaster.settings.series() if csv_file is None else read_csv(csv_file, column)
    text = forecast_csv(series, beyond(series, forecaster))
    if output == "-":
        click.echo(text, nl=False)
    else:
        try:
            with atomic_write(output) as file:
                file.write(text)
        except OSError as error:
            raise Mistake(f"--output {output}: can't be written ({error.strerror})") from error


@commands.command(short_help="Print versions, processor, threads, cache folder; the layers of a run.")
@click.argument("folder", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
def info(folder: Path | None) -> None:
    """Print versions, processor, threads and the folder of compiled kernels; of RUN, the layers of its model."""
    layers = None if folder is None else Run(folder).load().model.summary()
    facts = _machine.versions() | _machine.machine()
    width = max(map(len, facts))
    for name, fact in facts.items():
        click.echo(f"{name:{width}}  {fact}")
    if layers:
        click.echo(f"\n{layers}")


@contextmanager
def _bar(epochs: int, quiet: bool) -> Iterator[Callable[[History], None]]:
    """One bar for the whole run; gives what moves it."""
    with tqdm(total=epochs, unit="epoch", disable=quiet) as bar:

        def show(history: History) -> None:
            bar.set_postfix_str(
                f"loss {history.loss[-1]:.3g}, validation {history.validation_loss[-1]:.3g}, "
                f"gradient {history.grad_norm_mean[-1]:.2g}, clipped {history.clipped_share[-1]:.0%}",
                refresh=False,
            )
            bar.update(len(history) - bar.n)

        yield show


@contextmanager
def _ended_early(place: Run) -> Iterator[None]:
    """Say how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        hint = f"; go on with: numgru train --resume --output {place.folder}" if place.give_up() else ""
        raise Interrupted(f"interrupted{hint}") from None
    except TrainingDivergedError as error:
        place.give_up()
        raise click.ClickException(str(error)) from error


def _new(place: Run, given: dict[str, Any], overwrite: bool) -> tuple[Settings, Series]:
    if place.begun() and not overwrite:
        raise RunError(f"{place.folder}: there is a run; give --resume, --overwrite or another --output")
    if given.get("clip_value") is not None:
        if given.get("clip_norm") is not None:
            raise Mistake("--clip-norm, --clip-value: expected one of them, got both")
        given["clip_norm"] = None
    if "column" in given and "csv" not in given:
        raise Mistake(f"--column {given['column']}: expected a CSV file with it, got none")
    settings = Settings(**given)
    series = settings.series()
    fit_end = split_in_time(series, settings.window, settings.horizon).fit_end
    if settings.season is None:
        return settings.with_season(series), series
    if settings.season >= fit_end:
        raise Mistake(f"--season: expected less than the {fit_end} values that are fitted, got {settings.season}")
    return replace(settings, season=settings.season or None), series


def _resumed(place: Run, given: dict[str, Any]) -> tuple[Settings, Series]:
    settings, series = place.resume()
    for name, value in given.items():
        kept = getattr(settings, name)
        wanted = (value or None) if name == "season" else value
        if wanted != kept:
            option = "CSV" if name == "csv" else "--" + name.replace("_", "-")
            raise RunError(f"{option}: the run in {place.folder} has {kept}, got {value}; leave it out to resume")
    return settings, series
