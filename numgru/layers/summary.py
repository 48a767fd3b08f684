"""What a model is made of, as a table.

Shapes are symbolic: letters for lengths that a call decides, T time, B batch, H features.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .base import Layer

Shape = tuple[int | str, ...]


@dataclass(frozen=True)
class Row:
    """One line: a layer, or of a recurrent one a layer of its stack in one direction.

    Attributes
    ----------
    name : str
        How its parameters' names begin, and the layer of the stack: ``0.l1_reverse``.
    layer : str
        Its class.
    output_shape : tuple of int and str
        Of two directions, each has its own half of the features. Empty for a learned state.
    parameters, bytes : int
    multiply_adds : int
        For one step of one sequence; after a head that leaves no steps, for one sequence.
    """

    name: str
    layer: str
    output_shape: Shape
    parameters: int
    bytes: int
    multiply_adds: int

    @property
    def cells(self) -> tuple[str, ...]:
        """As a table shows it."""
        shape = f"({', '.join(map(str, self.output_shape))})" if self.output_shape else ""
        return self.name, self.layer, shape, *(f"{n:,}" for n in (self.parameters, self.bytes, self.multiply_adds))


@dataclass(frozen=True, repr=False)
class Summary:
    """The rows of a model and their total; shows itself as a table.

    Attributes
    ----------
    rows : tuple of Row
    total : Row
        With the output shape of the whole model.
    """

    rows: tuple[Row, ...]
    total: Row

    def __str__(self) -> str:
        """The table, without a line end after it."""
        title = ("", "layer", "output", "parameters", "bytes", "multiply-adds a step")
        lines = [title, *(row.cells for row in self.rows), self.total.cells]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(
                cell.ljust(width) if at < 3 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        )

    __repr__ = __str__


def summarize(model: Layer) -> Summary:
    """The summary of `model`, for inputs of the shape that its first layer takes."""
    rows: list[Row] = []
    shape = model.input_shape
    for name, leaf in model.leaves.items():
        rows += leaf.summary_rows(name, shape)
        shape = leaf.output_shape(shape)
    sums = (sum(getattr(row, of) for row in rows) for of in ("parameters", "bytes", "multiply_adds"))
    return Summary(tuple(rows), Row("total", "", shape, *sums))


def products(sizes: Iterable[tuple[int, ...]]) -> int:
    """Multiply-adds of one step of one sequence: each number of each matrix once."""
    return sum(prod(size) for size in sizes if len(size) == 2)
