"""The tiles: sums over k that stay in registers until an epilogue has turned them into results.

Shapes: a tile has `rows` rows (of the batch, or of a weight matrix) x `blocks` registers of units; its sums are a
list, row by row. Every sum is one chain of fused multiply-adds over k, in the same order whatever the tile's shape:
that is what gives the same bits for any batch size, thread count and register width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from ._jit import intrinsic
from .target import TARGET
from .vectors import I64, Grid, Kind, Vec, first_lanes, loop

ROWS = TARGET.rows
WIDE = 4  # registers of a one-row tile: with 3 gates, enough independent sums to keep the multipliers busy


class View(NamedTuple):
    """Where a tile's rows and blocks lie in a flat buffer (in numbers, not bytes): the kernels' side of a `Grid`."""

    data: NDArray[Any]
    at: int
    row: int
    block: int


def kind_of(dtype: Any) -> Kind:
    """The registers of a Numba dtype on this machine."""
    return Kind(dtype.bitwidth, TARGET.lanes(dtype), TARGET.fma)


def pointer(context: Any, b: ir.IRBuilder, array_type: Any, array: Any) -> Any:
    """The array's own data pointer; an address cast through an integer would hide from LLVM what may alias."""
    return cgutils.create_struct_proxy(array_type)(context, b, value=array).data


def grid(context: Any, b: ir.IRBuilder, view_type: Any, view: Any) -> Grid:
    """A `View`, as the emitters see it."""
    data, at, row, block = cgutils.unpack_tuple(b, view)
    array = view_type.types[0]
    return Grid(b, kind_of(array.dtype), pointer(context, b, array, data), at, row, block)


def _multiply_add(sums: Sequence[Vec], column: Sequence[Vec], row: Sequence[Vec]) -> list[Vec]:
    """sums[m, j] + column[m] row[j]: the only arithmetic of every loop over k."""
    width = len(row)
    return [row[j].fma(column[m], sums[m * width + j]) for m in range(len(column)) for j in range(width)]


def sum_rows(
    b: ir.IRBuilder, sums: Sequence[Vec], rows: int, depth: Any, a: Grid, weights: Callable[[Any], list[Vec]]
) -> list[Vec]:
    """sums[m, j] + sum_k a[m, k] w[k, j], for rows of `a` that are contiguous in k."""
    return loop(
        b,
        depth,
        sums,
        lambda k, sums: _multiply_add(sums, [a.broadcast(m, 0, k) for m in range(rows)], weights(k)),
    )


def sum_blocks(
    b: ir.IRBuilder, sums: Sequence[Vec], rows: int, depth: Any, a: Grid, weights: Callable[[Any], list[Vec]]
) -> list[Vec]:
    """The same for rows of `a` in blocks of LANES, as the gates lie: unit k is lane k % LANES of block k // LANES."""
    lanes = I64(a.kind.lanes)

    def block(v: Any, sums: list[Vec]) -> list[Vec]:
        first = b.mul(v, lanes)
        left = b.sub(depth, first)

        def unit(lane: Any, sums: list[Vec]) -> list[Vec]:
            return _multiply_add(sums, [a.broadcast(m, v, lane) for m in range(rows)], weights(b.add(first, lane)))

        return loop(b, b.select(b.icmp_signed("<", left, lanes), left, lanes), sums, unit)

    return loop(b, b.sdiv(b.add(depth, b.sub(lanes, I64(1))), lanes), sums, block)


def edge_masks(b: ir.IRBuilder, kind: Kind, blocks: int, left: Any) -> list[Any]:
    """For each block the lanes in use, where `left` numbers remain from the tile's first on."""
    return [first_lanes(b, kind, b.sub(left, I64(v * kind.lanes))) for v in range(blocks)]


@intrinsic
def affine_tile(typingctx, start, a, depth, w, y, left, rows, blocks):
    """y = start + a w over `depth`: one step of a linear map. `start` with strides of zero repeats one row."""
    n_rows, n_blocks = rows.literal_value, blocks.literal_value

    def codegen(context, b, sig, args):
        start, a, w, y = (grid(context, b, sig.args[i], args[i]) for i in (0, 1, 3, 4))
        masks = edge_masks(b, y.kind, n_blocks, args[5])
        places = [(m, v) for m in range(n_rows) for v in range(n_blocks)]
        sums = sum_rows(
            b, [start.load(m, v) for m, v in places], n_rows, args[2], a,
            lambda k: [w.load(k, v) for v in range(n_blocks)],
        )  # fmt: skip
        for (m, v), value in zip(places, sums, strict=True):
            y.store(value, m, v, mask=masks[v])
        return context.get_dummy_value()

    return types.void(start, a, depth, w, y, left, rows, blocks), codegen


@intrinsic
def gradient_tile(typingctx, dw, rows_left, columns_left, da, x, outer, inner, blocks):
    """dw[m, c] += sum over (o, i) of da[o, i, m] x[o, i, c]: a weight gradient, `outer` x `inner` examples deep.

    In `da` and `x` an example is (row i, block o). A tile has min(ROWS, LANES) rows, so that its da are contiguous.
    """
    n_blocks = blocks.literal_value

    def codegen(context, b, sig, args):
        dw, da, x = (grid(context, b, sig.args[i], args[i]) for i in (0, 3, 4))
        lanes = dw.kind.lanes
        n_rows = min(ROWS, lanes)
        masks = edge_masks(b, dw.kind, n_blocks, args[2])
        last = b.sub(args[1], I64(1))
        # Rows beyond the last are summed (their da is zero padding) into the last one's place, and not stored.
        row = [b.select(b.icmp_signed("<", I64(m), last), I64(m), last) for m in range(n_rows)]
        sums = [dw.load(row[m], v, mask=masks[v]) for m in range(n_rows) for v in range(n_blocks)]

        def example(o, i, sums):
            column = [da.broadcast(i, o, m) for m in range(n_rows)]
            return _multiply_add(sums, column, [x.load(i, o, v * lanes, masks[v]) for v in range(n_blocks)])

        sums = loop(b, args[5], sums, lambda o, sums: loop(b, args[6], sums, lambda i, sums: example(o, i, sums)))
        for m in range(n_rows):
            with b.if_then(b.icmp_signed("<=", I64(m), last)):
                for v in range(n_blocks):
                    dw.store(sums[m * n_blocks + v], m, v, mask=masks[v])
        return context.get_dummy_value()

    return types.void(dw, rows_left, columns_left, da, x, outer, inner, blocks), codegen
