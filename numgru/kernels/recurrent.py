"""A recurrent layer over a whole sequence and, below, backward through time: for any cell.

Shapes: T time, B batch, I input, H hidden units in ceil(H / LANES) blocks, G gates, S slots a unit.

    x, dx       (T, B, I)  or (B, T, I)         batch_first; any such pair of strides
    y, dy       (T, B, H)  or (B, T, H)
    h_0, dh_0   (B, H)
    gates       (block, T, B, slot, LANES)      kept from forward to backward, which turns them into gradients in place
    carry       (B, block, LANES)               what reaches the state of one step earlier directly; one call's
"""

from __future__ import annotations

from typing import Any, NamedTuple

from llvmlite import ir
from numba import prange, types
from numba.core import cgutils
from numba.extending import intrinsic, overload
from numpy.typing import NDArray

from ._jit import kernel, parallel_kernel
from .packing import blocks_in, lanes_of, pack_backward, pack_forward
from .threads import share
from .tiles import (
    ROWS,
    WIDE,
    View,
    edge_masks,
    kind_of,
    pointer,
    sum_blocks,
    sum_rows,
)
from .vectors import I64, Grid, Vec


class Sequences(NamedTuple):
    """The arrays of one call, flat, with their strides."""

    x: NDArray[Any]
    h_0: NDArray[Any]
    y: NDArray[Any]
    gates: NDArray[Any] | None  # None: inference
    T: int
    B: int
    I: int
    H: int
    x_time: int
    x_row: int
    y_time: int
    y_row: int


class Gradients(NamedTuple):
    """What the backward pass adds to `Sequences`."""

    dy: NDArray[Any]  # strides of y
    dx: NDArray[Any] | None  # strides of x; None: not wanted
    dh_0: NDArray[Any]
    carry: NDArray[Any]


class _Fields:
    """A named tuple of arrays and integers, as the emitters see it."""

    def __init__(self, context: Any, b: ir.IRBuilder, tuple_type: Any, value: Any) -> None:
        self.b = b
        for name, kind, part in zip(
            tuple_type.instance_class._fields, tuple_type.types, cgutils.unpack_tuple(b, value), strict=True
        ):
            if isinstance(kind, types.Array):
                self.kind = kind_of(kind.dtype)
                part = pointer(context, b, kind, part)
            setattr(self, name, None if isinstance(kind, types.NoneType) else part)

    def grid(self, data: Any, at: Any, row: Any, block: Any) -> Grid:
        return Grid(self.b, self.kind, data, at, row, block)


def _gates(run: _Fields, cell: Any, t: Any, i: Any, j: Any, slot: int = 0) -> Grid:
    """One slot of the gates of step t from row i, block j on."""
    b, width = run.b, I64(cell.slots * run.kind.lanes)
    at = b.mul(b.add(b.mul(b.add(b.mul(j, run.T), t), run.B), i), width)
    at = b.add(at, I64(slot * run.kind.lanes))
    return run.grid(run.gates, at, width, b.mul(b.mul(run.T, run.B), width))


def _state_before(run: _Fields, t: Any, i: Any) -> Grid:
    """The state that step t starts from: y of the step before, or h_0."""
    b = run.b
    start = b.icmp_signed("==", t, I64(0))
    at = b.add(b.mul(b.sub(t, I64(1)), run.y_time), b.mul(i, run.y_row))
    return run.grid(
        b.select(start, run.h_0, run.y),
        b.select(start, b.mul(i, run.H), at),
        b.select(start, run.H, run.y_row),
        I64(run.kind.lanes),
    )


@intrinsic(prefer_literal=True)
def _step_tile(typingctx, weights, run, t, i, j, rows, blocks):
    """Step t for `rows` rows from row i and `blocks` blocks of units from block j on."""
    cell, n_rows, n_blocks = weights.instance_class.cell, rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run = (_Fields(context, b, sig.args[k], args[k]) for k in (0, 1))
        t, i, j = args[2:5]
        kind, lanes = run.kind, run.kind.lanes
        places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]

        def panel(data, depth, width):
            """Packed weights from block j on: (block, k, gate, LANES)."""
            row = I64(width * lanes)
            block = b.mul(depth, row)
            return run.grid(data, b.mul(j, block), row, block)

        h = _state_before(run, t, i)
        x = run.grid(run.x, b.add(b.mul(t, run.x_time), b.mul(i, run.x_row)), run.x_row, I64(0))
        bias = panel(w.bias, I64(1), cell.slots)
        sums = {(m, v, s): bias.load(0, v, s * lanes) for m, v in places for s in range(cell.slots)}
        for a, depth, data, slots in ((x, run.I, w.input, cell.input_slots), (h, run.H, w.state, cell.state_slots)):
            packed = panel(data, depth, len(slots))

            def weights(k, packed=packed, width=len(slots)):
                return [packed.load(k, v, g * lanes) for v in range(n_blocks) for g in range(width)]

            keys = [(m, v, s) for m, v in places for s in slots]
            sums.update(zip(keys, sum_rows(b, [sums[key] for key in keys], n_rows, depth, a, weights), strict=True))

        unit = b.mul(j, I64(lanes))
        masks = edge_masks(b, kind, n_blocks, b.sub(run.H, unit))
        before = Vec.stack([h.load(m, v, unit, masks[v]) for m, v in places])
        after, kept = cell.step([Vec.stack([sums[m, v, s] for m, v in places]) for s in range(cell.slots)], before)
        y = run.grid(run.y, b.add(b.mul(t, run.y_time), b.mul(i, run.y_row)), run.y_row, I64(lanes))
        for (m, v), state in zip(places, after, strict=True):
            y.store(state, m, v, unit, masks[v])
        if run.gates is not None:
            for s, values in enumerate(kept):
                slot = _gates(run, cell, t, i, j, s)
                for (m, v), value in zip(places, values, strict=True):
                    slot.store(value, m, v)
        return context.get_dummy_value()

    return types.void(weights, run, t, i, j, rows, blocks), codegen


@intrinsic(prefer_literal=True)
def _step_backward_tile(typingctx, weights, run, gradients, t, i, j, rows, blocks):
    """dh of step t, complete, and from it the gradients of step t's gates, for rows x blocks units.

    Before the first step, at t = -1, dh is dh_0 and there are no gates.
    """
    cell, n_rows, n_blocks = weights.instance_class.cell, rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run, d = (_Fields(context, b, sig.args[k], args[k]) for k in (0, 1, 2))
        t, i, j = args[3:6]
        lanes = I64(run.kind.lanes)
        unit = b.mul(j, lanes)
        left = b.sub(run.H, unit)
        masks = edge_masks(b, run.kind, n_blocks, left)
        places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]
        before_first = b.icmp_signed("<", t, I64(0))

        dy = run.grid(d.dy, b.add(b.mul(t, run.y_time), b.mul(i, run.y_row)), run.y_row, lanes)
        dy_masks = edge_masks(b, run.kind, n_blocks, b.select(before_first, I64(0), left))
        carry = _carry(run, d, i)
        start = [dy.load(m, v, unit, dy_masks[v]) + carry.load(m, v, unit) for m, v in places]
        later = b.select(b.icmp_signed("<", b.add(t, I64(1)), run.T), run.H, I64(0))  # no step after the last
        sums = _through_gates(
            run, cell, cell.state_slots, w.state, b.add(t, I64(1)), i, j, start, n_rows, n_blocks, later
        )
        with b.if_else(before_first) as (initial, step):
            with initial:
                _store_tile(run.grid(d.dh_0, b.mul(i, run.H), run.H, lanes), sums, unit, masks)
            with step:
                slots = [_gates(run, cell, t, i, j, s) for s in range(cell.slots)]
                kept = [Vec.stack([slot.load(m, v) for m, v in places]) for slot in slots]
                h = _state_before(run, t, i)
                before = Vec.stack([h.load(m, v, unit, masks[v]) for m, v in places])
                direct, da = cell.step_backward(Vec.stack(sums), kept, before)
                for (m, v), value in zip(places, direct, strict=True):
                    carry.store(value, m, v, unit)
                for slot, values in zip(slots, da, strict=True):
                    for (m, v), value in zip(places, values, strict=True):
                        slot.store(value, m, v)
        return context.get_dummy_value()

    return types.void(weights, run, gradients, t, i, j, rows, blocks), codegen


def _carry(run: _Fields, d: _Fields, i: Any) -> Grid:
    b, lanes = run.b, I64(run.kind.lanes)
    width = b.mul(b.sdiv(b.add(run.H, I64(run.kind.lanes - 1)), lanes), lanes)
    return run.grid(d.carry, b.mul(i, width), width, lanes)


def _through_gates(run, cell, slots, data, t, i, j, start, rows, blocks, depth):
    """start + the gradients of step t's gates times their weights, packed as (block, gate, unit, LANES)."""
    b, lanes = run.b, run.kind.lanes
    block = b.mul(run.H, I64(len(slots) * lanes))
    packed = run.grid(data, b.mul(j, block), I64(lanes), block)
    for gate, slot in enumerate(slots):
        first = b.mul(run.H, I64(gate))

        def weights(k, first=first):
            return [packed.load(b.add(first, k), v) for v in range(blocks)]

        start = sum_blocks(b, start, rows, depth, _gates(run, cell, t, i, I64(0), slot), weights)
    return start


@intrinsic(prefer_literal=True)
def _input_gradient_tile(typingctx, weights, run, gradients, t, i, j, rows, blocks):
    """dx of step t, for `rows` rows from row i and `blocks` blocks of inputs from block j on."""
    cell, n_rows, n_blocks = weights.instance_class.cell, rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run, d = (_Fields(context, b, sig.args[k], args[k]) for k in (0, 1, 2))
        if d.dx is not None:
            t, i, j = args[3:6]
            lanes = I64(run.kind.lanes)
            first = b.mul(j, lanes)
            start = [Vec(b, run.kind, ir.Constant(run.kind.vector, None))] * (n_rows * n_blocks)
            sums = _through_gates(run, cell, cell.input_slots, w.input, t, i, j, start, n_rows, n_blocks, run.H)
            dx = run.grid(d.dx, b.add(b.mul(t, run.x_time), b.mul(i, run.x_row)), run.x_row, lanes)
            _store_tile(dx, sums, first, edge_masks(b, run.kind, n_blocks, b.sub(run.I, first)))
        return context.get_dummy_value()

    return types.void(weights, run, gradients, t, i, j, rows, blocks), codegen


def _store_tile(out, sums, first, masks):
    for at, value in enumerate(sums):
        m, v = divmod(at, len(masks))
        out.store(value, m, v, first, masks[v])


def cell_slots(weights: Any) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Slots of the gates that the input's and the state's weights lead to, and the number of slots."""
    cell = type(weights).cell
    return cell.input_slots, cell.state_slots, cell.slots


@overload(cell_slots)
def _cell_slots(weights):
    cell = weights.instance_class.cell
    slots = cell.input_slots, cell.state_slots, cell.slots
    return lambda weights: slots


@kernel
def pack_weights(weights, w_ih, w_hh, b_ih, b_hh):
    """Weights for the forward pass; empty biases are zero."""
    input_slots, state_slots, slots = cell_slots(weights)
    pack_forward(w_ih, len(input_slots), weights.input)
    pack_forward(w_hh, len(state_slots), weights.state)
    lanes, units = lanes_of(w_hh), w_hh.shape[1]
    weights.bias[:] = 0
    for bias, bias_slots in ((b_ih, input_slots), (b_hh, state_slots)):
        for i in range(bias.size):
            gate, unit = divmod(i, units)
            block, lane = divmod(unit, lanes)
            weights.bias[(block * slots + bias_slots[gate]) * lanes + lane] += bias[i]


@kernel
def pack_weights_backward(weights, w_ih, w_hh, need_dx):
    """Weights for the backward pass, which knows no biases."""
    pack_backward(w_hh, weights.state)
    if need_dx:
        pack_backward(w_ih, weights.input)


@kernel
def sequences(x, h_0, y, gates, batch_first):
    """The arrays of a call, flat, in either order of time and batch."""
    if batch_first:
        (B, T, I), H = x.shape, y.shape[2]
        return Sequences(x.ravel(), h_0.ravel(), y.ravel(), gates, T, B, I, H, I, T * I, H, T * H)
    (T, B, I), H = x.shape, y.shape[2]
    return Sequences(x.ravel(), h_0.ravel(), y.ravel(), gates, T, B, I, H, B * I, I, B * H, H)


@kernel
def _forward_rows(weights, run, first, last):
    """Rows first .. last - 1 of the batch, through the whole sequence."""
    state_blocks = blocks_in(run.H, run.y)
    full = first + (last - first) // ROWS * ROWS
    wide = state_blocks // WIDE * WIDE
    for t in range(run.T):
        for j in range(state_blocks):
            for i in range(first, full, ROWS):
                _step_tile(weights, run, t, i, j, ROWS, 1)
        for i in range(full, last):
            for j in range(0, wide, WIDE):
                _step_tile(weights, run, t, i, j, 1, WIDE)
            for j in range(wide, state_blocks):
                _step_tile(weights, run, t, i, j, 1, 1)


@kernel
def _backward_rows(weights, run, gradients, first, last):
    """The gates' gradients, dx and dh_0 of rows first .. last - 1 of the batch, from the last step to the first."""
    state_blocks, input_blocks = blocks_in(run.H, run.y), blocks_in(run.I, run.y)
    full = first + (last - first) // ROWS * ROWS
    for t in range(run.T - 1, -2, -1):
        even, wide = state_blocks // 2 * 2, state_blocks // WIDE * WIDE
        for j in range(0, even, 2):
            for i in range(first, full, ROWS):
                _step_backward_tile(weights, run, gradients, t, i, j, ROWS, 2)
        for j in range(even, state_blocks):
            for i in range(first, full, ROWS):
                _step_backward_tile(weights, run, gradients, t, i, j, ROWS, 1)
        for i in range(full, last):
            for j in range(0, wide, WIDE):
                _step_backward_tile(weights, run, gradients, t, i, j, 1, WIDE)
            for j in range(wide, state_blocks):
                _step_backward_tile(weights, run, gradients, t, i, j, 1, 1)
        if t >= 0:
            even, wide = input_blocks // 2 * 2, input_blocks // WIDE * WIDE
            for j in range(0, even, 2):
                for i in range(first, full, ROWS):
                    _input_gradient_tile(weights, run, gradients, t, i, j, ROWS, 2)
            for j in range(even, input_blocks):
                for i in range(first, full, ROWS):
                    _input_gradient_tile(weights, run, gradients, t, i, j, ROWS, 1)
            for i in range(full, last):
                for j in range(0, wide, WIDE):
                    _input_gradient_tile(weights, run, gradients, t, i, j, 1, WIDE)
                for j in range(wide, input_blocks):
                    _input_gradient_tile(weights, run, gradients, t, i, j, 1, 1)


@kernel
def forward(weights, x, h_0, y, gates, batch_first):
    """The whole sequence, on the calling thread."""
    run = sequences(x, h_0, y, gates, batch_first)
    _forward_rows(weights, run, 0, run.B)


@parallel_kernel
def forward_parallel(weights, x, h_0, y, gates, batch_first, parts):
    """The same in `parts` shares of the batch: rows are independent, so no thread waits for another."""
    for part in prange(parts):
        run = sequences(x, h_0, y, gates, batch_first)
        first, last = share(run.B, part, parts, ROWS)
        _forward_rows(weights, run, first, last)


@kernel
def backward(weights, x, h_0, y, gates, dy, dx, dh_0, carry, batch_first):
    """From dy, and dh_n in `carry`, to the gates' gradients (in `gates`), dx and dh_0, on the calling thread."""
    run = sequences(x, h_0, y, gates, batch_first)
    gradients = Gradients(dy.ravel(), dx, dh_0.ravel(), carry)
    _backward_rows(weights, run, gradients, 0, run.B)


@parallel_kernel
def backward_parallel(weights, x, h_0, y, gates, dy, dx, dh_0, carry, batch_first, parts):
    """The same in `parts` shares of the batch."""
    for part in prange(parts):
        run = sequences(x, h_0, y, gates, batch_first)
        gradients = Gradients(dy.ravel(), dx, dh_0.ravel(), carry)
        first, last = share(run.B, part, parts, ROWS)
        _backward_rows(weights, run, gradients, first, last)
