"""`numgru predict`: what follows the end of a series."""

from __future__ import annotations

import os
from pathlib import Path

import click

from .._files import atomic_write
from ..data import read_csv
from ..forecasting import ForecastRun, beyond
from ..forecasting.report import forecast_csv
from .common import Mistake, column_without_csv, csv_argument, threads_option


@click.command(short_help="Forecast what follows the end of a series.")
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@csv_argument
@click.option("--column", help="Of CSV, the one to continue; that of the training if left out.")
@click.option("--output", default="-", help="File to write; - is standard output.")
@click.option("--overwrite", is_flag=True, help="Replace that file.")
@threads_option
def predict(folder: Path, csv_file: Path | None, column: str | None, output: str, overwrite: bool) -> None:
    """Forecast what follows the end of the series that RUN was trained on, or of the same column of CSV."""
    if column is not None and csv_file is None:
        raise column_without_csv(column)
    if output != "-" and os.path.lexists(output) and not overwrite:
        raise Mistake(f"--output {output}: exists; give --overwrite or another file")
    forecaster = ForecastRun(folder).load()
    settings = forecaster.settings
    series = settings.read() if csv_file is None else read_csv(csv_file, column or settings.column)
    text = forecast_csv(series, beyond(series, forecaster), forecaster.scaler.scale)
    if output == "-":
        click.echo(text, nl=False)
    else:
        with atomic_write(output) as file:
            file.write(text)
