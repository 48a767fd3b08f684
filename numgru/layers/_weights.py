"""Parameters of recurrent layers, and the same packed for the kernels.

Shapes: H hidden, L layers, D directions, S states of the cell.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from .. import _check
from .._types import FloatArray
from ..kernels import single_step, threads
from ..kernels.cell import Weights
from ..kernels.packing import same_bits
from ..kernels.target import TARGET
from ._direction import Direction
from .base import Layer, fixed
from .summary import Row, Shape, products


class _PackedOnce(NamedTuple):
    """Packed weights, never changed, and what they were packed from."""

    weights: tuple[FloatArray, list[FloatArray]]  # one block, and its parts by layer and direction
    tokens: bool  # whether the first layer's are for tokens
    parameters: FloatArray | None  # a copy; None as long as nobody could have changed them
    exposures: int  # of the parameters; the same number again: nobody can have changed them


class _Option:
    """A rate or bound that may be set later, too, and is checked then. It's read as any attribute, without a call."""

    def __init__(self, check: Callable[[str, Any], Any]) -> None:
        self._check = check

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, layer: RecurrentWeights, value: Any) -> None:
        layer.__dict__[self._name] = self._check(self._name, value)
        layer._packed = None  # zoneout's rate is packed, too


class RecurrentWeights(Layer):
    """What a recurrent layer is made of; `GRU` documents the parameters."""

    _packed: _PackedOnce | None = None
    input_size: int = fixed()
    hidden_size: int = fixed()
    num_layers: int = fixed()
    bias: bool = fixed()
    batch_first: bool = fixed()
    bidirectional: bool = fixed()
    learn_h_0: bool = fixed()
    dropout: float = _Option(_check.fraction)  # type: ignore[assignment]
    recurrent_dropout: float = _Option(_check.fraction)  # type: ignore[assignment]
    zoneout: float = _Option(_check.fraction)  # type: ignore[assignment]
    checkpoint_every: int | None = _Option(_check.size_or_none)  # type: ignore[assignment]
    clip_flow_value: float | None = _Option(_check.bound)  # type: ignore[assignment]
    clip_flow_norm: float | None = _Option(_check.bound)  # type: ignore[assignment]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        learn_h_0: bool = False,
        checkpoint_every: int | None = None,
        clip_flow_value: float | None = None,
        clip_flow_norm: float | None = None,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self.input_size = _check.size("input_size", input_size)
        self.hidden_size = H = _check.size("hidden_size", hidden_size)
        self.num_layers = L = _check.size("num_layers", num_layers)
        self.bias, self.batch_first = _check.flag("bias", bias), _check.flag("batch_first", batch_first)
        self.bidirectional = _check.flag("bidirectional", bidirectional)
        self.dropout, self.recurrent_dropout, self.zoneout = dropout, recurrent_dropout, zoneout
        self.learn_h_0 = _check.flag("learn_h_0", learn_h_0)
        self.checkpoint_every = checkpoint_every
        self.clip_flow_value, self.clip_flow_norm = clip_flow_value, clip_flow_norm
        self.measure_flow = False
        if self.dropout and L == 1:
            warnings.warn(
                f"dropout: expected num_layers of at least 2, as it lies between layers, got dropout={dropout} "
                "with num_layers=1; it has no effect",
                stacklevel=3,
            )
        gates = len(self._kind.cell.input_slots)
        shapes: dict[str, tuple[int, ...]] = {}
        for suffix, width, _ in self._places():
            shapes |= {f"weight_ih_{suffix}": (gates * H, width), f"weight_hh_{suffix}": (gates * H, H)}
            if bias:
                shapes |= {f"bias_ih_{suffix}": (gates * H,), f"bias_hh_{suffix}": (gates * H,)}
        size = sum(int(np.prod(shape)) for shape in shapes.values())
        if learn_h_0:
            shapes |= dict.fromkeys(self._first_states, (L * self.num_directions, 1, H))
        super().__init__(shapes, dtype)
        generator = _check.generator(seed)
        self.flat_parameters[:size] = generator.uniform(-(H**-0.5), H**-0.5, size)
        self.random_state: dict[str, Any] = {"seed": int(generator.integers(2**63)), "draws": 0}

    @property
    def _kind(self) -> type[Weights]:
        """The packed weights' type, which says what the cell is."""
        raise NotImplementedError

    @cached_property
    def _states(self) -> int:
        """S."""
        return self._kind.cell.states

    @property
    def _first_states(self) -> tuple[str, ...]:
        """Their names before the first step."""
        return ("h_0", "c_0")[: self._states]

    @property
    def num_directions(self) -> int:
        """2 if bidirectional, otherwise 1."""
        return 2 if self.bidirectional else 1

    @property
    def _bounds(self) -> tuple[float, float]:
        """Of what flows from step to step: the largest value and norm."""
        value, norm = self.clip_flow_value, self.clip_flow_norm
        return np.inf if value is None else value, np.inf if norm is None else norm

    def _places(self) -> Iterator[tuple[str, int, int]]:
        """Name, input width and direction (1: reverse) of every layer's directions."""
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else self.num_directions * self.hidden_size
            for reverse in range(self.num_directions):
                yield f"l{layer}" + ("_reverse" if reverse else ""), width, reverse

    _transient: ClassVar = Layer._transient | {"_directions", "_packed"}

    def _forget(self) -> None:
        H, gates, start = self.hidden_size, len(self._kind.cell.input_slots), 0
        self._directions = []
        for suffix, width, reverse in self._places():
            span = slice(start, start + gates * H * (width + H + 2 * self.bias))
            self._directions.append(
                Direction(self._kind, suffix, span, width, H, self._width, reverse, self.batch_first, self.dtype)
            )
            start = span.stop
        self._packed = None

    def _state_shape(self, *shape: int) -> tuple[int, ...]:
        """The shape of what users give and get, for one state's."""
        return shape if self._states == 1 else (self._states, *shape)

    @property
    def _width(self) -> int:
        return self.num_directions * self.hidden_size

    @property
    def small_input(self) -> tuple[int, ...]:
        """One step of as many sequences as several threads would share out."""
        B = TARGET.rows + 1
        return (B, 1, self.input_size) if self.batch_first else (1, B, self.input_size)

    def output_shape(self, shape: Shape) -> Shape:
        """As many steps and sequences, H features of each direction."""
        return (*shape[:2], self._width)

    def summary_rows(self, name: str, shape: Shape) -> list[Row]:
        """A line for each layer and direction, and for each learned state."""
        rows, states = [], self._first_states if self.learn_h_0 else ()
        for suffix, _, _ in self._places():
            sizes = [size for parameter, size in self._shapes.items() if parameter.endswith(f"h_{suffix}")]
            part = f"{name}.{suffix}".removeprefix(".")
            rows.append(self._row(part, (*shape[:2], self.hidden_size), sizes, products(sizes)))
        return rows + [self._row(f"{name}.{state}".removeprefix("."), (), [self._shapes[state]], 0) for state in states]

    def _require_one_direction(self) -> None:
        if self.bidirectional:
            raise ValueError("bidirectional: expected a layer of one direction, got both; call it on whole sequences")

    def _weights(self, tokens: bool = False) -> tuple[FloatArray, list[FloatArray]]:
        """The packed weights of all directions, packed again if a parameter has changed since."""
        packed = self._packed
        if packed is not None and packed.exposures == self._exposures and packed.tokens == tokens:
            return packed.weights
        exposures = self._exposures  # first: whoever gets a view from now on is seen in the next call
        if self._exposed():
            exposures = -1
        if packed is None or packed.tokens != tokens or not self._is_same(packed):
            with threads.one_at_a_time():
                packed = self._packed
                if packed is None or packed.tokens != tokens or not self._is_same(packed):
                    packed = self._packed = None
                    before = self._flat_parameters.copy() if exposures == -1 else None
                    packed = _PackedOnce(self._pack(tokens), tokens, before, exposures)
        before = packed.parameters if exposures == -1 else None
        self._packed = packed = packed._replace(parameters=before, exposures=exposures)
        return packed.weights

    def _expose(self) -> None:
        super()._expose()
        if self._packed is None or self._packed.parameters is not None:
            return
        with threads.one_at_a_time():
            packed = self._packed
            if packed is not None and packed.parameters is None:
                self._packed = packed._replace(parameters=self._flat_parameters.copy())

    def _is_same(self, packed: _PackedOnce) -> bool:
        if packed.parameters is None:
            return False
        words = np.dtype(f"i{self.dtype.itemsize}")
        return bool(same_bits(self._flat_parameters.view(words), packed.parameters.view(words)))

    def _pack(self, tokens: bool) -> tuple[FloatArray, list[FloatArray]]:
        widths = [direction.input_size for direction in self._directions]
        block, parts = single_step.new_block(self._kind, widths, self.hidden_size, self.dtype, self.zoneout)
        for at, (direction, packed) in enumerate(zip(self._directions, parts, strict=True)):
            table = np.arange(self.input_size) if tokens and at < self.num_directions else None
            direction.pack(direction.weights_in(packed), self._flat_parameters[direction.span], table)
        return block, parts
