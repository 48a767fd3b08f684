"""One pass over the data: training, or evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..layers._check import FloatArray
from ..layers.base import Layer
from ..layers.sequential import Sequential, States
from .clip import NonFiniteGradientError, clip_grad_norm_, clip_grad_value_
from .losses import Loss
from .optimizers import Optimizer

Batch = tuple[FloatArray, FloatArray, int]


class TrainingDivergedError(ArithmeticError):
    """The loss or a gradient stopped being finite; the step that met it changed no parameter.

    Attributes
    ----------
    epoch, step : int
        Where, both counted from 1; step 0 is the validation.
    checkpoint : str or None
        The file with the state after the epoch before, if there is one.
    """

    def __init__(self, epoch: int, step: int, reason: str, checkpoint: str | None) -> None:
        self.epoch, self.step, self.checkpoint = epoch, step, checkpoint
        where = f"step {step}" if step else "validation"
        kept = (
            f"the last good checkpoint is {checkpoint}, after epoch {epoch - 1}"
            if checkpoint
            else "there is no checkpoint yet: checkpoint=PATH writes one after every epoch"
        )
        super().__init__(f"epoch {epoch}, {where}: {reason}; {kept}. Lower lr or set clip_norm")


@dataclass(frozen=True)
class Step:
    """One step of training: its place (from 1), its batch's loss, and the gradient norm before clipping."""

    epoch: int
    step: int
    loss: float
    grad_norm: float
    clipped: bool


@dataclass(frozen=True)
class Trainer:
    """What every step needs."""

    model: Layer
    loss: Loss
    optimizer: Optimizer
    clip_norm: float | None
    clip_value: float | None
    on_step: Callable[[Step], object] | None
    stateful: bool

    def train(
        self,
        batches: Iterable[Batch],
        epoch: int,
        checkpoint: str | None,
        advance: Callable[[float, float, float], None],
    ) -> dict[str, float]:
        """One step for each batch; the epoch's entries for the history."""
        lr, start = self.optimizer.lr, time.perf_counter()
        total, examples, norms, clipped, states = 0.0, 0, [], 0, None
        for number, (x, y, size) in enumerate(batches, 1):
            try:
                step, states = self._step(x, y, states, epoch, number)
            except (FloatingPointError, NonFiniteGradientError) as error:
                raise TrainingDivergedError(epoch, number, str(error), checkpoint) from error
            total, examples, clipped = total + step.loss * size, examples + size, clipped + step.clipped
            norms.append(step.grad_norm)
            advance(total / examples, step.grad_norm, clipped / number)
            if self.on_step:
                self.on_step(step)
        return {
            "loss": total / examples,
            "grad_norm_mean": math.fsum(norms) / len(norms),
            "grad_norm_max": max(norms),
            "clipped_share": clipped / len(norms),
            "examples_per_second": examples / (time.perf_counter() - start),
            "lr": lr,
        }

    def evaluate(self, batches: Iterable[Batch], epoch: int, checkpoint: str | None) -> float:
        """The mean loss; nothing is trained."""
        total, examples, states = 0.0, 0, None
        for x, y, size in batches:
            prediction, states = self._predict(x, states, training=False)
            total, examples = total + self.loss(prediction, y)[0] * size, examples + size
        if not math.isfinite(total):
            raise TrainingDivergedError(epoch, 0, f"the loss is {total}", checkpoint)
        return total / examples

    def _predict(self, x: FloatArray, states: States | None, training: bool) -> tuple[FloatArray, States | None]:
        """The model's output and, if they go on, the states after it."""
        if self.stateful and isinstance(self.model, Sequential):
            return self.model.stream(x, states, training=training)
        return (self.model.forward(x) if training else self.model(x)), None

    def _step(
        self, x: FloatArray, y: FloatArray, states: States | None, epoch: int, number: int
    ) -> tuple[Step, States | None]:
        self.model.zero_grad()
        prediction, states = self._predict(x, states, training=True)
        value, dprediction = self.loss(prediction, y)
        if not math.isfinite(value):
            raise FloatingPointError(f"the loss is {value}")
        self.model.backward(dprediction, need_dx=False)
        norm, clipped = self._clip()
        self.optimizer.step()
        return Step(epoch, number, value, norm, clipped), states

    def _clip(self) -> tuple[float, bool]:
        """The norm before clipping, and whether anything was clipped."""
        limit = math.inf if self.clip_norm is None else self.clip_norm
        try:
            norm = clip_grad_norm_(self.model.flat_gradients, limit)
        except NonFiniteGradientError:
            clip_grad_norm_(self.model.gradients, limit)  # fails again, and names the parameter
            raise
        if self.clip_value is None:
            return norm, norm > limit
        return norm, clip_grad_value_(self.model.flat_gradients, self.clip_value) > 0
