"""What calls of one direction of a layer are told, and what they leave for the backward pass.

Shapes: T steps, B batch, H hidden, S states; as in kernels/sequences.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .._types import Array, BoolArray, FloatArray
from ._batch import Batch


def are_tokens(x: Array) -> bool:
    """Whether x holds tokens, as (T, B, 1), instead of features."""
    return x.dtype.kind == "i"


class Extras(NamedTuple):
    """What a call adds to the plain equations, resets and noise, in the order of the kernels' steps and rows."""

    resets: BoolArray | None = None  # (T, B)
    zoneout: FloatArray | None = None  # (T, B, S H), or (S H,)
    mask: FloatArray | None = None  # (B, H): recurrent dropout

    @property
    def are_none(self) -> bool:
        """Whether there are none."""
        return self.resets is None and self.zoneout is None and self.mask is None


@dataclass
class Tape:
    """What the backward pass needs of a forward pass."""

    batch: Batch
    extras: Extras
    x: FloatArray
    h_0: FloatArray  # (S, B, H)
    y: FloatArray
    c: FloatArray | None  # (T, B, H): the second state after every step
    gates: FloatArray | None  # None: to be computed again
    dropped: FloatArray | None  # (T + 1, B, H): the state as it enters products, where that is another
    every: int  # steps of which gates are computed again at once; 0: they are kept


class PlainTape(NamedTuple):
    """What `backward` needs of a pass without any options."""

    x: FloatArray
    h_0: FloatArray  # (S, B, H)
    y: FloatArray
    c: FloatArray | None
    gates: FloatArray


NO_EXTRAS = Extras()
