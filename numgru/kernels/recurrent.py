"""A recurrent layer over a whole sequence and, below, backward through time: for any cell.

A thread owns its rows of the batch from the first step to the last, so threads never wait for each other. Only where
there are more threads than tiles of rows, each tile has a team of them (few_rows.py).
Shapes: as in sequences.py.
"""

from __future__ import annotations

import numpy as np
from numba import prange, types

from ._jit import borrower, in_threads, overload, piece, shared_kernel
from .blocks import blocks_in, lanes_of
from .cell import gate_count, in_memory, slot_count, stage_count, stage_widths
from .few_rows import CHUNK, FAR, HALF, QUARTER, backward_few, columns_of, forward_few, to_and_fro
from .flow import flow_stages, set_factors
from .packing import pack_layer, pack_layer_backward
from .products import Ahead, input_gradient_tile
from .sequences import Gradients, active_rows, sequences, steps_of, with_sums
from .step_tile import settle_gates, step_backward_tile, step_tile
from .team import Team, memory, parts_of, words_of
from .threads import share
from .tiles import ABREAST, ROWS, WIDE, memory_of


@shared_kernel
def pack_weights(weights, w_ih, w_hh, b_ih, b_hh, parts):
    """Weights for the forward pass, in shares of the blocks; empty biases are zero."""
    for part in prange(parts):
        pack_layer(weights, w_ih, w_hh, b_ih, b_hh, part, parts)


@shared_kernel
def pack_weights_backward(weights, w_ih, w_hh, need_dx, parts):
    """Weights for the backward pass, which knows no biases, in the same shares."""
    for part in prange(parts):
        pack_layer_backward(weights, w_ih, w_hh, need_dx, part, parts)


@piece
def _room_for_sums(weights, run, steps, rows):
    """Memory for sums, where the gates don't give it."""
    padded = blocks_in(run.H, run.y) * lanes_of(run.y)
    if run.gates is not None:
        rows = 0
    return np.empty(min(steps, run.T) * rows * slot_count(weights) * padded, weights.bias.dtype)


@borrower
def _split(first, last, few):
    """The end of the rows that go tile by tile; up to `few` that are left over go another way."""
    full = first + (last - first) // ROWS * ROWS
    return full if last - full <= few else last


@borrower
def _end_of_tiles(active, first, last):
    """The end of the rows that tiles take through the sequence; where lengths differ, all but a few."""
    if active is None:
        return _split(first, last, ROWS - 1)
    return last if last - first > HALF else first


@borrower
def _end_of_full_tiles(active, first, last):
    """In one step the end of those in full tiles; where lengths differ, there are smaller ones for what is left."""
    if active is None:
        return last
    return _split(first, last, HALF + QUARTER)


@piece
def shared_memory(weights, run, parts, threaded):
    """What all parts share: the teams' words and memory for sums, or the words of those that are alone.

    `threaded` is what `in_threads` says; without threads (None) there are no teams, and no words.
    """
    if threaded is None:
        return None, _room_for_sums(weights, run, CHUNK, 0)
    size = _size_of_team(run, parts)
    words = memory(parts // size if size > 1 else 1, size, run.H, lanes_of(run.y))
    return words, _room_for_sums(weights, run, CHUNK, run.B if size > 1 else 0)


@piece
def forward_part(weights, run, words, sums, part, parts):
    """A part's rows of the batch through the whole sequence, or as one of a team its share of the team's rows."""
    team, first, last = _share(run, words, part, parts)
    in_team = parts_of(team) > 1
    end = first if in_team else _end_of_tiles(run.options.active, first, last)
    if end > first:
        kept = _room_for_sums(weights, run, 1, end - first if stage_count(weights) > 1 else 0)
        _forward_tiles(in_memory(weights), run, kept, first, end)
    if end < last:
        room = sums[sums.size // run.B * first :] if in_team else _room_for_sums(weights, run, CHUNK, last - end)
        forward_few(in_memory(weights), run, room, end, last - end, team)


@borrower
def _forward_tiles(weights, run, kept, first, last):
    """Rows first .. last - 1; `kept` is memory for what stages of a step keep for later ones, if there are any."""
    run = with_sums(run, kept, 1, first, last - first)
    blocks = blocks_in(run.H, run.y)
    t, stop = 0, min(last, active_rows(run, 0))
    while stop > first:
        end = _end_of_full_tiles(run.options.active, first, stop)
        for stage in range(stage_count(weights)):
            width = stage_widths(weights)[stage]
            narrow, columns = _columns_of_tiles(blocks) if width == 2 else (blocks, blocks)
            for n in range(columns):
                is_narrow, j, following = _column(n, columns, narrow, width, t)
                for i in range(first, end, ROWS):
                    count, ahead = min(ROWS, end - i), _ahead(weights, run, i, first, end, following)
                    if is_narrow:
                        step_tile(weights, run, None, 0, t, stage, i, j // width, count, 0, ahead, ROWS, 1)
                    else:
                        step_tile(weights, run, None, 0, t, stage, i, j, count, 0, ahead, ROWS, ABREAST)
            _last_tiles(run.options.active, weights, run, t, stage, end, stop)
        t += 1
        stop = min(last, active_rows(run, t))
    settle_gates(weights, run)


@borrower
def _columns_of_tiles(blocks):
    """How many columns of tiles have two blocks, and all of them: those that follow have ABREAST blocks.

    So no single block is left over, unless it's the only one.
    """
    narrow = min(2 * blocks % ABREAST, (blocks + 1) // 2)
    return narrow, narrow + max(0, blocks - 2 * narrow) // ABREAST


@borrower
def _column(n, columns, narrow, width, t):
    """Whether the n-th column in step t is a narrow one, of `width` blocks; its first block, and the next one's."""
    now, following = to_and_fro(n, columns, t), to_and_fro(min(n + 1, columns - 1), columns, t)
    return now < narrow, _first_block(now, narrow, width), _first_block(following, narrow, width)


@borrower
def _first_block(column, narrow, width):
    """That of a column, of which the first `narrow` have `width` blocks."""
    return min(column, narrow) * width + max(0, column - narrow) * ABREAST


@borrower
def _ahead(weights, run, i, first, last, column):
    """The `Ahead` of the tile at row i of those from `first` to `last`: the next weights are those from `column` on."""
    registers = blocks_in(run.H, run.y) * (run.I + run.H) * gate_count(weights)
    return Ahead(column, (i - first) // ROWS, (last - first + ROWS - 1) // ROWS if registers > FAR else 0)


@borrower
def _last_tiles(active, weights, run, t, stage, first, last):
    """A stage of step t for the last rows that have it, if they are few: not in a batch of one length."""
    if active is None:
        return
    blocks = columns_of(weights, run, stage)
    if last - first > QUARTER:
        for j in range(0, blocks - 1, 2):
            step_tile(weights, run, None, 0, t, stage, first, j, min(HALF, last - first), 0, None, HALF, 2)
        if blocks % 2:
            step_tile(weights, run, None, 0, t, stage, first, blocks - 1, min(HALF, last - first), 0, None, ROWS, 1)
        first += HALF
    if last > first:
        wide = blocks // WIDE * WIDE
        for j in range(0, wide, WIDE):
            step_tile(weights, run, None, 0, t, stage, first, j, last - first, 0, None, QUARTER, WIDE)
        for j in range(wide, blocks):
            step_tile(weights, run, None, 0, t, stage, first, j, last - first, 0, None, ROWS, 1)


@borrower
def backward_part(weights, run, gradients, words, part, parts):
    """As `forward_part`, from the last step to the first: the gates' gradients, dx and dh_0."""
    weights = in_memory(weights)
    team, first, last = _share(run, words, part, parts)
    end = first if parts_of(team) > 1 else _split(first, last, HALF)
    for t in range(run.T - 1 if end > first else -2, run.options.continued - 2, -1):
        going_on, stop = max(first, min(end, active_rows(run, t + 1))), max(first, min(end, active_rows(run, t)))
        for stage in range(stage_count(weights) - 1 + flow_stages(gradients.flow), -1, -1):
            _state_gradients(weights, run, gradients, t, stage, first, going_on, run.H)
            _state_gradients(weights, run, gradients, t, stage, going_on, stop, 0)
        if t >= 0:
            _input_gradients(weights, run, gradients, t, first, stop)
    if end < last:
        backward_few(weights, run, gradients, end, last - end, team)


@borrower
def _state_gradients(weights, run, gradients, t, stage, first, last, depth):
    """One stage of a step for rows of which all have a step t + 1 (`depth` is H), or none (0)."""
    if stage == stage_count(weights) - 1:
        set_factors(run, gradients.flow, t, first, last, depth)
    blocks = blocks_in(run.H, run.y)
    narrow, columns = _columns_of_tiles(blocks)
    end = _split(first, last, HALF)
    for n in range(columns if first < end else 0):
        is_narrow, j, following = _column(n, columns, narrow, 2, t)
        for i in range(first, end, ROWS):
            count, ahead = min(ROWS, end - i), _ahead(weights, run, i, first, end, following)
            if not is_narrow:
                step_backward_tile(weights, run, gradients, None, 0, t, stage, i, j, count, depth, ahead, ROWS, ABREAST)
            elif blocks > 1:
                step_backward_tile(weights, run, gradients, None, 0, t, stage, i, j, count, depth, ahead, ROWS, 2)
            else:
                step_backward_tile(weights, run, gradients, None, 0, t, stage, i, j, count, depth, None, ROWS, 1)
    if end < last:
        for j in range(0, blocks - 1, 2):
            step_backward_tile(weights, run, gradients, None, 0, t, stage, end, j, last - end, depth, None, HALF, 2)
        if blocks % 2:
            j = blocks - 1
            step_backward_tile(weights, run, gradients, None, 0, t, stage, end, j, last - end, depth, None, HALF, 1)


@borrower
def _input_gradients(weights, run, gradients, t, first, last):
    blocks = blocks_in(run.I, run.y)
    narrow, columns = _columns_of_tiles(blocks)
    for n in range(columns):
        is_narrow, j, following = _column(n, columns, narrow, 2, t)
        for i in range(first, last, ROWS):
            count, ahead = min(ROWS, last - i), _ahead(weights, run, i, first, last, following)
            if not is_narrow:
                input_gradient_tile(weights, run, gradients, t, i, j, count, False, ahead, ROWS, ABREAST)
            elif blocks > 1:
                input_gradient_tile(weights, run, gradients, t, i, j, count, False, ahead, ROWS, 2)
            else:
                input_gradient_tile(weights, run, gradients, t, i, j, count, False, None, ROWS, 1)


@borrower
def _size_of_team(run, parts):
    """Parts that share the units of the same rows: all of them for few rows, else as many as there are a tile."""
    if run.B <= ROWS:
        return parts
    return 1 if run.options.steps > 0 else max(1, parts // ((run.B + ROWS - 1) // ROWS))


def _share(run, words, part, parts):
    """A part's team (None: there are no teams), and the rows first .. last - 1 of both."""
    raise NotImplementedError


@overload(_share)
def _(run, words, part, parts):
    if isinstance(words, types.NoneType):
        return lambda run, words, part, parts: (None, *_rows_of(run, np.int64(part), parts))
    return _share_of_team


def _share_of_team(run, words, part, parts):
    part, size = np.int64(part), _size_of_team(run, parts)  # indices of a prange are unsigned
    if size == 1:
        first, last = _rows_of(run, part, parts)
        return Team(memory_of(words), 1, 0), first, last
    number, me = divmod(part, size)
    first = min(number * ROWS, run.B)  # where parts are left over, there are no rows for them
    return Team(memory_of(words[words_of(size) * number :]), size, me), first, min(first + ROWS, run.B)


@borrower
def _rows_of(run, part, parts):
    """A part's rows: as many as the others', or of sequences of different lengths as many steps."""
    if run.options.steps == 0:
        return share(run.B, part, parts, ROWS)
    total = 0
    for t in range(run.T):
        total += active_rows(run, t)
    first, last, done = run.B, run.B, 0
    for i in range(0, run.B, QUARTER):  # a row that is split off alone costs as much as that many
        steps = 0
        for row in range(i, min(i + QUARTER, run.B)):
            steps += steps_of(run, row)
        nearest = (2 * done + steps) * parts  # to the boundary before these rows, not behind them
        if first == run.B and nearest >= 2 * total * part:
            first = i
        if last == run.B and part + 1 < parts and nearest >= 2 * total * (part + 1):
            last = i
        done += steps
    return first, last


@shared_kernel
def forward(weights, x, h_0, y, c, gates, batch_first, direction, options, parts):
    """The whole sequence, in shares of the batch, or of few rows' units."""
    words, sums = shared_memory(
        weights, sequences(x, h_0, y, c, gates, batch_first, direction, options), parts, in_threads()
    )
    for part in prange(parts):
        run = sequences(x, h_0, y, c, gates, batch_first, direction, options)
        forward_part(weights, run, words, sums, part, parts)


@shared_kernel
def backward(weights, x, h_0, y, c, gates, dy, dx, dh_0, carry, flow, batch_first, direction, options, parts):
    """From dy, and the last states' in `carry`, to the gates' gradients (in `gates`), dx and dh_0; in such shares."""
    words, _ = shared_memory(
        weights, sequences(x, h_0, y, c, gates, batch_first, direction, options), parts, in_threads()
    )
    for part in prange(parts):
        run = sequences(x, h_0, y, c, gates, batch_first, direction, options)
        gradients = Gradients(memory_of(dy), memory_of(dx), memory_of(dh_0), memory_of(carry), flow)
        backward_part(weights, run, gradients, words, part, parts)
