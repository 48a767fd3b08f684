"""Gradients as users pass them, and what the kernels of clipping do to one array.

Shapes: an array of any shape has N values, in C chunks; as units it is (R, K).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from .. import _check
from .._types import FloatArray
from ..kernels import clip as kernels
from ..kernels import threads
from ..kernels._jit import SharedKernel
from ..layers.base import Layer, Parameters, Views

Name: TypeAlias = str | int
Gradients: TypeAlias = Mapping[str, FloatArray] | Iterable[FloatArray] | FloatArray

NonFinite: TypeAlias = Literal["raise", "zero", "skip"]
NONFINITE = get_args(NonFinite)

BARE = "gradients"  # the name of an array that comes alone
_OPERATIONS = 24  # that take as long as one value from memory
_TINY = {kind: float(np.finfo(kind).smallest_normal) for kind in "fd"}
_NOTHING = np.empty(0, np.int64)


class NonFiniteGradientError(ValueError):
    """A gradient is NaN or infinite. No gradient has been changed."""


def named(gradients: Gradients) -> dict[Name, FloatArray]:
    """The arrays by name: a mapping's keys, the positions in an iterable, or BARE.

    Raises
    ------
    TypeError, ValueError
        If they can't be clipped in place.
    """
    if isinstance(gradients, Layer | Parameters):
        got = "a layer's parameters" if isinstance(gradients, Parameters) else f"the layer {gradients!r}"
        raise TypeError(f"gradients: expected gradients, got {got}; pass layer.gradients")
    if not isinstance(gradients, Iterable):
        raise TypeError(
            f"gradients: expected arrays, got {type(gradients).__name__}; a layer has them after its backward pass"
        )
    arrays = _by_name(gradients)
    if not arrays and not isinstance(gradients, Views):
        raise ValueError("gradients: expected at least one array, got none")
    for name, array in arrays.items():
        _check_one(name, array)
    if len(arrays) > 1 and not isinstance(gradients, Views):  # a layer's own lie one behind the other
        _check_apart(arrays)
    return arrays


def _by_name(arrays: Gradients) -> dict[Name, FloatArray]:
    if isinstance(arrays, np.ndarray):
        return {BARE: arrays}
    return dict(arrays.items() if isinstance(arrays, Mapping) else enumerate(arrays))


def label(name: Name, argument: str = "gradients") -> str:
    """How an error calls an array."""
    return argument if name == BARE else f"{argument}[{name!r}]"


def _check_one(name: Name, array: Any) -> None:
    if not _is_array(array):
        hint = "; it is there after a backward pass" if array is None else ""
        raise TypeError(f"{label(name)}: expected a NumPy array, got {type(array).__name__}{hint}")
    if array.dtype.char not in "fd" or not array.dtype.isnative:
        raise TypeError(f"{label(name)}: expected dtype float32 or float64, got {array.dtype}")
    if not array.flags.writeable:
        raise ValueError(
            f"{label(name)}: expected a writeable array to clip in place, got a read-only one; pass a copy"
        )


def _is_array(value: Any) -> bool:
    """Masked values would count, and a matrix is never flat."""
    return isinstance(value, np.ndarray) and not isinstance(value, np.matrix | np.ma.MaskedArray)


def _check_apart(arrays: Mapping[Name, FloatArray]) -> None:
    """No two share memory; only those are compared whose first and last bytes don't rule it out."""
    spans = sorted((*_span(array), at, name) for at, (name, array) in enumerate(arrays.items()) if array.size)
    earlier: list[tuple[int, Name]] = []
    for start, end, _, name in spans:
        earlier = [(stop, other) for stop, other in earlier if stop > start]
        for _, other in earlier:
            if np.shares_memory(arrays[name], arrays[other]):
                raise ValueError(
                    f"gradients: expected arrays that don't overlap, got {label(other)} and {label(name)}, "
                    "which share memory; pass each value once"
                )
        earlier.append((end, name))


def _span(array: FloatArray) -> tuple[int, int]:
    """The addresses of the first byte and of the one behind the last."""
    steps = [(length - 1) * stride for length, stride in zip(array.shape, array.strides, strict=True)]
    start: int = array.__array_interface__["data"][0]
    return start + sum(s for s in steps if s < 0), start + sum(s for s in steps if s > 0) + array.itemsize


def weights_of(arrays: Mapping[Name, FloatArray], parameters: Gradients) -> dict[Name, FloatArray]:
    """The parameter of every gradient."""
    if isinstance(parameters, Layer):
        raise TypeError(f"parameters: expected arrays, got the layer {parameters!r}; pass layer.parameters")
    given = _by_name(parameters)
    missing = [name for name in arrays if name not in given]
    if missing:
        raise ValueError(f"parameters: expected one for every gradient, got {list(given)}; missing: {missing}")
    for name, array in arrays.items():
        weight, argument = given[name], label(name, "parameters")
        if not _is_array(weight):
            raise TypeError(f"{argument}: expected a NumPy array, got {type(weight).__name__}")
        if weight.dtype != array.dtype or weight.shape != array.shape:
            raise ValueError(
                f"{argument}: expected {array.dtype} of shape {array.shape}, as the gradient, "
                f"got {weight.dtype} of shape {weight.shape}"
            )
    return {name: given[name] for name in arrays}


def norm_order(norm_type: float) -> int:
    """What the kernels call this order.

    Raises
    ------
    TypeError, ValueError
        If it isn't 1, 2 or infinity.
    """
    if isinstance(norm_type, bool) or not isinstance(norm_type, Real):
        raise TypeError(f"norm_type: expected 1, 2 or math.inf, got {type(norm_type).__name__} ({norm_type!r})")
    if norm_type not in (1, 2, math.inf):
        raise ValueError(f"norm_type: expected 1, 2 or math.inf, got {norm_type}")
    return kernels.LARGEST if norm_type == math.inf else int(norm_type)


@dataclass(frozen=True)
class Found:
    """The arrays, measured, before anything is clipped; `details` are what a rule measures besides."""

    arrays: dict[Name, FloatArray]
    norm: float
    norms: dict[Name, float]
    details: dict[Name, Any]
    nonfinite: dict[Name, int]
    skipped: bool


def find(
    arrays: dict[Name, FloatArray],
    nonfinite: NonFinite,
    order: int,
    measure: Callable[[FloatArray], tuple[float, Any]],
) -> Found:
    """Measure all arrays, and deal with what isn't finite."""
    _check.one_of("nonfinite", nonfinite, NONFINITE)
    measured = {name: measure(array) for name, array in arrays.items()}
    found = _found(arrays, measured, order, {})
    if not found.skipped:
        return found
    counts = {name: int(array.size - np.isfinite(array).sum()) for name, array in arrays.items()}
    counts = {name: count for name, count in counts.items() if count}
    if counts and nonfinite == "raise":
        raise _not_finite(arrays, counts)
    cleaned = {}
    if nonfinite == "zero":
        cleaned = {name: np.where(np.isfinite(arrays[name]), arrays[name], 0) for name in counts}
        measured |= {name: measure(array) for name, array in cleaned.items()}
    found = _found(arrays, measured, order, counts)
    if found.skipped and nonfinite != "skip":
        raise NonFiniteGradientError("gradients: expected a norm within float64, got an overflow; nothing was changed")
    for name, array in cleaned.items():
        arrays[name][...] = array
    return found


def _found(
    arrays: dict[Name, FloatArray], measured: Mapping[Name, tuple[float, Any]], order: int, nonfinite: dict[Name, int]
) -> Found:
    norms = {name: norm for name, (norm, _) in measured.items()}
    details = {name: detail for name, (_, detail) in measured.items()}
    norm = combined(list(norms.values()), order)
    return Found(arrays, norm, norms, details, nonfinite, skipped=not math.isfinite(norm))


def _not_finite(arrays: Mapping[Name, FloatArray], counts: Mapping[Name, int]) -> NonFiniteGradientError:
    which = "; ".join(
        f"{label(name)}: expected finite values, got {count} NaN or infinite of {arrays[name].size}"
        for name, count in counts.items()
    )
    return NonFiniteGradientError(f"{which}; no gradient was changed: lower the learning rate or look at the inputs")


def measure(array: FloatArray, order: int, limit: float | None = None) -> tuple[float, Any]:
    """The norm, NaN or infinite if a value is; and how many values of each chunk (C,) are beyond a limit."""
    flat = as_flat(array)
    chunks = -(-flat.size // kernels.CHUNK)
    norms, beyond = np.empty(chunks), _NOTHING if limit is None else np.empty(chunks, np.int64)
    _run(kernels.measure, chunks, flat, order, flat.dtype.type(limit or 0), norms, beyond)
    return combined(norms.tolist(), order), beyond


def measure_units(array: FloatArray) -> FloatArray:
    """The 2-norm of every unit, shape (R,)."""
    units = _as_units(as_flat(array), array.shape)
    norms = np.empty(len(units))
    _run(kernels.measure_units, len(units), units, norms)
    return norms


def combined(norms: Sequence[float], order: int) -> float:
    """The norm of all parts together, from the norms of the parts; NaN or infinite if one of them is."""
    if len(norms) == 1:
        return float(norms[0])
    if order == 2:
        return math.hypot(*norms)  # it scales where squares would overflow or underflow
    largest = float(np.max(norms, initial=0.0))  # NaN if any is
    if order == kernels.LARGEST or not 0 < largest < math.inf:
        return largest
    scale = kernels.safe_scale(largest)
    return math.fsum(norm * scale for norm in norms) / scale


def multiply(array: FloatArray, factor: float) -> None:
    """In place array *= factor, the factor rounded to the array's dtype."""
    flat = as_flat(array)
    for part in factors(factor, flat.dtype):
        _run(kernels.multiply, -(-flat.size // kernels.CHUNK), flat, part)
    _put_back(flat, array)


def factors(factor: float, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """`factor` in this dtype: as a product of two, if it is too small for a normal number."""
    tiny = _TINY[dtype.char]
    small = 0 < factor < tiny
    return (dtype.type(tiny), dtype.type(factor / tiny)) if small else (dtype.type(factor),)


def clamp(array: FloatArray, limit: float, beyond: Any) -> None:
    """In place min(max(array, -limit), limit), where `beyond` (C,) says that anything exceeds the limit."""
    flat = as_flat(array)
    _run(kernels.clamp, len(beyond), flat, flat.dtype.type(limit), beyond)
    _put_back(flat, array)


def multiply_units(array: FloatArray, unit_factors: FloatArray) -> None:
    """In place every unit times its factor (R,), as `multiply` does it."""
    flat = as_flat(array)
    units = _as_units(flat, array.shape)
    normal = np.maximum(unit_factors, _TINY[flat.dtype.char])
    for part in (normal, unit_factors / normal):
        if (part != 1).any():
            _run(kernels.multiply_units, len(units), units, part.astype(flat.dtype))
    _put_back(flat, array)


def _run(kernel: SharedKernel, shares: int, values: FloatArray, *args: Any) -> None:
    threads.run(kernel, threads.parts_for(_OPERATIONS * values.size, shares, kernel), values, *args)


def as_flat(array: FloatArray) -> FloatArray:
    """All values as one aligned contiguous run, (N,): a view where that can be, else a copy."""
    return (array if array.flags.carray else _check.contiguous(array)).reshape(-1)


def _as_units(flat: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """Vectors along the last axis, (R, K)."""
    return flat.reshape(math.prod(shape[:-1]), shape[-1] if shape else 1)


def _put_back(flat: FloatArray, array: FloatArray) -> None:
    """Write the changed values into the array, where `as_flat` had to copy it."""
    if not array.flags.carray:
        array[...] = flat.reshape(array.shape)
