"""One direction of one layer with all options: which kernels run it, and what they're told.

Shapes: T steps, B batch, I input, H hidden, D directions of the layer, S states; as in kernels/sequences.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .._types import FloatArray
from ..kernels import recurrent, threads
from ..kernels.cell import Weights
from ..kernels.examples import Examples
from ..kernels.sequences import NO_OPTIONS, Flow, Options
from ..kernels.target import TARGET
from ..kernels.tokens import token_gradients
from ..kernels.weight_gradients import tiles_of, weight_gradients
from ._batch import Batch
from ._plain_direction import PlainDirection
from ._tape import Extras, FlowWanted, PlainTape, Tape, are_tokens

NO_FLOW = Flow()
_NO_TOKENS = np.empty(0, np.int64)


class Direction(PlainDirection):
    """A direction whose calls may have lengths, tokens, resets, noise, and bounds of the gradient that flows."""

    def forward(
        self,
        weights: Weights,
        batch: Batch,
        x: FloatArray,
        h_0: FloatArray,
        y: FloatArray,
        extras: Extras,
        *,
        keep: bool,
        every: int = 0,
    ) -> Tape:
        """The states into y's columns of this direction; `keep` says whether for `backward`, too.

        With `every`, gates aren't kept but computed again, so many steps at once.
        """
        dropped = None
        if extras.mask is not None:
            dropped = np.empty((batch.T + 1, *h_0.shape[1:]), self.dtype)
            dropped[0] = h_0[0] * extras.mask
        gates = self._room_for_gates(batch.T * batch.B) if keep and not every else None
        c = self._room_for_cells(batch.T if keep else 1, batch.B)
        options = self._options(batch, x, extras, dropped, 0, batch.T)
        self._run_forward(weights, batch.T * batch.B, x, h_0, y, c, gates, options)
        return Tape(batch, extras, x, h_0, y, c, gates, dropped, weights, every)

    def _options(
        self, batch: Batch, x: FloatArray, extras: Extras, dropped: FloatArray | None, first: int, last: int,
        *, all_of_it: bool = False,
    ) -> Options:  # fmt: skip
        """Those of steps first .. last - 1 alone; `dropped` is the state times the mask."""
        is_whole = last - first == batch.T
        if is_whole and not all_of_it and extras.are_none and not batch.is_ragged and not are_tokens(x):
            return NO_OPTIONS
        segment = batch.segment(self.reverse, x.shape[2], self.width, self.hidden_size, first, last)
        segment = self._with_tokens(segment, x)
        if extras.are_none and not all_of_it:
            return segment
        if extras.resets is None:
            resets = np.zeros((last - first + 1) * batch.B, np.bool_)  # the next segment's first step, too
        else:
            resets = extras.resets[first:].reshape(-1)
        zoneout = self.none if extras.zoneout is None else extras.zoneout
        B, H = zoneout.shape[1:] if zoneout.ndim == 3 else (0, 0)
        return segment._replace(
            resets=resets,
            has_zoneout=int(extras.zoneout is not None),
            zoneout=zoneout[first if B else 0 :].reshape(-1),
            zoneout_time=B * H,
            zoneout_row=H,
            has_mask=int(extras.mask is not None),
            mask=self.none if extras.mask is None else extras.mask.reshape(-1),
            dropped_0=self.none if dropped is None else dropped[0].reshape(-1),
            dropped=self.none if dropped is None else dropped[first:].reshape(-1),
        )

    def _with_tokens(self, options: Options, x: FloatArray) -> Options:
        if are_tokens(x):
            return options._replace(has_tokens=1, tokens=x.reshape(-1))
        return options._replace(tokens=_NO_TOKENS)

    def _features(self, x: FloatArray) -> FloatArray:
        """x, or for tokens an x without features."""
        return np.empty((*x.shape[:2], 0), self.dtype) if are_tokens(x) else x

    def _run_forward(
        self, weights: Weights, examples: int, x: FloatArray, h_0: FloatArray, y: FloatArray,
        c: FloatArray | None, gates: FloatArray | None, options: Options,
    ) -> None:  # fmt: skip
        threads.run(
            recurrent.forward, self._parts(examples, h_0.shape[1], recurrent.forward, same_length=not options.steps),
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
        wanted: FlowWanted,
    ) -> FloatArray:
        """dx (where it's wanted) and the parameters' gradients; from dh_n to dh_0, both (S, B, H)."""
        batch, lanes, H = tape.batch, TARGET.lanes(self.dtype), self.hidden_size
        carry = self._room_for_carry(batch.B).reshape(-1, batch.B, self.padded)
        carry[...] = 0
        if dh_n is not None:
            carry[..., :H] = dh_n
        dh_0 = np.zeros(tape.h_0.shape, self.dtype)
        w_ih, w_hh, _, _ = self._of(parameters)
        weights = tape.weights
        if tape.gates is None:  # the forward pass's are needed again
            weights = self.kind(*(np.empty_like(part) for part in weights))
        threads.run(recurrent.pack_weights_backward, self._packing_parts, weights, w_ih, w_hh, dx is not None)
        flat_dx = None if dx is None else dx.reshape(-1)
        flow = self._flow(wanted, batch, not tape.extras.are_none)
        gates, step = tape.gates, batch.B * self.blocks * self.cell.slots * lanes
        every = tape.every or batch.T
        if gates is None:
            gates = self._room_for_gates((min(every, batch.T) + 1) * batch.B)
        for first in range((batch.T - 1) // every * every, -1, -every):
            last = min(first + every, batch.T)
            if tape.gates is None:
                if last < batch.T:
                    gates[(last - first) * step : (last - first + 1) * step] = gates[:step]
                self._compute_again(tape, first, last, gates[: (last - first) * step])
            options = self._options(batch, tape.x, tape.extras, tape.dropped, first, last, all_of_it=wanted.has_bounds)
            c = None if tape.c is None else tape.c[max(first - 1, 0) :]
            part = self._flow_from(flow, first, batch)
            self._run_backward(weights, tape, c, gates, dy, flat_dx, dh_0, carry, part, options, last - first)
            self._add_weight_gradients(weights, tape, gradients, first, last, gates)
        self._take_norms(flow, wanted, batch)
        self._take_report(flow, wanted, batch)
        return dh_0

    def _flow(self, wanted: FlowWanted, batch: Batch, third_kind: bool) -> Flow:
        """What the kernels need for it: for the norms, and in all calls of the third kind."""
        steps = batch.T if wanted.norms is not None else 0
        norms = np.zeros(steps * batch.B * self.blocks)
        if not (wanted.has_bounds or third_kind):
            return Flow(has_norms=1, norms=norms) if steps else NO_FLOW
        rows = self.cell.states * batch.B
        size, held = batch.T * rows * self.blocks, wanted.limit < np.inf
        return Flow(
            has_norms=int(steps > 0),
            norms=norms,
            limit=wanted.limit,
            max_norm=wanted.max_norm,
            factors=np.ones(rows, self.dtype),
            squares=np.zeros(size if wanted.has_bounds else 0),
            beyond=np.zeros(size if held else 0),
            largest=np.zeros(size if held else 0),
        )

    def _flow_from(self, flow: Flow, first: int, batch: Batch) -> Flow:
        """The same from step `first` on."""
        at = first * batch.B * self.blocks
        of_states = at * self.cell.states

        def rest(kept: FloatArray | None, start: int) -> FloatArray | None:
            return None if kept is None else kept[start:]

        return flow._replace(
            norms=rest(flow.norms, at),
            squares=rest(flow.squares, of_states),
            beyond=rest(flow.beyond, of_states),
            largest=rest(flow.largest, of_states),
        )

    def _take_norms(self, flow: Flow, wanted: FlowWanted, batch: Batch) -> None:
        if wanted.norms is not None and flow.norms is not None:
            norms = self._norms_of(flow.norms).reshape(batch.T, batch.B)
            wanted.norms[...] = batch.in_time(norms, self.reverse)

    def _take_report(self, flow: Flow, wanted: FlowWanted, batch: Batch) -> None:
        if wanted.report is None or flow.squares is None or flow.beyond is None or flow.largest is None:
            return
        shape = batch.T, self.cell.states, batch.B
        norms = self._norms_of(flow.squares).reshape(shape)
        excess, counts = np.ones(shape), np.zeros(shape)
        if flow.limit < np.inf:
            blocks = *shape, self.blocks
            excess = np.maximum(flow.largest.reshape(blocks).max(axis=-1) / flow.limit, 1)
            counts = flow.beyond.reshape(blocks).sum(axis=-1)
        long = norms > flow.max_norm
        excess[long] *= np.where(norms[long] < np.inf, norms[long], np.nan) / flow.max_norm  # NaN as in the kernels
        counts[long] = self.hidden_size
        by_row = np.stack([norms, excess, counts]).transpose(1, 3, 0, 2)  # (T, B, 3, S)
        wanted.report[...] = batch.in_time(by_row, self.reverse).transpose(2, 3, 0, 1)

    def _run_backward(
        self, weights: Weights, tape: Tape, c: FloatArray | None, gates: FloatArray, dy: FloatArray,
        dx: FloatArray | None, dh_0: FloatArray, carry: FloatArray, flow: Flow, options: Options, steps: int,
    ) -> None:  # fmt: skip
        threads.run(
            recurrent.backward,
            self._parts(steps * tape.batch.B, tape.batch.B, recurrent.backward, same_length=not options.steps),
            weights, self._features(tape.x), tape.h_0, tape.y, c, gates, dy, dx, dh_0,
            carry.reshape(-1), flow, self.batch_first, self.reverse, options,
        )  # fmt: skip

    def gate_values(self, tape: Tape | PlainTape) -> dict[str, FloatArray]:
        """The gates that a pass has kept, by name: (T, B, H) by time and sequence, zero after a sequence's end."""
        assert tape.gates is not None
        kept = tape.gates.reshape(-1, tape.h_0.shape[1], self.cell.slots, self.padded)[..., : self.hidden_size]
        if isinstance(tape, PlainTape):
            return {name: kept[:, :, slot].copy() for slot, name in enumerate(self.cell.gates)}
        return {name: tape.batch.in_time(kept[:, :, slot], self.reverse) for slot, name in enumerate(self.cell.gates)}

    def _compute_again(self, tape: Tape, first: int, last: int, gates: FloatArray) -> None:
        """The gates of steps first .. last - 1: as all states are known, of all steps at once."""
        H, steps = self.hidden_size, np.arange(first, last)[:, None]
        states = self._gathered(*self._states_in_products(tape, steps), tape.h_0[0])[None]
        if tape.c is not None:
            places = ((steps - 1) * tape.batch.B + np.arange(tape.batch.B)) * H
            cells = self._gathered(tape.c, self._or_first(tape, steps, places), tape.h_0[1])
            states = np.concatenate([states, cells[None]])
        examples = states.shape[1]
        options = Options(
            steps=1,
            x_at=tape.batch.places(self.reverse, steps).reshape(-1) * tape.x.shape[2],
            y_at=np.arange(examples) * H,
            lengths=np.ones(examples, np.int64),
            active=np.array([examples, 0]),
        )
        options = self._with_tokens(options, tape.x)
        y, c = np.empty((examples, 1, H), self.dtype), self._room_for_cells(1, examples)
        self._run_forward(tape.weights, examples, tape.x, states, y, c, gates, options)

    def _gathered(self, source: FloatArray, places: Any, first: FloatArray) -> FloatArray:
        """The states (examples, H) that lie at these places of an array; if negative, at -1 - place in `first`."""
        at = places.reshape(-1)
        states: FloatArray = sliding_window_view(source.reshape(-1), self.hidden_size)[np.maximum(at, 0)]
        states[at < 0] = first[(-1 - at[at < 0]) // self.hidden_size]
        return states

    def _or_first(self, tape: Tape, steps: Any, places: Any) -> Any:
        """These places (n, B), or that of h_0 where step n starts from it."""
        rows = np.arange(tape.batch.B)
        anew = np.broadcast_to(steps == 0, (steps.size, rows.size))
        if tape.extras.resets is not None:
            anew = anew | tape.extras.resets[steps[:, 0]]
        return np.where(anew, -1 - rows * self.hidden_size, places)

    def _states_in_products(self, tape: Tape, steps: Any) -> tuple[FloatArray, Any]:
        """The states that all rows start these steps (n, 1) from, as they enter products.

        In which array, and where: (n, B), in numbers; if negative, at -1 - that in h_0.
        """
        batch, H, rows = tape.batch, self.hidden_size, np.arange(tape.batch.B)
        if tape.dropped is None:
            before = batch.places(self.reverse, steps - 1) * self.width + self.reverse * H
            return tape.y, self._or_first(tape, steps, before)
        first, before = rows * H, (steps * batch.B + rows) * H
        return tape.dropped, np.where(self._or_first(tape, steps, before) < 0, first, before)

    def _examples(self, tape: Tape, first: int, last: int) -> tuple[FloatArray, Examples]:
        """All that is computed in steps first .. last - 1, and the array with its states."""
        batch = tape.batch
        steps = np.arange(last - 1, first - 1, -1)[:, None]
        y, states = self._states_in_products(tape, steps)
        inputs = batch.places(self.reverse, steps) * tape.x.shape[2]
        row = self.padded * self.cell.slots
        gates = ((steps - first) * batch.B + np.arange(batch.B)) * row
        computed = steps < batch.lengths
        bounds = batch.rows_of_parcels(self._parcels(batch.T, batch.B))
        parcels = [slice(*rows) for rows in itertools.pairwise(bounds)]

        def in_order(places: Any) -> Any:
            return np.concatenate([places[:, rows][computed[:, rows]] for rows in parcels])

        ends = np.cumsum([np.count_nonzero(computed[:, rows]) for rows in parcels])
        return y, Examples(in_order(inputs), in_order(states), in_order(gates), ends)

    def _add_weight_gradients(
        self, weights: Weights, tape: Tape, gradients: Mapping[str, FloatArray], first: int, last: int,
        gates: FloatArray,
    ) -> None:  # fmt: skip
        """The share of steps first .. last - 1, after that of all steps behind them."""
        batch, H = tape.batch, self.hidden_size
        opens, closes = last == batch.T, first == 0
        whole, parcels = opens and closes, self._parcels(batch.T, batch.B)
        w_ih, *others = self._of(gradients)
        x, y, examples = tape.x, tape.y, None
        in_order = whole and not batch.is_ragged and tape.extras.resets is None and tape.dropped is None
        if not in_order or (are_tokens(x) and parcels > 1):
            y, examples = self._examples(tape, first, last)
        if are_tokens(x):
            size = self.input_size * self.gates * self.padded
            parts = threads.parts_for(10 * batch.T * batch.B * self.gates * H, self.input_size)
            threads.run(
                token_gradients, parts,
                weights, x, tape.h_0, y, gates, examples, self._room("token sums", size), self._seen, w_ih,
                self.batch_first, self.reverse, opens, closes,
            )  # fmt: skip
            x, w_ih = self._features(x), w_ih[:, :0]
        I = x.shape[2]
        parts = threads.parts_for(self._work(batch.T * batch.B), self.blocks * (tiles_of(I) + tiles_of(H)))
        size = self._size_of_sums(I, parts, parcels, in_pieces=not whole)
        threads.run(
            weight_gradients, parts,
            weights, x, tape.h_0, y, gates, examples, parcels, w_ih, *others,
            self.batch_first, self.reverse, opens, closes, self._room("sums", size),
        )  # fmt: skip
