"""The experiments on the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import click
from click.core import ParameterSource
from tqdm import tqdm

from .. import _machine
from ..data import DataError, read_csv, tasks
from ..kernels.threads import get_num_threads, set_num_threads
from ..runs import drop
from .flow import flow_figure, norms_csv, reach
from .folder import prepare, write
from .gradients import NextValue, Study
from .success import success_figure, table, trials_csv
from .temporal_order import QUICK, Plan, Results, run_trials

POSITIVE = click.IntRange(1, 10**8)  # of larger arrays NumPy can't even say how much memory they would take
_WITHOUT = " without --overwrite"


class Interrupted(click.ClickException):
    """By Ctrl-C."""

    exit_code = 130


@click.command("temporal-order", short_help="Repeat an experiment of 2013 on long memories.")
@click.option("--quick", is_flag=True, help="Short sequences and few trials: two minutes instead of an hour.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder of the results; runs/temporal-order[-quick] if left out."
)
@click.option("--processes", type=POSITIVE, help="How many trials at a time; one a processor if left out.")
@click.option("--overwrite", is_flag=True, help="Begin anew; the first trial replaces what is in the folder.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def temporal_order(quick: bool, output: Path | None, processes: int | None, overwrite: bool, quiet: bool) -> None:
    """Train RNN, LSTM and GRU by SGD to tell the order of two symbols in a long sequence, with clipping and without.

    This is the experiment of figure 7 in "On the difficulty of training recurrent neural networks" (Pascanu, Mikolov
    and Bengio 2013). The folder gets trials.json, trials.csv and success.png.

    Each finished trial is kept: after Ctrl-C the same command goes on.
    """
    plan = QUICK if quick else Plan()
    folder = output or Path("runs") / ("temporal-order-quick" if quick else "temporal-order")
    kept, shown = folder / "trials.json", (folder / "trials.csv", folder / "success.png")
    prepare(folder, [kept], shown, overwrite=overwrite)
    results = Results(kept, plan, anew=overwrite)
    trials = len(plan.trials())
    try:
        with tqdm(total=trials, initial=len(results.done), unit="trial", disable=quiet) as bar:
            for _ in run_trials(results, processes or get_num_threads(), lambda: _say_that_it_compiles(quiet)):
                drop(shown)  # they show other trials
                bar.set_postfix_str(f"{sum(each.solved for each in results.done)} learned it", refresh=False)
                bar.update()
    except (KeyboardInterrupt, BrokenProcessPool) as error:
        hint = f"{len(results.done)} of {trials} trials are done: the same command goes on{_WITHOUT * overwrite}"
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(f"interrupted; {hint}") from None
        raise click.ClickException(f"a process was ended from outside; {hint}") from error
    write(shown, trials_csv(results.done), success_figure(results.done, plan))
    if not quiet:
        click.echo(table(results.done, plan))
        click.echo(f"{folder}: written")


@click.command(short_help="How far back gradients reach, in RNN, LSTM and GRU.")
@click.argument("csv_file", metavar="[CSV]", required=False, type=click.Path(path_type=Path))
@click.option("--task", type=click.Choice(list(tasks.TASKS)), default="temporal-order", help="What to learn.")
@click.option("--column", help="Of CSV, the one to learn; may be left out if it is the only one.")
@click.option("--length", type=POSITIVE, default=50, help="Steps of a sequence; of CSV, values that a forecast sees.")
@click.option("--updates", type=POSITIVE, default=5000, help="Of the parameters, in each training.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="The same seed, the same numbers.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder of the results; runs/gradients-NAME if left out."
)
@click.option("--overwrite", is_flag=True, help="Train anew; the first network replaces those in the folder.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
@click.pass_context
def gradients(
    context: click.Context,
    csv_file: Path | None,
    task: str,
    column: str | None,
    length: int,
    updates: int,
    seed: int,
    output: Path | None,
    overwrite: bool,
    quiet: bool,
) -> None:
    """Measure the gradient that reaches each step's state, before training and after it, with clipping and without.

    RNN, LSTM and GRU learn a task that takes a long memory, or to say which value of CSV comes next. The folder gets
    the trained networks, gradients.csv and gradients.png. Networks that are there already are loaded, not trained.
    """
    name, chosen = _task(context, csv_file, task, column, length)
    folder = output or Path("runs") / f"gradients-{name}"
    study = Study(name, chosen, updates, seed, folder)
    shown = folder / "gradients.csv", folder / "gradients.png"
    prepare(folder, study.files, shown, overwrite=overwrite)
    if overwrite:
        study.replaced.extend([*study.files, *shown])
    set_num_threads(1)  # networks as small as these don't gain from a second one
    try:
        with (
            tqdm(total=len(study.files) * updates, unit="update", disable=quiet) as bar,
            compilation_announced(quiet),
        ):
            measurements = list(study.measurements(bar.update))
    except KeyboardInterrupt:
        how = f"the same command goes on after the last trained network{_WITHOUT * overwrite}"
        raise Interrupted(f"interrupted; {how}") from None
    write(shown, norms_csv(measurements), flow_figure(measurements, study.title))
    if not quiet:
        click.echo(reach(measurements))
        click.echo(f"{folder}: written")


@contextmanager
def compilation_announced(quiet: bool) -> Iterator[None]:
    """Say it if something is compiled."""
    with _machine.told_of_compiling(lambda: _say_that_it_compiles(quiet)):
        yield


def _say_that_it_compiles(quiet: bool) -> None:
    if not quiet:
        tqdm.write("compiling kernels (first run only)...")  # above a bar, if there is one


def _task(
    context: click.Context, csv_file: Path | None, task: str, column: str | None, length: int
) -> tuple[str, tasks.Task]:
    """The task and its name."""
    make: Callable[[int], tasks.Task]
    if csv_file is None:
        if column is not None:
            raise click.UsageError(f"--column {column}: expected a CSV file with it, got none.")
        name, make = task, partial(tasks.make, task)
    elif context.get_parameter_source("task") is not ParameterSource.DEFAULT:
        raise click.UsageError(f"--task {task}: expected a task or a CSV file, got both.")
    else:
        name, make = csv_file.stem, partial(NextValue.of, read_csv(csv_file, column))
    try:
        return name, make(length)
    except DataError:
        raise
    except ValueError as error:
        raise click.UsageError(f"--length for {name}: {error}.") from error
