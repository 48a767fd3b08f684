"""The state of a training run after an epoch, in one file that is whole or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from .._files import load_arrays, save_arrays
from .._types import FloatArray
from ..layers.base import Layer
from .history import History
from .optimizers import Optimizer
from .schedules import Schedule

_KIND = "numgru training checkpoint 1"


def model_settings(model: Layer) -> dict[str, Any]:
    """What tells one model's parameters from another's: dtype, names, shapes."""
    shapes = {name: list(value.shape) for name, value in model.parameters.items()}
    return {"dtype": str(model.dtype), "parameters": shapes}


def save_checkpoint(
    path: str | os.PathLike[str],
    settings: Mapping[str, Any],
    model: Layer,
    optimizer: Optimizer,
    schedule: Schedule | None,
    history: History,
    best: FloatArray | None,
) -> None:
    """Write everything that the epochs after this one depend on; the order of each follows from the seed."""
    state = optimizer.state_dict()
    buffers = {name: value for name, value in state.items() if isinstance(value, np.ndarray)}
    arrays = {
        "parameters": model.flat_parameters,
        **{f"optimizer.{name}": value for name, value in buffers.items()},
    }
    if best is not None:
        arrays["best_parameters"] = best
    metadata = {
        "kind": _KIND,
        "settings": settings,
        "optimizer": {name: value for name, value in state.items() if name not in buffers},
        "schedule": schedule.state_dict() if schedule else None,
        "history": asdict(history),
        "random_states": {name: leaf.random_state for name, leaf in model.leaves.items() if leaf.random_state},
    }
    save_arrays(path, arrays, metadata)


class CheckpointError(ValueError):
    """A checkpoint of a run with other settings."""


def load_checkpoint(
    path: str | os.PathLike[str],
    settings: Mapping[str, Any],
    model: Layer,
    optimizer: Optimizer,
    schedule: Schedule | None,
) -> tuple[History, FloatArray | None]:
    """Put model, optimizer and schedule in the saved state; returns the history and the best parameters.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it isn't a checkpoint, or one of a run with other settings; nothing has changed then.
    """
    arrays, metadata = read_checkpoint(path)
    for key, here in json.loads(json.dumps(settings)).items():
        there = metadata["settings"].get(key)
        if there != here:
            raise CheckpointError(
                f"{os.fspath(path)}: expected a checkpoint of this run, got one with another {key}: "
                f"{there} in the file, {here} here; make {key} as it was or choose another file"
            )
    prefix = "optimizer."
    buffers = {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}
    optimizer.load_state_dict({**metadata["optimizer"], **buffers})
    if schedule:
        schedule.load_state_dict(metadata["schedule"])
    model.flat_parameters[...] = arrays["parameters"]
    for name, random_state in metadata.get("random_states", {}).items():
        model.leaves[name].random_state = random_state
    return History(**metadata["history"]), arrays.get("best_parameters")


def load_weights(path: str | os.PathLike[str], model: Layer, *, best: bool = False) -> None:
    """Take only the parameters from a checkpoint that `fit` has written.

    Parameters
    ----------
    path : str or path
    model : Layer
        Changed in place.
    best : bool
        Those of the epoch with the lowest validation loss, not those of the last epoch.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it isn't a checkpoint, is one of another model, or has no best parameters (no validation).
    """
    arrays, metadata = read_checkpoint(path)
    here, there = model_settings(model), metadata["settings"]["model"]
    if there != here:
        raise ValueError(f"{os.fspath(path)}: expected a checkpoint of this model, {here}, got one of {there}")
    name = "best_parameters" if best else "parameters"
    if name not in arrays:
        raise ValueError(
            f"{os.fspath(path)}: expected best parameters, got none: the run had no validation; best=False"
        )
    model.flat_parameters[...] = arrays[name]


def read_checkpoint(path: str | os.PathLike[str]) -> tuple[dict[str, FloatArray], dict[str, Any]]:
    """The arrays and the metadata of a checkpoint; a ValueError if it isn't one."""
    arrays, metadata = load_arrays(path)
    if metadata.get("kind") != _KIND:
        raise ValueError(f"{os.fspath(path)}: expected a {_KIND}, got {metadata.get('kind', 'another kind of file')}")
    return arrays, metadata
