"""The experiments on the command line."""

from __future__ import annotations

from pathlib import Path

import click
from tqdm import tqdm

from .._files import atomic_write
from ..diagnostics.plots import save_figure
from ..kernels.threads import get_num_threads
from .success import success_figure, table, trials_csv
from .temporal_order import QUICK, Plan, Results, run_trials


class Interrupted(click.ClickException):
    """By Ctrl-C."""

    exit_code = 130


@click.command("temporal-order", short_help="Who learns to remember, at which length: an experiment of 2013 repeated.")
@click.option("--quick", is_flag=True, help="Short sequences and few trials: two minutes instead of an hour.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder of the results; runs/temporal-order if left out."
)
@click.option("--processes", type=click.IntRange(min=1), help="How many trials at a time; one a processor if left out.")
@click.option("--overwrite", is_flag=True, help="Drop what is in the folder and begin anew.")
@click.option("--quiet", is_flag=True, help="Print nothing but errors.")
def temporal_order(quick: bool, output: Path | None, processes: int | None, overwrite: bool, quiet: bool) -> None:
    """Train RNN, LSTM and GRU by SGD to tell the order of two symbols in a long sequence, with clipping and without.

    This is the experiment of figure 7 in "On the difficulty of training recurrent neural networks" (Pascanu, Mikolov
    and Bengio 2013). The folder gets trials.json, trials.csv and success.png.

    Each finished trial is kept: after Ctrl-C the same command goes on.
    """
    plan = QUICK if quick else Plan()
    folder = output or Path("runs") / ("temporal-order-quick" if quick else "temporal-order")
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "trials.json"
    if overwrite:
        kept.unlink(missing_ok=True)
    results = Results(kept, plan)
    trials = len(plan.trials())
    try:
        with tqdm(total=trials, initial=len(results.done), unit="trial", disable=quiet) as bar:
            for _ in run_trials(results, processes or get_num_threads()):
                bar.set_postfix_str(f"{sum(each.solved for each in results.done)} learned it", refresh=False)
                bar.update()
    except KeyboardInterrupt:
        done = f"{len(results.done)} of {trials} trials are done"
        raise Interrupted(f"interrupted; {done}: the same command goes on") from None
    with atomic_write(folder / "trials.csv") as file:
        file.write(trials_csv(results.done))
    save_figure(folder / "success.png", success_figure(results.done, plan))
    if not quiet:
        click.echo(table(results.done, plan))
        click.echo(f"{folder}: written")
