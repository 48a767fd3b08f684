"""The training loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from numpy.typing import ArrayLike

from .. import _check
from ..layers.base import Layer
from ..layers.recurrent import Recurrent
from ._gradients import NonFinite
from .batches import Batches, batch_axes
from .bptt import checked_steps
from .checkpoint import load_checkpoint, model_settings, save_checkpoint
from .clipping import Clipping
from .epoch import Step, Trainer
from .history import History
from .losses import Loss
from .optimizers import Optimizer
from .progress import bar_class, run_bar
from .ragged import CountedLoss, puts_out_every_step
from .schedules import Schedule


def fit(
    model: Layer,
    x: ArrayLike,
    y: ArrayLike,
    *,
    loss: Loss,
    optimizer: Optimizer,
    epochs: int,
    batch_size: int = 32,
    validation: tuple[ArrayLike, ArrayLike] | tuple[ArrayLike, ArrayLike, ArrayLike] | None = None,
    lengths: ArrayLike | None = None,
    batch_axis: int | tuple[int, int] = 0,
    bptt_steps: int | None = None,
    schedule: Schedule | None = None,
    clip_norm: float | None = None,
    clip_norm_per_array: float | None = None,
    clip_value: float | None = None,
    clip_adaptive: float | None = None,
    norm_type: float = 2.0,
    nonfinite: NonFinite = "raise",
    patience: int | None = None,
    restore_best: bool = True,
    shuffle: bool = True,
    seed: int = 0,
    progress: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    on_step: Callable[[Step], object] | None = None,
    on_epoch: Callable[[History], object] | None = None,
) -> History:
    """Train a model on minibatches.

    Parameters
    ----------
    model : Layer
        Returns one array; trained in place.
    x, y : array_like of real numbers
        Inputs and targets, equally many along the batch axis.
    loss : Loss
    optimizer : Optimizer
        Of this model.
    epochs : int, at least 1
        In all, those before a resume included.
    batch_size : int, at least 1
        The last batch of an epoch may be smaller.
    validation : (x, y) or (x, y, lengths), optional
        Evaluated after each epoch.
    lengths : array_like of int, shape (N,), optional
        The steps of each of N examples that count, 1 to T, for a model that takes them; not with `bptt_steps`. Where
        the model puts out every step, y has a target for each, and the loss is the mean over those that count.
    batch_axis : int or (int, int)
        The axis of the examples: 0, or 1 for a sequence of shape (T, B, I); a pair if x and y differ.
    bptt_steps : int, at least 1, optional
        Truncated back-propagation through time, for long sequences with a target for every step: x is (T, B, ...) and
        y too, or both are (B, T, ...) for a model with `batch_first`. Every batch of sequences is cut into consecutive
        windows of so many time steps, and each window is a step of training. A window starts from the states that
        the one before it ended with. No gradient goes back over its border. With a new batch and a new epoch, and
        in validation, states start anew.
    schedule : Schedule, optional
        Of this optimizer; told the validation loss, or the training loss without validation.
    clip_norm, clip_norm_per_array, clip_value, clip_adaptive : float, optional
        Limit for `clip_grad_norm_`, `clip_grad_norm_per_array_`, `clip_grad_value_` or `clip_grad_adaptive_`, at most
        one of them. By norms, the optimizer clips on its way, in one pass over memory.
    norm_type : {2, 1, math.inf}
        Of the norms that are limited and reported; `clip_value` and `clip_adaptive` report the 2-norm.
    nonfinite : {"raise", "zero", "skip"}
        What to do about a gradient with a NaN or an infinity, as for `clip_grad_norm_`. "skip" leaves out the step, and
        so it does if the loss isn't finite; the history's means are those of the other steps. With `bptt_steps` a NaN
        in a state goes on to the later windows of its batch.
    patience : int, optional
        Stop after so many epochs in a row without a lower validation loss.
    restore_best : bool
        With validation, end with the parameters of the epoch with the lowest validation loss.
    shuffle : bool
        Visit the examples of each epoch in a new order, which depends on `seed` and the epoch alone.
    seed : int, at least 0
    progress : bool
        Show one bar for the whole run (needs tqdm).
    checkpoint : path, optional
        File for the state of the run, replaced after each epoch.
    resume : bool
        Continue from `checkpoint` if it exists, to the same bits as if there had been no interruption.
        Without it an existing file is an error.
    on_step, on_epoch : callable, optional
        Called after each step with a `Step`, after each epoch (and its checkpoint) with the history so far.

    Returns
    -------
    History

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or `checkpoint` holds a run with other settings; before any training.
    FileExistsError
        If `checkpoint` exists and `resume` isn't set.
    FileNotFoundError
        If `checkpoint` is in a folder that doesn't exist.
    ImportError
        If `progress` is set and tqdm isn't installed.
    TrainingDivergedError
        If the loss or a gradient stops being finite, unless `nonfinite` says otherwise; with "skip", if an epoch skips
        all of its steps.
    """
    _check_parts(model, loss, optimizer, schedule)
    epochs, batch_size = _check.integer("epochs", epochs, 1), _check.integer("batch_size", batch_size, 1)
    seed = _check.integer("seed", seed, 0)
    flags = {"restore_best": restore_best, "shuffle": shuffle, "progress": progress, "resume": resume}
    for name, value in flags.items():
        _check.flag(name, value)
    clipping = Clipping(clip_norm, clip_norm_per_array, clip_value, clip_adaptive, norm_type, nonfinite)
    if patience is not None:
        patience = _check.integer("patience", patience, 1)
        if validation is None:
            raise ValueError("patience: expected validation=(x, y) with it, got None")
    axes = batch_axes(batch_axis)
    steps = checked_steps(bptt_steps, model, axes)
    held = _validation(validation)
    _check_lengths("lengths", lengths, model, steps)
    _check_lengths("validation[2]", held[2] if held else None, model, steps)
    with_lengths = lengths is not None or (held is not None and held[2] is not None)
    every_step = with_lengths and puts_out_every_step(model)
    for name, call in (("on_step", on_step), ("on_epoch", on_epoch)):
        if call is not None and not callable(call):
            raise TypeError(f"{name}: expected a function or None, got {type(call).__name__} ({call!r})")
    training = Batches(("x", "y", "lengths"), x, y, axes, batch_size, model.dtype, steps, lengths, every_step)
    held_out = None
    if held:
        names = ("validation[0]", "validation[1]", "validation[2]")
        held_out = Batches(names, *held[:2], axes, batch_size, model.dtype, steps, held[2], every_step)
    path = _checkpoint_path(checkpoint, resume)
    bar = bar_class(progress)
    settings = {
        "model": model_settings(model),
        "layers": {name: repr(layer) for name, layer in model.leaves.items()},
        "optimizer": optimizer.settings,
        "schedule": schedule.settings if schedule else None,
        "loss": loss.settings,
        "data": training.description() if path else None,
        "validation": held_out.description() if held_out and path else None,
        "batch_axis": axes,
        "batch_size": batch_size,
        "bptt_steps": steps,
        **clipping.settings,
        "shuffle": bool(shuffle),
        "seed": seed,
    }
    history, best = History(), None
    if path and path.exists():
        history, best = load_checkpoint(path, settings, model, optimizer, schedule)
    counted = CountedLoss(loss, every_step, axes[1])
    trainer = Trainer(model, counted, optimizer, clipping, on_step, carry=steps is not None)
    with run_bar(bar, epochs, len(training), len(history)) as advance:
        while len(history) < epochs and (patience is None or len(history) - history.best_epoch < patience):
            epoch = len(history) + 1
            saved = str(path) if path and epoch > 1 else None
            batches = training.shuffled(seed, epoch) if shuffle else training.in_order()
            history.append(**trainer.train(batches, epoch, saved, advance))
            if held_out:
                history.append(validation_loss=trainer.evaluate(held_out.in_order(), epoch, saved))
                if history.best_epoch == epoch:
                    best = model.flat_parameters.copy()
            if schedule:
                schedule.step(history.monitored[-1])
            if path:
                save_checkpoint(path, settings, model, optimizer, schedule, history, best)
            if on_epoch is not None:
                on_epoch(history)
    if restore_best and best is not None:
        model.flat_parameters[...] = best
    return history


def _check_parts(model: Layer, loss: Loss, optimizer: Optimizer, schedule: Schedule | None) -> None:
    for name, value, kind in (
        ("model", model, Layer),
        ("loss", loss, Loss),
        ("optimizer", optimizer, Optimizer),
    ):
        if not isinstance(value, kind):
            raise TypeError(f"{name}: expected a numgru {kind.__name__}, got {type(value).__name__} ({value!r})")
    if isinstance(model, Recurrent):
        raise TypeError(
            f"model: expected a layer that returns one array, got {model!r}, which returns (y, h_n); "
            "pass numgru.Sequential(layer), made before the optimizer, with a LastStep if wanted"
        )
    if optimizer.model is not model:
        raise ValueError("optimizer: expected the optimizer of this model, got one of another; make it with model")
    if schedule is not None and not isinstance(schedule, Schedule):
        raise TypeError(f"schedule: expected a numgru Schedule or None, got {type(schedule).__name__}")
    if schedule and schedule.optimizer is not optimizer:
        raise ValueError("schedule: expected the schedule of this optimizer, got one of another")


def _check_lengths(name: str, lengths: ArrayLike | None, model: Layer, steps: int | None) -> None:
    if lengths is not None and "lengths" not in model.takes:
        raise ValueError(f"{name}: expected None, since no layer of {model!r} takes it, got one")
    if lengths is not None and steps is not None:
        raise ValueError(f"{name}: expected None with bptt_steps, whose windows are all of one length, got one")


def _validation(validation: tuple[ArrayLike, ...] | None) -> tuple[ArrayLike, ArrayLike, ArrayLike | None] | None:
    """Its x, y and lengths."""
    if validation is None:
        return None
    if not isinstance(validation, tuple | list) or len(validation) not in (2, 3):
        raise TypeError(
            f"validation: expected (x, y), (x, y, lengths) or None, got {type(validation).__name__}"
            + (f" of {len(validation)}" if isinstance(validation, tuple | list) else "")
        )
    return validation[0], validation[1], validation[2] if len(validation) == 3 else None


def _checkpoint_path(checkpoint: str | os.PathLike[str] | None, resume: bool) -> Path | None:
    if checkpoint is None:
        if resume:
            raise ValueError("resume: expected checkpoint=PATH with it, got None")
        return None
    if not isinstance(checkpoint, str | os.PathLike):
        raise TypeError(f"checkpoint: expected a path or None, got {type(checkpoint).__name__} ({checkpoint!r})")
    path = Path(checkpoint)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"checkpoint: expected a path in an existing folder, got {path}; make {path.parent}")
    if path.exists() and not resume:
        raise FileExistsError(f"checkpoint: {path} exists; resume=True continues it, or move it away to start anew")
    return path
