"""One time step through all layers: what Python, users' compiled loops and C call.

It's one function with C's calling convention, compiled once. Whoever calls it jumps to its address, so that none of it
is compiled into a user's loop. All weights lie in one block of memory: a call passes one array, or one pointer.

Shapes: B batch, I input, H hidden, L layers of one direction, S slots; "padded" is to whole registers.

    x        (I,) or (B, I)
    h, out   (L, H) or (L, B, H); of an LSTM h and c, (2, L, H) or (2, L, B, H)
    block    64 bytes of integers, the share that zoneout keeps (2 H padded), and for every layer its packed weights,
             in the order of `Weights` (cell.py): of the input, which is I wide, then H, of the state, and the biases
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import carray, from_dtype, types
from numba.core.errors import TypingError
from numpy.typing import NDArray

from ._jit import c_function, intrinsic, kernel, overload, piece
from .blocks import aligned_empty, blocks_in, blocks_of, lanes_of
from .cell import Weights, cell_slots, stage_count, state_count
from .few_rows import HALF, columns_of
from .kinds import KINDS
from .sequences import Options, Sequences
from .step_tile import step_tile
from .target import TARGET
from .tiles import ROWS, WIDE, pointer
from .vectors import I64

_HEADER = 64  # bytes
# Its integers: among them the size in numbers, whether there's zoneout, the cell, and the number of its states.
_I, _H, _L, _SIZE, _ZONEOUT, _KIND, _STATES = range(7)


class StepWeights(NamedTuple):
    """What compiled code needs for a step. In another process it's found again after pickling."""

    block: NDArray[Any]
    function: int  # its address

    def copy(self) -> StepWeights:
        """The same in memory of its own."""
        return _restored(self.block)

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.block,)


def _restored(block: NDArray[Any]) -> StepWeights:
    aligned, header = aligned_empty(block.size, block.dtype), _header(block)
    aligned[:] = block
    return StepWeights(aligned, function_for(KINDS[header[_KIND]], block.dtype))


def new_block(
    kind: type[Weights], input_sizes: Sequence[int], H: int, dtype: np.dtype[Any], zoneout: float
) -> tuple[NDArray[Any], list[NDArray[Any]]]:
    """A block, and its parts, where each layer's weights are to go."""
    gates, slots = len(kind.cell.input_slots), kind.cell.slots
    padded = blocks_of(H, dtype) * TARGET.lanes(dtype)
    sizes = [(gates * (K + H) + slots) * padded for K in input_sizes]
    first, shares = _HEADER // dtype.itemsize, 2 * padded  # for both states
    starts = list(accumulate(sizes, initial=first + shares))
    block = aligned_empty(starts[-1], dtype)
    facts = input_sizes[0], H, len(input_sizes), block.size, zoneout > 0, KINDS.index(kind), kind.cell.states
    block[:first].view(np.int64)[: len(facts)] = facts
    block[first : first + shares] = zoneout
    return block, [block[start:end] for start, end in pairwise(starts)]


def _header(block: NDArray[Any]) -> NDArray[np.int64]:
    return block[: _HEADER // block.itemsize].view(np.int64)


_header_of = piece(_header)


@piece
def _step_rows(weights, run):
    """All rows of one layer. For one step there's nothing to gain by computing the input's share ahead of it."""
    rest = run.B % ROWS
    full = run.B - rest if rest <= HALF else run.B
    for stage in range(stage_count(weights)):
        blocks = columns_of(weights, run, stage)
        for j in range(blocks if full else 0):
            for i in range(0, full, ROWS):
                step_tile(weights, run, None, 0, 0, stage, i, j, min(ROWS, run.B - i), 0, None, ROWS, 1)
        for i in range(full, run.B):
            for j in range(0, blocks - WIDE + 1, WIDE):
                step_tile(weights, run, None, 0, 0, stage, i, j, 1, 0, None, 1, WIDE)
            for j in range(blocks // WIDE * WIDE, blocks):
                step_tile(weights, run, None, 0, 0, stage, i, j, 1, 0, None, 1, 1)


def _like(weights, *parts):
    """Other weights of the same kind."""
    raise NotImplementedError


@overload(_like)
def _(weights, *parts):
    kind = weights.instance_class
    return lambda weights, *parts: kind(parts[0], parts[1], parts[2])


def _second_states(weights, before, after):
    """These, if the cell has a second state."""
    raise NotImplementedError


@overload(_second_states)
def _(weights, before, after):
    if weights.instance_class.cell.states == 1:
        return lambda weights, before, after: (None, None)
    return lambda weights, before, after: (before, after)


@piece
def _step_layers(kind, block, x, h, out, B):
    """All layers; `kind` is any weights of their kind."""
    header = _header_of(block)
    I, H, L = header[_I], header[_H], header[_L]
    input_slots, _, slots = cell_slots(kind)
    gates = len(input_slots)
    padded = blocks_in(H, block) * lanes_of(block)
    zoneout = block[_HEADER // block.itemsize :]
    options = Options(
        has_zoneout=header[_ZONEOUT], zoneout=zoneout, zoneout_time=0, zoneout_row=0,
        steps=0, x_time=0, y_time=0, x_at=None, y_at=None, lengths=None, active=None, resets=None,
        has_tokens=0, tokens=None, has_mask=0, mask=None, dropped_0=None, dropped=None, continued=0,
    )  # fmt: skip
    start, below = _HEADER // block.itemsize + 2 * padded, carray(x, B * I)
    size = state_count(kind) * L * B * H
    before, after = carray(h, size), carray(out, size)
    kept = after  # not used, unless a stage keeps something for the next
    if stage_count(kind) > 1:
        kept = np.empty(B * slots * padded, block.dtype)
    for first in range(0, L * B * H, B * H):
        state = start + gates * I * padded
        bias = state + gates * H * padded
        end = bias + slots * padded
        weights = _like(kind, block[start:state], block[state:bias], block[bias:end])
        h_0, y = before[first : first + B * H], after[first : first + B * H]
        c_0, c = _second_states(kind, before[first + L * B * H :], after[first + L * B * H :])
        run = Sequences(
            x=below, h_0=h_0, y=y, c_0=c_0, c=c, c_time=0, gates=None,
            sums=kept, sums_steps=1, sums_rows=B, sums_first=0, T=1, B=B, I=I, H=H,
            x_start=0, x_time=0, x_row=I, y_start=0, y_time=0, y_row=H, options=options,
        )  # fmt: skip
        _step_rows(weights, run)
        start, below, I = end, y, H


@piece
def _block_at(weights):
    return carray(weights, carray(weights, _HEADER).view(np.int64)[_SIZE])


@cache
def _compiled(number: int, dtype: np.dtype[Any]) -> Any:
    kind = KINDS[number]

    def take_step(weights, x, h, out, batch):
        block = _block_at(weights)
        _step_layers(kind(block, block, block), block, x, h, out, batch)

    numbers = types.CPointer(from_dtype(dtype))
    return c_function(types.void(*[numbers] * 4, types.int64), take_step)


def function_for(kind: type[Weights], dtype: np.dtype[Any]) -> int:
    """The address of the function that steps."""
    address: int = _compiled(KINDS.index(kind), dtype).address
    return address


@intrinsic
def _call(typingctx, function, block, x, h, out, batch):
    """What lies at the address `function`."""

    def codegen(context, b, sig, args):
        arrays = [pointer(context, b, sig.args[k], args[k]) for k in range(1, 5)]
        kind = ir.FunctionType(ir.VoidType(), [*(array.type for array in arrays), I64])
        b.call(b.inttoptr(args[0], kind.as_pointer()), [*arrays, args[5]])
        return context.get_dummy_value()

    return types.void(function, block, x, h, out, batch), codegen


@piece
def _batch_of(x):
    return x.shape[0] if x.ndim == 2 else 1


@piece
def _is_state(header, batch, x, h):
    """Whether h has the shape of a layer's states."""
    depth, states = h.ndim - x.ndim, header[_STATES]
    if depth != states or (depth == 2 and h.shape[0] != 2):
        return False
    size = states * header[_L] * batch * header[_H]
    return h.shape[depth - 1] == header[_L] and h.shape[-1] == header[_H] and h.size == size


def _fits(block, x, h, out):
    """Whether these are what a step can take."""
    raise NotImplementedError


@overload(_fits)
def _(block, x, h, out):
    arrays = x, h, out
    usable = all(each.layout == "C" and each.aligned and each.dtype == block.dtype for each in arrays)
    if not usable or not out.mutable or out.ndim != h.ndim or x.ndim not in (1, 2) or h.ndim - x.ndim not in (1, 2):
        return lambda block, x, h, out: False
    return _have_shapes


def _have_shapes(block, x, h, out):
    header, batch = _header_of(block), _batch_of(x)
    are_right = x.shape[-1] == header[_I] and batch > 0 and _is_state(header, batch, x, h) and out.shape == h.shape
    return are_right and _are_apart(out, x) and _are_apart(out, h)


@piece
def _are_apart(a, b):
    """Whether two arrays share no memory."""
    start, other = a.ctypes.data, b.ctypes.data
    return start + a.size * a.itemsize <= other or other + b.size * b.itemsize <= start


@kernel
def call_step(function, block, x, h, out):
    """One step, from Python, of arrays of the block's dtype; False, and nothing is done, if they can't be taken so.

    To take a tuple from Python would cost half a microsecond, and to look at shapes, flags and memory there even more.
    """
    if not _fits(block, x, h, out):
        return False
    _call(function, block, x, h, out, _batch_of(x))
    return True


@kernel
def step(weights, x, h, out):
    """One step, from users' compiled code. No layer stands before it, so it checks its arguments itself."""
    _check_types(weights, x, h, out)
    header, batch = _header_of(weights.block), _batch_of(x)
    if x.shape[-1] != header[_I] or batch < 1:
        raise ValueError("x: expected shape (input_size,) or (B, input_size), got another")
    if not _is_state(header, batch, x, h):
        raise ValueError(
            "h: expected shape (num_layers, hidden_size), or (num_layers, B, hidden_size), of an LSTM h and c in one "
            "array (2, ...), got another"
        )
    if out.shape != h.shape:
        raise ValueError("out: expected h's shape, got another")
    if not (_are_apart(out, h) and _are_apart(out, x)):
        raise ValueError("out: expected memory of its own, got some of h's or x's")
    _call(weights.function, weights.block, x, h, out, batch)


def _check_types(weights, x, h, out):
    raise NotImplementedError


@overload(_check_types)
def _(weights, x, h, out):
    if getattr(weights, "instance_class", None) is not StepWeights:
        raise TypingError(f"weights: expected those of compiled(), got {weights}")
    dtype = weights.types[0].dtype
    for name, given in (("x", x), ("h", h), ("out", out)):
        if not isinstance(given, types.Array) or given.dtype != dtype or given.layout != "C":
            raise TypingError(f"{name}: expected a C-contiguous array of {dtype}, got {given}")
    if x.ndim not in (1, 2) or h.ndim - x.ndim not in (1, 2):
        raise TypingError(f"h: expected x (I,) with h (L, H), or (B, I) with (L, B, H), got {x} with {h}")
    if out.ndim != h.ndim:
        raise TypingError(f"out: expected as many dimensions as h has, got {out} with {h}")
    if not out.mutable:
        raise TypingError(f"out: expected an array that can be written to, got {out}")
    return lambda weights, x, h, out: None
