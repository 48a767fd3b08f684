"""A recurrent layer for few rows of the batch, forward and below backward, by one thread or by a team.

Weights are what few rows cost: they're read for every time step. So the input's share of one or two rows' sums is
computed for several steps at once, the input's weights read once for all of them, and the tiles get wider as the rows
get fewer.
A team shares the units out; its phases are the stages of all steps (team.py).

Shapes: as in sequences.py; `rows` <= ROWS rows from row `first` on.
"""

from __future__ import annotations

from ._jit import borrower, inlined
from .blocks import blocks_in, lanes_of
from .cell import gate_count, stage_count, stage_widths
from .flow import flow_stages, set_factors
from .products import ask_for_weights, input_gradient_tile, project_tile
from .sequences import active_rows, steps_of, with_sums
from .step_tile import step_backward_tile, step_tile
from .target import L1_REGISTERS
from .team import blocks_of_share, claim, finish, give_up, join, nth_part, parts_of, wait
from .threads import share
from .tiles import ROWS, WIDE

HALF = max(1, ROWS // 2)
QUARTER = max(1, ROWS // 4)
MOST = max(1, HALF - 1)  # rows that have tiles of their own, too, so that none is computed in vain
_NEAR, FAR = 4096, 16384  # registers of weights: 256 KB and 1 MB where a register has 64 bytes
CHUNK = 32  # steps whose input's share is computed at once


def shares_of(rows: int, blocks: int) -> int:
    """Into how many shares a step of so many rows may be cut.

    A single wide tile is done before two threads could meet. Where there are several tiles of rows, each could have a
    thread of its own: more of them gain little unless each has two pairs of blocks.
    """
    if rows > ROWS:
        return -(-rows // ROWS) * max(1, blocks // WIDE)
    return 1 if rows <= QUARTER and blocks <= WIDE else max(1, blocks // 2)


@borrower
def to_and_fro(n, count, t):
    """The n-th of `count` in step t: each step begins with the weights that the cache still has from the one before."""
    return n if t % 2 == 0 else count - 1 - n


@borrower
def columns_of(weights, run, stage):
    """Blocks of units as a stage counts them."""
    return _columns(weights, stage, blocks_in(run.H, run.y))


@borrower
def _columns(weights, stage, blocks):
    width = stage_widths(weights)[stage]
    return (blocks + width - 1) // width


@borrower
def _width(weights, run, rows):
    """Blocks, as a stage counts them, of a tile of so many rows: the fewer, the more, so that there are enough sums.

    Of one row half as many just give enough. If a first-level cache holds half of the weights, it keeps these then for
    the next step, which begins with them. And fewer places are read at once by a cell of one gate, which counts in
    pairs, and far from the processor by one of four, which has two panels.
    """
    registers, gates = _registers(weights, run), gate_count(weights)
    halves = gates > 2 and registers <= 2 * L1_REGISTERS
    fewer_places = gates == 1 or (gates > 3 and registers > FAR)
    return 2 if rows > QUARTER or (rows == 1 and registers > L1_REGISTERS and (halves or fewer_places)) else WIDE


@borrower
def _is_single(weights):
    """Whether the cell has a single gate."""
    return gate_count(weights) == 1


@borrower
def _registers(weights, run):
    """Those that the state's weights fill."""
    return blocks_in(run.H, run.y) * run.H * gate_count(weights)


@borrower
def _project(weights, run, first, rows, start, count, j, last):
    """The input's share of `count` steps' sums, for all rows and blocks j .. last - 1 of units, up to WIDE of them."""
    # Steps fill a tile's rows; a few that are left over are wide tiles of their own.
    wide = 2 * (count % ROWS) <= ROWS and last - j == WIDE
    full = start + (count // ROWS * ROWS if wide else count)
    for i in range(first, first + rows):
        for single in range(j, last):
            for t in range(start, full, ROWS):
                project_tile(weights, run, t, i, single, min(ROWS, full - t), ROWS, 1)
        for t in range(full, start + count):
            project_tile(weights, run, t, i, j, 1, 1, WIDE)


@inlined
def _step(weights, run, team, phase, t, stage, i, rows, j, last, projected):
    """A stage of a time step for up to HALF rows, and blocks j .. last - 1 of units. As `step_tile`.

    `projected` says whether the input's share of the sums is there, as it always is for one row.
    """
    if last - j == WIDE:
        if rows == 1:
            return step_tile(weights, run, team, phase, t, stage, i, j, 1, 1, None, 1, WIDE)
        return step_tile(weights, run, team, phase, t, stage, i, j, rows, 1, None, QUARTER, WIDE)
    in_time = True
    if last - j > 1:
        if rows <= QUARTER:  # one by one, so that none is computed in vain
            for row in range(i, i + rows):
                in_time = in_time and step_tile(weights, run, team, phase, t, stage, row, j, 1, 1, None, 1, 2)
        elif projected:
            in_time = step_tile(weights, run, team, phase, t, stage, i, j, rows, 1, None, HALF, 2)
        elif rows == MOST:
            in_time = step_tile(weights, run, team, phase, t, stage, i, j, rows, 0, None, MOST, 2)
        else:
            in_time = step_tile(weights, run, team, phase, t, stage, i, j, rows, 0, None, HALF, 2)
        j += 2
    if j == last or not in_time:
        return in_time
    if rows > QUARTER:
        return step_tile(weights, run, team, phase, t, stage, i, j, rows, 0, None, HALF, 1)
    for row in range(i, i + rows):
        in_time = in_time and step_tile(weights, run, team, phase, t, stage, row, j, 1, 1, None, 1, 1)
    return in_time


@borrower
def _is_worth_asking(weights, run, rows):
    """Whether tiles wait for weights from the second-level cache: there a processor looks ahead only within a tile.

    With a single gate asking took as much time as it saved, or more.
    """
    is_usual = stage_count(weights) == 1 and not _is_single(weights)
    return rows <= QUARTER and _NEAR < _registers(weights, run) < FAR and is_usual


@borrower
def _rows_not_ahead(weights, run, rows, height):
    """The rows, in tiles of that height, whose share of the input isn't computed ahead, but with each step.

    Where more than two rows take a weight at once, to read it again costs less than to write sums and to read those,
    unless it comes from far. And what waits for no state fills the time in which others do.
    """
    registers = blocks_in(run.H, run.y) * (run.I + run.H) * gate_count(weights)
    if registers > FAR:
        return 0
    return rows - rows % height if 0 < rows % height <= QUARTER else rows


@borrower
def _active(run, t, first, rows):
    """Those of `rows` rows from row `first` on that have a step t."""
    return max(0, min(rows, active_rows(run, t) - first))


@inlined
def _forward_share(weights, run, team, part, phase, t, stage, first, rows, height, ahead, start, count):
    """A share of a stage of step t, which is among `count` steps from step `start` on that are prepared at once.

    False where it must be begun again, because what others do came late.
    """
    begin, end = blocks_of_share(team, part, run.H, lanes_of(run.y))
    if t == start and stage == 0 and ahead < first + rows and not run.options.has_tokens:
        for j in range(begin, end, WIDE):
            _project(weights, run, ahead, first + rows - ahead, start, count, j, min(j + WIDE, end))
    begin, end, width = begin // stage_widths(weights)[stage], _columns(weights, stage, end), _width(weights, run, rows)
    asks, tiles = _is_worth_asking(weights, run, rows), (end - begin + width - 1) // width
    for n in range(tiles):
        j = begin + width * to_and_fro(n, tiles, t)
        for i in range(first, first + rows, height):
            few = min(height, first + rows - i)
            if not _step(weights, run, team, phase, t, stage, i, few, j, min(j + width, end), i >= ahead):
                return False
        if asks:
            ask_for_weights(weights, run, begin + width * to_and_fro(min(n + 1, tiles - 1), tiles, t))
    return True


@borrower
def forward_few(weights, run, sums, first, rows, team):
    """All steps of few rows, with memory for their sums."""
    run = with_sums(run, sums, CHUNK, first, rows)
    phase, start, left = 0, 0, join(team)
    now = _active(run, start, first, rows)
    while now > 0:
        count = 1  # up to where `sums` begins again, at most
        while (start + count) % CHUNK and _active(run, start + count, first, rows) == now:
            count += 1
        height = MOST if MOST > QUARTER and now == 2 * MOST else HALF  # so that no row is computed in vain
        ahead = first + _rows_not_ahead(weights, run, now, height)
        for t in range(start, start + count):
            for stage in range(stage_count(weights)):
                phase += 1
                for n in range(parts_of(team)):
                    part = nth_part(team, n)
                    mine, left = claim(team, part, phase, left)
                    while mine and not _forward_share(
                        weights, run, team, part, phase, t, stage, first, now, height, ahead, start, count
                    ):
                        mine, left = give_up(team, phase, left)
                    if mine:
                        finish(team, part, phase)
        start += count
        now = _active(run, start, first, rows)


@borrower
def _width_backward(rows):
    """Blocks of a tile of so many rows backward, where a unit has one sum instead of a sum for each gate."""
    return 2 if rows > QUARTER else WIDE


@inlined
def _step_backward(weights, run, gradients, team, phase, t, stage, first, rows, depth, j, last):
    """One tile of a stage of a time step, backwards: all rows, all with a step t + 1 (`depth` is H) or none (0)."""
    if last - j == WIDE:
        if rows == 1:
            return step_backward_tile(weights, run, gradients, team, phase, t, stage, first, j, 1, depth, None, 1, WIDE)
        return step_backward_tile(
            weights, run, gradients, team, phase, t, stage, first, j, rows, depth, None, QUARTER, WIDE
        )  # fmt: skip
    in_time = True
    if last - j > 1:
        if rows > HALF:
            in_time = step_backward_tile(
                weights, run, gradients, team, phase, t, stage, first, j, rows, depth, None, ROWS, 2
            )  # fmt: skip
        elif rows == MOST:
            in_time = step_backward_tile(
                weights, run, gradients, team, phase, t, stage, first, j, rows, depth, None, MOST, 2
            )  # fmt: skip
        else:
            in_time = step_backward_tile(
                weights, run, gradients, team, phase, t, stage, first, j, rows, depth, None, HALF, 2
            )  # fmt: skip
    if (last - j) % 2:
        j = last - 1
        in_time = in_time and step_backward_tile(
            weights, run, gradients, team, phase, t, stage, first, j, rows, depth, None, ROWS, 1
        )
    return in_time


@inlined
def _backward_share(weights, run, gradients, team, part, phase, t, stage, first, rows):
    """A share of a stage of step t. False as in `_forward_share`."""
    going_on, now = _active(run, t + 1, first, rows), _active(run, t, first, rows)
    begin, end = blocks_of_share(team, part, run.H, lanes_of(run.y))
    width = _width_backward(rows)
    tiles = (end - begin + width - 1) // width
    if stage == stage_count(weights) - 1:  # every thread computes them: the same
        set_factors(run, gradients.flow, t, first, first + going_on, run.H)
        set_factors(run, gradients.flow, t, first + going_on, first + now, 0)
    for n in range(tiles):
        j = begin + width * to_and_fro(n, tiles, t)
        last = min(j + width, end)
        for from_row, to_row, depth in ((0, going_on, run.H), (going_on, now, 0)):
            if from_row < to_row and not _step_backward(
                weights, run, gradients, team, phase, t, stage, first + from_row, to_row - from_row, depth, j, last
            ):
                return False
    return True


@borrower
def _input_gradient(weights, run, gradients, first, rows, j):
    """dx of up to two blocks of inputs, for all rows and their steps."""
    two = j + 2 <= blocks_in(run.I, run.y)
    for i in range(first, first + rows):
        for t in range(0, steps_of(run, i), ROWS):
            count = min(ROWS, steps_of(run, i) - t)
            if two:
                input_gradient_tile(weights, run, gradients, t, i, j, count, True, None, ROWS, 2)
            else:
                input_gradient_tile(weights, run, gradients, t, i, j, count, True, None, ROWS, 1)


@borrower
def backward_few(weights, run, gradients, first, rows, team):
    """All steps of few rows, from the last to the first, and then dx: for several steps at once."""
    phase, left = 0, join(team)
    for t in range(run.T - 1, run.options.continued - 2, -1):
        for stage in range(stage_count(weights) - 1 + flow_stages(gradients.flow), -1, -1):
            phase += 1
            if flow_stages(gradients.flow):  # which looks at all units before any sum
                left = wait(team, phase - 1, max(phase - 1, left))
            for n in range(parts_of(team)):
                part = nth_part(team, n)
                mine, left = claim(team, part, phase, left)
                while mine and not _backward_share(weights, run, gradients, team, part, phase, t, stage, first, rows):
                    mine, left = give_up(team, phase, left)
                if mine:
                    finish(team, part, phase)
    if gradients.dx is not None:
        phase += 1
        left = wait(team, phase - 1, max(phase - 1, left))
        for n in range(parts_of(team)):
            part = nth_part(team, n)
            mine, left = claim(team, part, phase, left)
            if mine:
                begin, end = share(blocks_in(run.I, run.y), part, parts_of(team), 2)
                for j in range(begin, end, 2):
                    _input_gradient(weights, run, gradients, first, rows, j)
                finish(team, part, phase)
