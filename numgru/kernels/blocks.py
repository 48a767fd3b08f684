"""Units in blocks: as many as a register holds, the last one filled up."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from ._jit import intrinsic, piece
from .target import TARGET
from .tiles import LINE


@intrinsic
def lanes_of(typingctx, array):
    """Numbers of the array's dtype in one register, as a constant."""
    lanes = TARGET.lanes(array.dtype)
    return types.int64(array), lambda context, b, sig, args: context.get_constant(types.int64, lanes)


@piece
def blocks_in(units, array):
    """Registers of the array's dtype that hold `units` numbers."""
    lanes = lanes_of(array)
    return (units + lanes - 1) // lanes


def blocks_of(units: int, dtype: np.dtype[Any]) -> int:
    """Registers that hold `units` numbers."""
    return -(-units // TARGET.lanes(dtype))


def aligned_empty(size: int, dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
    """An uninitialised buffer that starts on a cache line, so that no register straddles two."""
    raw = np.empty(size * dtype.itemsize + LINE, np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + size * dtype.itemsize].view(dtype)
