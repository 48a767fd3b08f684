"""How far back gradients reach: the norm of dL/dh_t by lag, before training and after it, with clipping and without.

Shapes: T steps, B sequences, I inputs, H units.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from .._files import load_arrays, save_arrays
from .._types import BoolArray, Float64Array
from ..data.series import DataError, Series
from ..data.tasks import Task
from ..data.windows import ChangeScaler, Origins, targets, windows
from ..layers.sequential import Sequential
from ..runs import RunError, drop
from ..training import SGD, Loss, MSELoss, NonFiniteGradientError
from .networks import gru, lstm, smart_tanh, train_step, vectors
from .temporal_order import BATCH_SIZE, LEARNING_RATE, THRESHOLD

STUDIED = {"RNN": smart_tanh, "LSTM": lstm, "GRU": gru}
STAGES = {"before training": None, "after SGD": math.inf, "after SGD, clipped": THRESHOLD}
MEASURED_ON = 100  # sequences


@dataclass(frozen=True)
class NextValue(Task):
    """The next value of a series, from the T values before it, as changes from the last of these.

    Parameters
    ----------
    length : int
        T.
    values : ndarray, shape (n,)
    origins : ndarray of int
        Where windows may end: what fills a gap knows the next measurement, so there and at the target are none.
    scaler : ChangeScaler
    """

    values: Float64Array
    origins: Origins
    scaler: ChangeScaler

    loss: ClassVar[Loss] = MSELoss()

    @classmethod
    def of(cls, series: Series, length: int) -> Self:
        """Windows of so many values.

        Raises
        ------
        DataError
            If the series is too short for two of them, has too few measured values in a row, or never changes.
        """
        if len(series) < length + 2:
            raise DataError(f"length: expected at most {len(series) - 2}, as {series.name} has, got {length}")
        origins = np.arange(length - 1, len(series) - 1)
        origins = origins[~series.filled[origins] & ~series.filled[origins + 1]]
        if origins.size < 2:
            raise DataError(f"{series.name}: expected measured values right after others, got {origins.size}")
        return cls(length, series.values, origins, ChangeScaler.fit(series.values, origins, 1))

    @property
    def shortest(self) -> int:
        """A value and the one before it."""
        return 2

    @property
    def input_size(self) -> int:
        """One value."""
        return 1

    @property
    def output_size(self) -> int:
        """One value."""
        return 1

    def _drawn(self, size: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
        origins = self.origins[rng.integers(0, self.origins.size, size)]
        x = self.scaler.inputs(windows(self.values, origins, self.length))
        return x, self.scaler.outputs(targets(self.values, origins, 1), self.values[origins])

    def wrong(self, prediction: NDArray[Any], y: NDArray[Any]) -> BoolArray:
        """Which forecasts are no better than that the last value persists, shape (B,). A NaN isn't."""
        better: BoolArray = np.abs(prediction - y)[:, 0] < np.abs(y)[:, 0]
        return ~better


def state_gradient_norms(model: Sequential, task: Task, x: NDArray[Any], y: NDArray[Any]) -> NDArray[np.float64]:
    """The norms of dL/dh_t over the batch: shape (T,), by the step t. The model's gradients are zero afterwards.

    L is the mean loss of the last step alone: with losses at all steps, dL/dh_t would tell of step t's own, not of
    how far those of later steps reach.

    Parameters
    ----------
    model : Sequential
        A recurrent layer of one layer and direction, and what follows it.
    task : Task
    x : ndarray, shape (T, B, I)
    y : ndarray
        Targets.
    """
    recurrent: Any = model.layers[0]
    before, recurrent.measure_flow = recurrent.measure_flow, True
    try:
        prediction = model.forward(x)
        d_prediction, last = np.zeros_like(prediction), -1 if task.every_step else slice(None)
        d_prediction[last] = task.loss(prediction[last], y[last])[1]
        model.backward(d_prediction, need_dx=False)
    finally:
        recurrent.measure_flow = before
    model.zero_grad()
    norms: NDArray[np.float64] = np.linalg.norm(recurrent.gradient_flow[0], axis=1)
    return norms


@dataclass(frozen=True)
class Measurement:
    """One network at one stage.

    Attributes
    ----------
    network, stage : str
    updates : int
        Those made; fewer than asked for if a gradient wasn't finite.
    loss : float
    norms : ndarray, shape (T,)
        By lag: the first entry is the last step's.
    """

    network: str
    stage: str
    updates: int
    loss: float
    norms: NDArray[np.float64]


@dataclass(frozen=True)
class Study:
    """What is trained, on what, and where it's kept.

    Parameters
    ----------
    name : str
        Of the task.
    task : Task
    updates, seed : int
    folder : path
        Trained networks are kept here, and loaded if they are there.
    replaced : list of path
        Files of an earlier study, which go when the first network has been trained.
    """

    name: str
    task: Task
    updates: int
    seed: int
    folder: Path
    replaced: list[Path] = field(default_factory=list)

    @property
    def files(self) -> list[Path]:
        """Where the networks are kept."""
        limits = [limit for limit in STAGES.values() if limit is not None]
        return [self._file(network, limit) for network in STUDIED for limit in limits]

    @property
    def title(self) -> str:
        """What is measured, on what, and how the networks are trained."""
        loss = "the last step's mean loss" if self.task.every_step else "the mean loss"
        return (
            f"{self.name}, {self.task.length} steps: gradient of {loss} with respect to the state; at most "
            f"{self.updates} updates by SGD, batches of {BATCH_SIZE}, learning rate {LEARNING_RATE}, clipped to a norm "
            f"of {THRESHOLD:g}"
        )

    def _file(self, network: str, limit: float) -> Path:
        return self.folder / f"{network}-{'clipped' if math.isfinite(limit) else 'not-clipped'}.npz".lower()

    def measurements(self, on_update: Callable[[], object]) -> Iterator[Measurement]:
        """Every network at every stage; `on_update` is called for each update of each training.

        Raises
        ------
        RunError
            If the folder has a network that was trained with other settings.
        """
        numbers = np.random.default_rng(self.seed)
        x, y = self.task.batch(MEASURED_ON, numbers)
        x = vectors(self.task, x)
        for network, make in STUDIED.items():
            first_weights, training = (int(seed) for seed in numbers.integers(2**31, size=2))
            for stage, limit in STAGES.items():
                model = make(self.task, np.random.default_rng(first_weights))
                updates = 0 if limit is None else self._train(model, network, limit, training, on_update)
                loss, _ = self.task.loss(model(x), y)
                norms = state_gradient_norms(model, self.task, x, y)
                yield Measurement(network, stage, updates, loss, norms[::-1])

    @property
    def settings(self) -> dict[str, Any]:
        """What decides about a trained network, beside its kind and whether gradients were clipped."""
        values = {"series": _checksum(self.task.values)} if isinstance(self.task, NextValue) else {}
        return {
            "task": self.name, "length": self.task.length, "updates": self.updates, "seed": self.seed,
            "batch_size": BATCH_SIZE, "learning_rate": LEARNING_RATE, "threshold": THRESHOLD, **values,
        }  # fmt: skip

    def _train(self, model: Sequential, network: str, limit: float, seed: int, on_update: Callable[[], object]) -> int:
        """Train, or load; returns how many updates were made."""
        path = self._file(network, limit)
        settings = self.settings | {"network": network, "clipped": math.isfinite(limit)}
        if path.exists() and path not in self.replaced:
            return self._load(model, path, settings, on_update)
        optimizer, rng = SGD(model, lr=LEARNING_RATE), np.random.default_rng(seed)
        for _ in range(self.updates):
            try:
                train_step(model, optimizer, self.task, *self.task.batch(BATCH_SIZE, rng), limit)
            except NonFiniteGradientError:
                break
            on_update()
        save_arrays(path, model.state_dict(), {"settings": settings, "updates": optimizer.steps})
        drop(set(self.replaced) - {path})
        self.replaced.clear()
        return optimizer.steps

    def _load(self, model: Sequential, path: Path, settings: dict[str, Any], on_update: Callable[[], object]) -> int:
        try:
            arrays, metadata = load_arrays(path)
        except ValueError as error:
            raise RunError(f"{error}; give --overwrite or another --output") from error
        if metadata.get("settings") != settings:
            raise RunError(f"{path}: was trained with other settings; give --overwrite or another --output")
        model.load_state_dict(arrays)
        for _ in range(metadata["updates"]):
            on_update()
        return int(metadata["updates"])


def _checksum(values: Float64Array) -> int:
    return zlib.crc32(np.ascontiguousarray(values).tobytes())
