"""One direction of one layer of a recurrent network: its packed weights, and which kernels run it on how many threads.

Shapes: T steps, B batch, I input, H hidden, D directions of the layer; as in kernels/sequences.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..kernels import recurrent, threads
from ..kernels.gru import GRUWeights
from ..kernels.packing import aligned_empty, blocks_of
from ..kernels.sequences import Options
from ..kernels.target import TARGET
from ..kernels.team import memory
from ..kernels.tiles import WIDE
from ..kernels.tokens import pack_weights_for_tokens, token_gradients, token_gradients_parallel
from ..kernels.weight_gradients import Examples, tiles_of, weight_gradients, weight_gradients_parallel, workspace_size
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
        self.none = np.empty(0, self.dtype)
        self._training_weights: GRUWeights | None = None
        self._seen = np.zeros(input_size, np.bool_)  # tokens of the last pass
        self._rooms: dict[str, FloatArray] = {}  # memory of training calls, kept for the next one

    def pack(self, weights: GRUWeights, parameters: Mapping[str, FloatArray], tokens: FloatArray | None = None) -> None:
        """Fill the weights for forward passes; where the input is tokens, for these `tokens` only."""
        if tokens is None:
            recurrent.pack_weights(weights, *self._of(parameters))
        else:
            pack_weights_for_tokens(weights, *self._of(parameters), tokens.reshape(-1))

    def pack_for_training(self, parameters: Mapping[str, FloatArray], tokens: FloatArray | None = None) -> GRUWeights:
        """The same in memory that the backward pass's weights take over."""
        if self._training_weights is None:
            unit = self.blocks * TARGET.lanes(self.dtype)
            rows = self.gates * self.hidden_size * TARGET.lanes(self.dtype)
            inputs = max(unit * self.gates * self.input_size, self.input_blocks * rows)
            room = aligned_empty(inputs + self.blocks * rows + unit * self.cell.slots, self.dtype)
            self._training_weights = self.weights(*np.split(room, (inputs, inputs + self.blocks * rows)))
        self.pack(self._training_weights, parameters, tokens)
        return self._training_weights

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

    def infer(self, weights: GRUWeights, x: FloatArray, h_0: FloatArray, y: FloatArray, T: int) -> None:
        """The states into y, from a plain batch."""
        B = h_0.shape[0]
        if self._parts(T * B, B) == 1:
            self.weights.infer()(*weights, x, h_0, y, self.batch_first)
        else:
            self._run_forward(weights, T * B, x, h_0, y, None, Options())

    def _options(self, batch: Batch, x: FloatArray) -> Options:
        return batch.options(self.reverse, x.shape[2], self.width, self.hidden_size)

    def _room(self, name: str, size: int) -> FloatArray:
        room = self._rooms.get(name)
        if room is None or room.size < size:
            room = self._rooms[name] = self.none  # the smaller one goes before there is a larger one
            room = self._rooms[name] = aligned_empty(size, self.dtype)
        return room[:size]

    def _room_for_gates(self, rows: int) -> FloatArray:
        return self._room("gates", rows * self.blocks * self.cell.slots * TARGET.lanes(self.dtype))

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
        H, steps = self.hidden_size, np.arange(first, last)[:, None]
        source, places = self._states_in_products(tape, steps)
        at = places.reshape(-1)
        states = sliding_window_view(source.reshape(-1), H)[np.maximum(at, 0)]
        states[at < 0] = tape.h_0[(-1 - at[at < 0]) // H]
        options = Options(
            steps=1,
            x_at=tape.batch.places(self.reverse, steps).reshape(-1) * tape.x.shape[2],
            y_at=np.arange(at.size) * H,
        )
        y = np.empty((at.size, 1, H), self.dtype)
        self._run_forward(tape.weights, at.size, tape.x, states, y, gates, options)

    def _states_in_products(self, tape: Tape, steps: Any) -> tuple[FloatArray, Any]:
        """The states that all rows start these steps (n, 1) from, as they enter products.

        In which array, and where: (n, B), in numbers; if negative, at -1 - that in h_0.
        """
        batch, H, rows = tape.batch, self.hidden_size, np.arange(tape.batch.B)
        anew = np.broadcast_to(steps == 0, (steps.size, batch.B))
        if tape.noise.resets is not None:
            anew = anew | tape.noise.resets[steps[:, 0]]
        if tape.dropped is not None:
            return tape.dropped, (np.where(anew, 0, steps * batch.B) + rows) * H
        before = batch.places(self.reverse, steps - 1) * self.width + self.reverse * H
        return tape.y, np.where(anew, -1 - rows * H, before)

    def _examples(self, tape: Tape, first: int, last: int) -> tuple[FloatArray, Examples]:
        """All that is computed in steps first .. last - 1, and the array with its states."""
        batch = tape.batch
        steps = np.arange(last - 1, first - 1, -1)[:, None]
        computed = np.flatnonzero(steps < batch.lengths)
        y, states = self._states_in_products(tape, steps)
        inputs = batch.places(self.reverse, steps) * tape.x.shape[2]
        row = self.blocks * self.cell.slots * TARGET.lanes(self.dtype)
        gates = ((steps - first) * batch.B + np.arange(batch.B)) * row
        return y, Examples(*(places.reshape(-1)[computed] for places in (inputs, states, gates)))

    def _add_weight_gradients(
        self, weights: GRUWeights, tape: Tape, gradients: Mapping[str, FloatArray], first: int, last: int,
        gates: FloatArray,
    ) -> None:  # fmt: skip
        """The share of steps first .. last - 1, after that of all steps behind them."""
        batch, H = tape.batch, self.hidden_size
        opens, closes = last == batch.T, first == 0
        whole = opens and closes
        w_ih, *others = self._of(gradients)
        x, y, examples = tape.x, tape.y, None
        if batch.is_ragged or tape.noise.resets is not None or tape.dropped is not None or not whole:
            y, examples = self._examples(tape, first, last)
        if x.dtype.kind == "i":
            size = self.input_size * self.gates * self.blocks * TARGET.lanes(self.dtype)
            parts = threads.parts_for(10 * batch.T * batch.B * self.gates * H, self.input_size)
            threads.run(
                token_gradients, token_gradients_parallel, parts,
                weights, x, tape.h_0, y, gates, examples, self._room("token sums", size), self._seen, w_ih,
                self.batch_first, self.reverse, opens, closes,
            )  # fmt: skip
            x, w_ih = np.empty((*x.shape[:2], 0), self.dtype), w_ih[:, :0]
        I = x.shape[2]
        parts = threads.parts_for(self._work(batch.T * batch.B), self.blocks * (tiles_of(I) + tiles_of(H)))
        size = workspace_size(I, H, self.gates, self.cell.slots, self.dtype, parts, 1 if whole else self.blocks)
        threads.run(
            weight_gradients, weight_gradients_parallel, parts,
            weights, x, tape.h_0, y, gates, self.cell.stages[0].makes, examples, w_ih, *others,
            self.batch_first, self.reverse, opens, closes, self._room("sums", size),
        )  # fmt: skip

    def _parts(self, examples: int, B: int) -> int:
        """Shares of the rows, or where they are too few for all threads, of blocks of units for a team."""
        shares = -(-B // TARGET.rows) if B > TARGET.rows else self.blocks // WIDE  # noqa: SIM300
        return threads.parts_for(self._work(examples), shares) if shares > 1 else 1

    def _work(self, examples: int) -> int:
        """Operations of a forward pass, in lanes that are switched off as well."""
        units = self.blocks * TARGET.lanes(self.dtype)
        return 2 * examples * self.gates * units * (self.input_size + self.hidden_size)

    def _time_loop(self, serial: Any, parallel: Any, team: Any, examples: int, B: int, *arguments: Any) -> None:
        parts = self._parts(examples, B)
        if parts > 1 and TARGET.rows >= B:
            tiles = max(self.blocks, self.input_blocks)  # of a phase, at most
            threads.run(serial, team, parts, *arguments, shared=(memory(tiles, parts), tiles))
        else:
            threads.run(serial, parallel, parts, *arguments)
