"""`numgru gradients`: how far back gradients reach."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import click
from click.core import ParameterSource
from tqdm import tqdm

from .. import set_num_threads
from ..data import DataError, read_csv, tasks
from ..experiments.folder import prepare, write
from ..experiments.gradients import NextValue, Study
from ..experiments.gradients_report import flow_figure, norms_csv, reach
from .common import POSITIVE, Interrupted, column_without_csv, compilation_announced, csv_argument, quiet_option


@click.command(short_help="How far back gradients reach, in RNN, LSTM and GRU.")
@csv_argument
@click.option("--task", type=click.Choice(list(tasks.TASKS)), default="temporal-order", help="What to learn.")
@click.option("--column", help="Of CSV, the one to learn; may be left out if it is the only one.")
@click.option("--length", type=POSITIVE, default=50, help="Steps of a sequence; of CSV, values that a forecast sees.")
@click.option("--updates", type=POSITIVE, default=5000, help="Of the parameters, in each training.")
@click.option("--seed", type=click.IntRange(min=0), default=0, help="The same seed, the same numbers.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder of the results; runs/gradients-NAME if left out."
)
@click.option("--overwrite", is_flag=True, help="Train anew; the first network replaces those in the folder.")
@quiet_option
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

    RNN, LSTM and GRU learn a task that takes a long memory, or to say which value of CSV comes next. The gradient is
    that of the last step's loss, also where a task trains them on the losses of all steps. The folder gets the trained
    networks, gradients.csv and gradients.png. Networks that are there already are loaded, not trained.
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
        how = f"the same command goes on after the last trained network{' without --overwrite' * overwrite}"
        raise Interrupted(f"interrupted; {how}") from None
    write(shown, norms_csv(measurements), flow_figure(measurements, study.title))
    if not quiet:
        click.echo(reach(measurements))
        click.echo(f"{folder}: written")


def _task(
    context: click.Context, csv_file: Path | None, task: str, column: str | None, length: int
) -> tuple[str, tasks.Task]:
    """The task and its name."""
    make: Callable[[int], tasks.Task]
    if csv_file is None:
        if column is not None:
            raise column_without_csv(column)
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
