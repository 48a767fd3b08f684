"""One pass over the data: training, or evaluation."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers.base import Layer
from ._gradients import NonFiniteGradientError
from .batches import Batch
from .bptt import Outputs
from .clip import ClipReport
from .clipping import Clipping
from .optimizers import Optimizer
from .ragged import CountedLoss


class TrainingDivergedError(ArithmeticError):
    """The loss or a gradient stopped being finite; the step that met it changed no parameter.

    Attributes
    ----------
    epoch, step : int
        Where, both counted from 1; step 0 is the validation.
    reason : str
        What wasn't finite.
    checkpoint : str or None
        The file with the state after the epoch before, if there is one.
    wrong_data : tuple of str
        Of x and y, what holds a NaN or an infinity in this batch.
    """

    def __init__(
        self, epoch: int, step: int, reason: str, checkpoint: str | None, wrong_data: tuple[str, ...] = ()
    ) -> None:
        self._made_with = epoch, step, reason, checkpoint, wrong_data
        self.epoch, self.step, self.reason, self.checkpoint, self.wrong_data = self._made_with
        where = f"step {step}" if step else "validation"
        cause = f" ({' and '.join(wrong_data)} {'hold' if len(wrong_data) > 1 else 'holds'} NaN or infinity)"
        kept = (
            f"the last good checkpoint is {checkpoint}, after epoch {epoch - 1}"
            if checkpoint
            else "there is no checkpoint yet: checkpoint=PATH writes one after every epoch"
        )
        advice = "Correct the data" if wrong_data else "Lower lr or set clip_norm"
        super().__init__(f"epoch {epoch}, {where}: {reason}{cause if wrong_data else ''}; {kept}. {advice}")

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self._made_with


@dataclass(frozen=True)
class Step:
    """One step of training: its place (from 1), its batch's loss, and its gradients' norms and clipping.

    The report is None if the step was left out because its loss isn't finite; see `nonfinite` of `fit`.
    """

    epoch: int
    step: int
    loss: float
    report: ClipReport | None

    @property
    def skipped(self) -> bool:
        """Whether the step was left out, and changed nothing."""
        return self.report is None or self.report.skipped


@dataclass(frozen=True)
class Trainer:
    """What every step needs."""

    model: Layer
    loss: CountedLoss
    optimizer: Optimizer
    clipping: Clipping
    on_step: Callable[[Step], object] | None
    carry: bool  # the state, from window to window

    def train(
        self,
        batches: Iterable[Batch],
        epoch: int,
        checkpoint: str | None,
        advance: Callable[[float, float, float], None],
    ) -> dict[str, float]:
        """One step for each batch; the epoch's entries for the history."""
        lr, start = self.optimizer.lr, time.perf_counter()
        outputs = Outputs(self.model.forward, self.carry)
        total, examples, norms, clipped, skipped, seen = 0.0, 0.0, [], 0, 0, 0.0
        for number, batch in enumerate(batches, 1):
            try:
                step, weight = self._step(outputs, batch, epoch, number)
            except (FloatingPointError, NonFiniteGradientError) as error:
                raise TrainingDivergedError(epoch, number, str(error), checkpoint, _wrong(batch)) from error
            seen += batch.size
            if step.report is None or step.report.skipped:
                skipped += 1
            else:
                total, examples = total + step.loss * weight, examples + weight
                clipped += bool(step.report.clipped)
                norms.append(step.report.norm)
            mean, norm = (total / examples, norms[-1]) if norms else (math.nan, math.nan)
            advance(mean, norm, clipped / max(1, len(norms)))
            if self.on_step is not None:  # a monitor that has seen nothing yet may be false
                self.on_step(step)
        if not norms:
            raise TrainingDivergedError(epoch, skipped, "every step was skipped, as none was finite", checkpoint)
        return {
            "loss": total / examples,
            "grad_norm_mean": math.fsum(norms) / len(norms),
            "grad_norm_max": max(norms),
            "clipped_share": clipped / len(norms),
            "skipped_share": skipped / (skipped + len(norms)),
            "examples_per_second": seen / (time.perf_counter() - start),
            "lr": lr,
        }

    def evaluate(self, batches: Iterable[Batch], epoch: int, checkpoint: str | None) -> float:
        """The mean loss; nothing is trained."""
        outputs, total, examples = Outputs(self.model, self.carry), 0.0, 0.0
        for batch in batches:
            value, _, weight = self.loss(outputs(batch), batch)
            total, examples = total + value * weight, examples + weight
            if not math.isfinite(total):
                raise TrainingDivergedError(epoch, 0, f"the loss is {total}", checkpoint, _wrong(batch))
        return total / examples

    def _step(self, outputs: Outputs, batch: Batch, epoch: int, number: int) -> tuple[Step, float]:
        """One step of training, and the weight of its loss."""
        self.model.zero_grad()
        value, dprediction, weight = self.loss(outputs(batch), batch)
        if not math.isfinite(value):
            if self.clipping.nonfinite == "skip":
                return Step(epoch, number, value, None), weight
            raise FloatingPointError(f"the loss is {value}")
        self.model.backward(dprediction, need_dx=False)
        report = self.clipping(self.model)
        self.optimizer.step(report)
        return Step(epoch, number, value, report), weight


def _wrong(batch: Batch) -> tuple[str, ...]:
    """Which of a batch's arrays hold a NaN or an infinity."""
    arrays = {"x": batch.x, "y": batch.y}
    return tuple(name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all())
