"""Products with packed weights and, below, backward: what the tiles of a step share, and those of the input alone.

Shapes: as in sequences.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils

from ._jit import intrinsic
from .cell import panels_of
from .sequences import TRUE, Fields, fields_of, gates_of, inputs_of, sums_of
from .target import TARGET
from .tiles import ASKING, LINE, WIDE, edge_masks, in_registers, rows_up_to, store_tile, sum_rows
from .vectors import I64, Grid, Vec, either, loop, set_aside

_ASKED = 384  # registers with which a tile begins: half of a first-level cache
_SOON = 12  # numbers summed over, that a tile of many rows asks ahead: 144 cycles with three gates
_ASKS_SOON = TARGET.vector_bytes == LINE  # with smaller registers it takes as much time as it saves, or more


class Ahead(NamedTuple):
    """A tile's turn among the tiles that take the same weights one after the other.

    Each asks for a part of the weights that come next, a cache line at most at a time, so that those from beyond the
    second-level cache arrive while all of these tiles compute, instead of during the first one.
    """

    column: int  # with which the next weights begin
    turn: int
    turns: int  # 0: nothing is asked for


def ahead_of(b: ir.IRBuilder, ahead_type: Any, ahead: Any) -> Ahead | None:
    """An `Ahead`, or None, as the emitters see it."""
    return None if isinstance(ahead_type, types.NoneType) else Ahead(*cgutils.unpack_tuple(b, ahead))


def _while_asking(
    b: ir.IRBuilder, ahead: Ahead | None, weights: Callable[[Any], Grid], j: Any, row: int, depth: Any, blocks: int,
    add: Callable[[Callable[[Any], None] | None], Sequence[Vec]],
) -> Sequence[Vec]:  # fmt: skip
    """`add(ask)`, where `ask(k)` asks for a bit of the tile's part of the next weights, or for nothing.

    With AVX-512 it asks the second-level cache, too, for those of column j that the tile itself needs soon. `weights`
    says where those of a column begin; each block of them has `row` numbers for each k of `depth`.
    """
    if ahead is None:
        return add(None)

    def asking() -> Vec:
        own, begin, part = weights(j), weights(ahead.column), b.sdiv(b.add(I64(row - 1), ahead.turns), ahead.turns)
        first = b.add(begin.at, b.mul(b.mul(ahead.turn, depth), part))
        soon = Grid(b, begin.kind, begin.data, first, part, begin.block)
        line = LINE // (own.kind.bits // 8)

        def ask(k: Any) -> None:
            for v in range(blocks):
                soon.prefetch(k, v, level=2)
                for number in range(0, ASKING * row if _ASKS_SOON else 0, line):
                    own.prefetch(b.add(k, I64(_SOON)), v, number)

        return Vec.stack(add(ask))

    return list(either(b, b.icmp_signed(">", ahead.turns, I64(0)), asking, lambda: Vec.stack(add(None))))


def biases(run: Fields, w: Fields, cell: Any, j: Any) -> Grid:
    """Those from block j on: (block, slot, LANES)."""
    block = I64(cell.slots * run.kind.lanes)
    return run.grid(w.bias, run.b.mul(j, block), I64(0), block)


def _gates_of_panels(run: Fields, data: Any, cell: Any, j: Any, depth: Any) -> list[tuple[Grid, int]]:
    """For each gate where its panel of packed weights lies, from block j on, and the gate's place in it."""
    b, lanes, gates = run.b, run.kind.lanes, len(cell.input_slots)
    block = b.mul(depth, I64(gates * lanes))
    found: list[tuple[Grid, int]] = []
    for count in panels_of(cell):
        at = b.add(b.mul(j, block), b.mul(depth, I64(len(found) * lanes)))
        panel = run.grid(data, at, I64(count * lanes), block)
        found += [(panel, gate * lanes) for gate in range(count)]
    return found


def accumulate(run, sums, places, cell, slots, gates, a, rows, depth, data, j, blocks, arrivals=None, ahead=None):
    """Add a w to the sums of some gates, with the weights of all packed in `data`; `slots` is where gates lead."""
    packed = [*map(_gates_of_panels(run, data, cell, j, depth).__getitem__, gates)]
    keys = [(m, v, slots[g]) for m, v in places for g in gates]

    def add(ask: Callable[[Any], None] | None) -> list[Vec]:
        def weights(k: Any) -> list[Vec]:
            return [panel.load(k, v, place) for v in blocks for panel, place in packed]

        return sum_rows(run.b, [sums[key] for key in keys], rows, depth, a, weights, arrivals, ask)

    def panel_from(column: Any) -> Any:
        return _gates_of_panels(run, data, cell, column, depth)[gates[0]][0]

    others = {key: value for key, value in sums.items() if key not in keys}
    # In calls that may have tokens LLVM would keep these in registers, and move those that are added to about.
    crowded = others and ahead is not None and ASKING > 1 and run.tokens is not None
    get_back = set_aside(run.b, others) if crowded else dict
    added = _while_asking(run.b, ahead, panel_from, j, len(gates) * run.kind.lanes, depth, len(blocks), add)
    sums.update(zip(keys, added, strict=True))
    sums.update(get_back())


@intrinsic
def project_tile(typingctx, weights, run, t, i, j, count, rows, blocks):
    """The input's share of the sums, for `count` <= `rows` time steps of row i from step t on, into `sums`."""
    cell, n_rows, n_blocks = weights.instance_class.cell, rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run = (fields_of(context, b, sig.args[k], args[k]) for k in (0, 1))
        t, i, j, count = args[2:6]
        lanes = run.kind.lanes
        row_of = rows_up_to(b, n_rows, count)
        places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]
        bias, x = biases(run, w, cell, j), inputs_of(run, run.x, t, i, row_of, TRUE)
        sums = {(m, v, s): bias.load(0, v, s * lanes) for m, v in places for s in cell.input_slots}
        for gates in in_registers(range(len(cell.input_slots)), len(places)):
            products = range(n_rows), run.I, w.input, j, range(n_blocks)
            accumulate(run, sums, places, cell, cell.input_slots, gates, x, *products)
        for s in cell.input_slots:
            slot = sums_of(run, cell, t, i, s, TRUE)
            for m, v in places:
                slot.store(sums[m, v, s], row_of[m], v, b.mul(j, I64(lanes)))
        return context.get_dummy_value()

    return types.void(weights, run, t, i, j, count, rows, blocks), codegen


@intrinsic
def ask_for_weights(typingctx, weights, run, j):
    """Ask for the state's weights with which a WIDE tile begins, from block j on, of a cell of one stage."""
    panels = panels_of(weights.instance_class.cell)

    def codegen(context, b, sig, args):
        w, run = (fields_of(context, b, sig.args[k], args[k]) for k in (0, 1))
        lanes = run.kind.lanes
        block = b.mul(run.H, I64(sum(panels) * lanes))
        begin = run.grid(w.state, b.mul(args[2], block), b.mul(run.H, I64(lanes)), block)
        for register in range(_ASKED // WIDE // len(panels)):
            for v in range(WIDE):
                for panel in range(len(panels)):
                    begin.prefetch(sum(panels[:panel]), v, register * lanes)
        return context.get_dummy_value()

    return types.void(weights, run, j), codegen


def zero(run: Fields) -> Vec:
    """A register of zeros."""
    return Vec(run.b, run.kind, ir.Constant(run.kind.vector, None))


def through_gates(run, da, first_gate, gates, data, j, start, row_of, blocks, depth, arrivals=None, ahead=None):
    """start + the gradients `da`, those from `first_gate` on, times the weights of `gates` gates.

    The weights are packed as (block, gate, unit, LANES).
    """
    b, lanes = run.b, run.kind.lanes
    block = b.mul(run.H, I64(gates * lanes))

    def weights_from(column: Any) -> Any:
        return run.grid(data, b.mul(column, block), I64(lanes), block)

    packed = weights_from(j)

    def add(ask: Callable[[Any], None] | None) -> list[Vec]:
        def gate(g: Any, sums: list[Vec]) -> list[Vec]:
            first, at = b.mul(run.H, b.add(g, I64(first_gate))), da[0].at
            for other in range(1, len(da)):
                at = b.select(b.icmp_signed("==", g, I64(other)), da[other].at, at)
            a = run.grid(da[0].data, at, da[0].row, da[0].block)

            def weights(k: Any) -> list[Vec]:
                return [packed.load(b.add(first, k), v) for v in range(blocks)]

            ask_soon = None if ask is None else lambda k: ask(b.add(first, k))
            return sum_rows(b, sums, row_of, depth, a, weights, arrivals, ask_soon)

        return loop(b, I64(len(da)), start, gate)

    return _while_asking(b, ahead, weights_from, j, lanes, b.mul(run.H, I64(gates)), blocks, add)


@intrinsic
def input_gradient_tile(typingctx, weights, run, gradients, t, i, j, count, in_time, ahead, rows, blocks):
    """dx for `count` <= `rows` rows of step t from row i on, or, `in_time`, time steps of row i from step t on.

    `ahead` is an `Ahead` or None.
    """
    cell, n_rows, n_blocks = weights.instance_class.cell, rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run, d = (fields_of(context, b, sig.args[k], args[k]) for k in (0, 1, 2))
        if d.dx is not None:
            t, i, j, count, in_time = args[3:8]
            lanes = I64(run.kind.lanes)
            first = b.mul(j, lanes)
            row_of = rows_up_to(b, n_rows, count)
            start = [zero(run)] * (n_rows * n_blocks)
            da = [gates_of(run, cell, t, i, s, in_time) for s in cell.input_slots]
            asked = ahead_of(b, sig.args[8], args[8])
            sums = through_gates(run, da, 0, len(da), w.input, j, start, row_of, n_blocks, run.H, ahead=asked)
            dx = inputs_of(run, d.dx, t, i, row_of, in_time)
            places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]
            store_tile(dx, sums, places, first, edge_masks(b, run.kind, range(n_blocks), b.sub(run.I, first)))
        return context.get_dummy_value()

    return types.void(weights, run, gradients, t, i, j, count, in_time, ahead, rows, blocks), codegen
