"""Checks of what a user passes in. After them no kernel meets a bad argument, so kernels never raise."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

FloatArray = NDArray[Any]
TokenArray = NDArray[np.int64]


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """`dtype` as a NumPy dtype, which must be float32 or float64."""
    checked = np.dtype(dtype)
    if checked not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype: expected float32 or float64, got {checked}")
    return checked


def size(name: str, value: Any) -> int:
    """`value` as a positive integer."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name}: expected an integer, got {type(value).__name__} ({value!r})")
    if value < 1:
        raise ValueError(f"{name}: expected at least 1, got {value}")
    return int(value)


def real(name: str, value: ArrayLike) -> FloatArray:
    """`value` as an array of real numbers."""
    try:
        given = np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got what NumPy can't make one of: {error}") from error
    if given.dtype.kind not in "fiub":
        raise TypeError(
            f"{name}: expected real numbers (float or integer), got dtype {given.dtype}; convert them first"
        )
    return given


def array(name: str, value: ArrayLike, dtype: np.dtype[Any], shape: tuple[int | str, ...]) -> FloatArray:
    """`value` as a C-contiguous, writeable, native array of `dtype`, copied only if it isn't one already.

    `shape` holds a number where the length is given and a letter where any length of at least 1 will do.
    One layout and one dtype reach the kernels, so that each is compiled once.
    """
    given = real(name, value)
    expected = "(" + ", ".join(str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
    if given.ndim != len(shape):
        raise ValueError(f"{name}: expected {len(shape)} dimensions {expected}, got {given.ndim}: shape {given.shape}")
    for wanted, length in zip(shape, given.shape, strict=True):
        if isinstance(wanted, int) and wanted != length:
            raise ValueError(f"{name}: expected shape {expected}, got {given.shape}")
        if length < 1:
            raise ValueError(f"{name}: expected shape {expected} with no empty dimension, got {given.shape}")
    # A read-only array is another Numba type: a copy costs less than a second compilation.
    return np.require(given, dtype, ("C", "W", "A"))


def tokens(name: str, value: ArrayLike, count: int) -> TokenArray:
    """`value` as a C-contiguous, writeable int64 array of integers from 0 to `count` - 1, not empty."""
    given = real(name, value)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers (tokens), got dtype {given.dtype}")
    if given.size == 0:
        raise ValueError(f"{name}: expected at least one token, got shape {given.shape}")
    low, high = given.min(), given.max()
    if low < 0 or high >= count:
        raise ValueError(f"{name}: expected tokens from 0 to {count - 1}, got values from {low} to {high}")
    return np.require(given, np.int64, ("C", "W", "A"))


def entries(name: str, given: Mapping[str, Any], expected: Mapping[str, FloatArray]) -> None:
    """`given` has exactly the names of `expected`."""
    missing = [key for key in expected if key not in given]
    extra = [key for key in given if key not in expected]
    if missing or extra:
        raise ValueError(
            f"{name}: expected the entries {list(expected)}, got {list(given)}"
            + (f"; missing: {missing}" if missing else "")
            + (f"; not known here: {extra}" if extra else "")
        )
