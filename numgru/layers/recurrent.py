"""What every recurrent layer does around its cell: layers and directions, noise, ragged batches.

Shapes: T steps, B batch, I input, H hidden, L layers, D directions, S states of the cell. What users give and get
has the states' axis only if there are two.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .. import _check
from .._types import FloatArray
from ..kernels import single_step
from ..kernels.sequences import Flow
from . import _pass, _plain
from ._batch import Batch, with_zeros
from ._calls import Call, apart, checked, checked_dy, checked_states, unnested
from ._direction import Direction
from ._flow import flow_of, measured_norms, met_by_bounds
from ._noise import draw, extras_of
from ._single_step import checked_step, step_of_tokens
from ._tape import PlainTape, Tape
from ._weights import RecurrentWeights
from .compiled import Compiled
from .flow_report import FlowReport
from .stream import Stream


@dataclass
class _Training:
    """What `backward` needs of a call."""

    call: Call
    tapes: list[Tape]  # by layer and direction
    masks: dict[str, FloatArray]
    bounds: tuple[float, float]  # of what flows from step to step


class Recurrent(RecurrentWeights):
    """Layers of a recurrent cell."""

    _transient: ClassVar = RecurrentWeights._transient | {
        "_training", "_gradient_flow", "_bounded_flows", "_zeros", "_step_function",
    }  # fmt: skip

    def _forget(self) -> None:
        super()._forget()
        self._zeros = np.zeros((self._states, 1, self.hidden_size), self.dtype)  # the usual h_0, never written to
        self._training: PlainTape | _Training | None = None  # what `backward` needs of the last `forward`
        self._gradient_flow: FloatArray | None = None
        self._bounded_flows: tuple[list[Flow], Batch, int] | None = None  # and the steps of x

    def _begin_training(self) -> None:
        self._training = None  # of the forward pass before, whose gates are overwritten now
        self._packed = None  # parameters change before the next call, and memory is for the sequence

    def __call__(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        h_0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
        out: FloatArray | None = None,
    ) -> tuple[Any, FloatArray]:
        """Run sequences and keep nothing.

        Parameters
        ----------
        x : array_like, shape (T, B, I), or (B, T, I) with `batch_first`
            The input; any real dtype, converted to the layer's. Or a list of B ndarrays (T_b, I), which are sequences
            of any lengths. Without its last dimension, integers from 0 to I - 1: tokens in place of one-hot vectors.
        h_0 : array_like, shape (L D, B, H), optional
            The states before the first step; by default those learned with `learn_h_0`, or zero. Of an LSTM, here and
            below, h and c: as a pair, or as one array (2, L D, B, H), which is also what's returned.
        lengths : array_like of int, shape (B,), optional
            The steps of each sequence that count, 1 to T; what `x` holds after them isn't read.
        reset : array_like of bool, shape (T, B), or (B, T) with `batch_first`, optional
            Where it's true, another sequence begins: its first step starts from h_0 again, and so does, in the other
            direction, the last step of the sequence before it.
        out : ndarray of y's shape, optional
            Where y is written: C-contiguous, of the layer's dtype, and apart from the other arguments.

        Returns
        -------
        y : ndarray, shape (T, B, D H), or (B, T, D H) with `batch_first`; a list (T_b, D H) for a list
            The last layer's state after every step, zero after a sequence's end.
        h_n : ndarray, shape (L D, B, H)
            The states after each sequence's last step.

        Raises
        ------
        ValueError
            For a wrong rank or size, an empty dimension, or lengths outside 1 .. T.
        TypeError
            For numbers of a wrong kind.
        """
        x = unnested(x)
        if _plain.is_plain(self, x, lengths, reset):
            return _plain.infer(self, x, h_0, out)
        call = checked(self, x, h_0, lengths, reset)
        if out is not None:
            if call.listed:
                raise ValueError("out: expected none with a list of sequences, got one")
            _check.output("out", out, (*call.x.shape[:2], self._width), self.dtype, call.x, call.h_0)
        y, h_n, _ = self._through_layers(call, self._weights(call.tokens)[1], {}, out)
        return apart(y, call), self._as_given(h_n, call.batch)

    def forward(
        self,
        x: ArrayLike | Sequence[ArrayLike],
        h_0: ArrayLike | None = None,
        *,
        lengths: ArrayLike | None = None,
        reset: ArrayLike | None = None,
    ) -> tuple[Any, FloatArray]:
        """Run sequences, with dropout and zoneout drawn, and keep what `backward` needs.

        Parameters, returns and errors as for a call.
        """
        x = unnested(x)
        if _plain.is_plain(self, x, lengths, reset) and _plain.trains_plainly(self):
            return _plain.forward(self, x, h_0)
        call = checked(self, x, h_0, lengths, reset)
        if call.given_h_0:
            call.h_0 = call.h_0.copy()  # users go on with their states in place
        self._begin_training()
        masks = draw(self, call)
        y, h_n, tapes = self._through_layers(call, None, masks)
        self._training = _Training(call, tapes, masks, self._bounds)
        return apart(y, call), self._as_given(h_n, call.batch)

    def _take_last(
        self, states: FloatArray, call: Call, direction: Direction, y: FloatArray, c: FloatArray | None
    ) -> None:
        """A direction's states after each sequence's last step into `states` (S, B, H)."""
        batch, H = call.batch, self.hidden_size
        columns = slice(direction.reverse * H, (direction.reverse + 1) * H)
        if batch.is_ragged:
            states[0] = y.reshape(-1, self._width)[batch.last_places(direction.reverse), columns]
        else:
            at = 0 if direction.reverse else -1
            states[0] = y[:, at, columns] if self.batch_first else y[at, :, columns]
        if c is not None:
            states[1] = c[np.minimum(batch.lengths, len(c)) - 1, np.arange(batch.B)]

    def _as_given(self, states: FloatArray, batch: Batch) -> FloatArray:
        """(S, L D, B, H), for the user."""
        given: FloatArray = batch.as_given(states).reshape(self._state_shape(*states.shape[1:]))
        return given

    def _new_steps(self, shape: tuple[int, ...], call: Call) -> FloatArray:
        """An array of the input's steps, zero where its sequences have ended: memory that isn't touched costs less."""
        has_ends = call.batch.is_ragged and not call.listed
        return np.zeros(shape, self.dtype) if has_ends else np.empty(shape, self.dtype)

    def _steps_of(self, call: Call) -> int:
        """Those of x, which may go on after all sequences' ends."""
        return int(call.batch.T if call.listed else call.x.shape[1 if self.batch_first else 0])

    def _with_zero_ends(self, values: FloatArray, call: Call) -> FloatArray:
        """`values`, of the input's steps, zero where sequences have ended."""
        lengths = call.batch.own_lengths
        if lengths is not None and not call.listed:
            for row, length in enumerate(lengths.tolist()):
                (values[row, length:] if self.batch_first else values[length:, row])[...] = 0
        return values

    def _directions_of(self, layer: int) -> list[Direction]:
        D = self.num_directions
        return self._directions[layer * D : (layer + 1) * D]

    def _through_layers(
        self,
        call: Call,
        packed: Sequence[FloatArray] | None,
        masks: dict[str, FloatArray],
        out: FloatArray | None = None,
    ) -> tuple[FloatArray, FloatArray, list[Tape]]:
        """The last layer's y, the last states (S, L D, B, H), and for training what `backward` needs.

        In inference, with `packed` weights, layers write into two arrays in turn, of which the last layer's is y.
        """
        x, keep, L = call.x, packed is None, self.num_layers
        h_n, tapes = np.empty_like(call.h_0), list[Tape]()
        shape = (*x.shape[:2], self._width)
        rooms = [self._new_steps(shape, call) if out is None else self._with_zero_ends(out, call)]
        rooms += [self._new_steps(shape, call) for _ in range(L - 1 if keep else min(L - 1, 1))]
        for layer in range(L):
            y = rooms[(L - 1 - layer) % len(rooms)]
            for direction in self._directions_of(layer):
                at = layer * self.num_directions + direction.reverse
                steps = call.batch, x, np.ascontiguousarray(call.h_0[:, at]), y
                extras = extras_of(self, call, direction, masks, keep)
                if packed is not None:
                    c = _pass.infer(direction, packed[at], *steps, extras)
                else:
                    parameters, every = self._flat_parameters[direction.span], self.checkpoint_every or 0
                    tape = _pass.train(direction, parameters, *steps, extras, every)
                    c = tape.c
                    tapes.append(tape)
                self._take_last(h_n[:, at], call, direction, y, c)
            mask = masks.get(f"dropout_l{layer}")
            x = y if mask is None else y * mask
        return y, h_n, tapes

    def backward(
        self, dy: ArrayLike | Sequence[ArrayLike], dh_n: ArrayLike | None = None, *, need_dx: bool = True
    ) -> tuple[Any, FloatArray]:
        """Back-propagate through the whole sequences of the last `forward`, and use it up.

        Parameters
        ----------
        dy : array_like, of y's shape
            The gradient of the loss with respect to y; what lies after a sequence's end doesn't count.
        dh_n : array_like, shape (L D, B, H), optional
            The same for h_n, beyond what reaches it through y; zero by default. Of an LSTM, here and below, as for a
            call.
        need_dx : bool
            Without it, dx isn't computed.

        Returns
        -------
        dx : ndarray of x's shape, or None
            The gradient with respect to x; a list for a list. None for tokens, too.
        dh_0 : ndarray, shape (L D, B, H)
            The gradient with respect to h_0.

        Notes
        -----
        *Adds* the parameters' gradients into `gradients`; `zero_grad` sets them to zero.

        Raises
        ------
        ValueError
            Without a `forward` before it, or for a wrong shape.
        TypeError
            For numbers that aren't real.
        """
        if isinstance(self._training, PlainTape):
            return _plain.backward(self, self._training, dy, dh_n, need_dx)
        training = _check.kept(self._training)
        call, batch = training.call, training.call.batch
        below: Any = checked_dy(self, dy, call)
        if dh_n is not None:
            dh_n = batch.in_rows(checked_states(self, "dh_n", dh_n, *call.h_0.shape[1:]))
        self._training = None

        dh_0, D = np.empty_like(call.h_0), self.num_directions
        flows = [
            flow_of(direction, training.bounds, batch, measured=self.measure_flow, has_extras=not tape.extras.are_none)
            for direction, tape in zip(self._directions, training.tapes, strict=True)
        ]
        for layer in reversed(range(self.num_layers)):
            mask = training.masks.get(f"dropout_l{layer}")
            if mask is not None:
                below *= mask  # the dx of the layer above, which nobody else has
            dx: FloatArray | None = None
            for reverse in range(D):
                at = layer * D + reverse
                tape = training.tapes[at]
                wants_dx = layer > 0 or (need_dx and not call.tokens)
                part = self._new_steps(tape.x.shape, call) if wants_dx else None
                direction = self._directions[at]
                dh_0[:, at] = _pass.backward(
                    direction, tape, self._flat_parameters[direction.span], self._flat_gradients[direction.span],
                    below, None if dh_n is None else dh_n[:, at], part, flows[at],
                )  # fmt: skip
                if reverse and part is not None:
                    part += dx
                dx = part
            below = dx
        if self.learn_h_0 and not call.given_h_0:
            for name, gradient in zip(self._first_states, dh_0, strict=True):
                self.gradients[name] += gradient.sum(axis=1, keepdims=True)
        if self.measure_flow:
            norms = [measured_norms(*pair, batch) for pair in zip(self._directions, flows, strict=True)]
            self._gradient_flow = with_zeros(np.stack(norms), 1, self._steps_of(call))
        if min(training.bounds) < np.inf:
            self._bounded_flows = flows, batch, self._steps_of(call)
        return None if dx is None else apart(dx, call), self._as_given(dh_0, batch)

    def step(self, x_t: ArrayLike, h: ArrayLike, out: FloatArray | None = None) -> FloatArray:
        """One time step: the same bits as a whole sequence, with the least to do for it.

        Parameters
        ----------
        x_t : array_like, shape (B, I) or (I,)
            The input. Without its last dimension, integers: tokens, as in a call.
        h : array_like, shape (L, B, H) or (L, H)
            The states before the step; of an LSTM h and c, as a pair, or as one array (2, ...), as they're returned.
        out : ndarray of h's shape, optional
            Where the states after the step are written: C-contiguous, of the layer's dtype; it may be h.

        Returns
        -------
        ndarray of h's shape
            The states after the step; the last layer's, ``[-1]``, is the output.

        Raises
        ------
        ValueError
            For a wrong shape, or a bidirectional layer, which needs whole sequences.
        TypeError
            For numbers that aren't real.
        """
        given: Any = x_t
        before: Any = h
        dtype, function = self.dtype, self._step_function
        if type(given) is type(before) is np.ndarray and (
            given.dtype is dtype is before.dtype or given.dtype == dtype == before.dtype
        ):
            after = np.empty(before.shape, dtype) if out is None else out
            if type(after) is np.ndarray and after.dtype is dtype:  # the kernel looks at the rest, which takes it less
                states = before.copy() if out is before else before
                if single_step.call_step(function, self._weights()[0], given, states, after):
                    return after
        given = x_t if isinstance(x_t, np.ndarray) else _check.real("x_t", x_t)
        if given.dtype.kind in "iu" and np.ndim(h) == given.ndim + 1 + self._states:
            return step_of_tokens(self, given, h, out)
        return checked_step(self, given, h, out)

    def stream(self, batch_size: int = 1, h_0: ArrayLike | None = None) -> Stream:
        """Keep the states from call to call: sequences that arrive in pieces.

        Parameters
        ----------
        batch_size : int
            B, the number of sequences.
        h_0 : array_like, shape (L, B, H), or of an LSTM (2, L, B, H) or a pair, optional
            The states before the first step; by default those learned with `learn_h_0`, or zero.

        Returns
        -------
        Stream
            ``stream(x)`` returns y, the same bits as the whole sequence's.

        Raises
        ------
        ValueError
            For a wrong shape, or a bidirectional layer, which needs whole sequences.
        TypeError
            For numbers that aren't real, or a batch_size that isn't an integer.
        """
        self._require_one_direction()
        return Stream(self, _check.size("batch_size", batch_size), h_0)

    def compiled(self) -> Compiled:
        """A step for loops compiled by Numba, and for C: see `Compiled`.

        Returns
        -------
        Compiled
            ``step, weights = gru.compiled()``. The weights are a copy of the layer's present ones.

        Raises
        ------
        ValueError
            For a bidirectional layer, which needs whole sequences.
        """
        self._require_one_direction()
        block, _ = self._weights()
        return Compiled(single_step.step, single_step.StepWeights(block, self._step_function).copy())

    @cached_property
    def _step_function(self) -> int:
        self._require_one_direction()
        return single_step.function_for(self._kind, self.dtype)

    @property
    def gradient_flow(self) -> FloatArray:
        """The norms of dL/dh_t in the last `backward` with `measure_flow` on, float64, shape (L D, T, B).

        By layer and direction as in h_n, and by time; zero after a sequence's end. dL/dh_t is complete: what comes
        through y_t, and what flows back from later steps (with its bounds, if it has any). Of an LSTM it's the norm of
        both states' gradients together; c's is what flows back from later steps.

        Squares are summed in float64, which holds those of any float32 numbers. Of float64 numbers, norms below 1e-154
        aren't measured, and are zero in the end, nor are those above 1e154, which are infinite.

        Raises
        ------
        ValueError
            If there was no such `backward`.
        """
        if self._gradient_flow is None:
            raise ValueError("gradient_flow: expected a backward with measure_flow=True before, got none")
        return self._gradient_flow

    @property
    def flow_report(self) -> FlowReport:
        """What the bounds of the flow met and did in the last `backward` with `clip_flow_value` or `clip_flow_norm`.

        Raises
        ------
        ValueError
            If there was no such `backward`.
        """
        if self._bounded_flows is None:
            raise ValueError("flow_report: expected a backward with clip_flow_value or clip_flow_norm before, got none")
        flows, batch, steps = self._bounded_flows
        by_direction = [met_by_bounds(*pair, batch) for pair in zip(self._directions, flows, strict=True)]
        met = with_zeros(np.stack(by_direction, axis=2), 3, steps)  # (3, S, L D, T, B)
        norms, excess, counts = met[:, 0] if self._states == 1 else met
        parts = self._states * self.hidden_size * len(flows) * int(batch.lengths.sum())
        return FlowReport(norms, 1 / np.maximum(excess, 1), counts.astype(np.int64), parts)

    @property
    def gates(self) -> dict[str, FloatArray]:
        """The gates of the last `forward`, (T, B, H) by name and layer: ``r_l0``, ``z_l0``, ``n_l0``.

        Of an LSTM i, f, g and o; a plain RNN has none. They are zero after a sequence's end.

        Raises
        ------
        ValueError
            Without a `forward` before, if `backward` has used them up, or with `checkpoint_every`, which keeps none.
        """
        if isinstance(self._training, PlainTape):
            values = _pass.gate_values(self._directions[0], self._training)
            return {f"{name}_l0": of_gate for name, of_gate in values.items()}
        training = _check.kept(self._training, "gates")
        if every := training.tapes[0].every:
            raise ValueError(f"gates: expected checkpoint_every=None, which keeps them, got {every}")
        steps = self._steps_of(training.call)
        return {
            f"{name}_{direction.suffix}": with_zeros(values, 0, steps)
            for direction, tape in zip(self._directions, training.tapes, strict=True)
            for name, values in _pass.gate_values(direction, tape).items()
        }

    @property
    def masks(self) -> dict[str, FloatArray]:
        """The noise drawn by the last `forward`, by kind and layer; empty once `backward` has used it up.

        ``dropout_l{k}`` of the layer's output's shape and ``recurrent_dropout_l{k}`` (B, H) are factors: 0 or
        1 / (1 - p). ``zoneout_l{k}`` (T, B, H) is 1 where a unit keeps its state, of an LSTM its h, and
        ``zoneout_c_l{k}`` where it keeps its c; T is that of the longest sequence.
        """
        return dict(self._training.masks) if isinstance(self._training, _Training) else {}
