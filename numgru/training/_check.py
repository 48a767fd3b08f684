"""Checks that the training arguments share."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any


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


def fraction(name: str, value: Any) -> float:
    """`value` as a float of at least 0 and below 1."""
    return number(name, value, "a number of at least 0 and below 1", lambda v: 0 <= v < 1)


def integer(name: str, value: Any, at_least: int) -> int:
    """`value` as an int of at least `at_least`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name}: expected an integer of at least {at_least}, got {type(value).__name__} ({value!r})")
    if value < at_least:
        raise ValueError(f"{name}: expected an integer of at least {at_least}, got {value}")
    return int(value)
