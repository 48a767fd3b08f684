"""Which examples a weight's gradient is a sum over, in which order, and where they lie.

They are the rows of every time step. A large batch is cut into parcels of rows; a parcel's examples run from the last
time step to the first, and along its rows within each. How many parcels there are depends on the shapes alone.

Shapes: as in sequences.py; N examples.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ._jit import borrower
from .tiles import put_address

PARCEL_ROWS = 16  # of a parcel at least; it begins at a multiple of it
_LEAST, _MOST = 1024, 16  # examples of a parcel at least, and parcels at most


class Examples(NamedTuple):
    """Where examples lie, in the order of summation; only needed where they aren't all steps of all rows."""

    inputs: NDArray[np.int64]  # (N,): in x
    states: NDArray[np.int64]  # (N,): in y, the state before; if negative, at -1 - states[e] in h_0
    gates: NDArray[np.int64]  # (N,): in the gates
    ends: NDArray[np.int64]  # (parcels,): of each parcel's examples in these arrays


class Parcel(NamedTuple):
    """Some rows of the batch: their examples, where the first of these is among `Examples`, and the rows."""

    N: int
    start: int
    first_row: int
    rows: int


def parcels_of(T: int, B: int, width: int, gates: int) -> int:
    """Into how many parcels B rows of T steps are cut: a power of 2, so that threads find it easy to share them.

    `width` is that of all weights. The parcels' sums take no more memory than a state of every step and row.
    """
    most = min(B // PARCEL_ROWS, T * B // max(_LEAST, gates * width), _MOST)
    return 1 << (most.bit_length() - 1) if most > 1 else 1


@borrower
def examples_of(run, examples):
    """How many they are."""
    return run.T * run.B if examples is None else examples.gates.size


@borrower
def parcel_of(run, examples, number, parcels):
    """The parcel of that number; without `Examples`, its examples are all steps of its rows."""
    first_row, end = _first_row(run.B, number, parcels), _first_row(run.B, number + 1, parcels)
    if examples is None:
        return Parcel(run.T * (end - first_row), 0, first_row, end - first_row)
    start = examples.ends[number - 1] if number > 0 else 0
    return Parcel(examples.ends[number] - start, start, first_row, end - first_row)


@borrower
def _first_row(B, number, parcels):
    return B * number // parcels // PARCEL_ROWS * PARCEL_ROWS if number < parcels else B


@borrower
def step_and_row(run, parcel, e):
    """Those of a parcel's example e, where its examples are all steps of its rows."""
    return run.T - 1 - e // parcel.rows, parcel.first_row + e % parcel.rows


@borrower
def next_step_and_row(parcel, t, i):
    """Those of the example that follows."""
    return (t, i + 1) if i + 1 < parcel.first_row + parcel.rows else (t - 1, parcel.first_row)


@borrower
def place_of_example(run, examples, row, e, t, i):
    """Where example e lies, row i of step t, as `Examples` says it; `row` numbers of the gates are an example's."""
    if examples is None:
        state = run.y_start + (t - 1) * run.y_time + i * run.y_row if t > 0 else -1 - i * run.H
        return run.x_start + t * run.x_time + i * run.x_row, state, (t * run.B + i) * row
    return examples.inputs[e], examples.states[e], examples.gates[e]


@borrower
def locate(run, examples, parcel, row, top, count, at):
    """The addresses of `count` examples' rows from a parcel's example `top` on: in x, in y or h_0, among the gates."""
    inputs, states, gates = at
    t, i = step_and_row(run, parcel, top)
    for e in range(count):
        input_at, state_at, gates_at = place_of_example(run, examples, row, parcel.start + top + e, t, i)
        put_address(inputs, e, run.x, input_at)
        if state_at >= 0:
            put_address(states, e, run.y, state_at)
        else:
            put_address(states, e, run.h_0, -1 - state_at)
        put_address(gates, e, run.gates, gates_at)
        t, i = next_step_and_row(parcel, t, i)
