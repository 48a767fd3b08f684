"""The gradient that flows from step to step: what the kernels are told of it, and what is made of what they kept.

Shapes: T steps, B batch, H hidden, S states; as in kernels/sequences.py.
"""

from __future__ import annotations

import numpy as np

from .._types import FloatArray
from ..kernels.sequences import Flow
from ._batch import Batch
from ._direction import Direction
from ._tape import FlowWanted

NO_FLOW = Flow()


def flow_of(direction: Direction, wanted: FlowWanted, batch: Batch, third_kind: bool) -> Flow:
    """What the kernels need for it: for the norms, and in all calls of the third kind."""
    steps = batch.T if wanted.norms is not None else 0
    norms = np.zeros(steps * batch.B * direction.blocks)
    if not (wanted.has_bounds or third_kind):
        return Flow(has_norms=1, norms=norms) if steps else NO_FLOW
    rows = direction.cell.states * batch.B
    size, held = batch.T * rows * direction.blocks, wanted.limit < np.inf
    return Flow(
        has_norms=int(steps > 0),
        norms=norms,
        limit=wanted.limit,
        max_norm=wanted.max_norm,
        factors=np.ones(rows, direction.dtype),
        squares=np.zeros(size if wanted.has_bounds else 0),
        beyond=np.zeros(size if held else 0),
        largest=np.zeros(size if held else 0),
    )


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


def take_norms(direction: Direction, flow: Flow, wanted: FlowWanted, batch: Batch) -> None:
    if wanted.norms is not None and flow.norms is not None:
        norms = norms_of(flow.norms, direction.blocks).reshape(batch.T, batch.B)
        wanted.norms[...] = batch.in_time(norms, direction.reverse)


def take_report(direction: Direction, flow: Flow, wanted: FlowWanted, batch: Batch) -> None:
    if wanted.report is None or flow.squares is None or flow.beyond is None or flow.largest is None:
        return
    shape = batch.T, direction.cell.states, batch.B
    norms = norms_of(flow.squares, direction.blocks).reshape(shape)
    excess, counts = np.ones(shape), np.zeros(shape)
    if flow.limit < np.inf:
        blocks = *shape, direction.blocks
        excess = np.maximum(flow.largest.reshape(blocks).max(axis=-1) / flow.limit, 1)
        counts = flow.beyond.reshape(blocks).sum(axis=-1)
    long = norms > flow.max_norm
    excess[long] *= np.where(norms[long] < np.inf, norms[long], np.nan) / flow.max_norm  # NaN as in the kernels
    counts[long] = direction.hidden_size
    by_row = np.stack([norms, excess, counts]).transpose(1, 3, 0, 2)  # (T, B, 3, S)
    wanted.report[...] = batch.in_time(by_row, direction.reverse).transpose(2, 3, 0, 1)


def norms_of(squares: FloatArray, blocks: int) -> FloatArray:
    """From the blocks' sums of squares, neighbours first, as within the blocks."""
    sums = squares.reshape(-1, blocks)
    while sums.shape[1] > 1:
        even, odd = sums[:, 0::2], sums[:, 1::2]
        sums = even.copy()
        sums[:, : odd.shape[1]] += odd
    norms: FloatArray = np.sqrt(sums)
    return norms
