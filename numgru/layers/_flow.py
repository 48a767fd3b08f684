"""The gradient that flows from step to step: what the kernels are told of it, and what is made of what they kept.

Shapes: T steps, B batch, H hidden, S states; as in kernels/sequences.py.
"""

from __future__ import annotations

import numpy as np

from .._types import FloatArray
from ..kernels.sequences import Flow
from ._batch import Batch
from ._direction import Direction

NO_FLOW = Flow()


def flow_of(
    direction: Direction, bounds: tuple[float, float], batch: Batch, *, measured: bool, has_extras: bool
) -> Flow:
    """What the kernels need for it: for the norms, for bounds, and in all calls of the third kind."""
    norms = np.zeros(batch.T * batch.B * direction.blocks if measured else 0)
    limit, max_norm = bounds
    if min(bounds) == np.inf and not has_extras:
        return Flow(has_norms=1, norms=norms) if measured else NO_FLOW
    rows = direction.cell.states * batch.B
    size = batch.T * rows * direction.blocks
    return Flow(
        has_norms=int(measured),
        norms=norms,
        limit=limit,
        max_norm=max_norm,
        factors=np.ones(rows, direction.dtype),
        squares=np.zeros(size if min(bounds) < np.inf else 0),
        beyond=np.zeros(size if limit < np.inf else 0),
        largest=np.zeros(size if limit < np.inf else 0),
    )


def is_bounded(flow: Flow) -> bool:
    """Whether any bound holds it."""
    return flow.squares is not None and flow.squares.size > 0


def flow_from(direction: Direction, flow: Flow, first: int, batch: Batch) -> Flow:
    """The same from step `first` on."""
    at = first * batch.B * direction.blocks
    of_states = at * direction.cell.states

    def rest(kept: FloatArray | None, start: int) -> FloatArray | None:
        return None if kept is None else kept[start:]

    return flow._replace(
        norms=rest(flow.norms, at),
        squares=rest(flow.squares, of_states),
        beyond=rest(flow.beyond, of_states),
        largest=rest(flow.largest, of_states),
    )


def measured_norms(direction: Direction, flow: Flow, batch: Batch) -> FloatArray:
    """Of the whole gradients of the states, (T, B), by time and sequence."""
    assert flow.norms is not None
    by_row = norms_of(flow.norms, direction.blocks).reshape(batch.T, batch.B)
    norms: FloatArray = batch.in_time(by_row, direction.reverse)
    return norms


def met_by_bounds(direction: Direction, flow: Flow, batch: Batch) -> FloatArray:
    """Norms, by how much bounds were exceeded, and how many numbers they changed: (3, S, T, B), zero after the ends."""
    assert flow.squares is not None and flow.beyond is not None and flow.largest is not None
    shape = batch.T, direction.cell.states, batch.B
    norms = norms_of(flow.squares, direction.blocks).reshape(shape)
    excess, counts = np.ones(shape), np.zeros(shape)
    if flow.beyond.any():
        largest = _over_blocks(flow.largest, direction.blocks, np.maximum).reshape(shape)
        excess = np.maximum(largest / flow.limit, 1)
        counts = _over_blocks(flow.beyond, direction.blocks, np.add).reshape(shape)
    long = norms > flow.max_norm
    excess[long] *= np.where(norms[long] < np.inf, norms[long], np.nan) / flow.max_norm  # NaN as in the kernels
    counts[long] = direction.hidden_size
    by_row = np.stack([norms, excess, counts]).transpose(1, 3, 0, 2)  # (T, B, 3, S)
    return batch.in_time(by_row, direction.reverse).transpose(2, 3, 0, 1)


def norms_of(squares: FloatArray, blocks: int) -> FloatArray:
    """From the blocks' sums of squares."""
    norms: FloatArray = np.sqrt(_over_blocks(squares, blocks, np.add))
    return norms


def _over_blocks(values: FloatArray, blocks: int, combine: np.ufunc) -> FloatArray:
    """One number of all blocks', neighbours first, as within the blocks. NumPy's own loops over so few are slow."""
    values = values.reshape(-1, blocks)
    while values.shape[1] > 1:
        even, odd = values[:, 0::2], values[:, 1::2]
        values = even.copy()
        with_odd = values[:, : odd.shape[1]]
        combine(with_odd, odd, out=with_odd)
    return values[:, 0]
