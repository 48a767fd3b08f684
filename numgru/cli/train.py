"""`numgru train`: a forecaster from a CSV file, or a model of a text."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import numpy as np
from click.core import ParameterSource
from tqdm import tqdm

from .. import _machine, forecasting, language
from ..forecasting import ForecastRun
from ..language import TextRun
from ..runs import Learner, RunError, refuse_to_replace
from ..training import History, TrainingDivergedError
from .common import (
    POSITIVE,
    AnyRun,
    Interrupted,
    Mistake,
    column_without_csv,
    compilation_announced,
    csv_argument,
    failure,
    number_above_zero,
    quiet_option,
    run_in,
    threads_option,
)


def _setting(name: str, kind: Any, text: str) -> Callable[..., Any]:
    """An option that becomes a field of the settings, which have its default."""
    field = name.removeprefix("--").replace("-", "_")
    series, texts = (getattr(each, field, None) for each in (forecasting.Settings, language.Settings))
    default = f"{series}; with --text {texts}" if texts not in (None, series) else series
    return click.option(name, type=kind, help=text if default is None else f"{text} [default: {default}]")


@click.command(short_help="Train a forecaster on a CSV file, or a model on a text.")
@csv_argument
@click.option("--text", type=click.Path(path_type=Path), help="File of text to learn to write, instead of CSV.")
@_setting("--column", kind=str, text="Column to forecast; may be left out if it is the only one.")
@_setting("--window", kind=POSITIVE, text="Values that a forecast sees; of a text, steps that gradients flow through.")
@_setting("--horizon", kind=POSITIVE, text="Values that a forecast is made of.")
@_setting("--hidden-size", kind=POSITIVE, text="Size of the GRU's state.")
@_setting("--epochs", kind=POSITIVE, text="Passes over the fitted part.")
@_setting("--batch-size", kind=POSITIVE, text="Examples a step; of a text, pieces that are read side by side.")
@_setting("--learning-rate", kind=number_above_zero, text="Of Adam, at the start; it falls along a cosine.")
@_setting("--clip-norm", kind=number_above_zero, text="Largest norm of the gradient.")
@_setting("--clip-value", kind=number_above_zero, text="Largest entry of the gradient; instead of --clip-norm.")
@_setting("--season", kind=click.IntRange(min=0), text="Values a season, 0 for none; found if left out.")
@_setting("--seed", kind=click.IntRange(min=0), text="The same seed, the same bits.")
@threads_option
@click.option("--output", type=click.Path(path_type=Path), help="Folder of the run; runs/NAME if left out.")
@click.option(
    "--resume", is_flag=True, help="Go on with the interrupted run in the folder; its data may have moved to CSV."
)
@click.option("--overwrite", is_flag=True, help="Replace the run in the folder.")
@quiet_option
@click.pass_context
def train(
    context: click.Context,
    /,
    csv_file: Path | None,
    text: Path | None,
    output: Path | None,
    resume: bool,
    overwrite: bool,
    quiet: bool,
    **settings: Any,
) -> None:
    """Train a GRU to forecast a column of CSV, or weekly CO2 at Mauna Loa if there is none, or to write a text.

    The last 15 % of a series are held out. There the forecasts are compared with a value that persists and,
    where there is a season, with the values of a season ago.

    Of a text the last 10 % are held out. There the bits per character are compared with those of counts.
    """
    started = time.perf_counter()
    if resume and overwrite:
        raise Mistake("--resume, --overwrite: expected one of them, got both")
    if text is not None and csv_file is not None:
        raise Mistake(f"--text {text}: expected a text or a CSV file, got both")
    left_out = ParameterSource.DEFAULT
    given = {name: settings[name] for name in settings if context.get_parameter_source(name) is not left_out}
    for name, file in (("csv", csv_file), ("text", text)):
        if file is not None:
            given[name] = os.path.abspath(file)
    source = text or csv_file
    folder = output or Path("runs") / (source.stem if source else "co2")
    place: AnyRun = ForecastRun(folder) if text is None else TextRun(folder)
    if resume and source is None:
        place = run_in(folder)
    chosen, data = _resumed(place, given) if resume else _new(place, given, overwrite)
    try:
        learner = place.learner_type.untrained(chosen, data)
    except (ValueError, TypeError) as error:
        if resume:  # as nobody has checked what is in the folder
            raise RunError(f"{place.settings}: expected the settings of a run, got {error}") from error
        raise
    replaced = run_in(folder).files if place.begun() else []
    if not resume:
        place.begin(chosen, data)
    with np.errstate(all="ignore"), _ended_early(place, learner, data):  # `fit` says what isn't finite
        if not quiet:
            click.echo(f"{data.name}: {data.note}")
        with compilation_announced(quiet):
            learner.compile_kernels(data)
        with _bar(chosen.epochs, quiet) as show:
            history = place.train(learner, data, resume=resume, replaced=replaced, on_epoch=show)
        seconds = time.perf_counter() - started
        about = {"seconds_until_trained": seconds, "versions": _machine.versions()}
        metrics = place.finish(data, learner, history, about)
    if not quiet:
        click.echo(place.summary(metrics, data))
        click.echo(f"{place.folder}: written after {time.perf_counter() - started:.1f} s")


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
def _ended_early(place: AnyRun, learner: Learner[Any, Any], data: Any) -> Iterator[None]:
    """Say how to go on."""
    try:
        yield
    except BaseException as error:
        if place.give_up():
            how = f"go on with: {place.how_to_go_on}"
        else:
            how = "the run before is still there" if place.begun() else "nothing is left of it"
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(f"interrupted; {how}") from None
        if isinstance(error, TrainingDivergedError):
            raise click.ClickException(_divergence(error, learner, data)) from error
        if isinstance(error, OSError | MemoryError):
            raise click.ClickException(f"{failure(error)}; {how}") from error
        raise


def _divergence(error: TrainingDivergedError, learner: Learner[Any, Any], data: Any) -> str:
    """What stopped being finite, where, and what to do."""
    where = f"epoch {error.epoch}, {f'step {error.step}' if error.step else 'validation'}"
    clip = "--clip-norm" if learner.settings.clip_value is None else "--clip-value"
    if learner.has_infinite(data):
        return f"{where}: {error.reason}, as some values are too large beside the others; leave them empty"
    return f"{where}: {error.reason}; give a lower --learning-rate or {clip}"


def _new(place: AnyRun, given: dict[str, Any], overwrite: bool) -> tuple[Any, Any]:
    """Settings, with what is found in the data, and the data."""
    if place.begun() and not overwrite:
        raise RunError(f"{place.folder}: there is a run; give --resume, --overwrite or another --output")
    if not overwrite:
        refuse_to_replace(place.files)
    if given.get("clip_value") is not None:
        if given.get("clip_norm") is not None:
            raise Mistake("--clip-norm, --clip-value: expected one of them, got both")
        given["clip_norm"] = None
    if "column" in given and "csv" not in given:
        raise column_without_csv(given["column"])
    if foreign := [name for name in given if not hasattr(place.settings_type, name)]:
        raise Mistake(f"{_option(foreign[0])}: expected a series with it, got --text; leave it out")
    settings = place.settings_type(**given)
    data = settings.read()
    return settings.completed(data), data


def _resumed(place: AnyRun, given: dict[str, Any]) -> tuple[Any, Any]:
    """Those of the run; data that are given may lie in another place by now."""
    settings, data = place.resume(**{name: given.pop(name) for name in ("csv", "text") if name in given})
    for name, value in given.items():
        kept = getattr(settings, name, None)
        if value != kept:
            option = _option(name)
            raise RunError(f"{option}: the run in {place.folder} has {kept}, got {value}; leave it out to resume")
    return settings, data


def _option(field: str) -> str:
    """What a field of the settings is called here."""
    return "CSV" if field == "csv" else "--" + field.replace("_", "-")
