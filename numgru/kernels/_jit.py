"""The options with which every kernel is compiled; no other file names any.

No `fastmath`, anywhere: the same bits for any batch size, thread count and vector width need IEEE arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba

_OPTIONS = {"nogil": True, "error_model": "numpy", "cache": True}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a serial kernel, or a piece of one."""
    return numba.njit(**_OPTIONS)(function)


def parallel_kernel(function: Callable[..., Any]) -> Any:
    """Compile a kernel whose `prange` loops run on several threads."""
    return numba.njit(parallel=True, **_OPTIONS)(function)
