"""Truncated back-propagation through time: the state goes from window to window, the gradient doesn't.

Shapes: T time, B batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import _check
from .._types import FloatArray
from ..layers.base import Layer
from .batches import Batch


class Outputs:
    """The outputs of a model, batch by batch.

    Parameters
    ----------
    call : callable
        The model, or its `forward`.
    carry : bool
        Whether a batch that doesn't begin its sequences starts from the states that the one before it ended with.
    """

    def __init__(self, call: Callable[..., Any], carry: bool) -> None:
        self._call, self._carry = call, carry
        self._h: Any = None

    def __call__(self, batch: Batch) -> FloatArray:
        """The output for `batch.x`."""
        y: FloatArray
        if self._carry:
            y, self._h = self._call(batch.x, None if batch.first else self._h, return_h_n=True)
        elif batch.lengths is not None:
            y = self._call(batch.x, lengths=batch.lengths)
        else:
            y = self._call(batch.x)
        return y


def checked_steps(bptt_steps: int | None, model: Layer, axes: tuple[int, int]) -> int | None:
    """`bptt_steps`, for a model that can be trained so on batches along these axes.

    Raises
    ------
    TypeError, ValueError
        If it can't.
    """
    if bptt_steps is None:
        return None
    steps = _check.integer("bptt_steps", bptt_steps, 1)
    if not {"h_0", "return_h_n"} <= model.takes:
        raise TypeError(
            f"bptt_steps: expected a model that takes h_0 and return_h_n, as a Sequential with a recurrent layer does, "
            f"got {model!r}"
        )
    for layer in model.leaves.values():
        if getattr(layer, "bidirectional", False):
            raise ValueError(
                f"bptt_steps: expected layers of one direction, got {layer!r}; a state can't go on against time"
            )
        expected = 0 if getattr(layer, "batch_first", False) else 1
        if "h_0" in layer.takes and axes != (expected, expected):
            raise ValueError(
                f"batch_axis: expected {expected} for x and y, the axis of the batch in {layer!r}, got {axes}; "
                "bptt_steps cuts the other one of the first two, time"
            )
    return steps
