"""One direction of one layer of a recurrent network: its packed weights, its memory, and into how many shares it's cut.

What goes through it is in _pass.py.
Shapes: T steps, B batch, I input, H hidden, S states; as in kernels/sequences.py.
"""

from __future__ import annotations

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

_PACKING = 12  # packing a layer's weights takes as long as so many examples
_WORTH_MOVING = 192  # numbers, x and h, with which a gate's gradient is multiplied: fewer, and moving it takes longer


class Direction:
    """Weights, memory and shares of one direction (0: from the first step on, 1: from the last) of one layer."""

    def __init__(
        self, kind: type[Weights], suffix: str, span: slice, input_size: int, hidden_size: int, width: int,
        reverse: int, batch_first: bool, dtype: Any,
    ) -> None:  # fmt: skip
        self.kind, self.cell = kind, kind.cell
        self.gates = len(self.cell.input_slots)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.width, self.reverse, self.batch_first, self.dtype = width, reverse, batch_first, np.dtype(dtype)
        self.suffix, self.span = suffix, span  # of its parameters among the layer's
        self.blocks, self.input_blocks = blocks_of(hidden_size, self.dtype), blocks_of(input_size, self.dtype)
        self.padded = self.blocks * TARGET.lanes(self.dtype)
        self._operations = 2 * self.gates * self.padded * (input_size + hidden_size)  # of an example
        self.none = np.empty(0, self.dtype)
        self.seen = np.zeros(input_size, np.bool_)  # tokens of the last pass
        self._rooms: dict[str, FloatArray] = {}  # memory of training calls, kept for the next one
        self.plain = PLAIN[kind]

    def pack(self, weights: Weights, parameters: FloatArray, tokens: FloatArray | None = None) -> None:
        """Fill the weights for forward passes; where the input is tokens, for these `tokens` only."""
        if tokens is None:
            threads.run(recurrent.pack_weights, self.packing_parts, weights, *self.matrices(parameters))
        else:
            pack_weights_for_tokens(weights, *self.matrices(parameters), tokens.reshape(-1))

    @property
    def packing_parts(self) -> int:
        return threads.parts_for_layer(_PACKING * self.work(1), self.blocks)

    def pack_for_training(self, parameters: FloatArray, tokens: FloatArray | None = None) -> Weights:
        """Pack them for a forward pass, in memory that the backward pass's weights take over."""
        self.pack(self.forward_weights, parameters, tokens)
        return self.forward_weights

    @cached_property
    def forward_weights(self) -> Weights:
        """Those of a training pass's way forward, at the end of that room."""
        size = self.padded * (self.gates * (self.input_size + self.hidden_size) + self.cell.slots)
        return self.weights_in(self.packed_room[-size:])

    @cached_property
    def backward_weights(self) -> Weights:
        """Those of its way back, in all of it."""
        return self.weights_in(self.packed_room)

    def weights_in(self, packed: FloatArray) -> Weights:
        """Packed weights as parts of one array, the input's at first."""
        biases = packed.size - self.padded * self.cell.slots
        state = biases - self.gates * self.hidden_size * self.padded
        return self.kind(packed[:state], packed[state:biases], packed[biases:])

    @cached_property
    def packed_room(self) -> FloatArray:
        """For a training pass's weights, forward or backward."""
        rows = self.gates * self.hidden_size * TARGET.lanes(self.dtype)
        inputs = max(self.padded * self.gates * self.input_size, self.input_blocks * rows)
        return aligned_empty(inputs + self.blocks * rows + self.padded * self.cell.slots, self.dtype)

    def matrices(self, flat: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """w_ih, w_hh, b_ih and b_hh, or their gradients, in the order in memory; biases may be missing, and empty."""
        I, H = self.input_size, self.hidden_size
        units = self.gates * H
        w_ih, w_hh, biases = flat[: units * I], flat[units * I : units * (I + H)], flat[units * (I + H) :]
        return w_ih.reshape(units, I), w_hh.reshape(units, H), biases[:units], biases[units:]

    def parcels(self, T: int, B: int) -> int:
        """Into how many the batch is cut for the gradients of weights."""
        return 1 if B < 2 * PARCEL_ROWS else parcels_of(T, B, self.input_size + self.hidden_size, self.gates)

    @cached_property
    def size_of_part(self) -> int:
        """Numbers of memory for these gradients, where each part keeps its own sums and needs no longer."""
        return workspace_size(self.input_size, self.hidden_size, self.cell, self.dtype, 1, 1, held=False)

    def size_of_sums(self, inputs: int, parts: int, parcels: int, *, in_pieces: bool = False) -> int:
        """Numbers of memory for these gradients of all parts, where the input has so many features, not tokens."""
        groups, held = parcels * -(-self.blocks // blocks_together(self.cell)), parcels > 1 or in_pieces
        return workspace_size(inputs, self.hidden_size, self.cell, self.dtype, parts, groups, held=held)

    def room_for_cells(self, steps: int, B: int) -> FloatArray | None:
        return None if self.cell.states == 1 else np.empty((steps, B, self.hidden_size), self.dtype)

    def room(self, name: str, size: int) -> FloatArray:
        room = self._rooms.get(name, self.none)
        if room.size < size:
            room = self._rooms[name] = self.none  # the smaller one goes before there is a larger one
            room = self._rooms[name] = aligned_empty(size, self.dtype)
        return room if room.size == size else room[:size]

    def room_for_gates(self, rows: int) -> FloatArray:
        return self.room("gates", rows * self.cell.slots * self.padded)

    def room_for_carry(self, B: int) -> FloatArray:
        return self.room("carry", self.cell.states * B * self.padded)

    def parts(
        self, examples: int, B: int, kernel: SharedKernel | None = None, *, same_length: bool = True
    ) -> int:  # fmt: skip
        """Shares of the rows, or where they are too few for all threads, of each tile's blocks of units for a team."""
        shares = shares_of(B, self.blocks) if same_length or B <= ROWS else -(-B // ROWS)
        return threads.parts_for(self.work(examples), shares, kernel) if shares > 1 else 1

    def training_parts(self, examples: int, B: int, kernel: SharedKernel) -> tuple[int, int]:
        """Shares of all that isn't the way through time, where weights are packed and gradients summed, and of that.

        Where a single thread goes through time, the gates are in its cache, and stay there unless much is to be summed.
        There are as many threads as shares, so the former are no fewer than the latter.
        """
        work = self.work(examples + _PACKING)
        if threads.are_not_worth(work):
            return 1, 1
        loop_parts = self.parts(examples, B, kernel)
        if loop_parts == 1 and self.input_size + self.hidden_size < _WORTH_MOVING:
            return 1, 1
        shares = 2 * self.blocks * self.parcels(examples // B, B)
        return max(loop_parts, threads.parts_for(work, shares, kernel)), loop_parts

    def work(self, examples: int) -> int:
        """Operations of a forward pass, in lanes that are switched off as well."""
        return examples * self._operations
