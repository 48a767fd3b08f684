"""`numgru info`: what numgru runs on, and the layers of a run."""

from __future__ import annotations

from pathlib import Path

import click

from .. import _machine
from .common import run_in


@click.command(short_help="Print versions, processor, threads; the layers of a run.")
@click.argument("folder", metavar="[RUN]", required=False, type=click.Path(path_type=Path))
def info(folder: Path | None) -> None:
    """Print versions, processor, threads and the folder of compiled kernels; of RUN, the layers of its model."""
    layers = None if folder is None else run_in(folder).load().model.summary()
    facts = _machine.versions() | _machine.machine()
    width = max(map(len, facts))
    for name, fact in facts.items():
        click.echo(f"{name:{width}}  {fact}")
    if layers:
        click.echo(f"\n{layers}")
