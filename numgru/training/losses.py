"""Losses: the mean value and its gradient in one pass. Definitions: those of `torch.nn`, reduction "mean"."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .. import _check
from .._types import Array, FloatArray
from ..kernels import loss as kernels


class Loss:
    """Called with a prediction and a target, a loss returns its value and the gradient for the prediction."""

    def __call__(self, prediction: ArrayLike, target: ArrayLike) -> tuple[float, FloatArray]:
        """The mean loss and its gradient.

        Parameters
        ----------
        prediction : array_like, float32 or float64, not empty
            What the model put out.
        target : array_like of real numbers
            As the class says.

        Returns
        -------
        value : float
            Summed up in float64, always in the same order. NaN if anything in the arguments is.
        dprediction : ndarray
            Shape and dtype of `prediction`; what `backward` takes.

        Raises
        ------
        TypeError
            If `prediction` isn't float32 or float64, or `target` isn't of the kind the class asks for.
        ValueError
            If a shape or a value of `target` doesn't fit, or `prediction` is empty.
        """
        p = _prediction(prediction)
        t = self._target(_check.any_array("target", target), p)
        dprediction = np.empty_like(p)
        return self._run(p, t, dprediction), dprediction

    @property
    def settings(self) -> dict[str, Any]:
        """The name of the class and what it was made with."""
        return {"name": type(self).__name__, **vars(self)}

    def _target(self, target: Array, prediction: FloatArray) -> Array:
        if target.dtype.kind not in "fiub":
            raise TypeError(f"target: expected real numbers, got dtype {target.dtype}")
        # No broadcasting: (N, 1) against (N,) would silently become (N, N).
        if target.shape != prediction.shape:
            raise ValueError(
                f"target: expected the prediction's shape {prediction.shape}, got {target.shape}; reshape one of them"
            )
        return _check.contiguous(target, prediction.dtype)

    def _run(self, p: FloatArray, t: Array, dp: FloatArray) -> float:
        raise NotImplementedError


class MSELoss(Loss):
    """Squared error: the mean of (prediction - target)^2; both of one shape."""

    def _run(self, p: FloatArray, t: Array, dp: FloatArray) -> float:
        return float(kernels.squared_error(p.reshape(-1), t.reshape(-1), dp.reshape(-1))) / p.size


class L1Loss(Loss):
    """Absolute error: the mean of |prediction - target|; both of one shape. The gradient at 0 is 0."""

    def _run(self, p: FloatArray, t: Array, dp: FloatArray) -> float:
        return float(kernels.absolute_error(p.reshape(-1), t.reshape(-1), dp.reshape(-1))) / p.size


class HuberLoss(Loss):
    """Squared error for small differences d, absolute error for large ones; both arguments of one shape.

    d^2 / 2 where |d| <= delta, delta (|d| - delta / 2) elsewhere.

    Parameters
    ----------
    delta : float, finite and above 0

    Raises
    ------
    ValueError, TypeError
        For a delta that isn't a finite number above 0.
    """

    def __init__(self, delta: float = 1.0) -> None:
        self.delta = _check.positive("delta", delta)

    def _run(self, p: FloatArray, t: Array, dp: FloatArray) -> float:
        return float(kernels.huber(p.reshape(-1), t.reshape(-1), dp.reshape(-1), self.delta)) / p.size


class BCEWithLogitsLoss(Loss):
    """Binary cross-entropy of sigmoid(prediction), for logits of any size; both arguments of one shape.

    Targets are probabilities, 0 to 1 (bool will do).
    """

    def _target(self, target: Array, prediction: FloatArray) -> Array:
        checked = super()._target(target, prediction)
        if (checked < 0).any() or (checked > 1).any():
            low, high = np.nanmin(checked), np.nanmax(checked)
            raise ValueError(f"target: expected probabilities, 0 to 1, got values from {low} to {high}")
        return checked

    def _run(self, p: FloatArray, t: Array, dp: FloatArray) -> float:
        return float(kernels.binary_cross_entropy(p.reshape(-1), t.reshape(-1), dp.reshape(-1))) / p.size


class CrossEntropyLoss(Loss):
    """Cross-entropy of softmax(prediction) over the last axis, for logits of any size.

    `prediction` is (..., C), `target` the integers 0 to C - 1 in shape (...). The classes are always the last
    axis, which is what a layer puts out; PyTorch has them second.
    """

    def _target(self, target: Array, prediction: FloatArray) -> Array:
        if target.dtype.kind not in "iu":
            raise TypeError(f"target: expected integers (the classes), got dtype {target.dtype}")
        if prediction.ndim == 0 or target.shape != prediction.shape[:-1]:
            raise ValueError(
                f"target: expected the prediction's shape without its last axis (the classes), "
                f"{prediction.shape[:-1]}, got {target.shape}"
            )
        classes, low, high = prediction.shape[-1], target.min(), target.max()
        if low < 0 or high >= classes:
            raise ValueError(f"target: expected classes from 0 to {classes - 1}, got values from {low} to {high}")
        return _check.contiguous(target, np.int64)

    def _run(self, p: FloatArray, t: Array, dp: FloatArray) -> float:
        rows = (t.size, p.shape[-1])
        return float(kernels.cross_entropy(p.reshape(rows), t.reshape(-1), dp.reshape(rows))) / t.size


def _prediction(prediction: ArrayLike) -> FloatArray:
    if isinstance(prediction, tuple):
        raise TypeError("prediction: expected an array, got a tuple; a recurrent layer returns (y, h_n): pass its y")
    given = _check.any_array("prediction", prediction)
    if given.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise TypeError(f"prediction: expected dtype float32 or float64, got {given.dtype}")
    if given.size == 0:
        raise ValueError(f"prediction: expected at least one value, got shape {given.shape}")
    return _check.contiguous(given)
