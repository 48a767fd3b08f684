"""The folder of an experiment: files that it goes on with, and files that show what it has found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .._files import atomic_write, make_folder, remove_temporaries
from ..diagnostics.plots import save_figure
from ..runs import refuse_to_replace

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def prepare(folder: Path, kept: Sequence[Path], shown: Sequence[Path], *, overwrite: bool) -> None:
    """Make the folder, and remove what a killed process has left in it.

    Parameters
    ----------
    folder : path
    kept, shown : sequence of path
        What the experiment goes on with, and what shows its results.
    overwrite : bool
        Whether `shown` may be there though nothing is that it could show.

    Raises
    ------
    RunError
        If files would be written over that may be another's.
    OSError
        If no file can be written in the folder.
    """
    if not (overwrite or any(path.exists() for path in kept)):
        refuse_to_replace(shown)
    make_folder(folder)
    remove_temporaries([*kept, *shown])


def write(shown: tuple[Path, Path], rows: str, figure: Figure) -> None:
    """Write what shows the results: a CSV file and a picture."""
    table, picture = shown
    with atomic_write(table) as file:
        file.write(rows)
    save_figure(picture, figure)
