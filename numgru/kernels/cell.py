"""What a cell says about itself; kernels know it when they are compiled.

A *gate* is one part of the layer's weights, a *slot* one of the numbers that a unit keeps from forward to backward.
A time step goes through the cell's *stages*, each for all units before the next. A stage sums its gates over the
input and over what the stage before has made; the first one, over the state. What the last one makes is the new state.
A cell may have a second state, c, which no weights multiply: the last stage gets and makes it, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

from numpy.typing import NDArray

from ._jit import overload
from .tiles import ROWS, in_registers, memory_of
from .vectors import Vec

Slots = dict[int, Vec]  # registers by slot


class Stage(NamedTuple):
    """Some gates, what becomes of their sums, and the derivative of that."""

    gates: tuple[int, ...]  # in their order, those of earlier stages first
    step: Callable[..., Any]
    step_backward: Callable[..., Any]
    makes: int | None = None  # the slot of what the next stage sums over; None: the new state

    @property
    def width(self) -> int:
        """Blocks of units that are taken as one, so that a row has sums enough to keep the multipliers busy."""
        return 2 if len(self.gates) == 1 else 1


class Cell:
    """Where a unit's numbers are, and the equations, which belong to stages.

    A stage's `step` gets its sums and what earlier stages have kept, by slot, and the state: the one that its products
    would take, or in the last stage the one before any noise. It returns what it makes and what it keeps.

    Its `step_backward` gets the gradient of what it made, all that was kept, and the same state. It returns the part
    of the gradient that reaches this state directly (None: there is none), and the gradients of sums.

    Where there's a second state, c comes behind these arguments and the new c behind these results; backwards, the
    gradient of the new c and then c, and the whole gradient of c.
    """

    slots: ClassVar[int]
    gates: ClassVar[str] = ""  # the names, in the equations, of what is in the first slots, a letter each
    candidates: ClassVar[str] = ""  # of these, those between -1 and 1; the others are between 0 and 1
    keeping: ClassVar[str] = ""  # and those that say which share of a state a step keeps
    states: ClassVar[int] = 1
    input_slots: ClassVar[tuple[int, ...]]  # of the sum to which each gate's input weights lead
    state_slots: ClassVar[tuple[int, ...]]  # the same for its other weights
    stages: ClassVar[tuple[Stage, ...]]


class _Packed(NamedTuple):
    """Flat arrays. S slots, G gates."""

    input: NDArray[Any]  # (block, panel, I, gate, LANES); backward (block of I, G, H, LANES)
    state: NDArray[Any]  # (block, panel, H, gate, LANES); backward (block of H, G, H, LANES)
    bias: NDArray[Any]  # (block, S, LANES): by slot, those of the input and of the state added up


class Weights(_Packed):
    """Packed weights; a subclass's type tells the tiles which cell they compute."""

    cell: ClassVar[type[Cell]]


def in_memory(weights):
    """Weights as their arrays' memory alone."""
    raise NotImplementedError


@overload(in_memory)
def _(weights):
    kind = weights.instance_class
    return lambda weights: kind(memory_of(weights.input), memory_of(weights.state), memory_of(weights.bias))


def _known(fact: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """A fact about a cell, as a function of its weights that is a constant in kernels."""

    def of(weights):
        return fact(type(weights).cell)

    @overload(of)
    def _(weights):
        value = fact(weights.instance_class.cell)
        return lambda weights: value

    return of


@_known
def cell_slots(cell: Any) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """Slots of the sums that the input's and the state's weights lead to, and the number of slots."""
    return cell.input_slots, cell.state_slots, cell.slots


@_known
def gate_count(cell: Any) -> int:
    """The number of gates."""
    return len(cell.input_slots)


@_known
def slot_count(cell: Any) -> int:
    """The number of slots."""
    count: int = cell.slots
    return count


@_known
def stage_count(cell: Any) -> int:
    """The number of stages."""
    return len(cell.stages)


@_known
def state_slots_by_stage(cell: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The slots of the state's weights in two parts: those that multiply the state, and the second stage's."""
    return _state_slots(cell)


def _state_slots(cell: Any) -> tuple[tuple[int, ...], tuple[int, ...]]:
    of_state = len(cell.state_slots) - sum(len(stage.gates) for stage in cell.stages[1:])
    return cell.state_slots[:of_state], cell.state_slots[of_state:]


def _blocks_abreast(cell: Any) -> int:
    return 3 if all(len(stage.gates) < 3 for stage in cell.stages) else 2


def blocks_together(cell: Any) -> int:
    """Blocks of units for whose weights' gradients the examples are read once."""
    return _blocks_abreast(cell) * (2 if cell.slots == 1 else 1)


@_known
def blocks_of_gradients(cell: Any) -> tuple[int, int]:
    """Blocks of units in a tile of weights' gradients, the fewer gates the more, and those treated together."""
    return _blocks_abreast(cell), blocks_together(cell)


@_known
def slots_abreast(cell: Any) -> tuple[tuple[int, ...], ...]:
    """For the input's weights, and the two parts of the state's: each slot in every block of such a tile."""
    parts, blocks = (cell.input_slots, *_state_slots(cell)), range(_blocks_abreast(cell))
    return tuple(tuple(slot + block * cell.slots for slot in part for block in blocks) for part in parts)


def panels_of(cell: Any) -> tuple[int, ...]:
    """How many gates each panel of packed weights has: those that a loop over k takes at once, where it can."""
    return tuple(len(gates) for stage in cell.stages for gates in in_registers(stage.gates, ROWS))


gate_panels = _known(panels_of)


@_known
def state_count(cell: Any) -> int:
    """The number of states."""
    count: int = cell.states
    return count


@_known
def made_slot(cell: Any) -> int | None:
    """The slot of what the first stage makes for the second; None if it's the only one."""
    return cell.stages[0].makes if cell.stages else None


@_known
def stage_widths(cell: Any) -> tuple[int, ...]:
    """The width of each stage."""
    return tuple(stage.width for stage in cell.stages)
