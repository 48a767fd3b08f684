"""One direction of one layer of a recurrent network: its packed weights, and which kernels run it on how many threads.

Shapes: T steps, B batch, I input, H hidden, D directions of the layer; as in kernels/sequences.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from ..kernels import recurrent, threads
from ..kernels.gru import GRUWeights
from ..kernels.packing import aligned_empty, blocks_of
from ..kernels.sequences import Options
from ..kernels.target import TARGET
from ..kernels.team import memory
from ..kernels.tiles import WIDE, View
from ..kernels.tokens import pack_weights_for_tokens, token_gradients, token_gradients_parallel
from ..kernels.weight_gradients import (
    slot_in,
    tiles_of,
    weight_gradients,
    weight_gradients_parallel,
    workspace_size,
)
from ._batch import Batch
from ._check import FloatArray


class Noise(NamedTuple):
    """What a call adds to the plain equations, in the order of the kernels' steps and rows."""

    resets: FloatArray | None = None  # (T, B) booleans
    zoneout: FloatArray | None = None  # (T, B, H), or (H,)
    mask: FloatArray | None = None  # (B, H): recurrent dropout

    def options(self, options: Options, dropped: FloatArray | None, first: int = 0) -> Options:
        """Together with the batch's, from step `first` on; `dropped` is the state times the mask."""
        if self.resets is None and self.zoneout is None and self.mask is None:
            return options
        B, H = (0, 0) if self.zoneout is None or self.zoneout.ndim == 1 else self.zoneout.shape[1:]
        return options._replace(
            resets=None if self.resets is None else self.resets[first:].reshape(-1),
            zoneout=None if self.zoneout is None else self.zoneout[first if B else 0 :].reshape(-1),
            zoneout_time=B * H,
            zoneout_row=H,
            mask=None if self.mask is None else self.mask.reshape(-1),
            dropped=None if dropped is None else dropped[first:].reshape(-1),
        )


@dataclass
class Tape:
    """What the backward pass needs of a forward pass."""

    batch: Batch
    noise: Noise
    x: FloatArray
    h_0: FloatArray  # (B, H)
    y: FloatArray
    gates: FloatArray | None  # None: to be computed again
    dropped: FloatArray | None  # (T + 1, B, H): the state as it enters products, where that is another
    weights: GRUWeights


class PlainTape(NamedTuple):
    """The same of a pass without any options."""

    x: FloatArray
    h_0: FloatArray  # (1, B, H)
    y: FloatArray
    gates: FloatArray


QUIET = Noise()  # none of it


class Direction:
    """Weights and kernels of one direction (0: from the first step on, 1: from the last) of one layer."""

    def __init__(
        self, weights: type[GRUWeights], suffix: str, input_size: int, hidden_size: int, width: int, reverse: int,
        batch_first: bool, dtype: Any,
    ) -> None:  # fmt: skip
        self.weights, self.cell = weights, weights.cell()
        self.gates = len(self.cell.input_slots)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.width, self.reverse, self.batch_first, self.dtype = width, reverse, batch_first, np.dtype(dtype)
        self.names = {short: f"{short}_{suffix}" for short in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        self.blocks, self.input_blocks = blocks_of(hidden_size, self.dtype), blocks_of(input_size, self.dtype)
        self.padded = self.blocks * TARGET.lanes(self.dtype)
        self.none = np.empty(0, self.dtype)
        self._seen = np.zeros(input_size, np.bool_)  # tokens of the last pass
        self._rooms: dict[str, FloatArray] = {}  # memory of training calls, kept for the next one
        self._plain = weights.plain()

    def pack(self, weights: GRUWeights, parameters: Mapping[str, FloatArray], tokens: bool) -> None:
        """Fill the weights for forward passes, whose input is `tokens` or not."""
        pack = pack_weights_for_tokens if tokens else recurrent.pack_weights
        pack(weights, *self._of(parameters))

    def pack_for_training(self, parameters: Mapping[str, FloatArray], tokens: bool) -> GRUWeights:
        """The same in memory that the backward pass's weights take over."""
        self.pack(self._training_weights, parameters, tokens)
        return self._training_weights

    @cached_property
    def _training_weights(self) -> GRUWeights:
        unit = self.blocks * TARGET.lanes(self.dtype)
        rows = self.gates * self.hidden_size * TARGET.lanes(self.dtype)
        inputs = max(unit * self.gates * self.input_size, self.input_blocks * rows)
        room = aligned_empty(inputs + self.blocks * rows + unit * self.cell.slots, self.dtype)
        return self.weights(*np.split(room, (inputs, inputs + self.blocks * rows)))

    def _of(self, arrays: Mapping[str, FloatArray]) -> list[FloatArray]:
        return [arrays.get(name, self.none) for name in self.names.values()]

    def forward(
        self,
        weights: GRUWeights,
        batch: Batch,
        x: FloatArray,
        h_0: FloatArray,
        y: FloatArray,
        noise: Noise,
        *,
        keep: bool,
        every: int = 0,
    ) -> Tape:
        """The states into y's columns of this direction; `keep` says whether for `backward`, too.

        With `every`, gates aren't kept but computed again, so many steps at once.
        """
        dropped = None
        if noise.mask is not None:
            dropped = np.empty((batch.T + 1, *h_0.shape), self.dtype)
            dropped[0] = h_0 * noise.mask
        gates = self._room_for_gates(batch.T * batch.B) if keep and not every else None
        options = noise.options(self._options(batch, x), dropped)
        self._run_forward(weights, batch.T * batch.B, x, h_0, y, gates, options)
        return Tape(batch, noise, x, h_0, y, gates, dropped, weights)

    def infer(self, weights: GRUWeights, x: FloatArray, h_0: FloatArray, y: FloatArray) -> None:
        """The states (1, B, H) and on into y, from a plain batch."""
        examples, B = y.shape[0] * y.shape[1], h_0.shape[1]
        if self._parts(examples, B) == 1:
            self._plain.infer(*weights, x, h_0, y, self.batch_first)
        else:
            self._run_forward(weights, examples, x, h_0[0], y, None, Options())

    def is_serial(self, examples: int) -> bool:
        """Whether a training pass with so many runs on the calling thread."""
        return threads.parts_for(self._work(examples), 2) == 1

    def train(self, parameters: FloatArray, x: FloatArray, h_0: FloatArray, y: FloatArray) -> PlainTape:
        """The same with the layer's flat parameters, for `train_backward`, on the calling thread."""
        gates = self._room_for_gates(y.shape[0] * y.shape[1])
        self._plain.train(*self._training_weights, parameters, x, h_0, y, gates, self.batch_first)
        return PlainTape(x, h_0, y, gates)

    def train_backward(
        self, tape: PlainTape, parameters: FloatArray, gradients: FloatArray, dy: FloatArray, dx: FloatArray | None,
        dh: FloatArray,
    ) -> None:  # fmt: skip
        """dx (where it's wanted), dh_0 in place of dh_n, and the parameters' gradients, flat as the parameters."""
        self._plain.train_backward(
            *self._training_weights, parameters, gradients, *tape, dy, None if dx is None else dx.reshape(-1), dh,
            self.batch_first, self._room("sums", self._size_of_sums),
        )  # fmt: skip

    @cached_property
    def _size_of_sums(self) -> int:
        return workspace_size(self.input_size, self.hidden_size, self.gates, self.cell.slots, self.dtype, 1)

    def _options(self, batch: Batch, x: FloatArray) -> Options:
        return batch.options(self.reverse, x.shape[2], self.width, self.hidden_size)

    def _room(self, name: str, size: int) -> FloatArray:
        room = self._rooms.get(name)
        if room is None or room.size < size:
            room = self._rooms[name] = self.none  # the smaller one goes before there is a larger one
            room = self._rooms[name] = aligned_empty(size, self.dtype)
        return room[:size]

    def _room_for_gates(self, rows: int) -> FloatArray:
        return self._room("gates", rows * self.cell.slots * self.padded)

    def _run_forward(
        self, weights: GRUWeights, examples: int, x: FloatArray, h_0: FloatArray, y: FloatArray,
        gates: FloatArray | None, options: Options,
    ) -> None:  # fmt: skip
        self._time_loop(
            recurrent.forward, recurrent.forward_parallel, recurrent.forward_team, examples, h_0.shape[0],
            weights, x, h_0, y, gates, self.batch_first, self.reverse, options,
        )  # fmt: skip

    def backward(
        self,
        tape: Tape,
        parameters: Mapping[str, FloatArray],
        gradients: Mapping[str, FloatArray],
        dy: FloatArray,
        dh_n: FloatArray | None,
        dx: FloatArray | None,
        every: int = 0,
    ) -> FloatArray:
        """dx (where it's wanted) and the parameters' gradients; returns dh_0 (B, H)."""
        batch, lanes, H = tape.batch, TARGET.lanes(self.dtype), self.hidden_size
        carry = np.zeros((batch.B, self.blocks * lanes), self.dtype)
        if dh_n is not None:
            carry[:, :H] = dh_n
        dh_0 = np.zeros((batch.B, H), self.dtype)
        w_ih, w_hh, _, _ = self._of(parameters)
        weights = tape.weights
        if tape.gates is None:  # the forward pass's are needed again
            weights = self.weights(*(np.empty_like(part) for part in weights))
        recurrent.pack_weights_backward(weights, w_ih, w_hh, dx is not None)
        flat_dx = None if dx is None else dx.reshape(-1)
        if tape.gates is not None:
            options = tape.noise.options(self._options(batch, tape.x), tape.dropped)
            self._run_backward(weights, tape, tape.gates, dy, flat_dx, dh_0, carry, options, batch.T * batch.B)
            self._add_weight_gradients(weights, tape, gradients, 0, batch.T, tape.gates)
            return dh_0
        step = batch.B * self.blocks * self.cell.slots * lanes
        gates = self._room_for_gates((min(every, batch.T) + 1) * batch.B)
        for first in range((batch.T - 1) // every * every, -1, -every):
            last = min(first + every, batch.T)
            if last < batch.T:
                gates[(last - first) * step : (last - first + 1) * step] = gates[:step]
            self._compute_again(tape, first, last, gates[: (last - first) * step])
            options = batch.segment(self.reverse, tape.x.shape[2], self.width, H, first, last)
            options = tape.noise.options(options, tape.dropped, first)
            examples = (last - first) * batch.B
            self._run_backward(weights, tape, gates, dy, flat_dx, dh_0, carry, options, examples)
            self._add_weight_gradients(weights, tape, gradients, first, last, gates)
        return dh_0

    def _run_backward(
        self, weights: GRUWeights, tape: Tape, gates: FloatArray, dy: FloatArray, dx: FloatArray | None,
        dh_0: FloatArray, carry: FloatArray, options: Options, examples: int,
    ) -> None:  # fmt: skip
        self._time_loop(
            recurrent.backward, recurrent.backward_parallel, recurrent.backward_team, examples, tape.batch.B,
            weights, tape.x, tape.h_0, tape.y, gates, dy, dx, dh_0, carry.reshape(-1),
            self.batch_first, self.reverse, options,
        )  # fmt: skip

    def _compute_again(self, tape: Tape, first: int, last: int, gates: FloatArray) -> None:
        """The gates of steps first .. last - 1: as all states are known, of all steps at once."""
        batch, H = tape.batch, self.hidden_size
        rows = (last - first) * batch.B
        places = batch.places(self.reverse, first, last).reshape(-1)
        steps, order = np.divmod(np.arange(rows), batch.B)
        states = self._states_in_products(tape, first + steps, order)
        options = Options(steps=1, x_at=places * tape.x.shape[2], y_at=np.arange(rows) * H)
        y = np.empty((rows, 1, H), self.dtype)
        self._run_forward(tape.weights, rows, tape.x, states, y, gates, options)

    def _states_in_products(self, tape: Tape, steps: Any, rows: Any) -> FloatArray:
        """The states that these steps of these rows start from, as they enter products: (examples, H)."""
        batch, H = tape.batch, self.hidden_size
        anew = steps == 0
        if tape.noise.resets is not None:
            anew |= tape.noise.resets[steps, rows]
        if tape.dropped is not None:
            dropped: FloatArray = tape.dropped[np.where(anew, 0, steps), rows]
            return dropped
        first = max(0, int(steps.min()) - 1)
        places = batch.places(self.reverse, first, int(steps.max()) + 1)[np.maximum(steps - 1 - first, 0), rows]
        columns = slice(self.reverse * H, self.reverse * H + H)
        states: FloatArray = tape.y.reshape(-1, self.width)[places, columns]
        states[anew] = tape.h_0[rows[anew]]
        return states

    def _add_weight_gradients(
        self, weights: GRUWeights, tape: Tape, gradients: Mapping[str, FloatArray], first: int, last: int,
        gates: FloatArray,
    ) -> None:  # fmt: skip
        """The share of steps first .. last - 1, after that of all steps behind them."""
        batch, H, tokens = tape.batch, self.hidden_size, tape.x.dtype.kind == "i"
        opens, closes = last == batch.T, first == 0
        whole = opens and closes
        w_ih, *others = self._of(gradients)
        x, h_0, y, places, batch_first, reverse = tape.x, tape.h_0, tape.y, None, self.batch_first, self.reverse
        if batch.is_ragged or tape.noise.resets is not None or tape.dropped is not None or not whole or tokens:
            # Any other examples: one after the other, as one sequence of which each step has its own state before it.
            steps, rows = batch.examples(first, last)
            x = tape.x.reshape(-1, x.shape[2])[batch.places(self.reverse, first, last)[steps, rows]][:, None]
            states = self._states_in_products(tape, first + steps, rows)
            h_0, y = states[:1], states[1:, None]
            places, batch_first, reverse = steps * batch.B + rows, False, 0
        if tokens:
            self._add_token_gradients(weights, gates, x[:, 0, 0], places, w_ih, opens, closes)
            x, w_ih = np.empty((x.shape[0], 1, 0), self.dtype), w_ih[:, :0]
        I = x.shape[2]
        parts = threads.parts_for(self._work(batch.T * batch.B), self.blocks * (tiles_of(I) + tiles_of(H)))
        size = workspace_size(I, H, self.gates, self.cell.slots, self.dtype, parts, 1 if whole else self.blocks)
        threads.run(
            weight_gradients, weight_gradients_parallel, parts,
            weights, x, h_0, y, gates, self._made(gates, batch.B, places), places, w_ih, *others,
            batch_first, reverse, opens, closes, self._room("sums", size),
        )  # fmt: skip

    def _add_token_gradients(
        self,
        weights: GRUWeights,
        gates: FloatArray,
        tokens: Any,
        places: Any,
        dw: FloatArray,
        opens: bool,
        closes: bool,
    ) -> None:
        size = self.input_size * self.gates * self.blocks * TARGET.lanes(self.dtype)
        order = np.arange(tokens.size)[::-1].copy()  # from the last step to the first
        parts = threads.parts_for(10 * tokens.size * self.gates * self.hidden_size, self.input_size)
        threads.run(
            token_gradients, token_gradients_parallel, parts,
            weights, gates, tokens, order, places, self._room("token sums", size), self._seen, dw, opens, closes,
        )  # fmt: skip

    def _made(self, gates: FloatArray, B: int, places: Any) -> View | None:
        """What the cell's first stage made, in all gates or at these places, for `weight_gradients`."""
        slot = self.cell.stages[0].makes
        if slot is None:
            return None
        H, slots, padded = self.hidden_size, self.cell.slots, self.blocks * TARGET.lanes(self.dtype)
        if places is None:
            return slot_in(gates, slot, slots, padded, B)
        return View(gates.reshape(-1, slots, padded)[places, slot, :H].reshape(-1), 0, H, H)

    def _parts(self, examples: int, B: int) -> int:
        """Shares of the rows, or where they are too few for all threads, of blocks of units for a team."""
        shares = -(-B // TARGET.rows) if B > TARGET.rows else self.blocks // WIDE  # noqa: SIM300
        return threads.parts_for(self._work(examples), shares) if shares > 1 else 1

    def _work(self, examples: int) -> int:
        """Operations of a forward pass, in lanes that are switched off as well."""
        return 2 * examples * self.gates * self.padded * (self.input_size + self.hidden_size)

    def _time_loop(self, serial: Any, parallel: Any, team: Any, examples: int, B: int, *arguments: Any) -> None:
        parts = self._parts(examples, B)
        if parts > 1 and TARGET.rows >= B:
            tiles = max(self.blocks, self.input_blocks)  # of a phase, at most
            threads.run(serial, team, parts, *arguments, shared=(memory(tiles, parts), tiles))
        else:
            threads.run(serial, parallel, parts, *arguments)
