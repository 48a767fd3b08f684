"""A pass through one direction of one layer, and back: which kernels run, and what they're told.

Shapes: T steps, B batch, I input, H hidden, D directions of the layer, S states; as in kernels/sequences.py.
"""

from __future__ import annotations

import numpy as np

from .._types import FloatArray
from ..kernels import recurrent, threads
from ..kernels.cell import Weights
from ..kernels.sequences import Flow, Options
from ..kernels.target import TARGET
from ..kernels.tokens import token_gradients
from ..kernels.weight_gradients import tiles_of, weight_gradients
from ._batch import Batch
from ._direction import Direction
from ._flow import flow_from, is_bounded
from ._places import examples_of, gathered, or_first, states_in_products
from ._tape import Extras, PlainTape, Tape, are_tokens

_NO_TOKENS = np.empty(0, np.int64)


def infer(
    direction: Direction, packed: FloatArray, batch: Batch, x: FloatArray, h_0: FloatArray, y: FloatArray,
    extras: Extras,
) -> FloatArray | None:  # fmt: skip
    """The states into y's columns of this direction; returns the last second state (1, B, H), if there is one."""
    c = direction.room_for_cells(1, batch.B)
    if _has_options(batch, x, extras):
        options = _options(direction, batch, x, extras, None, 0, batch.T)
        _run_forward(direction, direction.weights_in(packed), batch.T * batch.B, x, h_0, y, c, None, options)
    else:
        infer_plainly(direction, packed, x, h_0, y, c)
    return c


def infer_plainly(
    direction: Direction, packed: FloatArray, x: FloatArray, h_0: FloatArray, y: FloatArray, c: FloatArray | None
) -> None:
    """The same without options, and the second states, or the last, into c. The weights are at the end of `packed`."""
    examples, B, kernel = y.shape[0] * y.shape[1], h_0.shape[1], direction.plain.infer
    parts = direction.parts(examples, B, kernel)
    threads.run(kernel, parts, packed, x, h_0, y, c, direction.batch_first, direction.reverse)


def train(
    direction: Direction, parameters: FloatArray, batch: Batch, x: FloatArray, h_0: FloatArray, y: FloatArray,
    extras: Extras, every: int,
) -> Tape:  # fmt: skip
    """The same with the direction's flat parameters, and what `backward` needs.

    With `every`, gates aren't kept but computed again, so many steps at once.
    """
    has_options = _has_options(batch, x, extras)
    if not (has_options or every):
        return Tape(batch, extras, *train_plainly(direction, parameters, x, h_0, y), None, 0)
    weights = direction.pack_for_training(parameters, x if are_tokens(x) else None)
    c = direction.room_for_cells(batch.T, batch.B)
    if not has_options:
        infer_plainly(direction, direction.packed_room, x, h_0, y, c)
        return Tape(batch, extras, x, h_0, y, c, None, None, every)
    dropped = None
    if extras.mask is not None:
        dropped = np.empty((batch.T + 1, *h_0.shape[1:]), direction.dtype)
        dropped[0] = h_0[0] * extras.mask
    gates = None if every else direction.room_for_gates(batch.T * batch.B)
    options = _options(direction, batch, x, extras, dropped, 0, batch.T)
    _run_forward(direction, weights, batch.T * batch.B, x, h_0, y, c, gates, options)
    return Tape(batch, extras, x, h_0, y, c, gates, dropped, every)


def train_plainly(
    direction: Direction, parameters: FloatArray, x: FloatArray, h_0: FloatArray, y: FloatArray
) -> PlainTape:
    """The same without options, and what `backward_plainly` needs."""
    examples, B, kernel = y.shape[0] * y.shape[1], h_0.shape[1], direction.plain.train
    gates, c = direction.room_for_gates(examples), direction.room_for_cells(examples // B, B)
    parts, loop_parts = direction.training_parts(examples, B, kernel)
    threads.run(
        kernel, parts, direction.packed_room, parameters, x, h_0, y, c, gates, direction.batch_first,
        direction.reverse, loop_parts,
    )  # fmt: skip
    return PlainTape(x, h_0, y, c, gates)


def _has_options(batch: Batch, x: FloatArray, extras: Extras) -> bool:
    return batch.is_ragged or not extras.are_none or are_tokens(x)


def _options(
    direction: Direction, batch: Batch, x: FloatArray, extras: Extras, dropped: FloatArray | None, first: int,
    last: int, *, all_of_it: bool = False,
) -> Options:  # fmt: skip
    """Those of steps first .. last - 1 alone; `dropped` is the state times the mask."""
    segment = batch.segment(direction.reverse, x.shape[2], direction.width, direction.hidden_size, first, last)
    segment = _with_tokens(segment, x)
    if extras.are_none and not all_of_it:
        return segment
    if extras.resets is None:
        resets = np.zeros((last - first + 1) * batch.B, np.bool_)  # the next segment's first step, too
    else:
        resets = extras.resets[first:].reshape(-1)
    zoneout = direction.none if extras.zoneout is None else extras.zoneout
    B, H = zoneout.shape[1:] if zoneout.ndim == 3 else (0, 0)
    return segment._replace(
        resets=resets,
        has_zoneout=int(extras.zoneout is not None),
        zoneout=zoneout[first if B else 0 :].reshape(-1),
        zoneout_time=B * H,
        zoneout_row=H,
        has_mask=int(extras.mask is not None),
        mask=direction.none if extras.mask is None else extras.mask.reshape(-1),
        dropped_0=direction.none if dropped is None else dropped[0].reshape(-1),
        dropped=direction.none if dropped is None else dropped[first:].reshape(-1),
    )


def _with_tokens(options: Options, x: FloatArray) -> Options:
    if are_tokens(x):
        return options._replace(has_tokens=1, tokens=x.reshape(-1))
    return options._replace(tokens=_NO_TOKENS)


def _features(direction: Direction, x: FloatArray) -> FloatArray:
    """x, or for tokens an x without features."""
    return np.empty((*x.shape[:2], 0), direction.dtype) if are_tokens(x) else x


def _run_forward(
    direction: Direction, weights: Weights, examples: int, x: FloatArray, h_0: FloatArray, y: FloatArray,
    c: FloatArray | None, gates: FloatArray | None, options: Options,
) -> None:  # fmt: skip
    threads.run(
        recurrent.forward, direction.parts(examples, h_0.shape[1], recurrent.forward, same_length=not options.steps),
        weights, _features(direction, x), h_0, y, c, gates, direction.batch_first, direction.reverse, options,
    )  # fmt: skip


def backward(
    direction: Direction, tape: Tape, parameters: FloatArray, gradients: FloatArray, dy: FloatArray,
    dh_n: FloatArray | None, dx: FloatArray | None, flow: Flow,
) -> FloatArray:  # fmt: skip
    """dx (where it's wanted) and the direction's flat gradients; from dh_n to dh_0, both (S, B, H)."""
    batch, lanes, H = tape.batch, TARGET.lanes(direction.dtype), direction.hidden_size
    gates = tape.gates
    if gates is not None and not (_has_options(batch, tape.x, tape.extras) or is_bounded(flow)):
        dh = np.zeros(tape.h_0.shape, direction.dtype) if dh_n is None else dh_n.copy()
        plain = PlainTape(tape.x, tape.h_0, tape.y, tape.c, gates)
        backward_plainly(direction, plain, parameters, gradients, dy, dx, dh, flow.norms)
        return dh
    carry = direction.room_for_carry(batch.B).reshape(-1, batch.B, direction.padded)
    carry[...] = 0
    if dh_n is not None:
        carry[..., :H] = dh_n
    dh_0 = np.zeros(tape.h_0.shape, direction.dtype)
    w_ih, w_hh, _, _ = direction.matrices(parameters)
    weights = direction.backward_weights
    if tape.gates is None:  # the forward pass's are needed again
        weights = direction.weights_in(np.empty_like(direction.packed_room))
    threads.run(recurrent.pack_weights_backward, direction.packing_parts, weights, w_ih, w_hh, dx is not None)
    flat_dx = None if dx is None else dx.reshape(-1)
    step = batch.B * direction.blocks * direction.cell.slots * lanes
    every = tape.every or batch.T
    if gates is None:
        gates = direction.room_for_gates((min(every, batch.T) + 1) * batch.B)
    for first in range((batch.T - 1) // every * every, -1, -every):
        last = min(first + every, batch.T)
        if tape.gates is None:
            if last < batch.T:
                gates[(last - first) * step : (last - first + 1) * step] = gates[:step]
            _compute_again(direction, tape, first, last, gates[: (last - first) * step])
        options = _options(direction, batch, tape.x, tape.extras, tape.dropped, first, last, all_of_it=is_bounded(flow))
        c = None if tape.c is None else tape.c[max(first - 1, 0) :]
        part = flow_from(direction, flow, first, batch)
        _run_backward(direction, weights, tape, c, gates, dy, flat_dx, dh_0, carry, part, options, last - first)
        _add_weight_gradients(direction, weights, tape, gradients, first, last, gates)
    return dh_0


def backward_plainly(
    direction: Direction, tape: PlainTape, parameters: FloatArray, gradients: FloatArray, dy: FloatArray,
    dx: FloatArray | None, dh: FloatArray, squares: FloatArray | None,
) -> None:  # fmt: skip
    """The same without options, with dh_0 in place of dh_n.

    `squares`, (T, B, block) in the order of the steps, gets those of what flows from step to step, where it's given.
    """
    examples, B, kernel = dy.shape[0] * dy.shape[1], dh.shape[1], direction.plain.train_backward
    parts, loop_parts = direction.training_parts(examples, B, kernel)
    parcels = direction.parcels(examples // B, B)
    if parcels == 1:
        size = parts * direction.size_of_part
    else:
        size = direction.size_of_sums(direction.input_size, parts, parcels)
    threads.run(
        kernel, parts,
        direction.packed_room, parameters, gradients, *tape, dy, None if dx is None else dx.reshape(-1), dh,
        direction.room_for_carry(B), direction.batch_first, direction.reverse, direction.room("sums", size), squares,
        parcels, loop_parts,
    )  # fmt: skip


def _run_backward(
    direction: Direction, weights: Weights, tape: Tape, c: FloatArray | None, gates: FloatArray, dy: FloatArray,
    dx: FloatArray | None, dh_0: FloatArray, carry: FloatArray, flow: Flow, options: Options, steps: int,
) -> None:  # fmt: skip
    threads.run(
        recurrent.backward,
        direction.parts(steps * tape.batch.B, tape.batch.B, recurrent.backward, same_length=not options.steps),
        weights, _features(direction, tape.x), tape.h_0, tape.y, c, gates, dy, dx, dh_0,
        carry.reshape(-1), flow, direction.batch_first, direction.reverse, options,
    )  # fmt: skip


def gate_values(direction: Direction, tape: Tape | PlainTape) -> dict[str, FloatArray]:
    """The gates that a pass has kept, by name: (T, B, H) by time and sequence, zero after a sequence's end."""
    assert tape.gates is not None
    slots = tape.gates.reshape(-1, tape.h_0.shape[1], direction.cell.slots, direction.padded)
    kept = {name: slots[:, :, slot, : direction.hidden_size] for slot, name in enumerate(direction.cell.gates)}
    if isinstance(tape, PlainTape):
        return {name: values.copy() for name, values in kept.items()}
    return {name: tape.batch.in_time(values, direction.reverse) for name, values in kept.items()}


def _compute_again(direction: Direction, tape: Tape, first: int, last: int, gates: FloatArray) -> None:
    """The gates of steps first .. last - 1: as all states are known, of all steps at once."""
    H, steps = direction.hidden_size, np.arange(first, last)[:, None]
    states = gathered(direction, *states_in_products(direction, tape, steps), tape.h_0[0])[None]
    if tape.c is not None:
        places = ((steps - 1) * tape.batch.B + np.arange(tape.batch.B)) * H
        cells = gathered(direction, tape.c, or_first(direction, tape, steps, places), tape.h_0[1])
        states = np.concatenate([states, cells[None]])
    examples = states.shape[1]
    options = Options(
        steps=1,
        x_at=tape.batch.places(direction.reverse, steps).reshape(-1) * tape.x.shape[2],
        y_at=np.arange(examples) * H,
        lengths=np.ones(examples, np.int64),
        active=np.array([examples, 0]),
    )
    options = _with_tokens(options, tape.x)
    y, c = np.empty((examples, 1, H), direction.dtype), direction.room_for_cells(1, examples)
    _run_forward(direction, direction.forward_weights, examples, tape.x, states, y, c, gates, options)


def _add_weight_gradients(
    direction: Direction, weights: Weights, tape: Tape, gradients: FloatArray, first: int, last: int, gates: FloatArray
) -> None:
    """The share of steps first .. last - 1, after that of all steps behind them."""
    batch, H = tape.batch, direction.hidden_size
    opens, closes = last == batch.T, first == 0
    whole, parcels = opens and closes, direction.parcels(batch.T, batch.B)
    w_ih, *others = direction.matrices(gradients)
    x, y, examples = tape.x, tape.y, None
    in_order = whole and not batch.is_ragged and tape.extras.resets is None and tape.dropped is None
    if not in_order:
        y, examples = examples_of(direction, tape, first, last, parcels)
    if are_tokens(x):
        by_step = examples  # a token's sum is one chain over all rows
        if not in_order and parcels > 1:
            _, by_step = examples_of(direction, tape, first, last, 1)
        size = direction.input_size * direction.gates * direction.padded
        parts = threads.parts_for(10 * batch.T * batch.B * direction.gates * H, direction.input_size)
        threads.run(
            token_gradients, parts,
            weights, x, tape.h_0, y, gates, by_step, direction.room("token sums", size), direction.seen, w_ih,
            direction.batch_first, direction.reverse, opens, closes,
        )  # fmt: skip
        x, w_ih = _features(direction, x), w_ih[:, :0]
    I = x.shape[2]
    parts = threads.parts_for(direction.work(batch.T * batch.B), direction.blocks * (tiles_of(I) + tiles_of(H)))
    size = direction.size_of_sums(I, parts, parcels, in_pieces=not whole)
    threads.run(
        weight_gradients, parts,
        weights, x, tape.h_0, y, gates, examples, parcels, w_ih, *others,
        direction.batch_first, direction.reverse, opens, closes, direction.room("sums", size),
    )  # fmt: skip
