"""`numgru sample`: text as a trained model writes it."""

from __future__ import annotations

from pathlib import Path

import click

from .. import language
from ..language import TextRun
from .common import POSITIVE, Mistake, number_above_zero


@click.command(short_help="Write text as a trained model does.")
@click.argument("folder", metavar="RUN", type=click.Path(path_type=Path))
@click.option("--prompt", default="", show_default=False, help="How the text begins; a new line if left out.")
@click.option("--length", type=POSITIVE, default=500, help="Characters to write.")
@click.option("--temperature", type=number_above_zero, default=1.0, help="Below 1 the likely becomes likelier.")
@click.option("--seed", type=click.IntRange(min=0), help="The same seed, the same text; another each time if left out.")
def sample(folder: Path, prompt: str, length: int, temperature: float, seed: int | None) -> None:
    """Write text as the model of RUN does, character by character."""
    learner = TextRun(folder).load()
    if unseen := learner.vocabulary.unseen(prompt):
        raise Mistake(f"--prompt: expected characters of the text that {folder} was trained on, got {unseen!r}")
    click.echo(prompt, nl=False)
    for character in language.sample(learner, prompt, length=length, temperature=temperature, seed=seed):
        click.echo(character, nl=False)
    click.echo()
