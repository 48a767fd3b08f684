"""Threads that work on the same rows together: each has a share of the units, and a phase is a stage of a time step.

Nobody waits at a phase's end. A sum over k goes through the shares in their order, so a thread can begin a phase while
others still finish the one before: it waits within the sum, where the share of one of them begins. The first share's
thread runs ahead by this much, and the time that results take from one processor to another is hidden.

A `prange` gives no promise that its parts run at the same time: one layer runs them one after the other, an
overloaded machine stops them anywhere. So a part never waits for a share that nobody is there to do. While a part is
*there*, it does its own share of every phase, and spares itself a claim: an atomic exchange holds up a processor for
as long as a small tile. The share of a part that hasn't come yet goes to whoever claims it first. So does that of a
part which has waited so long that it gives the share up, and its processor to others. Any single part could finish all
phases alone.

A team's memory, in words of 8 bytes. For each part: the last phase in which its share is spoken for. And elsewhere,
since only this changes with every phase: the last phase in which it is finished, and the units before its end.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from ._jit import inlined, intrinsic, piece
from .threads import share
from .tiles import pointer
from .vectors import I64, Vec, loop

_APART = 16  # words: two cache lines, as a processor may fetch the second along with the first
_SPINS = 2000  # before a part lets somebody else have its processor
_THERE = 1 << 62  # beyond all phases


class Team(NamedTuple):
    """One part's view of its team. A part alone has nothing to claim or to wait for.

    Kernels for one thread have None instead, and no code for teams.
    """

    words: Any  # the `memory_of` its words
    parts: int
    me: int


@piece
def words_of(parts):
    """The size of a team's memory."""
    return 2 * parts * _APART


@piece
def memory(teams, parts, units, lanes):
    """Memory for one call of teams of so many parts, or that all parts which are no team can use."""
    words = np.zeros(teams * words_of(parts) + _APART, np.int64)
    start = -(words.ctypes.data // 8) % _APART
    words = words[start : start + teams * words_of(parts)]
    for team in range(teams):
        for part in range(parts):
            _, end = share((units + lanes - 1) // lanes, part, parts, 2)  # in pairs of blocks
            words[team * words_of(parts) + (parts + part) * _APART + 1] = min(end * lanes, units)
    if parts == 1:
        words[_APART] = _THERE
    return words


def _word(context: Any, b: ir.IRBuilder, words_type: Any, words: Any, index: Any) -> Any:
    at = b.gep(pointer(context, b, words_type, words), [index], source_etype=I64)
    return b.bitcast(at, I64.as_pointer())


@intrinsic
def read(typingctx, words, index):
    """A word, and all that its writer wrote before it."""

    def codegen(context, b, sig, args):
        return b.load_atomic(_word(context, b, sig.args[0], args[0], args[1]), "acquire", 8, typ=I64)

    return types.int64(words, index), codegen


@intrinsic
def publish(typingctx, words, index, value):
    """Write a word after all that was written before it."""

    def codegen(context, b, sig, args):
        b.store_atomic(args[2], _word(context, b, sig.args[0], args[0], args[1]), "release", 8)
        return context.get_dummy_value()

    return types.void(words, index, value), codegen


@intrinsic
def _exchange(typingctx, words, index, value):
    """Write a word; the result is what it was."""

    def codegen(context, b, sig, args):
        return b.atomic_rmw("xchg", _word(context, b, sig.args[0], args[0], args[1]), args[2], "acq_rel")

    return types.int64(words, index, value), codegen


@intrinsic
def _replace(typingctx, words, index, before, value):
    """Write a word if it still is `before`; whether it was."""

    def codegen(context, b, sig, args):
        word = _word(context, b, sig.args[0], args[0], args[1])
        return b.extract_value(b.cmpxchg(word, args[2], args[3], "acq_rel", "monotonic"), 1)

    return types.boolean(words, index, before, value), codegen


@intrinsic
def _yield_processor(typingctx):
    """Let another thread run, where the system has a call for it."""

    def codegen(context, b, sig, args):
        if os.name == "posix":
            name = "sched_yield"
            known = b.module.globals.get(name)
            b.call(known or ir.Function(b.module, ir.FunctionType(ir.IntType(32), []), name), [])
        return context.get_dummy_value()

    return types.void(), codegen


@piece
def _spoken_for(part):
    return part * _APART


@piece
def _finished(team, part):
    return (team.parts + part) * _APART


@piece
def parts_of(team):
    """How many parts a team has."""
    return 1 if team is None else team.parts


@piece
def nth_part(team, n):
    """The parts in the order in which one looks after their shares: its own first."""
    return 0 if team is None else (team.me + n) % team.parts


@piece
def blocks_of_share(team, part, units, lanes):
    """The first and last + 1 of a share's blocks of units, the same in every phase."""
    if team is None:
        return 0, (units + lanes - 1) // lanes
    first = team.words[_finished(team, part - 1) + 1] if part > 0 else 0
    return first // lanes, (team.words[_finished(team, part) + 1] + lanes - 1) // lanes


@piece
def join(team):
    """Be there: the result is the last phase in which this part's own share was left to others."""
    if team is None or team.parts == 1:
        return 0
    return _exchange(team.words, _spoken_for(team.me), _THERE)


@piece
def _all_finished(team, phase):
    for part in range(team.parts):  # noqa: SIM110 (kernels know no generators)
        if read(team.words, _finished(team, part)) < phase:
            return False
    return True


@piece
def wait(team, phase, left):
    """Wait until all phases up to this one are finished; this part's share of phases up to `left` is spoken for.

    The result is the new `left`: others may have had this part's share of more phases meanwhile.
    """
    if team is None or team.parts == 1:
        return left
    for _ in range(_SPINS):
        if _all_finished(team, phase):
            return left
    publish(team.words, _spoken_for(team.me), left)
    while not _all_finished(team, phase):
        _yield_processor()
    return join(team)


@inlined
def claim(team, part, phase, left):
    """Whether this part is to do a share of a phase, and the new `left`; its own share is asked for first."""
    if team is None:
        return True, left
    if part == team.me:
        if phase <= left or read(team.words, _finished(team, part)) < phase - 1:  # others do it, or did the last one
            left = wait(team, phase - 1, max(phase - 1, left))
        return phase > left, left
    if read(team.words, _spoken_for(part)) >= phase:
        return False, left
    left = wait(team, phase - 1, max(phase, left))  # so it will not be late
    before = read(team.words, _spoken_for(part))
    return before < phase and _replace(team.words, _spoken_for(part), before, phase), left


@piece
def give_up(team, phase, left):
    """Leave the own share to others until all phases before are finished; returns as `claim`."""
    if team is None:
        return False, left
    left = wait(team, phase - 1, max(phase - 1, left))
    return phase > left, left


@inlined
def finish(team, part, phase):
    """Say that a share is finished, and all before it."""
    if team is not None and team.parts > 1:
        publish(team.words, _finished(team, part), phase)


class Arrivals(NamedTuple):
    """The emitters' side of a team: what a sum over k waits for, in a tile of some phase."""

    b: ir.IRBuilder
    words: Any
    parts: Any
    before: Any  # the phase that must be finished
    gave_up: ir.Block  # where a tile goes on that has waited for long

    def sums(self, start: Sequence[Vec], depth: Any, add: Callable[[Any, Any, list[Vec]], list[Vec]]) -> list[Vec]:
        """`add(k, end, sums)` for each share's units, in their order, as soon as it is finished; for no depth, none."""

        def one_share(part: Any, sums: list[Vec]) -> list[Vec]:
            b, line = self.b, self.b.mul(self.b.add(self.parts, part), I64(_APART))
            self._wait(self._word(line))
            first = self._load(b.sub(line, I64(_APART - 1)))  # of part 0 what isn't used
            is_first = b.icmp_signed("==", part, I64(0))
            return add(b.select(is_first, I64(0), first), self._load(b.add(line, I64(1))), sums)

        shares = self.b.select(self.b.icmp_signed(">", depth, I64(0)), self.parts, I64(0))
        return loop(self.b, shares, start, one_share)

    def _word(self, index: Any) -> Any:
        return self.b.bitcast(self.b.gep(self.words, [index], source_etype=I64), I64.as_pointer())

    def _load(self, index: Any) -> Any:
        return self.b.load(self._word(index), typ=I64)

    def _wait(self, word: Any) -> None:
        b, entry = self.b, self.b.block
        check, late, there = (b.append_basic_block(name) for name in ("check", "late", "there"))
        b.branch(check)
        b.position_at_end(check)
        spins = b.phi(I64)
        spins.add_incoming(I64(0), entry)
        finished = b.load_atomic(word, "acquire", 8, typ=I64)
        b.cbranch(b.icmp_signed(">=", finished, self.before), there, late)
        b.position_at_end(late)
        more = b.add(spins, I64(1))
        spins.add_incoming(more, late)
        b.cbranch(b.icmp_signed("<", more, I64(_SPINS)), check, self.gave_up)
        b.position_at_end(there)


def emit_unless_late(
    b: ir.IRBuilder, team_type: Any, team: Any, phase: Any, emit: Callable[[Arrivals | None], None]
) -> Any:
    """What a tile emits, given what it waits for (None: it has no team). The value says whether it ran to its end."""
    gave_up, end = (b.append_basic_block(name) for name in ("gave_up", "end"))
    arrivals = None
    if not isinstance(team_type, types.NoneType):
        words, parts, _ = cgutils.unpack_tuple(b, team)
        arrivals = Arrivals(b, words, parts, b.sub(phase, I64(1)), gave_up)
    emit(arrivals)
    finished = b.block
    b.branch(end)
    b.position_at_end(gave_up)
    b.branch(end)
    b.position_at_end(end)
    result = b.phi(ir.IntType(1))
    result.add_incoming(ir.IntType(1)(1), finished)
    result.add_incoming(ir.IntType(1)(0), gave_up)
    return result
