"""What bounds of the gradient's flow met and did in a backward pass."""

from __future__ import annotations

from dataclasses import dataclass

from .._types import BoolArray, Float64Array, IntArray


@dataclass(frozen=True)
class FlowReport:
    """What flowed out of each step into the states before it, and what `clip_flow_value` and `clip_flow_norm` did.

    Each array goes by layer and direction as h_n, by time and by sequence: (L D, T, B); of an LSTM, whose h and c are
    held apart, it's (2, L D, T, B). At time t is what flowed out of step t; into h_0 it's that of the step read first.

    Attributes
    ----------
    norms : ndarray of float64
        The 2-norm before any bound, within the range that `gradient_flow` says; zero after a sequence's end.
    factors : ndarray of float64
        The smallest factor by which any number was multiplied; 1 if none was changed. NaN where an infinite norm made
        the row NaN.
    counts : ndarray of int64
        How many of the H numbers a bound changed; by a norm all or none.
    parts : int
        How many numbers flowed, of all sequences and steps.
    """

    norms: Float64Array
    factors: Float64Array
    counts: IntArray
    parts: int

    @property
    def norm(self) -> float:
        """The largest of the norms before bounds; NaN if any is."""
        return float(self.norms.max())

    @property
    def factor(self) -> float:
        """The smallest of the factors; NaN if any is."""
        return float(self.factors.min())

    @property
    def clipped(self) -> BoolArray:
        """Where anything was changed, of the arrays' shape."""
        return self.counts > 0

    @property
    def share(self) -> float:
        """Numbers that a bound changed, or whose row's norm it did, over all that flowed, 0 to 1."""
        return float(self.counts.sum() / self.parts)
