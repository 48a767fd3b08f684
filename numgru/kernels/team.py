"""Threads that work on one batch row together: they share out the tiles of a phase and meet at its end.

A `prange` gives no promise that its parts run at the same time: one layer runs them one after the other, an
overloaded machine stops them anywhere. So a part never waits for a share that nobody has begun. While a part is
*there*, it does its own share of every phase, and spares itself a claim: an atomic exchange holds up a processor for
as long as a small tile. The share of a part that hasn't come yet, or that has waited so long that it lets others have
its processor, goes to whoever claims it first; any single part could finish all phases alone.

A team's memory, in words of 8 bytes. For each part: the last phase in which its share is spoken for. And elsewhere,
since only this changes with every phase: how many shares the part has finished, how many it has taken, and up to which
phase its own were left to others.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types

from ._jit import intrinsic, piece
from .threads import share
from .tiles import pointer
from .vectors import I64

_APART = 16  # words: two cache lines, as a processor may fetch the second along with the first
_SPINS = 2000  # before a part lets somebody else have its processor
_THERE = 1 << 62  # beyond all phases


class Team(NamedTuple):
    """One part's view of its team. A part alone has nothing to claim or to wait for, and needs no memory."""

    words: Any  # the `memory_of` its words
    parts: int
    me: int


@piece
def memory(parts):
    """Memory for a team's one call."""
    words = np.zeros((2 * parts + 1) * _APART, np.int64)
    start = -(words.ctypes.data // 8) % _APART
    return words[start : start + 2 * parts * _APART]


def _word(context: Any, b: ir.IRBuilder, words_type: Any, words: Any, index: Any) -> Any:
    at = b.gep(pointer(context, b, words_type, words), [index], source_etype=I64)
    return b.bitcast(at, I64.as_pointer())


@intrinsic
def _read(typingctx, words, index):
    """A word, and all that its writer wrote before it."""

    def codegen(context, b, sig, args):
        return b.load_atomic(_word(context, b, sig.args[0], args[0], args[1]), "acquire", 8, typ=I64)

    return types.int64(words, index), codegen


@intrinsic
def _publish(typingctx, words, index, value):
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
def _taken(team):
    return _finished(team, team.me) + 1


@piece
def _left(team):
    return _finished(team, team.me) + 2


@piece
def join(team):
    """Be there: from now on this part does its own share of every phase, but of those that others have claimed."""
    if team.parts > 1:
        team.words[_left(team)] = _exchange(team.words, _spoken_for(team.me), _THERE)


@piece
def _leave(team, phase):
    """Leave the shares of later phases to others."""
    _publish(team.words, _spoken_for(team.me), max(phase, team.words[_left(team)]))


@piece
def claim(team, o, phase, count, step):
    """The first and last + 1 of what this part is to do of a share, its own (`o` is 0) or another's, in whole steps."""
    if team.parts == 1:
        return 0, count
    part = (team.me + o) % team.parts
    if o == 0:
        mine = phase > team.words[_left(team)]
    else:
        before = _read(team.words, _spoken_for(part))
        mine = before < phase and _replace(team.words, _spoken_for(part), before, phase)
    if not mine:
        return 0, 0
    team.words[_taken(team)] += 1
    return share(count, part, team.parts, step)


@piece
def _all_finished(team, phase):
    done = 0
    for part in range(team.parts):
        done += _read(team.words, _finished(team, part))
    return done >= phase * team.parts


@piece
def meet(team, phase):
    """Wait until the shares of all phases up to this one are finished."""
    if team.parts == 1:
        return
    _publish(team.words, _finished(team, team.me), team.words[_taken(team)])
    for _ in range(_SPINS):
        if _all_finished(team, phase):
            return
    _leave(team, phase)
    while not _all_finished(team, phase):
        _yield_processor()
    join(team)
