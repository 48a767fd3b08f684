"""Checks of what a user passes in. After them no kernel meets a bad argument.

So no kernel checks anything, but for compiled steps, before which no layer stands.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from numbers import Integral, Real
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ._types import Array, BoolArray, FloatArray, IntArray

Tape = TypeVar("Tape")


def float_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """`dtype` as a NumPy dtype, which must be float32 or float64."""
    try:
        checked = np.dtype(dtype) if dtype is not None else None
    except TypeError:
        checked = None
    if checked is None or checked not in (np.dtype(np.float32), np.dtype(np.float64)):  # None equals float64
        raise ValueError(f"dtype: expected float32 or float64, got {dtype if checked is None else checked}")
    return checked


def number(name: str, value: Any, expected: str, valid: Callable[[float], bool]) -> float:
    """`value` as a float for which `valid`, described by `expected`, holds; NaN fails any comparison."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name}: expected {expected}, got {type(value).__name__} ({value!r})")
    if not valid(float(value)):
        raise ValueError(f"{name}: expected {expected}, got {value}")
    return float(value)


def not_negative(name: str, value: Any) -> float:
    """`value` as a finite float of at least 0."""
    return number(name, value, "a finite number of at least 0", lambda v: 0 <= v < math.inf)


def positive(name: str, value: Any) -> float:
    """`value` as a finite float above 0."""
    return number(name, value, "a finite number above 0", lambda v: 0 < v < math.inf)


def fraction(name: str, value: Any) -> float:
    """`value` as a float of at least 0 and below 1."""
    return number(name, value, "a number of at least 0 and below 1", lambda v: 0 <= v < 1)


def bound(name: str, value: Any) -> float | None:
    """`value` as a float above 0, or None."""
    return None if value is None else number(name, value, "a number above 0, or None", lambda v: v > 0)


def integer(name: str, value: Any, at_least: int) -> int:
    """`value` as an int of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: expected an integer of at least {at_least}, got {type(value).__name__} ({value!r})")
    if value < at_least:
        raise ValueError(f"{name}: expected an integer of at least {at_least}, got {value}")
    return int(value)


def size(name: str, value: Any) -> int:
    """`value` as a positive int."""
    return integer(name, value, 1)


def size_or_none(name: str, value: Any) -> int | None:
    """`value` as a positive int, or None."""
    return None if value is None else size(name, value)


def flag(name: str, value: Any) -> bool:
    """`value` as a bool."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name}: expected True or False, got {type(value).__name__} ({value!r})")
    return bool(value)


def one_of(name: str, value: Any, choices: Collection[Any]) -> None:
    """`value` is one of `choices`."""
    if value not in tuple(choices):  # a set would ask for its hash
        raise ValueError(f"{name}: expected one of {', '.join(map(repr, choices))}, got {value!r}")


def generator(seed: Any) -> np.random.Generator:
    """That of a seed; None: another one each time."""
    return np.random.default_rng(None if seed is None else integer("seed", seed, 0))


def any_array(name: str, value: ArrayLike) -> Array:
    """`value` as an array."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise ValueError(f"{name}: expected an array, got what NumPy can't make one of: {error}") from error


def real(name: str, value: ArrayLike) -> FloatArray:
    """`value` as an array of real numbers."""
    given = any_array(name, value)
    if given.dtype.kind not in "fiub":
        raise TypeError(
            f"{name}: expected real numbers (float or integer), got dtype {given.dtype}; convert them first"
        )
    return given


def _fits(value: Any, dtype: np.dtype[Any], shape: tuple[int | str, ...]) -> bool:
    """Whether nothing is to be done; it's asked first, as a step in a loop has no time for more."""
    if type(value) is not np.ndarray or not (value.dtype is dtype or value.dtype == dtype):  # one of a copy is equal
        return False
    if not (value.flags.carray and value.size):
        return False
    given = value.shape
    if given == shape:
        return True
    if len(given) != len(shape):
        return False
    for length, wanted in zip(given, shape):  # noqa: B905, SIM110 (arguments and generators take time)
        if length != wanted and type(wanted) is not str:
            return False
    return True


def array(name: str, value: ArrayLike, dtype: np.dtype[Any], shape: tuple[int | str, ...]) -> FloatArray:
    """`value` as a C-contiguous, writeable, native array of `dtype`, copied only if it isn't one already.

    `shape` holds a number where the length is given and a letter where any length of at least 1 will do.
    One layout and one dtype reach the kernels, so that each is compiled once.
    """
    if _fits(value, dtype, shape):
        return value  # type: ignore[return-value]
    given = real(name, value)
    expected = "(" + ", ".join(str(n) for n in shape) + ("," if len(shape) == 1 else "") + ")"
    if given.ndim != len(shape):
        raise ValueError(f"{name}: expected {len(shape)} dimensions {expected}, got {given.ndim}: shape {given.shape}")
    for wanted, length in zip(shape, given.shape, strict=True):
        if isinstance(wanted, int) and wanted != length:
            raise ValueError(f"{name}: expected shape {expected}, got {given.shape}")
        if length < 1:
            raise ValueError(f"{name}: expected shape {expected} with no empty dimension, got {given.shape}")
    return contiguous(given, dtype)


def not_listed(name: str, value: Any) -> None:
    """`value` is no list of arrays, which a layer would take as sequences of any lengths."""
    if isinstance(value, list) and any(isinstance(one, np.ndarray) for one in value):
        raise TypeError(f"{name}: expected one array of sequences of one length, got a list of arrays")


def contiguous(values: Array, dtype: DTypeLike | None = None) -> Array:
    """`values` as kernels take them, copied only if they aren't so already.

    A read-only array is another Numba type: a copy costs less than a second compilation.
    """
    return np.require(values, dtype, ("C", "W", "A"))


def states(name: str, value: Any, dtype: np.dtype[Any], shape: tuple[int, ...], count: int) -> FloatArray:
    """`value` as such an array of that shape; of two states, given as a pair or as one array, (2, ...)."""
    if count == 1:
        return array(name, value, dtype, shape)
    if isinstance(value, np.ndarray):
        return array(name, value, dtype, (count, *shape))
    names = ("h", "c") if name == "state" else (name, name.replace("h", "c"))
    if not isinstance(value, tuple | list) or len(value) != count:
        raise ValueError(f"{name}: expected ({', '.join(names)}), or one array of both, got {brief(value)}")
    return np.stack([array(one, given, dtype, shape) for one, given in zip(names, value, strict=True)])


def brief(value: Any) -> str:
    """What a value is, for an error."""
    return f"shape {value.shape}" if isinstance(value, np.ndarray) else f"{type(value).__name__}"


def sequences(name: str, value: Any, dtype: np.dtype[Any], features: int) -> list[FloatArray]:
    """`value` as a list of arrays (T_b, features)."""
    if not isinstance(value, list) or not value:
        raise ValueError(f"{name}: expected a list of sequences, at least one, got {brief(value)}")
    return [array(f"{name}[{at}]", one, dtype, ("T", features)) for at, one in enumerate(value)]


def integers(name: str, value: ArrayLike) -> Array:
    """`value` as an array of integers."""
    given = any_array(name, value)
    if given.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected integers, got dtype {given.dtype}")
    return given


def no_lengths(lengths: Any) -> None:
    """`lengths` aren't given beside a list of sequences."""
    if lengths is not None:
        raise ValueError("lengths: expected none, as a list of sequences tells its lengths, got some")


def lengths(name: str, value: ArrayLike, B: int, T: int) -> IntArray:
    """`value` as B lengths, each 1 to T."""
    given = integers(name, value)
    if given.shape != (B,):
        raise ValueError(f"{name}: expected shape ({B},), one for each sequence, got {given.shape}")
    if given.min() < 1 or given.max() > T:
        wrong = given.min() if given.min() < 1 else given.max()
        raise ValueError(f"{name}: expected 1 to {T}, the steps of x, got {wrong}")
    return given.astype(np.int64)


def booleans(name: str, value: ArrayLike, shape: tuple[int, ...]) -> BoolArray:
    """`value` as booleans of that shape."""
    given = any_array(name, value)
    if given.dtype != np.bool_:
        raise TypeError(f"{name}: expected booleans, got dtype {given.dtype}")
    if given.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {given.shape}")
    return given


def kept(tape: Tape | None, name: str = "backward") -> Tape:
    """What a forward pass keeps for the backward pass that uses it up."""
    if tape is None:
        raise ValueError(f"{name}: expected a forward pass before it, got none (each backward uses one up)")
    return tape


def output(name: str, value: Any, shape: tuple[int, ...], dtype: np.dtype[Any], *read: FloatArray) -> None:
    """`value` can be written to while the arrays `read` are read."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{name}: expected an ndarray, got {type(value).__name__}")
    if value.dtype != dtype or value.shape != shape:
        raise ValueError(f"{name}: expected {dtype} of shape {shape}, got {value.dtype} of shape {value.shape}")
    if not value.flags.carray:
        raise ValueError(f"{name}: expected a writeable C-contiguous array, got one that isn't; np.empty makes one")
    for other in read:
        if np.may_share_memory(value, other):
            raise ValueError(f"{name}: expected memory of its own, got some that another argument uses, too")


def tokens(name: str, value: ArrayLike, count: int) -> IntArray:
    """`value` as a C-contiguous, writeable int64 array of integers from 0 to `count` - 1, not empty."""
    given = any_array(name, value)
    if given.size == 0:  # of which NumPy makes floats
        raise ValueError(f"{name}: expected at least one token, got shape {given.shape}")
    given = integers(name, given)
    low, high = given.min(), given.max()
    if low < 0 or high >= count:
        raise ValueError(f"{name}: expected tokens from 0 to {count - 1}, got values from {low} to {high}")
    return contiguous(given, np.int64)


def entries(name: str, given: Mapping[str, Any], expected: Mapping[str, FloatArray]) -> None:
    """`given` has exactly the names of `expected`."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{name}: expected a dict of arrays, got {brief(given)}")
    missing = [key for key in expected if key not in given]
    extra = [key for key in given if key not in expected]
    if missing or extra:
        raise ValueError(
            f"{name}: expected the entries {list(expected)}, got {list(given)}"
            + (f"; missing: {missing}" if missing else "")
            + (f"; not known here: {extra}" if extra else "")
        )
