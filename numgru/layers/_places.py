"""Where the inputs, states and gates of some steps lie, of sequences of any lengths, with resets and with noise.

Shapes: B batch, H hidden; n steps, as (n, 1).
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .._types import FloatArray
from ..kernels.examples import Examples
from ._direction import Direction
from ._tape import Tape


def examples_of(direction: Direction, tape: Tape, first: int, last: int, parcels: int) -> tuple[FloatArray, Examples]:
    """All that is computed in steps first .. last - 1, in so many parcels of rows, and the array with its states."""
    batch = tape.batch
    steps = np.arange(last - 1, first - 1, -1)[:, None]
    y, states = states_in_products(direction, tape, steps)
    inputs = batch.places(direction.reverse, steps) * tape.x.shape[2]
    row = direction.padded * direction.cell.slots
    gates = ((steps - first) * batch.B + np.arange(batch.B)) * row
    computed = steps < batch.lengths
    cuts = [slice(*rows) for rows in itertools.pairwise(batch.rows_of_parcels(parcels))]

    def in_order(places: Any) -> Any:
        return np.concatenate([places[:, rows][computed[:, rows]] for rows in cuts])

    ends = np.cumsum([np.count_nonzero(computed[:, rows]) for rows in cuts])
    return y, Examples(in_order(inputs), in_order(states), in_order(gates), ends)


def states_in_products(direction: Direction, tape: Tape, steps: Any) -> tuple[FloatArray, Any]:
    """The states that all rows start these steps (n, 1) from, as they enter products.

    In which array, and where: (n, B), in numbers; if negative, at -1 - that in h_0.
    """
    batch, H, rows = tape.batch, direction.hidden_size, np.arange(tape.batch.B)
    if tape.dropped is None:
        before = batch.places(direction.reverse, steps - 1) * direction.width + direction.reverse * H
        return tape.y, or_first(direction, tape, steps, before)
    first, before = rows * H, (steps * batch.B + rows) * H
    return tape.dropped, np.where(or_first(direction, tape, steps, before) < 0, first, before)


def or_first(direction: Direction, tape: Tape, steps: Any, places: Any) -> Any:
    """These places (n, B), or that of h_0 where step n starts from it."""
    rows = np.arange(tape.batch.B)
    anew = np.broadcast_to(steps == 0, (steps.size, rows.size))
    if tape.extras.resets is not None:
        anew = anew | tape.extras.resets[steps[:, 0]]
    return np.where(anew, -1 - rows * direction.hidden_size, places)


def gathered(direction: Direction, source: FloatArray, places: Any, first: FloatArray) -> FloatArray:
    """The states (examples, H) that lie at these places of an array; if negative, at -1 - place in `first`."""
    at = places.reshape(-1)
    states: FloatArray = sliding_window_view(source.reshape(-1), direction.hidden_size)[np.maximum(at, 0)]
    states[at < 0] = first[(-1 - at[at < 0]) // direction.hidden_size]
    return states
