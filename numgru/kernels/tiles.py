"""The tiles: sums over k that stay in registers until an epilogue has turned them into results.

Shapes: a tile has `rows` rows (of the batch, or of a weight matrix) x `blocks` registers of units; its sums are a
list, row by row. Every sum is one chain of fused multiply-adds over k, in the same order whatever the tile's shape:
that is what gives the same bits for any batch size, thread count and register width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numpy.typing import NDArray

from ._jit import intrinsic
from .target import TARGET
from .vectors import I64, Grid, Kind, Rows, Vec, as_index, first_lanes, loop, transposed

if TYPE_CHECKING:
    from .team import Arrivals

LINE = 64  # bytes of a cache line
ROWS = TARGET.rows
WIDE = 4  # registers of a one-row tile: with 3 gates, enough independent sums to keep the multipliers busy
ABREAST = 3  # blocks of a tile of ROWS rows, where a block has no three registers of weights for each k
ASKING = 1 if TARGET.vector_bytes == LINE else 4  # numbers summed over, for which a tile asks once for later weights
_SUMS = 3 * ROWS  # that a loop can hold in registers, beside what they're made of


class View(NamedTuple):
    """Where a tile's rows and blocks lie in a buffer (in numbers, not bytes): the kernels' side of a `Grid`."""

    data: NDArray[Any]
    at: int
    row: int
    block: int


class Places(NamedTuple):
    """Where some columns of examples lie: `first` numbers behind the addresses of their rows (`put_address`)."""

    rows: NDArray[np.int64]
    first: int


def kind_of(dtype: Any) -> Kind:
    """The registers of a Numba dtype on this machine."""
    return Kind(dtype.bitwidth, TARGET.lanes(dtype), TARGET.fma)


@intrinsic
def memory_of(typingctx, array):
    """An array's memory alone: a word to pass on in place of seven, and nothing that would keep it alive."""
    if isinstance(array, types.NoneType):
        return array(array), lambda context, b, sig, args: args[0]
    if array.layout != "C":
        raise TypingError(f"expected a C-contiguous array, got {array}")
    return types.CPointer(array.dtype)(array), lambda context, b, sig, args: pointer(context, b, array, args[0])


def pointer(context: Any, b: ir.IRBuilder, array_type: Any, array: Any) -> Any:
    """The array's own data pointer; an address cast through an integer would hide from LLVM what may alias."""
    if isinstance(array_type, types.CPointer):
        return array
    return cgutils.create_struct_proxy(array_type)(context, b, value=array).data


def grid(context: Any, b: ir.IRBuilder, view_type: Any, view: Any) -> Grid:
    """A `View`, as the emitters see it."""
    data, at, row, block = cgutils.unpack_tuple(b, view)
    array = view_type.types[0]
    return Grid(b, kind_of(array.dtype), pointer(context, b, array, data), at, row, block)


def _multiply_add(sums: Sequence[Vec], column: Sequence[Vec], row: Sequence[Vec]) -> list[Vec]:
    """sums[m, j] + column[m] row[j]: the only arithmetic of every loop over k."""
    width = len(row)
    places = [(m, j) for m in range(len(column)) for j in range(width)]
    # The longer side outside: its registers are needed one after the other, and LLVM keeps to this order.
    order = sorted(places, key=lambda place: place[1]) if width > len(column) else places
    result = {(m, j): row[j].fma(column[m], sums[m * width + j]) for m, j in order}
    return [result[place] for place in places]


def sum_rows(
    b: ir.IRBuilder, sums: Sequence[Vec], rows: Sequence[Any], depth: Any, a: Grid, weights: Callable[[Any], list[Vec]],
    arrivals: Arrivals | None = None, ask: Callable[[Any], None] | None = None,
) -> list[Vec]:  # fmt: skip
    """sums[m, j] + sum_k a[rows[m], k] w[k, j], for rows of `a` that are contiguous in k.

    With `arrivals`, `a` is what a team computes, and each share of it is waited for; unless the depth is 0, it's all.
    `ask(k)` is emitted once for every ASKING numbers summed over, but for a few that are left over.
    """

    def add_one(k: Any, sums: Sequence[Vec]) -> list[Vec]:
        return _multiply_add(sums, [a.broadcast(m, 0, k) for m in rows], weights(k))

    def add(k: Any, end: Any, sums: Sequence[Vec]) -> list[Vec]:
        return loop(b, end, sums, add_one, k)

    if arrivals is not None:
        return arrivals.sums(sums, depth, add)
    if ask is None:
        return add(I64(0), depth, sums)

    def add_some(n: Any, sums: list[Vec]) -> list[Vec]:
        k = b.mul(n, I64(ASKING))
        ask(k)
        for other in range(ASKING):
            sums = add_one(b.add(k, I64(other)), sums)
        return sums

    times = b.sdiv(depth, I64(ASKING))
    return add(b.mul(times, I64(ASKING)), depth, loop(b, times, sums, add_some))


def in_registers(gates: Sequence[Any], sums: int) -> list[Sequence[Any]]:
    """Gates in as few groups as can be, so that each group's sums, so many for a gate, stay in registers."""
    groups = -(-len(gates) // max(1, _SUMS // sums))
    size = -(-len(gates) // groups)
    return [gates[at : at + size] for at in range(0, len(gates), size)]


def rows_up_to(b: ir.IRBuilder, rows: int, count: Any) -> list[Any]:
    """Indices of which `count` are in use: the others repeat the last of them, so that nothing beyond it is read."""
    last = b.sub(count, I64(1))
    return [b.select(b.icmp_signed("<", I64(m), last), I64(m), last) for m in range(rows)]


class Masks(dict[Any, Any]):
    """By block of a tile the lanes in use; `whole` says whether they all are."""

    whole: Any


def edge_masks(b: ir.IRBuilder, kind: Kind, blocks: Sequence[Any], left: Any) -> Masks:
    """For each block the lanes in use, where `left` numbers remain from the tile's first on."""
    masks = Masks((v, first_lanes(b, kind, b.sub(left, b.mul(I64(kind.lanes), as_index(v))))) for v in blocks)
    masks.whole = b.icmp_signed(">=", left, b.mul(I64(kind.lanes), b.add(as_index(blocks[-1]), I64(1))))
    return masks


def store_tile(out: Grid | Rows, values: Iterable[Vec], places: Sequence[Any], first: Any, masks: Masks) -> None:
    """Registers of a tile's places (row, block) into rows of units, the first of them `first`."""

    def store(masks: Masks | None) -> None:
        for (m, v), value in zip(places, values, strict=True):
            out.store(value, m, v, first, None if masks is None else masks[v])

    _whole_or_edge(out.b, masks.whole, lambda: store(None), lambda: store(masks))


def _whole_or_edge(b: ir.IRBuilder, whole: Any, store: Callable[[], None], store_masked: Callable[[], None]) -> None:
    """One or the other at run time; with AVX-512 the latter: elsewhere masked stores are slow (Zen 3: 18 cycles)."""
    if TARGET.vector_bytes == LINE:
        return store_masked()
    with b.if_else(whole) as (then, otherwise):
        with then:
            store()
        with otherwise:
            store_masked()


@intrinsic
def affine_tile(typingctx, start, a, depth, w, y, left, rows, blocks):
    """y = start + a w over `depth`: one step of a linear map. `start` with strides of zero repeats one row."""
    n_rows, n_blocks = rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        start, a, w, y = (grid(context, b, sig.args[i], args[i]) for i in (0, 1, 3, 4))
        masks = edge_masks(b, y.kind, range(n_blocks), args[5])
        places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]
        sums = sum_rows(
            b, [start.load(m, v) for m, v in places], range(n_rows), args[2], a,
            lambda k: [w.load(k, v) for v in range(n_blocks)],
        )  # fmt: skip
        store_tile(y, sums, places, I64(0), masks)
        return context.get_dummy_value()

    return types.void(start, a, depth, w, y, left, rows, blocks), codegen


@intrinsic
def put_address(typingctx, rows, e, data, at):
    """The address of number `at` of `data` into word e of `rows`: stored as a pointer, never as an integer."""

    def codegen(context, b, sig, args):
        kind = kind_of(sig.args[2].dtype)
        address = b.gep(pointer(context, b, sig.args[2], args[2]), [args[3]], source_etype=kind.scalar)
        place = b.gep(pointer(context, b, sig.args[0], args[0]), [args[1]], source_etype=I64)
        b.store(address, b.bitcast(place, address.type.as_pointer()))
        return context.get_dummy_value()

    return types.void(rows, types.int64, data, types.int64), codegen


def _rows_in(context: Any, b: ir.IRBuilder, places_type: Any, places: Any, kind: Kind) -> Callable[[Any], Rows]:
    """The row of an example, by its index in `Places`, as the emitters see them."""
    rows, first = cgutils.unpack_tuple(b, places)
    addresses = pointer(context, b, places_type.types[0], rows)

    def row(e: Any) -> Rows:
        address = b.load(b.gep(addresses, [e], source_etype=I64), typ=ir.PointerType())
        return Rows(b, kind, [b.gep(address, [first], source_etype=kind.scalar)])

    return row


@intrinsic
def bundle_tile(typingctx, d, slot_width, left, bundle, sums, count, x, y, weights):
    """Copy one register of units of every slot of `count` examples into `bundle` (example, slot, LANES).

    It's added to `sums`, too. And the processor is asked for what the first tiles will read of `x` and of `y`.
    """
    n_slots = weights.instance_class.cell.slots

    def codegen(context, b, sig, args):
        bundle, sums = (grid(context, b, sig.args[i], args[i]) for i in (3, 4))
        d_of, x_of, y_of = (_rows_in(context, b, sig.args[i], args[i], bundle.kind) for i in (0, 6, 7))
        lanes = bundle.kind.lanes
        mask = first_lanes(b, bundle.kind, args[2])

        def example(e, totals):
            d = d_of(e)
            units = [d.load(0, 0, b.mul(args[1], I64(s)), mask) for s in range(n_slots)]
            for soon in (x_of(e), y_of(e)):
                soon.prefetch(0, 0)
            for s, value in enumerate(units):
                bundle.store(value, e, 0, s * lanes)
            return [total + value for total, value in zip(totals, units, strict=True)]

        for s, total in enumerate(loop(b, args[5], [sums.load(0, 0, s * lanes) for s in range(n_slots)], example)):
            sums.store(total, 0, 0, s * lanes)
        return context.get_dummy_value()

    return types.void(d, slot_width, left, bundle, sums, count, x, y, weights), codegen


@intrinsic
def gradient_tile(typingctx, x, columns_left, bundle, slots, dw, count, later, columns):
    """dw[c, s] += sum over e of x[e, c] bundle[e, s] for some columns c: a weight gradient, transposed.

    It's tiled over the weights, so that no two threads add to one number. With slots for more than one loop, for each
    example the last loop asks for what lies at the place of `later`, for the second-level cache.
    """
    n_slots, n_columns = len(slots), columns.literal_value

    def codegen(context, b, sig, args):
        bundle, dw = (grid(context, b, sig.args[i], args[i]) for i in (2, 4))
        x_of, later_of = (_rows_in(context, b, sig.args[i], args[i], dw.kind) for i in (0, 6))
        chosen = [b.mul(slot, I64(dw.kind.lanes)) for slot in cgutils.unpack_tuple(b, args[3])]
        column = rows_up_to(b, n_columns, args[1])

        def add(slots):
            def example(e, sums):
                x = x_of(e)
                if slots[0] == 0:
                    x.prefetch(0, 0, LINE * 8 // x.kind.bits)  # what the next tile of columns will read
                elif slots[-1] == n_slots - 1:
                    later_of(e).prefetch(0, 0, level=2)
                return _multiply_add(
                    sums, [x.broadcast(0, 0, c) for c in column], [bundle.load(e, 0, chosen[s]) for s in slots]
                )

            places = [(c, s) for c in range(n_columns) for s in slots]
            sums = loop(b, args[5], [dw.load(*place) for place in places], example)
            for place, total in zip(places, sums, strict=True):
                dw.store(total, *place)

        for slots in in_registers(range(n_slots), n_columns):
            add(slots)
        return context.get_dummy_value()

    return types.void(x, columns_left, bundle, slots, dw, count, later, columns), codegen


@intrinsic
def direct_gradient_tile(typingctx, x, columns_left, bundle, rows_left, dw, count, rows, blocks):
    """dw[s, c] += sum over e of bundle[e, s] x[e, c] for some rows s and registers of columns: not transposed.

    For few examples, of which x is in the cache. The sums are the same chains.
    """
    n_rows, n_blocks = rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        bundle, dw = (grid(context, b, sig.args[i], args[i]) for i in (2, 4))
        x_of = _rows_in(context, b, sig.args[0], args[0], dw.kind)
        masks = edge_masks(b, dw.kind, range(n_blocks), args[1])
        row_of = rows_up_to(b, n_rows, args[3])

        def example(e, sums):
            x = x_of(e)
            return _multiply_add(
                sums, [bundle.broadcast(e, 0, m) for m in row_of], [x.load(0, v, 0, masks[v]) for v in range(n_blocks)]
            )

        places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]
        zero = Vec(b, dw.kind, ir.Constant(dw.kind.vector, None))
        for (m, v), total in zip(places, loop(b, args[5], [zero] * len(places), example), strict=True):
            with b.if_then(b.icmp_signed("<", I64(m), args[3])):
                dw.store(dw.load(m, v, mask=masks[v]) + total, m, v, mask=masks[v])
        return context.get_dummy_value()

    return types.void(x, columns_left, bundle, rows_left, dw, count, rows, blocks), codegen


@intrinsic
def copy_tile(typingctx, w, left, packed):
    """One register of `w` into `packed`; where fewer numbers are left, the others are zero."""

    def codegen(context, b, sig, args):
        w, packed = (grid(context, b, sig.args[i], args[i]) for i in (0, 2))
        packed.store(w.load(0, 0, mask=first_lanes(b, w.kind, args[1])), 0, 0)
        return context.get_dummy_value()

    return types.void(w, left, packed), codegen


@intrinsic
def transpose_tile(typingctx, w, rows_left, columns_left, packed):
    """packed[c, s] = w[s, c] for LANES rows s and at most LANES columns c; rows of which none is left are zero."""

    def codegen(context, b, sig, args):
        w, packed = (grid(context, b, sig.args[i], args[i]) for i in (0, 3))
        lanes = w.kind.lanes
        mask, zero = first_lanes(b, w.kind, args[2]), ir.Constant(w.kind.vector, None)
        rows = [
            w.load(row, 0, mask=mask).each(
                lambda values, s=s: b.select(b.icmp_signed("<", I64(s), args[1]), values, zero)
            )
            for s, row in enumerate(rows_up_to(b, lanes, args[1]))
        ]
        for c, column in enumerate(transposed(rows)):
            with b.if_then(b.icmp_signed("<", I64(c), args[2])):
                packed.store(column, c, 0)
        return context.get_dummy_value()

    return types.void(w, rows_left, columns_left, packed), codegen


@intrinsic
def add_transposed(typingctx, tiles, rows_left, columns_left, dw):
    """dw[s, c] += tiles[c, s] for at most LANES rows s and columns c of `dw`, of which there are that many left."""

    def codegen(context, b, sig, args):
        tiles, dw = (grid(context, b, sig.args[i], args[i]) for i in (0, 3))
        lanes = dw.kind.lanes
        columns = [tiles.load(c, 0) for c in rows_up_to(b, lanes, args[2])]

        def add_whole() -> None:
            for s, row in enumerate(transposed(columns)):
                dw.store(dw.load(s, 0) + row, s, 0)

        def add_edge() -> None:
            mask = first_lanes(b, dw.kind, args[2])
            for s, row in enumerate(transposed(columns)):
                with b.if_then(b.icmp_signed("<", I64(s), args[1])):
                    dw.store(dw.load(s, 0, mask=mask) + row, s, 0, mask=mask)

        fewer = b.select(b.icmp_signed("<", *args[1:3]), *args[1:3])
        _whole_or_edge(b, b.icmp_signed(">=", fewer, I64(lanes)), add_whole, add_edge)
        return context.get_dummy_value()

    return types.void(tiles, rows_left, columns_left, dw), codegen
