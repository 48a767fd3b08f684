"""Threads that work on one batch row together: they share out the tiles of a phase and meet at its end.

A `prange` gives no promise that its parts run at the same time: one layer runs them one after the other, an
overloaded machine stops them anywhere. So a part never waits for a tile that nobody has begun. It claims tiles of the
current phase, its own first and then the others', and waits only for tiles that a running part has claimed; any
single part could finish all phases alone.

A team's memory, in words of 8 bytes, each alone on its cache line: per tile the last phase for which it was claimed,
then per part the tiles it has finished.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from ._jit import intrinsic, piece
from .tiles import pointer
from .vectors import I64

_LINE = 8  # words
_PATIENCE = 200  # spins before a part takes over others' tiles
_SPINS = 2000  # before it offers its processor to somebody else


class Team(NamedTuple):
    """One part's view of its team. For a thread that works alone there is None, and nothing to claim or to wait for."""

    words: NDArray[np.int64]
    tiles: int  # at most, in a phase
    parts: int
    me: int


def memory(tiles: int, parts: int) -> NDArray[np.int64]:
    """Memory for a team's one call."""
    return np.zeros((tiles + parts) * _LINE, np.int64)


def _word(context: Any, b: ir.IRBuilder, words_type: Any, words: Any, index: Any) -> Any:
    at = b.gep(pointer(context, b, words_type, words), [b.mul(index, I64(_LINE))], source_etype=I64)
    return b.bitcast(at, I64.as_pointer())


@intrinsic
def _claim(typingctx, words, index, phase):
    """Whether word `index` was below `phase` and is now `phase`, by this call."""

    def codegen(context, b, sig, args):
        word = _word(context, b, sig.args[0], args[0], args[1])
        before = b.load_atomic(word, "monotonic", 8, typ=I64)
        open_ = b.icmp_signed("<", before, args[2])
        # An exchange of the phase with itself, where it's closed, changes nothing.
        swapped = b.extract_value(b.cmpxchg(word, before, b.select(open_, args[2], before), "acq_rel", "monotonic"), 1)
        return b.and_(open_, swapped)

    return types.boolean(words, index, phase), codegen


@intrinsic
def _is_open(typingctx, words, index, phase):
    def codegen(context, b, sig, args):
        word = _word(context, b, sig.args[0], args[0], args[1])
        return b.icmp_signed("<", b.load_atomic(word, "monotonic", 8, typ=I64), args[2])

    return types.boolean(words, index, phase), codegen


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
def _own(team, tiles):
    """A part's own tiles of a phase: the first and last + 1."""
    return tiles * team.me // team.parts, tiles * (team.me + 1) // team.parts


@piece
def turn(team, o, tiles):
    """The o-th tile of a phase that a part tries: upwards from its own first, then downwards from there."""
    if team is None:
        return o
    first, last = _own(team, tiles)
    if o < last - first:
        return first + o
    return (first - 1 - (o - (last - first))) % tiles


@piece
def claim(team, tile, phase):
    """Whether this part is to compute the tile of this phase."""
    if team is None:
        return True
    return _is_open(team.words, tile, phase) and _claim(team.words, tile, phase)


@piece
def _wait(team, finished, total, spins):
    """Make known that this part has finished that many tiles, and wait a while for all to have finished `total`."""
    _publish(team.words, team.tiles + team.me, finished)
    for _ in range(spins):
        done = 0
        for part in range(team.parts):
            done += _read(team.words, team.tiles + part)
        if done >= total:
            return True
    return False


@piece
def others_finish(team, o, tiles, finished, total):
    """Whether, after its own tiles (o of `tiles` tried), a part sees the others finish theirs without its help.

    Even to look whether a tile is open takes its word from the cache of the part that is about to claim it.
    """
    if team is None:
        return False
    first, last = _own(team, tiles)
    return o == last - first and _wait(team, finished, total, _PATIENCE)


@piece
def meet(team, finished, total):
    """Make known that this part has finished that many tiles, and wait until all have finished `total`."""
    if team is None:
        return
    if not _wait(team, finished, total, _SPINS):
        while not _wait(team, finished, total, 1):
            _yield_processor()
