"""The folder of a run: its settings from the start, checkpoints on the way, results at the end.

Each file is written whole or not at all.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from .._files import atomic_write
from ..diagnostics import plots
from ..training import History
from ..training.checkpoint import read_checkpoint
from .learner import D, Learner, S

if TYPE_CHECKING:
    from matplotlib.figure import Figure

L = TypeVar("L", bound=Learner[Any, Any])

_SETTINGS = "settings.json"


class RunError(ValueError):
    """The folder doesn't hold what is asked of it; the message is one line that says why and what to do."""


def kind_in(folder: Path) -> str | None:
    """The kind of the run that was begun in a folder; None if there is none that can be read."""
    try:
        kind: str | None = json.loads((folder / _SETTINGS).read_text("utf-8"))["kind"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return kind


class Run(ABC, Generic[S, D, L]):
    """One run in one folder.

    Parameters
    ----------
    folder : path
        Need not exist.

    Raises
    ------
    RunError
        If there is something else than a folder.
    """

    settings_type: type[S]
    learner_type: type[L]
    pictures: ClassVar[tuple[str, ...]] = ("training.png",)

    @abstractmethod
    def _tested(self, data: D, learner: L) -> tuple[dict[str, Any], dict[str, Figure]]:
        """Metrics on the held-out part, and pictures by the names of their files."""

    @abstractmethod
    def summary(self, metrics: dict[str, Any], data: D) -> str:
        """What metrics.json holds, to read."""

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder}: expected a folder, got a file; give another one")
        self.folder = folder
        self.settings, self.checkpoint = folder / _SETTINGS, folder / "checkpoint.npz"
        self.model, self.metrics = folder / "model.npz", folder / "metrics.json"

    def begin(self, settings: S, data: D) -> None:
        """Make the folder, drop what an earlier run left there, and keep the settings."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._drop(self.settings, self.checkpoint, self.model, self.metrics, *map(self.folder.joinpath, self.pictures))
        kept = {"kind": self.learner_type.kind, "settings": asdict(settings), "crc32": data.crc32()}
        _write_json(self.settings, kept)

    def begun(self) -> bool:
        """Whether there is a run in the folder."""
        return self.settings.exists()

    def resume(self) -> tuple[S, D]:
        """The settings and the data of the run that was begun here.

        Raises
        ------
        RunError
            If there is none, if its files are damaged, or if the data have changed since then.
        """
        try:
            kept = json.loads(self.settings.read_text("utf-8"))
            kind, crc32 = kept["kind"], kept["crc32"]
            settings = self.settings_type(**kept["settings"]) if kind == self.learner_type.kind else None
        except (FileNotFoundError, NotADirectoryError):
            raise RunError(f"{self.folder}: no run to resume here; leave out --resume") from None
        except (ValueError, TypeError, KeyError) as error:
            raise RunError(f"{self.settings}: expected the settings of a run, got something else") from error
        if settings is None:
            raise RunError(f"{self.folder}: expected the run of a {self.learner_type.kind} to resume, got a {kind}'s")
        if self.checkpoint.exists():
            try:
                read_checkpoint(self.checkpoint)
            except ValueError as error:
                raise RunError(f"{error}; start anew with --overwrite") from error
        data: D = settings.read()
        if data.crc32() != crc32:
            raise RunError(f"{settings.source}: has changed since the run began; start anew with --overwrite")
        return settings, data

    def give_up(self) -> bool:
        """When training ends early: whether there is a checkpoint; without one, nothing is left behind."""
        if self.checkpoint.exists():
            return True
        self._drop(self.settings)
        if not any(self.folder.iterdir()):
            self.folder.rmdir()
        return False

    def finish(self, data: D, learner: L, history: History, about: dict[str, Any]) -> dict[str, Any]:
        """Test on the held-out part; write the model, the metrics and the pictures.

        Parameters
        ----------
        data : Series or Text
        learner : Learner
        history : History
            As `train` returned it.
        about : dict
            More for the metrics: timing, versions.

        Returns
        -------
        dict
            What metrics.json holds.
        """
        metrics, figures = self._tested(data, learner)
        metrics |= {"settings": asdict(learner.settings), "history": asdict(history), **about}
        figures["training.png"] = plots.training_figure(
            loss=history.loss,
            validation_loss=history.validation_loss,
            norm_mean=history.grad_norm_mean,
            norm_max=history.grad_norm_max,
            clipped=history.clipped_share,
            clip_norm=learner.settings.clip_norm,
        )
        learner.save(self.model)
        for name, figure in figures.items():
            plots.save_figure(self.folder / name, figure)
        _write_json(self.metrics, metrics)
        return metrics

    def load(self) -> L:
        """The model of a finished run, and what belongs to it.

        Raises
        ------
        RunError
            If there is none.
        """
        try:
            return self.learner_type.load(self.model)
        except FileNotFoundError:
            hint = f"; it isn't finished: numgru train --resume --output {self.folder}" if self.begun() else ""
            raise RunError(f"{self.folder}: no trained model here{hint}") from None
        except ValueError as error:
            raise RunError(str(error)) from error

    def _drop(self, *paths: Path) -> None:
        for path in paths:
            path.unlink(missing_ok=True)


def margin(ours: float, baseline: float) -> float | None:
    """By which share of the baseline's error ours is smaller; None if the baseline makes none."""
    return 1 - ours / baseline if baseline else None


def margin_in_words(margin: float | None) -> str:
    """For a table; nothing if there is none."""
    return "" if margin is None else f"{abs(margin):.0%} {'smaller' if margin > 0 else 'larger'}"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        json.dump(content, file, indent=2)
        file.write("\n")
