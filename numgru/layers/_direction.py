"""One direction of one layer of a recurrent network: its packed weights, and which kernels run it on how many threads.

Shapes: T steps, B batch, I input, H hidden, D directions of the layer, S states; as in kernels/sequences.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from ..kernels import recurrent, threads
from ..kernels.cell import Weights
from ..kernels.packing import aligned_empty, blocks_of
from ..kernels.sequences import Options
from ..kernels.target import TARGET
from ..kernels.team import memory
from ..kernels.tiles import WIDE, View
from ..kernels.tokens import pack_weights_for_tokens, token_gradients, token_gradients_parallel
from ..kernels.weight_gradients import tiles_of, weight_gradients, weight_gradients_parallel, workspace_size
from ._batch import Batch
from ._check import FloatArray


class Noise(NamedTuple):
    """What a call adds to the plain equations, in the order of the kernels' steps and rows."""

    resets: FloatArray | None = None  # (T, B) booleans
    zoneout: FloatArray | None = None  # (T, B, S H), or (S H,)
    mask: FloatArray | None = None  # (B, H): recurrent dropout

    @property
    def is_quiet(self) -> bool:
        """Whether there is none of it."""
        return self.resets is None and self.zoneout is None and self.mask is None


@dataclass
class Tape:
    """What the backward pass needs of a forward pass."""

    batch: Batch
    noise: Noise
    x: FloatArray
    h_0: FloatArray  # (S, B, H)
    y: FloatArray
    c: FloatArray | None  # (T, B, H), in inference (1, B, H): the second state after every step, or the last one
    gates: FloatArray | None  # None: to be computed again
    dropped: FloatArray | None  # (T + 1, B, H): the state as it enters products, where that is another
    weights: Weights


QUIET = Noise()  # none of it
PLAIN = Options()  # none of these, either
_NO_TOKENS = np.empty(0, np.int64)


class Direction:
    """Weights and kernels of one direction (0: from the first step on, 1: from the last) of one layer."""

    def __init__(
        self, weights: type[Weights], suffix: str, input_size: int, hidden_size: int, width: int, reverse: int,
        batch_first: bool, dtype: Any,
    ) -> None:  # fmt: skip
        self.weights, self.cell = weights, weights.cell()
        self.gates = len(self.cell.input_slots)
        self.input_size, self.hidden_size = input_size, hidden_size
        self.width, self.reverse, self.batch_first, self.dtype = width, reverse, batch_first, np.dtype(dtype)
        self.names = {short: f"{short}_{suffix}" for short in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
        self.blocks, self.input_blocks = blocks_of(hidden_size, self.dtype), blocks_of(input_size, self.dtype)
        self.none = np.empty(0, self.dtype)
        self._training_weights: Weights | None = None
        self._seen = np.zeros(input_size, np.bool_)  # tokens of the last pass
        self._rooms: dict[str, FloatArray] = {}  # memory of training calls, kept for the next one

    def pack(self, weights: Weights, parameters: Mapping[str, FloatArray], tokens: bool) -> None:
        """Fill the weights for forward passes, whose input is `tokens` or not."""
        pack = pack_weights_for_tokens if tokens else recurrent.pack_weights
        pack(weights, *self._of(parameters))

    def pack_for_training(self, parameters: Mapping[str, FloatArray], tokens: bool) -> Weights:
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
        weights: Weights,
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
            dropped = np.empty((batch.T + 1, *h_0.shape[1:]), self.dtype)
            dropped[0] = h_0[0] * noise.mask
        gates = self._room_for_gates(batch.T * batch.B) if keep and not every else None
        c = self._room_for_cells(batch.T if keep else 1, batch.B)
        options = self._options(batch, x, noise, dropped)
        self._run_forward(weights, batch.T * batch.B, x, h_0, y, c, gates, options)
        return Tape(batch, noise, x, h_0, y, c, gates, dropped, weights)

    def infer(self, weights: Weights, x: FloatArray, h_0: FloatArray, y: FloatArray, T: int) -> FloatArray | None:
        """The states into y, from a plain batch; returns the last second state (1, B, H), if there is one."""
        B = h_0.shape[1]
        c = self._room_for_cells(1, B)
        if self._parts(T * B, B) == 1:
            self.weights.infer()(*weights, x, h_0, y, c, self.batch_first)
        else:
            self._run_forward(weights, T * B, x, h_0, y, c, None, PLAIN)
        return c

    def _room_for_cells(self, steps: int, B: int) -> FloatArray | None:
        return None if self.cell.states == 1 else np.empty((steps, B, self.hidden_size), self.dtype)

    def _options(self, batch: Batch, x: FloatArray, noise: Noise, dropped: FloatArray | None) -> Options:
        """Those of a whole pass."""
        if noise.is_quiet and not batch.is_ragged and x.dtype == self.dtype:
            return PLAIN
        return self._segment(batch, x, noise, dropped, 0, batch.T)

    def _segment(
        self, batch: Batch, x: FloatArray, noise: Noise, dropped: FloatArray | None, first: int, last: int
    ) -> Options:
        """Those of steps first .. last - 1 alone; `dropped` is the state times the noise's mask."""
        segment = batch.segment(self.reverse, x.shape[2], self.width, self.hidden_size, first, last)
        segment = self._with_tokens(segment, x)
        if noise.is_quiet:
            return segment
        if noise.resets is None:
            resets = np.zeros((last - first + 1) * batch.B, np.bool_)  # the next segment's first step, too
        else:
            resets = noise.resets[first:].reshape(-1)
        zoneout = self.none if noise.zoneout is None else noise.zoneout
        B, H = zoneout.shape[1:] if zoneout.ndim == 3 else (0, 0)
        return segment._replace(
            resets=resets,
            has_zoneout=int(noise.zoneout is not None),
            zoneout=zoneout[first if B else 0 :].reshape(-1),
            zoneout_time=B * H,
            zoneout_row=H,
            has_mask=int(noise.mask is not None),
            mask=self.none if noise.mask is None else noise.mask.reshape(-1),
            dropped=self.none if dropped is None else dropped[first:].reshape(-1),
        )

    def _with_tokens(self, options: Options, x: FloatArray) -> Options:
        if x.dtype == self.dtype:
            return options._replace(tokens=_NO_TOKENS)
        return options._replace(has_tokens=1, tokens=x.reshape(-1))

    def _features(self, x: FloatArray) -> FloatArray:
        """x, or for tokens an x without features."""
        return x if x.dtype == self.dtype else np.empty((*x.shape[:2], 0), self.dtype)

    def _room(self, name: str, size: int) -> FloatArray:
        room = self._rooms.get(name)
        if room is None or room.size < size:
            room = self._rooms[name] = self.none  # the smaller one goes before there is a larger one
            room = self._rooms[name] = aligned_empty(size, self.dtype)
        return room[:size]

    def _room_for_gates(self, rows: int) -> FloatArray:
        return self._room("gates", rows * self.blocks * self.cell.slots * TARGET.lanes(self.dtype))

    def _run_forward(
        self, weights: Weights, examples: int, x: FloatArray, h_0: FloatArray, y: FloatArray,
        c: FloatArray | None, gates: FloatArray | None, options: Options,
    ) -> None:  # fmt: skip
        self._time_loop(
            recurrent.forward, recurrent.forward_parallel, recurrent.forward_team, examples, h_0.shape[1],
            weights, self._features(x), h_0, y, c, gates, self.batch_first, self.reverse, options,
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
        """dx (where it's wanted) and the parameters' gradients; from dh_n to dh_0, both (S, B, H)."""
        batch, lanes, H = tape.batch, TARGET.lanes(self.dtype), self.hidden_size
        carry = np.zeros((self.cell.states, batch.B, self.blocks * lanes), self.dtype)
        if dh_n is not None:
            carry[..., :H] = dh_n
        dh_0 = np.zeros(tape.h_0.shape, self.dtype)
        w_ih, w_hh, _, _ = self._of(parameters)
        weights = tape.weights
        if tape.gates is None:  # the forward pass's are needed again
            weights = self.weights(*(np.empty_like(part) for part in weights))
        recurrent.pack_weights_backward(weights, w_ih, w_hh, dx is not None)
        flat_dx = None if dx is None else dx.reshape(-1)
        if tape.gates is not None:
            options = self._options(batch, tape.x, tape.noise, tape.dropped)
            self._run_backward(weights, tape, tape.c, tape.gates, dy, flat_dx, dh_0, carry, options, batch.T * batch.B)
            self._add_weight_gradients(weights, tape, gradients, 0, batch.T, tape.gates)
            return dh_0
        step = batch.B * self.blocks * self.cell.slots * lanes
        gates = self._room_for_gates((min(every, batch.T) + 1) * batch.B)
        for first in range((batch.T - 1) // every * every, -1, -every):
            last = min(first + every, batch.T)
            if last < batch.T:
                gates[(last - first) * step : (last - first + 1) * step] = gates[:step]
            self._compute_again(tape, first, last, gates[: (last - first) * step])
            options = self._segment(batch, tape.x, tape.noise, tape.dropped, first, last)
            examples = (last - first) * batch.B
            c = None if tape.c is None else tape.c[max(first - 1, 0) :]
            self._run_backward(weights, tape, c, gates, dy, flat_dx, dh_0, carry, options, examples)
            self._add_weight_gradients(weights, tape, gradients, first, last, gates)
        return dh_0

    def _run_backward(
        self, weights: Weights, tape: Tape, c: FloatArray | None, gates: FloatArray, dy: FloatArray,
        dx: FloatArray | None, dh_0: FloatArray, carry: FloatArray, options: Options, examples: int,
    ) -> None:  # fmt: skip
        self._time_loop(
            recurrent.backward, recurrent.backward_parallel, recurrent.backward_team, examples, tape.batch.B,
            weights, self._features(tape.x), tape.h_0, tape.y, c, gates, dy, dx, dh_0, carry.reshape(-1),
            self.batch_first, self.reverse, options,
        )  # fmt: skip

    def _compute_again(self, tape: Tape, first: int, last: int, gates: FloatArray) -> None:
        """The gates of steps first .. last - 1: as all states are known, of all steps at once."""
        batch, H = tape.batch, self.hidden_size
        rows = (last - first) * batch.B
        places = batch.places(self.reverse, first, last).reshape(-1)
        steps, order = np.divmod(np.arange(rows), batch.B)
        states = self._states_in_products(tape, first + steps, order)[None]
        if tape.c is not None:
            states = np.concatenate([states, self._cells_before(tape, tape.c, first + steps, order)])
        options = Options(
            steps=1,
            x_at=places * tape.x.shape[2],
            y_at=np.arange(rows) * H,
            lengths=np.ones(rows, np.int64),
            active=np.array([rows, 0]),
        )
        options = self._with_tokens(options, tape.x)
        y = np.empty((rows, 1, H), self.dtype)
        self._run_forward(tape.weights, rows, tape.x, states, y, self._room_for_cells(1, rows), gates, options)

    def _start_anew(self, tape: Tape, steps: Any, rows: Any) -> Any:
        """Which of these steps of these rows start from h_0."""
        anew = steps == 0
        return anew if tape.noise.resets is None else anew | tape.noise.resets[steps, rows]

    def _cells_before(self, tape: Tape, c: FloatArray, steps: Any, rows: Any) -> FloatArray:
        """The second states that they start from: (1, examples, H)."""
        anew = self._start_anew(tape, steps, rows)
        cells: FloatArray = c[np.maximum(steps - 1, 0), rows]
        cells[anew] = tape.h_0[1, rows[anew]]
        return np.expand_dims(cells, 0)

    def _states_in_products(self, tape: Tape, steps: Any, rows: Any) -> FloatArray:
        """The states that these steps of these rows start from, as they enter products: (examples, H)."""
        batch, H = tape.batch, self.hidden_size
        anew = self._start_anew(tape, steps, rows)
        if tape.dropped is not None:
            dropped: FloatArray = tape.dropped[np.where(anew, 0, steps), rows]
            return dropped
        first = max(0, int(steps.min()) - 1)
        places = batch.places(self.reverse, first, int(steps.max()) + 1)[np.maximum(steps - 1 - first, 0), rows]
        columns = slice(self.reverse * H, self.reverse * H + H)
        states: FloatArray = tape.y.reshape(-1, self.width)[places, columns]
        states[anew] = tape.h_0[0, rows[anew]]
        return states

    def _add_weight_gradients(
        self, weights: Weights, tape: Tape, gradients: Mapping[str, FloatArray], first: int, last: int,
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
            h_0, y = states[None, :1], states[1:, None]
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
        weights: Weights,
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
            return View(gates, slot * padded, slots * padded, B * slots * padded)
        return View(gates.reshape(-1, slots, padded)[places, slot, :H].reshape(-1), 0, H, H)

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
