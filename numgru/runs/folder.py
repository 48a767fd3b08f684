"""The folder of a run: its settings from the start, checkpoints on the way, results at the end.

Each file is written whole or not at all.
"""

from __future__ import annotations

import json
import os
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from .._files import atomic_write, make_folder, remove_temporaries
from ..diagnostics import plots
from ..training import History
from ..training.checkpoint import CheckpointError, read_checkpoint
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
        self._aside = folder / ".replaced-checkpoint.npz"  # of the run before, while its settings are there
        self._replaces = False

    @property
    def files(self) -> list[Path]:
        """All that a run writes."""
        return [self.settings, self.checkpoint, self.model, self.metrics, *map(self.folder.joinpath, self.pictures)]

    def begun(self) -> bool:
        """Whether there is a run in the folder."""
        return self.settings.exists()

    def begin(self, settings: S, data: D) -> None:
        """Make the folder and keep the settings; a run that is there stays until this one has a checkpoint."""
        make_folder(self.folder)
        remove_temporaries(self.files)
        if self.checkpoint.exists():
            self.checkpoint.replace(self._aside)
        self._replaces = self.begun()
        if not self._replaces:
            self._keep(settings, data)

    def train(
        self,
        learner: L,
        data: D,
        *,
        resume: bool = False,
        replaced: Iterable[Path] = (),
        on_epoch: Callable[[History], object] | None = None,
    ) -> History:
        """Train with checkpoints, after `begin` or `resume`; the first takes the place of the run before.

        Parameters
        ----------
        learner : Learner
        data : Series or Text
        resume : bool
            Whether to go on from the checkpoint.
        replaced : iterable of path
            Files of the run before.
        on_epoch : callable, optional
            Called after each epoch with the history so far.

        Returns
        -------
        History

        Raises
        ------
        RunError
            If the checkpoint to go on from is that of a run with other settings.
        """

        def kept(history: History) -> None:
            if not resume and len(history) == 1:
                self._take_over(learner.settings, data, replaced)
            if on_epoch is not None:
                on_epoch(history)

        try:
            return learner.train(data, checkpoint=self.checkpoint, resume=resume, on_epoch=kept)
        except CheckpointError as error:
            raise RunError(f"{error}; or start anew with --overwrite") from error

    def _take_over(self, settings: S, data: D, replaced: Iterable[Path]) -> None:
        """Keep the settings, and drop what the run before has left."""
        self._aside.unlink(missing_ok=True)
        self._keep(settings, data)
        drop({*self.files, *replaced} - {self.settings, self.checkpoint})

    def _keep(self, settings: S, data: D) -> None:
        kept = {"kind": self.learner_type.kind, "settings": asdict(settings), "crc32": data.crc32()}
        _write_json(self.settings, kept)

    def resume(self, **moved: Any) -> tuple[S, D]:
        """The settings and the data of the run that was begun here.

        Parameters
        ----------
        **moved
            Settings that say where the data are now, if they are there no more where they were.

        Raises
        ------
        RunError
            If there is none, if its files are damaged, or if the data aren't those that it began with.
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
        remove_temporaries(self.files)
        self._put_back()
        if self.checkpoint.exists():
            try:
                read_checkpoint(self.checkpoint)
            except ValueError as error:
                raise RunError(f"{error}; start anew with --overwrite") from error
        now = replace(settings, **moved)
        if now.source is not None and not os.path.exists(now.source):
            raise RunError(f"{now.source}: no such file; if it was moved, give its new place with --resume")
        data: D = now.read()
        if data.crc32() != crc32:
            if now == settings:
                raise RunError(f"{now.source}: has changed since the run began; start anew with --overwrite")
            raise RunError(
                f"{now.source}: expected the data that the run in {self.folder} began with, got others; "
                "start anew with --overwrite"
            )
        if now != settings:
            self._keep(now, data)
        return now, data

    def give_up(self) -> bool:
        """When training ends early: whether there is a checkpoint; without one, all is as it was before."""
        if self._put_back():
            return False
        if self.checkpoint.exists():
            return True
        if not self._replaces:
            self.settings.unlink(missing_ok=True)
        if self.folder.is_dir() and not any(self.folder.iterdir()):
            self.folder.rmdir()
        return False

    def _put_back(self) -> bool:
        """The checkpoint of the run before, if its settings are there; whether it was so."""
        aside = self._aside.exists()
        if aside:
            self._aside.replace(self.checkpoint)
        return aside

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
            hint = f"; it isn't finished: {self.how_to_go_on}" if self.begun() else ""
            raise RunError(f"{self.folder}: no trained model here{hint}") from None
        except ValueError as error:
            raise RunError(str(error)) from error

    @property
    def how_to_go_on(self) -> str:
        """The command that resumes it."""
        return f"numgru train --resume --output {shlex.quote(str(self.folder))}"


def refuse_to_replace(paths: Iterable[Path]) -> None:
    """A RunError if one of these files is there."""
    there = [path for path in paths if os.path.lexists(path)]
    if there:
        raise RunError(
            f"{there[0].parent}: has {', '.join(path.name for path in there)}, which would be written over; "
            "give --overwrite or another --output"
        )


def drop(paths: Iterable[Path]) -> None:
    """Remove those of the files that are there."""
    for path in paths:
        path.unlink(missing_ok=True)


def margin(ours: float, baseline: float) -> float | None:
    """By which share of the baseline's error ours is smaller; None if the baseline makes none."""
    return 1 - ours / baseline if baseline else None


def margin_in_words(margin: float | None) -> str:
    """For a table; nothing if there is none."""
    if margin is None:
        return ""
    share = f"{abs(margin):.0%}"
    return "as large" if share == "0%" else f"{share} {'smaller' if margin > 0 else 'larger'}"


def _write_json(path: Path, content: dict[str, Any]) -> None:
    with atomic_write(path) as file:
        json.dump(content, file, indent=2)
        file.write("\n")
