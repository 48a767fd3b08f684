"""Gradients of weights and biases: sums over the examples that examples.py names, in its order.

A sum is one chain over the examples of each parcel of rows; the parcels' sums are added in their order. Threads share
out parcels and weights, so the sums don't depend on the number of threads, and each mostly reads what it wrote itself.
And as time runs as it does in the backward pass, a sequence treated in several pieces gives the same chains.

Shapes: as in sequences.py; N examples of a parcel. A part of the work takes some columns of the weights of one group of
blocks of units after the other, so that all examples are read once for a group. It has a workspace of its own:

    bundle  (EXAMPLES + 1, block, slot, LANES)                        the group's gates' gradients, and a row unused

And where there is one parcel, and all examples are there at once, these too; else all parts share them, of each parcel
and group:

    sums   (block, slot, LANES)                                       its bias gradients
    tiles  (I and H, each in whole tiles, pair, gate, block, LANES)   its weight gradients, transposed

A tile takes a pair of blocks, or three of a cell with few gates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from ._jit import borrower, piece, shared_kernel
from .blocks import blocks_in, lanes_of
from .cell import blocks_of_gradients, blocks_together, cell_slots, made_slot, slots_abreast, state_slots_by_stage
from .examples import locate, parcel_of
from .sequences import NO_OPTIONS, sequences
from .target import TARGET
from .threads import share
from .tiles import (
    ROWS,
    Places,
    View,
    add_transposed,
    bundle_tile,
    direct_gradient_tile,
    gradient_tile,
)

EXAMPLES = 64  # of a bundle, which so stays in the first-level cache
_NARROW = ROWS // 2  # columns that are left over, for which tiles of two columns are worth their while
FEW = 32  # examples for which transposed tiles aren't worth their while


def tiles_of(width: int) -> int:
    """Tiles that hold `width` columns."""
    return -(-width // ROWS)


def workspace_size(
    I: int, H: int, cell: Any, dtype: np.dtype[Any], parts: int, groups: int, *, held: bool
) -> int:  # fmt: skip
    """Numbers that `parts` parts need memory for; H is 0 where there are no state's weights.

    If sums are `held` until all are there, that's of so many `groups` of blocks, those of all parcels.
    """
    columns, gates = (tiles_of(I) + tiles_of(H)) * ROWS, len(cell.input_slots)
    of_block: int = (groups if held else parts) * (columns * gates + cell.slots) + parts * (EXAMPLES + 1) * cell.slots
    return of_block * blocks_together(cell) * TARGET.lanes(dtype)


@borrower
def _add(dw, tiles, tile, gates, row, abreast, block, unit, units, first, last):
    """Columns first .. last - 1 of a group's block, from `unit` on, transposed, into dw (gate units, width)."""
    lanes, width = lanes_of(dw), dw.shape[1]
    own = block // abreast * abreast * gates + block % abreast
    for gate in range(gates):
        for column in range(first, last, lanes):
            at = (tile * ROWS + column - first) * row + (own + gate * abreast) * lanes
            out = View(dw, (gate * units + unit) * width + column, width, 0)
            add_transposed(View(tiles, at, row, 0), units - unit, last - column, out)


@borrower
def _add_directly(dw, first_gate, slots, x, bundle, units, unit, columns, count):
    """Some columns of a block of units, from few examples: for gates from `first_gate` on, that `slots` belong to.

    The block's slots begin at `bundle.at`.
    """
    lanes, width = lanes_of(dw), dw.shape[1]
    left, right = columns
    for gate in range(len(slots)):
        for row in range(0, min(lanes, units - unit), ROWS):
            for c in range(left, right, 2 * lanes):
                places = Places(x.rows, x.first + c)
                d = View(bundle.data, bundle.at + slots[gate] * lanes + row, bundle.row, 0)
                out = View(dw, ((first_gate + gate) * units + unit + row) * width + c, width, lanes)
                direct_gradient_tile(places, right - c, d, min(lanes, units - unit) - row, out, count, ROWS, 2)


@borrower
def _add_tiles(x, width, start, stop, bundle, slots, slots_abreast, layout, data, at, count, soon):
    """Tiles start .. stop - 1 of a matrix with `width` columns, of which `x` says where they lie.

    `slots` are the matrix's in one block, and in as many as there are abreast in a tile; its first tile begins at `at`.
    Each tile asks for a register of every example of the bundle that comes next: where they lie is in `soon`.
    """
    here, of_block, abreast, gates, row = layout  # blocks, numbers of a block in the bundle, .., numbers of a column
    lanes = lanes_of(data)
    gates_soon, slot_width, slots_of_block = soon
    for tile in range(start, stop):
        c = tile * ROWS
        block, slot = divmod(tile, slots_of_block)
        later = Places(x.rows, x.first + c)  # which is there
        if block < here:
            later = Places(gates_soon.rows, gates_soon.first + block * lanes + slot * slot_width)
        narrow = width - c <= _NARROW
        for block in range(0, here, abreast):
            d = View(bundle.data, block * of_block, bundle.row, 0)
            for first in range(c, min(c + ROWS, width), 2 if narrow else ROWS):
                columns, left = Places(x.rows, x.first + first), width - first
                out = at + first * row + block * gates * lanes
                if block + 1 < here:
                    dw = View(data, out, row, lanes)
                    if narrow:
                        gradient_tile(columns, left, d, slots_abreast, dw, count, later, 2)
                    else:
                        gradient_tile(columns, left, d, slots_abreast, dw, count, later, ROWS)
                else:
                    dw = View(data, out, row, abreast * lanes)
                    if narrow:
                        gradient_tile(columns, left, d, slots, dw, count, later, 2)
                    else:
                        gradient_tile(columns, left, d, slots, dw, count, later, ROWS)


class Summands(NamedTuple):
    """What a call sums over: in parcels, all steps of all rows or `Examples`; which may be all there are, or a piece.

    The call that `opens` the sums begins with zero, others where the call before ended; the one that `closes` them adds
    them to the gradients.
    """

    examples: Any
    parcels: int
    opens: bool
    closes: bool


class Totals(NamedTuple):
    """The gradients that sums are added to, (gates H, I or H) and (gates H,); empty: not wanted."""

    w_ih: Any
    w_hh: Any
    b_ih: Any
    b_hh: Any


class _Group(NamedTuple):
    """A group of blocks of units: its first unit, how many blocks it has, and which of its tiles are a part's."""

    unit: int
    here: int
    start: int
    stop: int


class _Layout(NamedTuple):
    """Where a group's numbers lie in the workspace."""

    group: int  # blocks
    blocks: int  # of all units
    input_tiles: int
    columns: int  # tiles of all columns
    of_block: int  # numbers of a block's slots
    groups: int
    row: int  # of a column's gates
    example: int  # of an example's slots
    size: int  # of sums and tiles


@borrower
def _layout(weights, run, totals):
    input_slots, _, slots = cell_slots(weights)
    _, group = blocks_of_gradients(weights)
    lanes = lanes_of(totals.w_hh)
    input_tiles, of_block, row = (run.I + ROWS - 1) // ROWS, slots * lanes, group * len(input_slots) * lanes
    columns = input_tiles + (totals.w_hh.shape[1] + ROWS - 1) // ROWS
    size = columns * ROWS * row + group * of_block
    blocks = blocks_in(run.H, totals.w_hh)
    groups = (blocks + group - 1) // group
    return _Layout(group, blocks, input_tiles, columns, of_block, groups, row, group * of_block, size)


@borrower
def _groups_of(layout, first, last):
    """The groups among whose tiles are those from `first` up to `last`."""
    tiles = layout.group * layout.columns
    return range(first // tiles, (last + tiles - 1) // tiles)


@borrower
def _group(layout, lanes, number, first, last):
    """The group of that number, with those of its tiles that are among `first` up to `last`."""
    here, before = min(layout.group, layout.blocks - number * layout.group), number * layout.group * layout.columns
    start, stop = max(0, first - before) // here, min(here * layout.columns, last - before) // here
    return _Group(number * layout.group * lanes, here, start, stop)


@borrower
def _columns_of(layout, run, totals, group):
    """Which columns of both matrices the part's tiles of a group have."""
    first_h, last_h = max(0, group.start - layout.input_tiles), group.stop - layout.input_tiles
    of_x = group.start * ROWS, min(run.I, group.stop * ROWS)
    return of_x, (first_h * ROWS, min(totals.w_hh.shape[1], last_h * ROWS))


@piece
def add_part(weights, run, made, summands, totals, memory, part, parts):
    """Add a part's share of all examples' products; `made` is None for a cell of one stage.

    Where the sums aren't complete with that, they are in `memory` for `close_part`.
    """
    at, layout = np.empty((2, 3, EXAMPLES), np.int64), _layout(weights, run, totals)
    parcels, tiles = summands.parcels, layout.blocks * layout.columns
    is_direct = parcels == 1 and summands.opens and summands.closes
    of_bundle = (EXAMPLES + 1) * layout.example
    bundle, held = memory[of_bundle * part : of_bundle * (part + 1)], memory[of_bundle * parts :]
    first, last = share(parcels * tiles, part, parts, 1)
    for number in range(first // tiles, (last + tiles - 1) // tiles):
        parcel = parcel_of(run, summands.examples, number, parcels)
        own = held[(part if is_direct else number * layout.groups) * layout.size :]
        span = max(0, first - number * tiles), min(tiles, last - number * tiles)
        _add_parcel(weights, run, made, summands, parcel, totals, is_direct, bundle, own, at, span)


@piece
def close_part(weights, run, parcels, totals, memory, part, parts):
    """Add a part's share of the sums that `memory` holds to the gradients."""
    layout = _layout(weights, run, totals)
    first, last = share(layout.blocks * layout.columns, part, parts, 1)
    held = memory[parts * (EXAMPLES + 1) * layout.example :]
    for number in _groups_of(layout, first, last):
        group = _group(layout, lanes_of(memory), number, first, last)
        if group.start == group.stop:  # its first tile is another part's, and so are its biases
            continue
        start = layout.example + group.start * ROWS * layout.row
        stop = layout.example + group.stop * ROWS * layout.row
        sums_and_tiles = held[number * layout.size : (number + 1) * layout.size]
        for parcel in range(1, parcels):
            others = held[(parcel * layout.groups + number) * layout.size :]
            for k in range(layout.example if group.start == 0 else 0):
                sums_and_tiles[k] += others[k]
            for k in range(start, stop):
                sums_and_tiles[k] += others[k]
        _close(weights, run, layout, group, sums_and_tiles, totals, False)


@borrower
def _close(weights, run, layout, group, sums_and_tiles, totals, biases_only):
    """Add a group's sums, and unless they are there the sums of its tiles, to the gradients."""
    input_slots, all_state_slots, _ = cell_slots(weights)
    gates, (abreast, _), lanes = len(input_slots), blocks_of_gradients(weights), lanes_of(totals.w_hh)
    sums, tiles = sums_and_tiles[: layout.example], sums_and_tiles[layout.example :]
    columns_of_x, columns_of_h = _columns_of(layout, run, totals, group)
    for block in range(0 if biases_only else group.here):
        own_unit = group.unit + block * lanes
        of_x, of_h = (totals.w_ih, columns_of_x, 0), (totals.w_hh, columns_of_h, layout.input_tiles)
        for dw, (left, right), before in (of_x, of_h):
            _add(dw, tiles, before + left // ROWS, gates, layout.row, abreast, block, own_unit, run.H, left, right)
    if group.start == 0:
        for db, bias_slots in ((totals.b_ih, input_slots), (totals.b_hh, all_state_slots)):
            for gate in range(gates if db.size > 0 else 0):
                for lane in range(min(group.here * lanes, run.H - group.unit)):
                    block, own_lane = divmod(lane, lanes)
                    total = sums[block * layout.of_block + bias_slots[gate] * lanes + own_lane]
                    db[gate * run.H + group.unit + lane] += total


@borrower
def _add_parcel(weights, run, made, summands, parcel, totals, is_direct, bundle, held, at, span):
    """A parcel's examples' products for the tiles in `span`, in `bundle` and from the beginning of `held` on.

    `at` is memory (2, 3, EXAMPLES) for where the examples of a bundle and of the next one lie.
    """
    layout, (abreast, _) = _layout(weights, run, totals), blocks_of_gradients(weights)
    few = is_direct and parcel.N <= FEW
    bundle, unused = bundle[: EXAMPLES * layout.example], bundle[EXAMPLES * layout.example :]
    for number in _groups_of(layout, *span):
        group = _group(layout, lanes_of(bundle), number, *span)
        if group.start == group.stop:
            continue
        own = 0 if is_direct else number * layout.size
        sums_and_tiles = held[own : own + layout.size]
        is_first = group.start == 0  # of the parts that come by: the one that sums for the biases
        sums, tiles = sums_and_tiles[: layout.example] if is_first else unused, sums_and_tiles[layout.example :]
        if summands.opens or not is_first:
            sums[:] = 0
        if summands.opens and not few:
            tiles[group.start * ROWS * layout.row : group.stop * ROWS * layout.row] = 0
        if group.here % abreast > 1:
            bundle[:] = 0  # of blocks that there aren't: denormal numbers would be slow
        _add_group(weights, run, made, summands.examples, parcel, totals, layout, group, few, bundle, sums, tiles, at)
        if is_direct:
            _close(weights, run, layout, group, sums_and_tiles, totals, few)


@borrower
def _add_group(weights, run, made, examples, parcel, totals, layout, group, few, bundle, sums, tiles, at):
    """A parcel's examples' products for the part's tiles of one group, bundle by bundle."""
    _, _, slots = cell_slots(weights)
    row = slots * layout.blocks * lanes_of(bundle)
    locate(run, examples, parcel, row, 0, min(EXAMPLES, parcel.N), at[0])
    for top in range(0, parcel.N, EXAMPLES):
        count, number = min(EXAMPLES, parcel.N - top), top // EXAMPLES
        at_now, at_next, following = at[number % 2], at[(number + 1) % 2], min(EXAMPLES, parcel.N - top - count)
        if following > 0:
            locate(run, examples, parcel, row, top + count, following, at_next)
            at_next[2, following:] = at_next[2, following - 1]  # all are asked for
        _fill(weights, run, totals, layout, group, at_now, bundle, sums, count)
        if few:
            _add_few(weights, run, made, totals, layout, group, at_now, bundle, count)
        else:
            soon = at_next[2] if following > 0 else at_now[2]
            _add_bundle(weights, run, made, totals, layout, group, at_now, soon, bundle, tiles, count)


@borrower
def _fill(weights, run, totals, layout, group, at, bundle, sums, count):
    """Copy the gates' gradients of `count` examples, which lie at `at`, into `bundle`, and add them to `sums`."""
    lanes, at_x, at_y, at_gates = lanes_of(bundle), at[0], at[1], at[2]
    (first_x, _), (first_h, _) = _columns_of(layout, run, totals, group)
    x, y = Places(at_x, first_x), Places(at_y, first_h)
    for block in range(group.here):
        unit = group.unit + block * lanes
        d, own_sums = Places(at_gates, unit), View(sums, block * layout.of_block, 0, 0)
        own_slots = View(bundle, block * layout.of_block, layout.example, 0)
        bundle_tile(d, layout.blocks * lanes, run.H - unit, own_slots, own_sums, count, x, y, weights)


@borrower
def _add_few(weights, run, made, totals, layout, group, at, bundle, count):
    """The products of a bundle which has all examples there are, straight into the gradients."""
    input_slots, _, _ = cell_slots(weights)
    of_state, of_made = state_slots_by_stage(weights)
    lanes, at_x, at_y, at_gates = lanes_of(bundle), at[0], at[1], at[2]
    columns_of_x, columns_of_h = _columns_of(layout, run, totals, group)
    x, y = Places(at_x, 0), Places(at_y, 0)
    for block in range(group.here):
        own_slots, unit = View(bundle, block * layout.of_block, layout.example, 0), group.unit + block * lanes
        _add_directly(totals.w_ih, 0, input_slots, x, own_slots, run.H, unit, columns_of_x, count)
        _add_directly(totals.w_hh, 0, of_state, y, own_slots, run.H, unit, columns_of_h, count)
        if made is not None:
            p = Places(at_gates, made * layout.blocks * lanes)
            _add_directly(totals.w_hh, len(of_state), of_made, p, own_slots, run.H, unit, columns_of_h, count)


@borrower
def _add_bundle(weights, run, made, totals, layout, group, at, gates_soon, bundle, tiles, count):
    """The products of a bundle, by tiles; of the next one the gates lie at `gates_soon`."""
    input_slots, _, slots = cell_slots(weights)
    of_state, of_made = state_slots_by_stage(weights)
    input_slots_abreast, of_state_abreast, of_made_abreast = slots_abreast(weights)
    gates, (abreast, _), lanes = len(input_slots), blocks_of_gradients(weights), lanes_of(bundle)
    padded, of_x = layout.blocks * lanes, layout.input_tiles
    at_x, at_y, at_gates = at[0], at[1], at[2]
    d, of_tile = View(bundle, 0, layout.example, 0), (group.here, layout.of_block, abreast, gates, layout.row)
    soon = Places(gates_soon, group.unit), padded, slots
    first, last, slots_of_x = group.start, min(group.stop, of_x), (input_slots, input_slots_abreast)
    _add_tiles(Places(at_x, 0), run.I, first, last, d, *slots_of_x, of_tile, tiles, 0, count, soon)
    first, last, slots_of_h = max(0, group.start - of_x), group.stop - of_x, (of_state, of_state_abreast)
    begin = of_x * ROWS * layout.row
    _add_tiles(Places(at_y, 0), run.H, first, last, d, *slots_of_h, of_tile, tiles, begin, count, soon)
    if made is not None:
        p, slots_of_p = Places(at_gates, made * padded), (of_made, of_made_abreast)
        begin += len(of_state) * abreast * lanes
        _add_tiles(p, run.H, first, last, d, *slots_of_p, of_tile, tiles, begin, count, soon)


@shared_kernel
def weight_gradients(
    weights, x, h_0, y, gates, examples, parcels, dw_ih, dw_hh, db_ih, db_hh, batch_first, direction, opens, closes,
    memory, parts,
):  # fmt: skip
    """Add the sums over all examples to dw and db (empty: not wanted), in shares of the weights; see `Summands`."""
    for part in prange(parts):
        run = sequences(x, h_0, y, None, gates, batch_first, direction, NO_OPTIONS)
        summands, totals = Summands(examples, parcels, opens, closes), Totals(dw_ih, dw_hh, db_ih, db_hh)
        add_part(weights, run, made_slot(weights), summands, totals, memory, part, parts)
    if closes and (parcels > 1 or not opens):
        for part in prange(parts):
            run = sequences(x, h_0, y, None, gates, batch_first, direction, NO_OPTIONS)
            close_part(weights, run, parcels, Totals(dw_ih, dw_hh, db_ih, db_hh), memory, part, parts)
