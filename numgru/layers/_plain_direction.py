"""One direction of one layer of a recurrent network: its packed weights and its memory, and calls without options.

Which kernels run it on how many threads is decided here, and for calls with options in _direction.py, whose `Direction`
is the only class that layers make: the two are in two files for their length.
Shapes: T steps, B batch, I input, H hidden, S states; as in kernels/sequences.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from .._types import FloatArray
from ..kernels import recurrent, threads
from ..kernels._jit import SharedKernel
from ..kernels.blocks import aligned_empty, blocks_of
from ..kernels.cell import Weights, blocks_together
from ..kernels.examples import PARCEL_ROWS, parcels_of
from ..kernels.few_rows import shares_of
from ..kernels.plain import PLAIN
from ..kernels.target import TARGET
from ..kernels.tiles import ROWS
from ..kernels.tokens import pack_weights_for_tokens
from ..kernels.weight_gradients import workspace_size
from ._tape import PlainTape

_PACKING = 12  # packing a layer's weights takes as long as so many examples
_WORTH_MOVING = 192  # numbers, x and h, with which a gate's gradient is multiplied: fewer, and moving it takes longer


class PlainDirection:
    """Weights and kernels of one direction (0: from the first step on, 1: from the last) of one layer."""

    def __init__(
        self, kind: type[Weights], suffix: str, input_size: int, hidden_size: int, width: int, reverse: int,
        batch_first: bool, dtype: Any,
    ) -> None:  # fmt: skip
        self.kind, self.cell = kind, kind.cell
        self.gates = len(self.cell.input_slots)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.width, self.reverse, self.batch_first, self.dtype = width, reverse, batch_first, np.dtype(dtype)
        self.suffix = suffix
        self.names = {short: f"{short}_{suffix}" for short in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        self.blocks, self.input_blocks = blocks_of(hidden_size, self.dtype), blocks_of(input_size, self.dtype)
        self.padded = self.blocks * TARGET.lanes(self.dtype)
        self._operations = 2 * self.gates * self.padded * (input_size + hidden_size)  # of an example
        self.none = np.empty(0, self.dtype)
        self._seen = np.zeros(input_size, np.bool_)  # tokens of the last pass
        self._rooms: dict[str, FloatArray] = {}  # memory of training calls, kept for the next one
        self._plain = PLAIN[kind]

    def pack(self, weights: Weights, parameters: Mapping[str, FloatArray], tokens: FloatArray | None = None) -> None:
        """Fill the weights for forward passes; where the input is tokens, for these `tokens` only."""
        if tokens is None:
            threads.run(recurrent.pack_weights, self._packing_parts, weights, *self._of(parameters))
        else:
            pack_weights_for_tokens(weights, *self._of(parameters), tokens.reshape(-1))

    @property
    def _packing_parts(self) -> int:
        return threads.parts_for_layer(_PACKING * self._work(1), self.blocks)

    def pack_for_training(self, parameters: Mapping[str, FloatArray], tokens: FloatArray | None = None) -> Weights:
        """Pack them for a forward pass, in memory that the backward pass's weights take over."""
        self.pack(self._training_weights, parameters, tokens)
        return self._training_weights

    @cached_property
    def _training_weights(self) -> Weights:
        state = self.gates * self.hidden_size * self.padded
        inputs = self._packed_room.size - state - self.padded * self.cell.slots
        return self.kind(*np.split(self._packed_room, (inputs, inputs + state)))

    @cached_property
    def _packed_room(self) -> FloatArray:
        """For a training pass's weights, forward or backward."""
        rows = self.gates * self.hidden_size * TARGET.lanes(self.dtype)
        inputs = max(self.padded * self.gates * self.input_size, self.input_blocks * rows)
        return aligned_empty(inputs + self.blocks * rows + self.padded * self.cell.slots, self.dtype)

    def _of(self, arrays: Mapping[str, FloatArray]) -> list[FloatArray]:
        return [arrays.get(name, self.none) for name in self.names.values()]

    def infer(self, packed: FloatArray, x: FloatArray, h_0: FloatArray, y: FloatArray) -> FloatArray | None:
        """The states into y, from a plain batch; returns the last second state (1, B, H), if there is one.

        The weights are at the end of `packed`.
        """
        examples, B = y.shape[0] * y.shape[1], h_0.shape[1]
        c = self._room_for_cells(1, B)
        threads.run(
            self._plain.infer, self._parts(examples, B, self._plain.infer), packed, x, h_0, y, c, self.batch_first
        )
        return c

    def train(self, parameters: FloatArray, x: FloatArray, h_0: FloatArray, y: FloatArray) -> PlainTape:
        """The states into y, from a plain batch and the layer's flat parameters, for `train_backward`."""
        examples, B, kernel = y.shape[0] * y.shape[1], h_0.shape[1], self._plain.train
        gates, c = self._room_for_gates(examples), self._room_for_cells(examples // B, B)
        parts, loop_parts = self._training_parts(examples, B, kernel)
        threads.run(
            kernel, parts, self._packed_room, parameters, x, h_0, y, c, gates, self.batch_first, loop_parts
        )  # fmt: skip
        return PlainTape(x, h_0, y, c, gates)

    def train_backward(
        self, tape: PlainTape, parameters: FloatArray, gradients: FloatArray, dy: FloatArray, dx: FloatArray | None,
        dh: FloatArray, norms: FloatArray | None,
    ) -> None:  # fmt: skip
        """dx (where it's wanted), dh_0 in place of dh_n, and the parameters' gradients, flat as the parameters.

        And the norms (T, B) of what flows from step to step, where they are wanted.
        """
        examples, B, kernel = dy.shape[0] * dy.shape[1], dh.shape[1], self._plain.train_backward
        parts, loop_parts = self._training_parts(examples, B, kernel)
        squares = None if norms is None else np.empty(norms.size * self.blocks)
        parcels = self._parcels(examples // B, B)
        size = parts * self._size_of_part if parcels == 1 else self._size_of_sums(self.input_size, parts, parcels)
        threads.run(
            kernel, parts,
            self._packed_room, parameters, gradients, *tape, dy, None if dx is None else dx.reshape(-1), dh,
            self._room_for_carry(B), self.batch_first, self._room("sums", size), squares, parcels, loop_parts,
        )  # fmt: skip
        if norms is not None and squares is not None:
            norms.reshape(-1, 1)[...] = self._norms_of(squares)

    def _training_parts(self, examples: int, B: int, kernel: SharedKernel) -> tuple[int, int]:
        """Shares of all that isn't the way through time, where weights are packed and gradients summed, and of that.

        Where a single thread goes through time, the gates are in its cache, and stay there unless much is to be summed.
        There are as many threads as shares, so the former are no fewer than the latter.
        """
        work = self._work(examples + _PACKING)
        if threads.are_not_worth(work):
            return 1, 1
        loop_parts = self._parts(examples, B, kernel)
        if loop_parts == 1 and self.input_size + self.hidden_size < _WORTH_MOVING:
            return 1, 1
        shares = 2 * self.blocks * self._parcels(examples // B, B)
        return max(loop_parts, threads.parts_for(work, shares, kernel)), loop_parts

    def _parcels(self, T: int, B: int) -> int:
        """Into how many the batch is cut for the gradients of weights."""
        return 1 if B < 2 * PARCEL_ROWS else parcels_of(T, B, self.input_size + self.hidden_size, self.gates)

    @cached_property
    def _size_of_part(self) -> int:
        """Numbers of memory for these gradients, where each part keeps its own sums and needs no longer."""
        return workspace_size(self.input_size, self.hidden_size, self.cell, self.dtype, 1, 1, held=False)

    def _size_of_sums(self, inputs: int, parts: int, parcels: int, *, in_pieces: bool = False) -> int:
        """Numbers of memory for these gradients of all parts, where the input has so many features, not tokens."""
        groups, held = parcels * -(-self.blocks // blocks_together(self.cell)), parcels > 1 or in_pieces
        return workspace_size(inputs, self.hidden_size, self.cell, self.dtype, parts, groups, held=held)

    def _room_for_cells(self, steps: int, B: int) -> FloatArray | None:
        return None if self.cell.states == 1 else np.empty((steps, B, self.hidden_size), self.dtype)

    def _norms_of(self, squares: FloatArray) -> FloatArray:
        """From the blocks' sums of squares, neighbours first, as within the blocks."""
        sums = squares.reshape(-1, self.blocks)
        while sums.shape[1] > 1:
            even, odd = sums[:, 0::2], sums[:, 1::2]
            sums = even.copy()
            sums[:, : odd.shape[1]] += odd
        norms: FloatArray = np.sqrt(sums)
        return norms

    def _room(self, name: str, size: int) -> FloatArray:
        room = self._rooms.get(name, self.none)
        if room.size < size:
            room = self._rooms[name] = self.none  # the smaller one goes before there is a larger one
            room = self._rooms[name] = aligned_empty(size, self.dtype)
        return room if room.size == size else room[:size]

    def _room_for_gates(self, rows: int) -> FloatArray:
        return self._room("gates", rows * self.cell.slots * self.padded)

    def _room_for_carry(self, B: int) -> FloatArray:
        return self._room("carry", self.cell.states * B * self.padded)

    def _parts(
        self, examples: int, B: int, kernel: SharedKernel | None = None, *, same_length: bool = True
    ) -> int:  # fmt: skip
        """Shares of the rows, or where they are too few for all threads, of each tile's blocks of units for a team."""
        shares = shares_of(B, self.blocks) if same_length or B <= ROWS else -(-B // ROWS)
        return threads.parts_for(self._work(examples), shares, kernel) if shares > 1 else 1

    def _work(self, examples: int) -> int:
        """Operations of a forward pass, in lanes that are switched off as well."""
        return examples * self._operations
