"""The arrays of a call: as the kernels' time loops pass them on, and as the emitters of tiles address them.

A step is counted in the order in which the layer reads: step 0 is the first time of a sequence, or its last where it's
read from its end. Rows are in the order of the kernels: as they come, or the longest sequence first.

Shapes: T steps, B batch, I input, D directions, H hidden units in ceil(H / LANES) blocks, G gates, S slots a unit.

    x, dx       (T, B, I)    or (B, T, I)       any strides of time and batch, and any start of a row
    tokens      (T, B)       or (B, T)          the same, in place of x, of which I is 0 then
    y, dy       (T, B, D H)  or (B, T, D H)     the same; a direction has its own H columns
    h_0, dh_0   (state, B, H)                   of an LSTM, whose second state is c, also c_0 and dc_0
    c           (T, B, H), or (1, B, H)         after every step, or in place: none but h_0's if there's no such state
    gates       (T, B, slot, H padded)          kept from forward to backward, which turns them into gradients in place
    sums        (steps, rows, slot, H padded)   of few rows: the input's share of some steps' sums, ahead of the steps;
                                                in inference what stages of a step keep for later ones, too
    carry       (state, B, H padded)            what reaches the states of one step earlier directly; one call's

"Padded" is to whole registers; the padding of gates is zero once it holds gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from ._jit import borrower, overload, piece
from .tiles import kind_of, memory_of, pointer
from .vectors import I64, Grid, Kind, Rows


class Options(NamedTuple):
    """What a call may have beyond a plain batch.

    Kernels are compiled for three kinds of calls: plain ones; those whose rows have places and lengths of their own,
    or tokens; and those with resets and noise as well. What such a call doesn't need is switched off at run time.
    """

    steps: int = 0  # of the longest of sequences of different lengths; 0: all have the length of x
    x_time: int = 0
    y_time: int = 0
    x_at: NDArray[Any] | None = None  # (B,): where step 0 of a row lies in x or tokens; the longest sequence first
    y_at: NDArray[Any] | None = None  # (B,): the same in y
    lengths: NDArray[Any] | None = None  # (B,), falling
    active: NDArray[Any] | None = None  # (T + 1,): rows that have a step t
    resets: NDArray[Any] | None = None  # (T, B): whether the state before this step is h_0 again
    has_tokens: int = 0
    tokens: NDArray[Any] | None = None
    has_zoneout: int = 0
    zoneout: NDArray[Any] | None = None  # (T, B, state, H), or (state, H) for all steps and rows: the share kept
    zoneout_time: int = 0
    zoneout_row: int = 0
    has_mask: int = 0
    mask: NDArray[Any] | None = None  # (B, H): factors of the state where it enters products
    dropped_0: NDArray[Any] | None = None  # (B, H): h_0 times `mask`
    dropped: NDArray[Any] | None = None  # (T + 1, B, H): the state times `mask`, before every step
    continued: int = 0  # 1: of more steps before the first, whose states are in y


NO_OPTIONS = Options()


class Sequences(NamedTuple):
    """The memory of one call's arrays, with their strides."""

    x: Any
    h_0: Any
    y: Any
    c_0: Any  # None: no second state
    c: Any
    c_time: int
    gates: Any  # None: inference
    sums: Any  # the gates themselves where those are kept
    sums_steps: int
    sums_rows: int
    sums_first: int  # row of the batch
    T: int
    B: int
    I: int
    H: int
    x_start: int
    x_time: int
    x_row: int
    y_start: int
    y_time: int
    y_row: int
    options: Options


class Flow(NamedTuple):
    """How the gradient that flows from step to step is measured and bounded; None: no code for it.

    Bounds are there for calls of the third kind; `max_norm` and `limit` are infinite where there is none. What they
    meet is kept by the step that it flows out of.
    """

    has_norms: int = 0
    norms: NDArray[Any] | None = None  # (T, B, block), float64: sums of squares of dh and dc, whatever they came from
    limit: float = 0.0  # of the magnitude of what flows
    max_norm: float = 0.0  # of what flows into a row's state
    factors: NDArray[Any] | None = None  # (state, B): of a step, those that bring rows down to max_norm
    squares: NDArray[Any] | None = None  # (T, state, B, block), float64: sums of squares of what flows, unbounded
    beyond: NDArray[Any] | None = None  # (T, state, B, block), float64: how many numbers the limit held
    largest: NDArray[Any] | None = None  # (T, state, B, block), float64: the largest magnitude of them


class Gradients(NamedTuple):
    """What the backward pass adds to `Sequences`."""

    dy: Any  # strides of y
    dx: Any  # strides of x; None: not wanted
    dh_0: Any
    carry: Any
    flow: Flow


@piece
def sequences(x, h_0, y, c, gates, batch_first, direction, options):
    """The arrays of a call, flat, in either order of time and batch and either direction (0: forward, 1: reverse)."""
    H, width = h_0.shape[2], y.shape[2]
    if batch_first:
        B, T, I = x.shape
        x_time, x_row, y_time, y_row = I, T * I, width, T * width
    else:
        T, B, I = x.shape
        x_time, x_row, y_time, y_row = B * I, I, B * width, width
    x_start, y_start = 0, direction * H
    if options.steps > 0:
        B, T, x_time, y_time = h_0.shape[1], options.steps, options.x_time, options.y_time
    elif direction == 1:
        x_start, y_start, x_time, y_time = (T - 1) * x_time, (T - 1) * y_time + H, -x_time, -y_time
    memory = memory_of(y)
    sums = memory if gates is None else memory_of(gates)  # none yet, where gates aren't kept
    c_0, c_time = _second_state(h_0, c)
    return Sequences(
        x=memory_of(x), h_0=memory_of(h_0), y=memory, c_0=c_0, c=memory_of(c), c_time=c_time, gates=memory_of(gates),
        sums=sums, sums_steps=T, sums_rows=B, sums_first=0, T=T, B=B, I=I, H=H,
        x_start=x_start, x_time=x_time, x_row=x_row, y_start=y_start, y_time=y_time, y_row=y_row,
        options=_in_memory(options),
    )  # fmt: skip


@piece
def _in_memory(options):
    """The same with their arrays' memory."""
    o = options
    return Options(
        steps=o.steps, x_time=o.x_time, y_time=o.y_time, x_at=memory_of(o.x_at), y_at=memory_of(o.y_at),
        lengths=memory_of(o.lengths), active=memory_of(o.active), resets=memory_of(o.resets), has_tokens=o.has_tokens,
        tokens=memory_of(o.tokens), has_zoneout=o.has_zoneout, zoneout=memory_of(o.zoneout),
        zoneout_time=o.zoneout_time, zoneout_row=o.zoneout_row, has_mask=o.has_mask, mask=memory_of(o.mask),
        dropped_0=memory_of(o.dropped_0), dropped=memory_of(o.dropped), continued=o.continued,
    )  # fmt: skip


@borrower
def with_sums(run, sums, steps, first, rows):
    """The same with memory for sums of so many steps and of rows from row `first` on, where gates aren't kept."""
    if run.gates is not None:
        return run
    return Sequences(
        sums=memory_of(sums), sums_steps=min(steps, run.T), sums_rows=rows, sums_first=first,
        x=run.x, h_0=run.h_0, y=run.y, c_0=run.c_0, c=run.c, c_time=run.c_time, gates=run.gates,
        T=run.T, B=run.B, I=run.I, H=run.H, x_start=run.x_start, x_time=run.x_time, x_row=run.x_row,
        y_start=run.y_start, y_time=run.y_time, y_row=run.y_row, options=run.options,
    )  # fmt: skip


@borrower
def active_rows(run, t):
    """Rows that have a step t; before the first step all, after the last none."""
    return _active_rows(run.options.active, run.T, run.B, t)


@borrower
def steps_of(run, i):
    """Steps of row i."""
    return _steps_of(run.options.lengths, run.T, i)


def _second_state(h_0, c):
    raise NotImplementedError


@overload(_second_state)
def _(h_0, c):
    if isinstance(c, types.NoneType):
        return lambda h_0, c: (None, 0)
    return lambda h_0, c: (memory_of(h_0[1]), c[0].size if c.shape[0] > 1 else 0)


def _active_rows(active, T, B, t):
    raise NotImplementedError


@overload(_active_rows)
def _(active, T, B, t):
    if isinstance(active, types.NoneType):
        return lambda active, T, B, t: B if t < T else 0
    return lambda active, T, B, t: active[max(t, 0)]


def _steps_of(lengths, T, i):
    raise NotImplementedError


@overload(_steps_of)
def _(lengths, T, i):
    if isinstance(lengths, types.NoneType):
        return lambda lengths, T, i: T
    return lambda lengths, T, i: lengths[i]


class Fields(SimpleNamespace):
    """The members of such a tuple, as the emitters see them: pointers, integers, or None."""

    b: ir.IRBuilder
    kind: Kind

    def grid(self, data: Any, at: Any, row: Any, block: Any) -> Grid:
        """Rows and blocks of one of the members."""
        return Grid(self.b, self.kind, data, at, row, block)

    def rows(self, data: Any, starts: Sequence[Any]) -> Rows:
        """A tile's rows in one of the members, by where each starts in it."""
        return Rows(self.b, self.kind, [self.b.gep(data, [at], source_etype=self.kind.scalar) for at in starts])


def fields_of(context: Any, b: ir.IRBuilder, tuple_type: Any, value: Any) -> Fields:
    """The members of a tuple that an intrinsic was given, those of a tuple inside it among them."""
    members: dict[str, Any] = {"b": b}
    for name, member, part in zip(
        tuple_type.instance_class._fields, tuple_type.types, cgutils.unpack_tuple(b, value), strict=True
    ):
        if isinstance(member, types.BaseTuple):
            members = vars(fields_of(context, b, member, part)) | members
        elif isinstance(member, (types.Array, types.CPointer)):
            if isinstance(member.dtype, types.Float):
                members.setdefault("kind", kind_of(member.dtype))  # sums of squares, which are others, come last
            members[name] = pointer(context, b, member, part)
        else:
            members[name] = None if isinstance(member, types.NoneType) else part
    return Fields(**members)


def padded(run: Fields) -> Any:
    """H up to whole registers."""
    b, lanes = run.b, I64(run.kind.lanes)
    return b.mul(b.sdiv(b.add(run.H, I64(run.kind.lanes - 1)), lanes), lanes)


_BYTE = ir.IntType(8)
_FAR = 16 << 20  # bytes of gates
FALSE, TRUE = (ir.Constant(ir.IntType(1), truth) for truth in (0, 1))


def _slot(run: Fields, data: Any, cell: Any, steps_rows: Any, t: Any, i: Any, slot: int, in_time: Any) -> Grid:
    """One slot of step t from row i on; where `in_time` is true, the grid's rows are time steps of row i."""
    b, width = run.b, padded(run)
    row = b.mul(width, I64(cell.slots))
    at = b.add(b.mul(b.add(b.mul(t, steps_rows), i), row), b.mul(I64(slot), width))
    return run.grid(data, at, b.select(in_time, b.mul(steps_rows, row), row), I64(run.kind.lanes))


def gates_of(run: Fields, cell: Any, t: Any, i: Any, slot: int, in_time: Any = FALSE) -> Grid:
    """One slot of the gates; rows are rows of the batch, or time steps."""
    return _slot(run, run.gates, cell, run.B, t, i, slot, in_time)


def are_gates_far(run: Fields, cell: Any) -> Any:
    """Whether there are so many that the first ones have left the caches before the backward pass comes to them."""
    b = run.b
    numbers = b.mul(b.mul(run.T, run.B), b.mul(padded(run), I64(cell.slots)))
    return b.icmp_signed(">", numbers, I64(_FAR * 8 // run.kind.bits))


def sums_of(run: Fields, cell: Any, t: Any, i: Any, slot: int, in_time: Any = FALSE) -> Grid:
    """One slot of the sums of few rows; rows are rows of the batch, or time steps."""
    b = run.b
    return _slot(run, run.sums, cell, run.sums_rows, b.srem(t, run.sums_steps), b.sub(i, run.sums_first), slot, in_time)


def kept_of(run: Fields, cell: Any, t: Any, i: Any, slot: int) -> Grid:
    """One slot of what a stage keeps: of the gates, or in inference where the sums of few rows are."""
    return gates_of(run, cell, t, i, slot) if run.gates is not None else sums_of(run, cell, t, i, slot)


def _starts(run: Fields, side: str, t: Any, i: Any, row_of: Sequence[Any], in_time: Any = FALSE) -> list[Any]:
    """Where step t of a tile's rows lies in x or dx, or in y or dy (`side`); `in_time`, its rows are steps of row i."""
    b, members = run.b, vars(run)
    own = members[f"{side}_at"]
    starts = []
    for m in row_of:
        step, row = b.add(t, b.select(in_time, m, I64(0))), b.add(i, b.select(in_time, I64(0), m))
        if own is None:
            first = b.add(members[f"{side}_start"], b.mul(row, members[f"{side}_row"]))
        else:
            first = b.load(b.gep(own, [row], source_etype=I64), typ=I64)
        starts.append(b.add(first, b.mul(step, members[f"{side}_time"])))
    return starts


def inputs_of(run: Fields, data: Any, t: Any, i: Any, row_of: Sequence[Any], in_time: Any = FALSE) -> Rows:
    """x, or dx: step t of a tile's rows, or steps of row i from t on."""
    return run.rows(data, _starts(run, "x", t, i, row_of, in_time))


def sums_of_tokens(run: Fields, table: Any, gates: int, t: Any, i: Any, row_of: Sequence[Any]) -> Rows:
    """The rows of the table (V, gate, H padded) that step t's tokens stand for."""
    b = run.b
    width = b.mul(padded(run), I64(gates))
    places = (b.gep(run.tokens, [at], source_etype=I64) for at in _starts(run, "x", t, i, row_of))
    return run.rows(table, [b.mul(b.load(place, typ=I64), width) for place in places])


def outputs_of(run: Fields, data: Any, t: Any, i: Any, row_of: Sequence[Any]) -> Rows:
    """Step t of y, or of dy."""
    return run.rows(data, _starts(run, "y", t, i, row_of))


def carry_of(run: Fields, d: Fields, i: Any, state: int) -> Grid:
    """What goes on to the step before, from row i on."""
    b, width = run.b, padded(run)
    return run.grid(d.carry, b.mul(b.add(b.mul(run.B, I64(state)), i), width), width, I64(run.kind.lanes))


def states_in(run: Fields, data: Any, i: Any, row_of: Sequence[Any], t: Any = None) -> Rows:
    """Step or state t of an array (T, B, H), or an array (B, H)."""
    b = run.b
    step = I64(0) if t is None else b.mul(t, run.B)
    return run.rows(data, [b.mul(b.add(step, b.add(i, m)), run.H) for m in row_of])


def is_on(run: Fields, switch: Any) -> Any:
    """The condition that one of the options' switches is."""
    return run.b.icmp_signed("!=", switch, I64(0))


def is_reset(run: Fields, t: Any, i: Any, m: Any) -> Any:
    """Whether step t of row i + m starts from h_0 again."""
    b = run.b
    t = b.select(b.icmp_signed(">", t, I64(0)), t, I64(0))
    at = b.add(b.mul(t, run.B), b.add(i, m))
    return b.icmp_unsigned("!=", b.load(b.gep(run.resets, [at], source_etype=_BYTE), typ=_BYTE), _BYTE(0))


def states_before(run: Fields, t: Any, i: Any, row_of: Sequence[Any]) -> Rows:
    """The states that step t starts from: y of the step before, or h_0."""
    b = run.b
    first, before = states_in(run, run.h_0, i, row_of), outputs_of(run, run.y, b.sub(t, I64(1)), i, row_of)
    return _first_or(run, t, i, row_of, first, before)


def cells_after(run: Fields, t: Any, i: Any, row_of: Sequence[Any]) -> Rows:
    """c after step t."""
    b = run.b
    at = b.mul(t, run.c_time)
    return run.rows(run.c, [b.add(at, b.mul(b.add(i, m), run.H)) for m in row_of])


def cells_before(run: Fields, t: Any, i: Any, row_of: Sequence[Any]) -> Rows:
    """c before step t, or c_0; of the steps before the first, `c` holds the last."""
    b = run.b
    first = states_in(run, run.c_0, i, row_of)
    before = cells_after(run, b.sub(b.add(t, run.continued), I64(1)), i, row_of)
    return _first_or(run, t, i, row_of, first, before)


def states_in_products(run: Fields, t: Any, i: Any, row_of: Sequence[Any]) -> Rows:
    """The same as it enters products."""
    states = states_before(run, t, i, row_of)
    if run.dropped is None:
        return states
    first, before = states_in(run, run.dropped_0, i, row_of), states_in(run, run.dropped, i, row_of, t)
    masked = _first_or(run, t, i, row_of, first, before)
    choices = zip(masked.addresses, states.addresses, strict=True)
    return Rows(run.b, run.kind, [run.b.select(is_on(run, run.has_mask), *choice) for choice in choices])


def _first_or(run: Fields, t: Any, i: Any, row_of: Sequence[Any], first: Rows, before: Rows) -> Rows:
    b = run.b
    at_start = b.icmp_signed("==", b.add(t, run.continued), I64(0))
    addresses = []
    for m, begin, address in zip(row_of, first.addresses, before.addresses, strict=True):
        anew = at_start if run.resets is None else b.or_(at_start, is_reset(run, t, i, m))
        addresses.append(b.select(anew, begin, address))
    return Rows(b, run.kind, addresses)
