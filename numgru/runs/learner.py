"""A network with its settings: how it's trained and kept."""

from __future__ import annotations

import copy
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from .._files import load_arrays, save_arrays
from ..layers.base import Layer
from ..training import Adam, CosineAnnealingLR, History, TrainingDivergedError, fit
from ..training.batches import Batches, batch_axes

Examples = tuple[NDArray[Any], NDArray[Any]]


class Data(Protocol):
    """What is learnt from."""

    @property
    def name(self) -> str:
        """What it is called."""

    @property
    def note(self) -> str:
        """What is to be known about it, in a line."""

    def crc32(self) -> int:
        """Tells it from others."""


@dataclass(frozen=True)
class RunSettings(ABC):
    """All that decides what a run computes, but the thread count, which changes no bit of it.

    Attributes
    ----------
    hidden_size, epochs, batch_size, learning_rate, clip_norm, clip_value, seed
        Of the GRU and its training.
    """

    hidden_size: int = 32
    epochs: int = 40
    batch_size: int = 32
    learning_rate: float = 0.01
    clip_norm: float | None = 0.3
    clip_value: float | None = None
    seed: int = 0

    @property
    @abstractmethod
    def source(self) -> str | None:
        """The file that is learnt from."""

    @abstractmethod
    def read(self) -> Any:
        """What is learnt from, read anew."""

    def completed(self, data: Any) -> Self:
        """These settings with what was left to be found in the data."""
        return self


S = TypeVar("S", bound=RunSettings)
D = TypeVar("D", bound=Data)


class Learner(ABC, Generic[S, D]):
    """A network and all that is needed to use it.

    Attributes
    ----------
    settings : Settings
    model : Layer
    """

    kind: ClassVar[str]  # what it is called
    settings: S
    model: Layer

    @classmethod
    @abstractmethod
    def untrained(cls, settings: S, data: D) -> Self:
        """A new one; raises DataError if there is too little to learn from."""

    @classmethod
    @abstractmethod
    def _restored(cls, metadata: Mapping[str, Any]) -> Self:
        """One with these settings, whose parameters are read later."""

    @abstractmethod
    def _metadata(self) -> dict[str, Any]:
        """What `_restored` needs besides the settings."""

    @abstractmethod
    def _examples(self, data: D) -> tuple[Examples, Examples]:
        """Inputs and targets to train on, and those that choose the epoch."""

    @abstractmethod
    def _fit_options(self) -> dict[str, Any]:
        """The loss, and how `fit` goes through the examples."""

    def train(
        self,
        data: D,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
        resume: bool = False,
        on_epoch: Callable[[History], object] | None = None,
    ) -> History:
        """Fit in place; the validation part decides from which epoch the parameters are kept.

        Parameters
        ----------
        data : Series or Text
        checkpoint : path, optional
            Where the state of training is kept after each epoch.
        resume : bool
            Whether to go on from there.
        on_epoch : callable, optional
            Called after each epoch with the history so far.

        Returns
        -------
        History
        """
        return self._fit(*self._examples(data), checkpoint=checkpoint, resume=resume, on_epoch=on_epoch)

    def has_infinite(self, data: D) -> bool:
        """Whether inputs or targets are infinite: values of the data that lie too far from the others."""
        return any(bool(np.isinf(each).any()) for examples in self._examples(data) for each in examples)

    def compile_kernels(self, data: D) -> None:
        """Compile what `train` needs, and no more, by one step of a twin; this one is left as it is."""
        options = self._fit_options()
        axes, batch_size, steps = batch_axes(options["batch_axis"]), options["batch_size"], options.get("bptt_steps")

        def first(x: NDArray[Any], y: NDArray[Any]) -> Examples:
            batch = next(Batches(("x", "y", "lengths"), x, y, axes, batch_size, self.model.dtype, steps).in_order())
            return batch.x, batch.y

        training, validation = self._examples(data)
        twin, low = copy.deepcopy(self), 1e-9  # so that there is something to clip
        twin.settings = replace(self.settings, epochs=1, clip_value=self.settings.clip_value and low)
        x, y = first(*validation)
        with suppress(TrainingDivergedError):  # `train` will say so
            twin._fit(first(*training), (x, y))
        twin.model(x)  # finds the weights packed, which takes a kernel of its own

    def _fit(self, training: Examples, validation: Examples, **options: Any) -> History:
        settings, (x, y) = self.settings, training
        optimizer = Adam(self.model, lr=settings.learning_rate)
        return fit(
            self.model,
            x,
            y,
            optimizer=optimizer,
            epochs=settings.epochs,
            validation=validation,
            schedule=CosineAnnealingLR(optimizer, settings.epochs),
            clip_norm=settings.clip_norm,
            clip_value=settings.clip_value,
            seed=settings.seed,
            **self._fit_options(),
            **options,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters, settings and what else is needed into one .npz file."""
        metadata = {"kind": self._file_kind(), "settings": asdict(self.settings), **self._metadata()}
        save_arrays(path, self.model.state_dict(), metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Raises
        ------
        FileNotFoundError, ValueError
            If there is no such file, or it holds something else.
        """
        arrays, metadata = load_arrays(path)
        if metadata.get("kind") != cls._file_kind():
            got = metadata.get("kind", "another kind of file")
            raise ValueError(f"{os.fspath(path)}: expected a {cls.kind} that numgru train wrote, got {got}")
        learner = cls._restored(metadata)
        learner.model.load_state_dict(arrays)
        return learner

    @classmethod
    def _file_kind(cls) -> str:
        return f"numgru {cls.kind} 1"
