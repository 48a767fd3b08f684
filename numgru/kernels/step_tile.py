"""One time step of a recurrent layer in one tile and, below, backward: for any cell.

A cell's stages say what becomes of the sums (their `step` and `step_backward`); everything else about a tile is here.
Shapes: as in sequences.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types

from ._jit import intrinsic
from .cell import Slots, Stage
from .flow import bounded, is_finite, step_of_flow, store_squares
from .products import Ahead, accumulate, ahead_of, biases, through_gates, zero
from .sequences import (
    Fields,
    are_gates_far,
    carry_of,
    cells_after,
    cells_before,
    fields_of,
    gates_of,
    inputs_of,
    is_on,
    is_reset,
    kept_of,
    outputs_of,
    padded,
    states_before,
    states_in,
    states_in_products,
    sums_of,
    sums_of_tokens,
)
from .target import TARGET
from .team import Arrivals, emit_unless_late
from .tiles import ABREAST, LINE, ROWS, edge_masks, in_registers, rows_up_to, store_tile
from .vectors import I64, Grid, Rows, Vec, align_stack, set_aside, where

_IN_HALVES = TARGET.vector_bytes == LINE  # results of large tiles: 0.97 to 1.0 of the time, with AVX2 1.0 to 1.05


def _emit_stages(b: ir.IRBuilder, stages: int, stage: Any, emit: Callable[[int], None]) -> None:
    """Code for every stage, of which that of number `stage` runs."""
    if stages == 1:
        return emit(0)
    for number in range(stages):
        with b.if_then(b.icmp_signed("==", stage, I64(number))):
            emit(number)


class Tile:
    """Some rows and blocks of units in a time step: its places (row, block), and registers from memory to there."""

    def __init__(
        self, cell: Any, w: Fields, run: Fields, t: Any, i: Any, j: Any, count: Any, rows: int, blocks: int,
        arrivals: Arrivals | None = None, ahead: Ahead | None = None, width: int = 1,
    ) -> None:  # fmt: skip
        b, lanes = run.b, I64(run.kind.lanes)
        self.cell, self.w, self.run, self.arrivals, self.ahead = cell, w, run, arrivals, ahead
        self.t, self.i, self.j, self.count = t, i, j, count
        self.unit = b.mul(j, lanes)
        self.row_of = rows_up_to(b, rows, count)
        self.block_of: Sequence[Any] = range(blocks)
        if width > 1:  # there may be fewer left
            self.block_of = rows_up_to(b, blocks * width, b.sub(b.sdiv(padded(run), lanes), j))
        self.places = [(m, v) for m in range(rows) for v in self.block_of]
        self.masks = edge_masks(b, run.kind, self.block_of, b.sub(run.H, self.unit))

    @property
    def at(self) -> tuple[Fields, Any, Any, list[Any]]:
        """What the rows of an array are found by."""
        return self.run, self.t, self.i, self.row_of

    def part(self, places: list[Any]) -> Tile:
        """The tile with some of its places."""
        part = copy(self)
        part.places = places
        return part

    def load(self, rows: Rows) -> Vec:
        """The units of an array's rows."""
        return Vec.stack([rows.load(m, v, self.unit, self.masks[v]) for m, v in self.places])

    def load_slot(self, slot: Grid) -> Vec:
        """The units of rows that are padded."""
        return Vec.stack([slot.load(self.row_of[m], v, self.unit) for m, v in self.places])

    def store(self, rows: Rows, values: Iterable[Vec]) -> None:
        """The other way round of `load`."""
        store_tile(rows, values, self.places, self.unit, self.masks)

    def each(self) -> Iterator[tuple[int, int, Any]]:
        """Index, row and block of each place, within code that runs if there is such a row."""
        for at, (m, v) in enumerate(self.places):
            with self.run.b.if_then(self.run.b.icmp_signed("<", I64(m), self.count)):
                yield at, m, v


@intrinsic
def step_tile(typingctx, weights, run, team, phase, t, stage, i, j, count, projected, ahead, rows, blocks):
    """A stage of step t for `count` <= `rows` rows from row i and `blocks` blocks of units from block j on.

    Blocks, also j, are counted in the stage's width, but for ABREAST blocks of ROWS rows, which stages of width 2 take.
    If not `projected`, the input's share of the sums is computed here, too.
    `ahead` says which weights to ask for meanwhile: an `Ahead`, or None.
    With a team (or None) the result says whether what others had to do for this phase came in time: else nothing is
    done.
    """
    cell, n_rows, n_blocks = weights.instance_class.cell, rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run = (fields_of(context, b, sig.args[k], args[k]) for k in (0, 1))
        t, stage, i, j, count = args[4:9]
        ahead_of_tile = ahead_of(b, sig.args[10], args[10])
        if n_rows == ROWS or run.gates is not None:  # of few rows, only sums that are kept as well lie there
            align_stack(b, run.kind)

        def emit(arrivals):
            _emit_stages(b, len(cell.stages), stage, lambda number: emit_step(
                cell, number, w, run, t, i, j, count, projected.literal_value, n_rows, n_blocks, arrivals, ahead_of_tile
            ))  # fmt: skip

        return emit_unless_late(b, sig.args[2], args[2], args[3], emit)

    return types.boolean(
        weights, run, team, phase, t, stage, i, j, count, projected, ahead, rows, blocks
    ), codegen  # fmt: skip


def emit_step(
    cell: Any, number: int, w: Fields, run: Fields, t: Any, i: Any, j: Any, count: Any, projected: int, rows: int,
    blocks: int, arrivals: Arrivals | None = None, ahead: Ahead | None = None,
) -> None:  # fmt: skip
    """Sums over x and h, or what the stage before has made, then the cell, and its results into memory."""
    b, stage = run.b, cell.stages[number]
    width = stage.width
    if rows == ROWS and blocks == ABREAST:
        if width == 1:
            return  # nobody asks for it
        width = 1
    tile = Tile(cell, w, run, t, i, b.mul(j, I64(width)), count, rows, blocks, arrivals, ahead, width)
    sums = _sums_of_stage(tile, number, projected)
    is_last = stage.makes is None
    states = _states_before(tile) if is_last else [states_in_products(*tile.at)]
    own_slots = sorted({s for _, _, s in sums})

    def finish(tile: Tile, sums: dict[Any, Vec]) -> None:
        before = [tile.load(state) for state in states]
        values = {s: Vec.stack([sums[m, v, s] for m, v in tile.places]) for s in own_slots}
        if number > 0:
            for s in {*range(cell.slots)} - {*own_slots}:
                values[s] = tile.load_slot(kept_of(run, cell, t, i, s))
        after, kept, *others = stage.step(values, *before)
        if is_last:
            _finish_step(tile, before, [after, *others])
        else:
            kept[stage.makes] = after
        if run.gates is not None or not is_last:
            _keep(tile, kept)

    if rows < ROWS or cell.states > 1 or not _IN_HALVES:  # where c changes in place, a row that repeats would see it
        return finish(tile, sums)
    # So that the processor can begin with the second half while the first one's divisions last.
    half = len(tile.places) // 2
    halves = [tile.part(places) for places in (tile.places[:half], tile.places[half:])]
    aside = [
        set_aside(b, {(*place, s): sums[*place, s] for place in part.places for s in own_slots}) for part in halves
    ]
    for part, get_back in zip(halves, aside, strict=True):
        finish(part, get_back())


def _keep(tile: Tile, kept: Slots) -> None:
    """What the backward pass or a later stage needs into memory."""
    run, cell = tile.run, tile.cell

    def store(into: Callable[..., None]) -> None:
        for s, registers in kept.items():
            slot = kept_of(run, cell, tile.t, tile.i, s)
            for (m, v), value in zip(tile.places, registers, strict=True):
                into(slot, value, tile.row_of[m], v, tile.unit)

    if len(tile.row_of) < ROWS or len(cell.stages) > 1 or TARGET.vector_bytes < LINE:
        return store(Grid.store)
    with run.b.if_else(are_gates_far(run, cell)) as (far, near):
        with far:
            store(Grid.store_past_caches)
        with near:
            store(Grid.store)


@intrinsic
def settle_gates(typingctx, weights, run):
    """Let other threads see what went past the caches; a lock alone doesn't."""
    cell = weights.instance_class.cell

    def codegen(context, b, sig, args):
        run = fields_of(context, b, sig.args[1], args[1])
        if run.gates is not None:
            with b.if_then(are_gates_far(run, cell)):
                b.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(weights, run), codegen


def _sums_of_stage(tile: Tile, number: int, projected: int) -> dict[Any, Vec]:
    """The finished sums of a stage's gates, by place and slot."""
    run, cell, w, arrivals = tile.run, tile.cell, tile.w, tile.arrivals
    if number == 0:
        operand: tuple[Rows | Grid, Sequence[Any]] = states_in_products(*tile.at), range(len(tile.row_of))
    else:
        operand = kept_of(run, cell, tile.t, tile.i, cell.stages[number - 1].makes), tile.row_of
    x, finished = inputs_of(run, run.x, *tile.at[1:]), []
    groups = in_registers(cell.stages[number].gates, len(tile.places))
    for gates in groups:
        sums = _starts_of_sums(tile, gates, projected)
        if not projected:
            products = range(len(tile.row_of)), run.I, w.input, tile.j, tile.block_of
            accumulate(run, sums, tile.places, cell, cell.input_slots, gates, x, *products, ahead=tile.ahead)
        state = run.H, w.state, tile.j, tile.block_of
        accumulate(run, sums, tile.places, cell, cell.state_slots, gates, *operand, *state, arrivals, tile.ahead)
        arrivals = None  # all of it is there
        if gates is not groups[-1]:
            finished.append(set_aside(run.b, sums))
    for others in finished:
        sums |= others()
    return sums


def _starts_of_sums(tile: Tile, gates: Sequence[int], projected: int) -> dict[Any, Vec]:
    """What the sums of some gates start from, by place and slot: the bias, or the input's share."""
    run, cell, places = tile.run, tile.cell, tile.places
    b, lanes = run.b, run.kind.lanes
    input_slots, state_slots = ([slots[g] for g in gates] for slots in (cell.input_slots, cell.state_slots))
    bias = biases(run, tile.w, cell, tile.j)
    sums = {(m, v, s): bias.load(0, v, s * lanes) for m, v in places for s in sorted({*input_slots, *state_slots})}
    if projected:
        for s in input_slots:
            shares = tile.load_slot(sums_of(run, cell, tile.t, tile.i, s))
            sums.update({(*place, s): share for place, share in zip(places, shares, strict=True)})
    if run.tokens is not None:
        keys = [(m, v, s) for s in input_slots for m, v in places]

        def of_tokens() -> Vec:
            table = sums_of_tokens(run, tile.w.input, len(cell.input_slots), *tile.at[1:])
            firsts = [b.add(b.mul(I64(gate), padded(run)), tile.unit) for gate in gates]
            return Vec.stack([table.load(m, v, first) for first in firsts for m, v in places])

        starts = where(b, is_on(run, run.has_tokens), of_tokens, Vec.stack([sums[key] for key in keys]))
        sums.update(zip(keys, starts, strict=True))
    return sums


def _states_before(tile: Tile) -> list[Rows]:
    """The states that step t starts from."""
    return [kind(*tile.at) for kind in (states_before, cells_before)[: tile.cell.states]]


def _finish_step(tile: Tile, before: list[Vec], after: list[Vec]) -> None:
    """The cell's new states into memory, with the noise."""
    run, b = tile.run, tile.run.b
    if run.zoneout is not None:
        after = [_with_zoneout(tile, state, *pair) for state, pair in enumerate(zip(before, after, strict=True))]
    tile.store(outputs_of(run, run.y, *tile.at[1:]), after[0])
    for others in after[1:]:
        tile.store(cells_after(*tile.at), others)
    if run.dropped is not None:
        with b.if_then(is_on(run, run.has_mask)):
            dropped = tile.load(states_in(run, run.mask, tile.i, tile.row_of)) * after[0]
            tile.store(states_in(run, run.dropped, tile.i, tile.row_of, b.add(tile.t, I64(1))), dropped)


def _with_zoneout(tile: Tile, state: int, before: Vec, after: Vec) -> Vec:
    """A share of the state before and one of the state after, where zoneout is on."""
    zoneout = _zoneout_of(tile, state)

    def mixed() -> Vec:
        share = tile.load(zoneout)
        return share.fma(before, (1.0 - share) * after)  # exact where the share is 0 or 1

    return where(tile.run.b, is_on(tile.run, tile.run.has_zoneout), mixed, after)


def _zoneout_of(tile: Tile, state: int) -> Rows:
    run, b = tile.run, tile.run.b
    step = b.add(b.mul(tile.t, run.zoneout_time), b.mul(run.H, I64(state)))
    return run.rows(run.zoneout, [b.add(step, b.mul(b.add(tile.i, m), run.zoneout_row)) for m in tile.row_of])


@intrinsic
def step_backward_tile(
    typingctx, weights, run, gradients, team, phase, t, stage, i, j, count, depth, ahead, rows, blocks
):  # fmt: skip
    """The gradient of what a stage of step t made, and from it those of its sums, for `count` <= `rows` rows.

    `depth` is H, or 0 for rows without a step t + 1. Before the first step, at t = -1, dh is dh_0 and there are no
    gates. A stage beyond the cell's sums what flows into the state, where its norm is bounded. Team, `ahead` and result
    are as those of `step_tile`.
    """
    cell, n_rows, n_blocks = weights.instance_class.cell, rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        w, run, d = (fields_of(context, b, sig.args[k], args[k]) for k in (0, 1, 2))
        t, stage, i, j, count, depth = args[5:11]
        ahead_of_tile = ahead_of(b, sig.args[11], args[11])
        if n_rows == ROWS:  # smaller tiles got no faster by it
            align_stack(b, run.kind)

        def emit(arrivals):
            def emit_stage(number):
                tile = Tile(cell, w, run, t, i, j, count, n_rows, n_blocks, arrivals)
                if number == len(cell.stages):
                    _emit_flow(tile, d, depth)
                elif cell.stages[number].makes is None:
                    tile.ahead = ahead_of_tile
                    _emit_state_backward(tile, d, depth)
                else:
                    with b.if_then(b.icmp_signed(">=", t, I64(0))):
                        _emit_made_backward(tile, number, d)

            _emit_stages(b, len(cell.stages) + int(d.factors is not None), stage, emit_stage)

        return emit_unless_late(b, sig.args[3], args[3], args[4], emit)

    return types.boolean(
        weights, run, gradients, team, phase, t, stage, i, j, count, depth, ahead, rows, blocks
    ), codegen  # fmt: skip


def _emit_state_backward(tile: Tile, d: Fields, depth: Any) -> None:
    """dh of step t, complete, and the gradients of the last stage's sums."""
    cell, run, t, i, row_of = tile.cell, *tile.at
    b, unit, places, masks = run.b, tile.unit, tile.places, tile.masks
    before_first = b.icmp_signed("<", t, I64(0))

    dy = outputs_of(run, d.dy, t, i, row_of)
    dy_masks = edge_masks(b, run.kind, tile.block_of, b.select(before_first, I64(0), b.sub(run.H, unit)))
    carries = [carry_of(run, d, i, state) for state in range(cell.states)]
    outside = [dy.load(m, v, unit, dy_masks[v]) for m, v in places]
    direct, *others = (list(tile.load_slot(carry)) for carry in carries)
    slots = [gates_of(run, cell, t, i, s) for s in range(cell.slots)]
    states = _states_before(tile)
    dy_before = outputs_of(run, d.dy, b.sub(t, I64(1)), i, row_of)
    for m, v in places:  # these come from far: ask for them before the loops over k
        for rows_before in (*states, dy_before):
            rows_before.prefetch(m, v, unit)
        for slot in slots:
            slot.prefetch(row_of[m], v, unit, level=2)
    cut = _resets_of(run, b.add(t, I64(1)), depth, i, row_of)
    products = partial(_through_products, tile, depth)
    if d.factors is None:
        start = [_unless(b, cut[m], outside[at] + direct[at], direct[at]) for at, (m, v) in enumerate(places)]
        dh = products(start)
    else:
        has_norm = is_finite(run, d.max_norm)
        has_bound = b.or_(has_norm, is_finite(run, d.limit))
        alone = [b.or_(reset, has_bound) for reset in cut]  # dy comes to it later, or doesn't
        start = [_unless(b, alone[m], outside[at] + direct[at], direct[at]) for at, (m, v) in enumerate(places)]
        dh = where(b, b.not_(has_norm), partial(products, start), Vec.stack(direct))
        hold = partial(bounded, tile, d, depth=depth)
        late = Vec.stack([_unless(b, cut[m], outside[at], zero(run)) for at, (m, v) in enumerate(places)])
        dh = where(b, has_bound, lambda: hold(dh, state=0) + late, dh)
        others = [list(hold(Vec.stack(d_other), state=state)) for state, d_other in enumerate(others, 1)]
    d_states = [list(dh), *others]
    d_first = [states_in(run, d.dh_0, i, row_of, I64(state)) for state in range(cell.states)]
    zoneouts = [] if run.zoneout is None else [_zoneout_of(tile, s) for s in range(cell.states)]
    with b.if_else(before_first) as (initial, step):
        with initial:
            if run.resets is None:
                for d_0, gradients in zip(d_first, d_states, strict=True):
                    tile.store(d_0, gradients)
            else:
                for at, m, v in tile.each():
                    _add_to_first(d_first, [of[at] for of in d_states], m, v, unit, masks[v])
        with step:
            for at, m, v in tile.each():
                after = [of[at] for of in d_states]
                if cut[m] is not None:
                    with b.if_then(cut[m]):
                        _add_to_first(d_first, after, m, v, unit, masks[v])
                    anew = [outside[at] + 0.0, *[zero(run)] * len(others)]
                    after = [_unless(b, cut[m], *pair) for pair in zip(after, anew, strict=True)]
                if d.norms is not None:
                    with b.if_then(is_on(run, d.has_norms)):
                        store_squares(run, d.norms, t, i, I64(m), b.add(tile.j, I64(v)), after)
                kept = {s: slot.load(m, v, unit) for s, slot in enumerate(slots)}
                before = [state.load(m, v, unit, masks[v]) for state in states]
                shares = [partial(zoneout.load, m, v, unit, masks[v]) for zoneout in zoneouts]
                d_before, da = _finish_step_backward(run, cell.stages[-1], after, kept, before, shares)
                for carry, gradient in zip(carries, d_before, strict=True):
                    carry.store(gradient, m, v, unit)
                for s, value in da.items():
                    slots[s].store(value, m, v, unit)


def _through_products(tile: Tile, depth: Any, start: list[Vec]) -> Vec:
    """start + what reaches the state through the products of step t + 1."""
    cell, run, i, row_of = tile.cell, tile.run, tile.i, tile.row_of
    b, first = run.b, start
    if run.dropped is not None:
        first = [_unless(b, is_on(run, run.has_mask), one, zero(run)) for one in start]
    da = [gates_of(run, cell, b.add(tile.t, I64(1)), i, cell.state_slots[g]) for g in cell.stages[0].gates]
    products = len(cell.state_slots), tile.w.state, tile.j, first, row_of, len(tile.block_of), depth
    dh = Vec.stack(through_gates(run, da, 0, *products, tile.arrivals, tile.ahead))
    if run.dropped is None:
        return dh
    factors = states_in(run, run.mask, i, row_of)
    return where(b, is_on(run, run.has_mask), lambda: tile.load(factors).fma(dh, Vec.stack(start)), dh)


def _emit_flow(tile: Tile, d: Fields, depth: Any) -> None:
    """What flows into the state of step t, without dy, into `carry`, and the squares of it and of what c gets.

    Of what comes from outside (no depth), which no bound holds, there are no squares.
    """
    run, b = tile.run, tile.run.b
    carries = [carry_of(run, d, tile.i, state) for state in range(tile.cell.states)]
    direct, *others = (list(tile.load_slot(carry)) for carry in carries)
    flow = _through_products(tile, depth, direct)
    for state, gradients in enumerate([list(flow), *others]):
        for at, m, v in tile.each():
            if state == 0:
                carries[0].store(gradients[at], m, v, tile.unit)
            with b.if_then(b.icmp_signed(">", depth, I64(0))):
                step, block = step_of_flow(tile, state), b.add(tile.j, I64(v))
                store_squares(run, d.squares, step, tile.i, I64(m), block, [gradients[at]])


def _add_to_first(d_first, gradients, m, v, unit, mask):
    """dh_0 of a place, and dc_0."""
    for d_0, gradient in zip(d_first, gradients, strict=True):
        d_0.store(d_0.load(m, v, unit, mask) + gradient, m, v, unit, mask)


def _finish_step_backward(
    run: Fields,
    stage: Stage,
    after: list[Vec],
    kept: Slots,
    before: list[Vec],
    load_shares: Sequence[Callable[[], Vec]],
) -> tuple[list[Vec], Slots]:
    """What reaches the states before directly, and the gradients of the last stage's sums, with the noise."""
    b, has_zoneout = run.b, None if run.zoneout is None else is_on(run, run.has_zoneout)
    shares = [where(b, has_zoneout, load, zero(run)) for load in load_shares]
    dh, *others = [d * (1.0 - share) for d, share in zip(after, shares, strict=True)] if shares else after
    h, *others_before = before
    direct, da, *d_others = stage.step_backward(dh, kept, h, *others, *others_before)
    d_before = [direct or zero(run), *d_others]
    for state, share in enumerate(shares):
        mixed = partial(share.fma, after[state], d_before[state])
        d_before[state] = where(b, has_zoneout, mixed, d_before[state])
    return d_before, da


def _emit_made_backward(tile: Tile, number: int, d: Fields) -> None:
    """The gradient of what an earlier stage of step t made, and those of its sums."""
    cell, run, t, i, row_of = tile.cell, *tile.at
    b, unit, gates = run.b, tile.unit, cell.stages[number + 1].gates
    da = [gates_of(run, cell, t, i, cell.state_slots[g]) for g in gates]
    start = [zero(run)] * len(tile.places)
    products = len(cell.state_slots), tile.w.state, tile.j, start, row_of, len(tile.block_of), run.H
    made = through_gates(run, da, gates[0], *products, tile.arrivals)
    slots = [gates_of(run, cell, t, i, s) for s in range(cell.slots)]
    carry, h = carry_of(run, d, i, 0), states_in_products(*tile.at)
    for at, m, v in tile.each():
        kept = {s: slot.load(m, v, unit) for s, slot in enumerate(slots)}
        direct_h, da = cell.stages[number].step_backward(made[at], kept, h.load(m, v, unit, tile.masks[v]))
        if run.dropped is not None:
            factors = partial(states_in(run, run.mask, i, row_of).load, m, v, unit, tile.masks[v])
            direct_h = where(b, is_on(run, run.has_mask), factors, zero(run) + 1.0) * direct_h
        carry.store(carry.load(m, v, unit) + direct_h, m, v, unit)
        for s, value in da.items():
            slots[s].store(value, m, v, unit)


def _resets_of(run: Fields, t: Any, depth: Any, i: Any, row_of: list[Any]) -> list[Any]:
    """For each row whether step t starts from h_0 again, where there is such a step; None where no step ever does."""
    b = run.b
    if run.resets is None:
        return [None] * len(row_of)
    exists = b.icmp_signed(">", depth, I64(0))
    t = b.select(exists, t, I64(0))
    return [b.and_(exists, is_reset(run, t, i, m)) for m in row_of]


def _unless(b: ir.IRBuilder, condition: Any, usually: Vec, otherwise: Vec) -> Vec:
    """`otherwise` where the condition holds; a condition of None never does."""
    if condition is None:
        return usually
    return usually.each(lambda one, other: b.select(condition, other, one), otherwise)
