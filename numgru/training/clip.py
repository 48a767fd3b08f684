"""Gradient clipping, in place: all or nothing, safe from overflow, always the same bits."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

import numpy as np

from ..kernels import clip as kernels
from ..layers._check import FloatArray
from ..layers.base import Layer, Parameters
from . import _check

Gradients: TypeAlias = Mapping[str, FloatArray] | Iterable[FloatArray] | FloatArray

# Within these no square that matters has underflowed and none has overflowed.
_SAFE_LOW, _SAFE_HIGH = 2.0**-900, math.inf


class NonFiniteGradientError(ValueError):
    """A gradient is NaN or infinite. No gradient has been changed."""


def clip_grad_norm_(gradients: Gradients, max_norm: float) -> float:
    """Scale all gradients by one factor so that their common 2-norm is at most `max_norm`.

    g <- g max_norm / norm if norm > max_norm (Pascanu et al. 2013, algorithm 1); otherwise nothing changes.

    Parameters
    ----------
    gradients : mapping of str to ndarray, iterable of ndarray, or ndarray; float32 or float64
        Changed in place. A layer's `gradients`, whose names then appear in errors, or its `flat_gradients`,
        which is quicker for a small model. Any layout; no two may overlap.
    max_norm : float, at least 0
        Infinity measures and changes nothing.

    Returns
    -------
    norm : float
        The norm before clipping, in float64; right also where its square would overflow or underflow.

    Raises
    ------
    NonFiniteGradientError
        If a gradient has a NaN or an infinity, or the norm exceeds the largest float64.
    ValueError
        If `max_norm` is negative or NaN, or an array is read-only.
    TypeError
        If something isn't a float32 or float64 array, or for a layer or its `parameters` in place of gradients.
    """
    max_norm = _check.number("max_norm", max_norm, "a number of at least 0", lambda v: v >= 0)
    named = _named(gradients)
    norm = _norm(named)
    if norm > max_norm:
        for array in named.values():
            with _contiguous(array) as flat:
                kernels.multiply(flat, max_norm / norm)
    return norm


def clip_grad_value_(gradients: Gradients, clip_value: float) -> int:
    """Move every entry of the gradients into -clip_value .. clip_value.

    Parameters
    ----------
    gradients : mapping of str to ndarray, iterable of ndarray, or ndarray; float32 or float64
        Changed in place. Any layout.
    clip_value : float, at least 0

    Returns
    -------
    clipped : int
        The number of entries that were changed.

    Raises
    ------
    NonFiniteGradientError
        If a gradient has a NaN or an infinity.
    ValueError
        If `clip_value` is negative or NaN, or an array is read-only.
    TypeError
        If something isn't a float32 or float64 array, or for a layer or its `parameters` in place of gradients.
    """
    clip_value = _check.number("clip_value", clip_value, "a number of at least 0", lambda v: v >= 0)
    named = _named(gradients)
    beyond = {}
    for name, array in named.items():
        count = kernels.count_beyond(_flat(array), _limit(array, clip_value))
        if count:
            beyond[name] = int(count)
    _refuse_non_finite({name: named[name] for name in beyond})
    for name in beyond:
        with _contiguous(named[name]) as flat:
            kernels.clamp(flat, _limit(flat, clip_value))
    return sum(beyond.values())


def _norm(named: Mapping[str, FloatArray]) -> float:
    total = _sum_of_squares(named, 1.0)
    if _SAFE_LOW < total < _SAFE_HIGH:
        return math.sqrt(total)
    _refuse_non_finite(named)
    largest = max((float(np.abs(array).max()) for array in named.values() if array.size), default=0.0)
    if largest == 0.0:
        return 0.0
    exponent = max(-1022, min(1022, math.frexp(largest)[1]))
    norm = math.sqrt(_sum_of_squares(named, 2.0**-exponent)) * 2.0**exponent  # powers of two: exact
    if norm == math.inf:
        raise NonFiniteGradientError(
            f"gradients: expected a norm within float64, got an overflow; the largest entry is {largest:g}"
        )
    return norm


def _sum_of_squares(named: Mapping[str, FloatArray], scale: float) -> float:
    return sum((float(kernels.sum_of_squares(_flat(array), scale)) for array in named.values()), 0.0)


def _refuse_non_finite(named: Mapping[str, FloatArray]) -> None:
    for name, array in named.items():
        count = kernels.count_beyond(_flat(array), _limit(array, math.inf))
        if count:
            raise NonFiniteGradientError(
                f"{name}: expected finite values, got {count} NaN or infinite of {array.size}; "
                "no gradient was changed: lower the learning rate or look at the inputs"
            )


def _limit(array: FloatArray, value: float) -> Any:
    """`value` in the array's dtype, at most the largest finite number."""
    return array.dtype.type(min(value, float(np.finfo(array.dtype).max)))


def _named(gradients: Gradients) -> dict[str, FloatArray]:
    if isinstance(gradients, Layer | Parameters):
        got = "a layer's parameters" if isinstance(gradients, Parameters) else f"the layer {gradients!r}"
        raise TypeError(f"gradients: expected gradients, got {got}; pass layer.gradients")
    if isinstance(gradients, np.ndarray):
        named = {"gradients": gradients}
    elif isinstance(gradients, Mapping):
        named = {f"gradients[{name!r}]": array for name, array in gradients.items()}
    else:
        named = {f"gradients[{i}]": array for i, array in enumerate(gradients)}
    for name, array in named.items():
        if not isinstance(array, np.ndarray):
            raise TypeError(f"{name}: expected a NumPy array, got {type(array).__name__}")
        if array.dtype not in (np.dtype(np.float32), np.dtype(np.float64)):
            raise TypeError(f"{name}: expected dtype float32 or float64, got {array.dtype}")
        if not array.flags.writeable:
            raise ValueError(f"{name}: expected a writeable array to clip in place, got a read-only one; pass a copy")
    return named


def _flat(array: FloatArray) -> FloatArray:
    """All values as one aligned contiguous run: a view where that can be, else a copy."""
    return (array if array.flags.carray else np.require(array, requirements=("C", "A"))).reshape(-1)


@contextmanager
def _contiguous(array: FloatArray) -> Iterator[FloatArray]:
    """The array as one run to change; a copy is written back."""
    flat = _flat(array)
    yield flat
    if not np.may_share_memory(flat, array):
        array[...] = flat.reshape(array.shape)
