"""`numgru temporal-order`: an experiment of 2013, repeated."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import click
from tqdm import tqdm

from .. import get_num_threads
from ..experiments.folder import prepare, write
from ..experiments.temporal_order import QUICK, Plan, Results, run_trials
from ..experiments.temporal_order_report import success_figure, table, trials_csv
from ..runs import drop
from .common import POSITIVE, Interrupted, quiet_option, say_that_it_compiles


@click.command("temporal-order", short_help="Repeat an experiment of 2013 on long memories.")
@click.option("--quick", is_flag=True, help="Short sequences and few trials: two minutes instead of an hour.")
@click.option(
    "--output", type=click.Path(path_type=Path), help="Folder of the results; runs/temporal-order[-quick] if left out."
)
@click.option("--processes", type=POSITIVE, help="How many trials at a time; one a processor if left out.")
@click.option("--overwrite", is_flag=True, help="Begin anew; the first trial replaces what is in the folder.")
@quiet_option
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
            for _ in run_trials(results, processes or get_num_threads(), lambda: say_that_it_compiles(quiet)):
                drop(shown)  # they show other trials
                bar.set_postfix_str(f"{sum(each.solved for each in results.done)} learned it", refresh=False)
                bar.update()
    except (KeyboardInterrupt, BrokenProcessPool) as error:
        how = f"the same command goes on{' without --overwrite' * overwrite}"
        hint = f"{len(results.done)} of {trials} trials are done: {how}"
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(f"interrupted; {hint}") from None
        raise click.ClickException(f"a process was ended from outside; {hint}") from error
    write(shown, trials_csv(results.done), success_figure(results.done, plan))
    if not quiet:
        click.echo(table(results.done, plan))
        click.echo(f"{folder}: written")
