"""Training on sequences of different lengths: which steps count.

Shapes: T time, B batch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .._types import FloatArray
from ..layers.base import Layer
from .batches import Batch
from .losses import Loss


def puts_out_every_step(model: Layer) -> bool:
    """Whether the output of a model of sequences has an axis of time, too."""
    return "T" in model.summary().total.output_shape


@dataclass(frozen=True)
class CountedLoss:
    """The mean loss of what counts in a batch: of every step of an output only those that its sequences have."""

    loss: Loss
    every_step: bool
    batch_axis: int  # of targets and predictions

    def __call__(self, prediction: FloatArray, batch: Batch) -> tuple[float, FloatArray, float]:
        """The loss, its gradient for the prediction, and how many whole examples' worth it's the mean of."""
        if batch.lengths is None or not self.every_step:
            return *self.loss(prediction, batch.y), batch.size
        steps = prediction.shape[1 - self.batch_axis]
        counts = np.arange(steps) < batch.lengths[:, None]  # (B, T)
        counts = counts.T if self.batch_axis else counts
        value, d_counted = self.loss(prediction[counts], batch.y[counts])
        d_prediction = np.zeros_like(prediction)
        d_prediction[counts] = d_counted
        return value, d_prediction, float(batch.lengths.sum()) / steps
