"""What every recurrent layer does around its cell: checks, layers and directions, noise, ragged batches, steps.

Shapes: T steps, B batch, I input, H hidden, L layers, D directions, S states of the cell. What users give and get
has the states' axis only if there are two.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..kernels import one_step, threads
from ..kernels.cell import Weights
from ..kernels.packing import same_bits
from ..kernels.target import TARGET
from . import _check
from ._batch import Batch
from ._check import FloatArray
from ._direction import QUIET, Direction, Noise, Tape
from .base import Layer, Parameters
from .compiled import Compiled
from .stream import Stream


class _Packed(NamedTuple):
    """Packed weights, never changed, and what they were packed from."""

    weights: tuple[FloatArray, list[Weights]]  # one block, and its parts by layer and direction
    tokens: bool  # whether the first layer's are for tokens
    parameters: FloatArray  # a copy
    exposures: int  # of the parameters; the same number again: nobody can have changed them


@dataclass
class _Call:
    """A call's input after the checks."""

    x: FloatArray  # (T, B, I), or (B, T, I) with `batch_first`; listed sequences one after the other as (1, N, I)
    h_0: FloatArray  # (S, L D, B, H)
    batch: Batch
    resets: FloatArray | None  # (T, B)
    listed: bool
    given_h_0: bool

    @property
    def tokens(self) -> bool:
        """Whether x holds tokens, as (T, B, 1)."""
        return self.x.dtype.kind == "i"


def _is_listed(x: Any) -> bool:
    """Whether x is a list of sequences, not the rows of one array."""
    return isinstance(x, list) and all(isinstance(one, np.ndarray) for one in x)


def _apart(values: FloatArray, call: _Call) -> Any:
    """A list of sequences, where one was given."""
    if not call.listed or call.batch.own_starts is None:
        return values
    return np.split(values[0], call.batch.own_starts[1:])


@dataclass
class _Training:
    """What `backward` needs of a call."""

    call: _Call
    tapes: list[Tape]  # by layer and direction
    masks: dict[str, FloatArray]
    parameters: Parameters


class Recurrent(Layer):
    """Layers of a recurrent cell; `GRU` documents the parameters."""

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
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self.input_size = _check.size("input_size", input_size)
        self.hidden_size = H = _check.size("hidden_size", hidden_size)
        self.num_layers = L = _check.size("num_layers", num_layers)
        self.bias, self.batch_first, self.bidirectional = bool(bias), bool(batch_first), bool(bidirectional)
        self.dropout = _check.probability("dropout", dropout)
        self.recurrent_dropout = _check.probability("recurrent_dropout", recurrent_dropout)
        self.zoneout = _check.probability("zoneout", zoneout)
        self.learn_h_0 = bool(learn_h_0)
        self.checkpoint_every = None if checkpoint_every is None else _check.size("checkpoint_every", checkpoint_every)
        if self.dropout and L == 1:
            warnings.warn(
                f"dropout: expected num_layers of at least 2, as it lies between layers, got dropout={dropout} "
                "with num_layers=1; it has no effect",
                stacklevel=3,
            )
        gates = len(self._kind.cell().input_slots)
        shapes: dict[str, tuple[int, ...]] = {}
        for suffix, width, _ in self._places():
            shapes |= {f"weight_ih_{suffix}": (gates * H, width), f"weight_hh_{suffix}": (gates * H, H)}
            if bias:
                shapes |= {f"bias_ih_{suffix}": (gates * H,), f"bias_hh_{suffix}": (gates * H,)}
        size = sum(int(np.prod(shape)) for shape in shapes.values())
        if learn_h_0:
            shapes |= dict.fromkeys(self._first_states, (L * self.num_directions, 1, H))
        super().__init__(shapes, dtype)
        generator = np.random.default_rng(seed)
        self.flat_parameters[:size] = generator.uniform(-(H**-0.5), H**-0.5, size)
        self.random_state: dict[str, Any] = {"seed": int(generator.integers(2**63)), "draws": 0}
        self._forget()

    @property
    def _kind(self) -> type[Weights]:
        """The packed weights' type, which says what the cell is."""
        raise NotImplementedError

    @property
    def _states(self) -> int:
        """S."""
        return self._kind.cell().states

    @property
    def _first_states(self) -> tuple[str, ...]:
        """Their names before the first step."""
        return ("h_0", "c_0")[: self._states]

    def _state_shape(self, *shape: int) -> tuple[int, ...]:
        """The shape of what users give and get, for one state's."""
        return shape if self._states == 1 else (self._states, *shape)

    @property
    def _own_options(self) -> dict[str, tuple[object, object]]:
        """The options that only this kind of layer has, with their defaults."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return self._made_by(
            self.input_size,
            self.hidden_size,
            num_layers=(self.num_layers, 1),
            bias=(self.bias, True),
            batch_first=(self.batch_first, False),
            dropout=(self.dropout, 0.0),
            bidirectional=(self.bidirectional, False),
            **self._own_options,
            recurrent_dropout=(self.recurrent_dropout, 0.0),
            zoneout=(self.zoneout, 0.0),
            learn_h_0=(self.learn_h_0, False),
            checkpoint_every=(self.checkpoint_every, None),
            dtype=(self.dtype, np.float32),
        )

    @property
    def num_directions(self) -> int:
        """2 if bidirectional, otherwise 1."""
        return 2 if self.bidirectional else 1

    def _places(self) -> Iterator[tuple[str, int, int]]:
        """Name, input width and direction of every layer's directions."""
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else self.num_directions * self.hidden_size
            for direction in range(self.num_directions):
                yield f"l{layer}" + ("_reverse" if direction else ""), width, direction

    _transient: ClassVar = Layer._transient | {"_directions", "_packed", "_training", "_step_function"}

    def _forget(self) -> None:
        H = self.hidden_size
        self._directions = [
            Direction(self._kind, suffix, width, H, self._width, direction, self.batch_first, self.dtype)
            for suffix, width, direction in self._places()
        ]
        self._packed: _Packed | None = None
        self._training: _Training | None = None

    @property
    def _width(self) -> int:
        return self.num_directions * self.hidden_size

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
            The states before the first step; by default those learned with `learn_h_0`, or zero.
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
        if isinstance(x, list) and not _is_listed(x):
            x = _check.real("x", x)
        if self._is_plain and lengths is None and reset is None and isinstance(x, np.ndarray) and x.ndim == 3:
            return self._infer(x, h_0, out)
        call = self._checked(x, h_0, lengths, reset)
        if out is not None:
            if call.listed:
                raise ValueError("out: expected none with a list of sequences, got one")
            _check.output("out", out, (*call.x.shape[:2], self._width), self.dtype, call.x)
        y, tapes = self._through_layers(call, self._weights(call.tokens)[1], None, out)
        return self._results(call, y, tapes)

    @property
    def _is_plain(self) -> bool:
        return self.num_layers == 1 and not (self.bidirectional or self.zoneout or self.learn_h_0)

    def _infer(self, x: FloatArray, h_0: ArrayLike | None, out: FloatArray | None) -> tuple[FloatArray, FloatArray]:
        """A call without any options, with the least to do around the kernel."""
        dtype, H, time = self.dtype, self.hidden_size, int(self.batch_first)
        x = _check.array("x", x, dtype, ("B", "T", self.input_size) if time else ("T", "B", self.input_size))
        T, B = x.shape[time], x.shape[1 - time]
        before = self._checked_h_0(h_0, B)[:, 0]
        if out is None:
            out = np.empty((*x.shape[:2], H), dtype)
        else:
            _check.output("out", out, (*x.shape[:2], H), dtype, x, before)
        _, (weights,) = self._weights()
        c_n = self._directions[0].infer(weights, x, before, out, T)
        h_n = out[:, -1].copy()[None] if time else out[-1:].copy()
        return out, h_n if c_n is None else np.stack([h_n, c_n])

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
        call = self._checked(x, h_0, lengths, reset)
        self._training = None  # of the forward pass before, whose gates are overwritten now
        self._packed = None  # parameters change before the next call, and memory is for the sequence
        masks, parameters, D = self._draw(call), self._parameters(), self.num_directions
        weights = [
            direction.pack_for_training(parameters, call.tokens and at < D)
            for at, direction in enumerate(self._directions)
        ]
        y, tapes = self._through_layers(call, weights, masks)
        self._training = _Training(call, tapes, masks, parameters)
        return self._results(call, y, tapes)

    def _results(self, call: _Call, y: FloatArray, tapes: list[Tape]) -> tuple[Any, FloatArray]:
        batch, H = call.batch, self.hidden_size
        h_n = np.empty_like(call.h_0)
        for direction, tape, last in zip(self._directions, tapes, h_n[0], strict=True):
            columns = slice(direction.reverse * H, (direction.reverse + 1) * H)
            if batch.is_ragged:
                last[...] = tape.y.reshape(-1, self._width)[batch.last_places(direction.reverse), columns]
            else:
                at = 0 if direction.reverse else -1
                last[...] = tape.y[:, at, columns] if self.batch_first else tape.y[at, :, columns]
        for tape, last in zip(tapes, h_n[-1], strict=True):
            if tape.c is not None:
                last[...] = tape.c[np.minimum(batch.lengths, len(tape.c)) - 1, np.arange(batch.B)]
        return _apart(y, call), self._as_given(h_n, batch)

    def _as_given(self, states: FloatArray, batch: Batch) -> FloatArray:
        """(S, L D, B, H), for the user."""
        return batch.as_given(states).reshape(self._state_shape(*states.shape[1:]))

    def _through_layers(
        self,
        call: _Call,
        weights: Sequence[Weights],
        masks: dict[str, FloatArray] | None,
        out: FloatArray | None = None,
    ) -> tuple[FloatArray, list[Tape]]:
        """The last layer's y, and what each direction keeps; for training, with `masks`, what `backward` needs."""
        batch, x, keep = call.batch, call.x, masks is not None
        masks = masks or {}
        tapes: list[Tape] = []
        shape = (*x.shape[:2], self._width)
        for layer in range(self.num_layers):
            last = layer == self.num_layers - 1
            padded = batch.is_ragged and not call.listed
            if out is None or not last:
                y = (np.zeros if padded else np.empty)(shape, self.dtype)
            else:
                y = out
                if padded:
                    y.fill(0)
            for direction in self._directions[layer * self.num_directions :][: self.num_directions]:
                at = len(tapes)
                noise = self._noise(call, direction, masks, keep)
                every = self.checkpoint_every or 0
                h_0 = np.ascontiguousarray(call.h_0[:, at])
                tapes.append(direction.forward(weights[at], batch, x, h_0, y, noise, keep=keep, every=every))
            mask = masks.get(f"dropout_l{layer}")
            x = y if mask is None else y * mask
        return y, tapes

    def backward(
        self, dy: ArrayLike | Sequence[ArrayLike], dh_n: ArrayLike | None = None, *, need_dx: bool = True
    ) -> tuple[Any, FloatArray]:
        """Back-propagate through the whole sequences of the last `forward`, and use it up.

        Parameters
        ----------
        dy : array_like, of y's shape
            The gradient of the loss with respect to y; what lies after a sequence's end doesn't count.
        dh_n : array_like, shape (L D, B, H), optional
            The same for h_n, beyond what reaches it through y; zero by default.
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
        training = _check.kept(self._training)
        call, batch = training.call, training.call.batch
        checked_dy = self._checked_dy(dy, call)
        if dh_n is not None:
            dh_n = batch.in_rows(self._checked_states("dh_n", dh_n, *call.h_0.shape[1:]))
        self._training = None

        dh_0, D = np.empty_like(call.h_0), self.num_directions
        below: Any = checked_dy
        for layer in reversed(range(self.num_layers)):
            mask = training.masks.get(f"dropout_l{layer}")
            above = below if mask is None else below * mask
            dx: FloatArray | None = None
            for direction in range(D):
                at = layer * D + direction
                tape = training.tapes[at]
                part = self._room_for_dx(tape, call) if layer or (need_dx and not call.tokens) else None
                dh_0[:, at] = self._directions[at].backward(
                    tape, training.parameters, self.gradients, above, None if dh_n is None else dh_n[:, at], part,
                    self.checkpoint_every or 0,
                )  # fmt: skip
                if direction and part is not None:
                    part += dx
                dx = part
            below = dx
        if self.learn_h_0 and not call.given_h_0:
            for name, gradient in zip(self._first_states, dh_0, strict=True):
                self.gradients[name] += gradient.sum(axis=1, keepdims=True)
        return None if dx is None else _apart(dx, call), self._as_given(dh_0, batch)

    def _room_for_dx(self, tape: Tape, call: _Call) -> FloatArray:
        padded = call.batch.is_ragged and not call.listed
        return np.zeros_like(tape.x) if padded else np.empty_like(tape.x)

    def _checked_dy(self, dy: Any, call: _Call) -> FloatArray:
        shape = (*call.x.shape[:2], self._width)
        if not call.listed:
            return _check.array("dy", dy, self.dtype, shape)
        lengths = call.batch.own_lengths
        assert lengths is not None
        parts = _check.sequences("dy", dy, self.dtype, self._width)
        if [part.shape[0] for part in parts] != lengths.tolist():
            got = [part.shape[0] for part in parts]
            raise ValueError(f"dy: expected sequences of lengths {lengths.tolist()}, got {got}")
        return np.concatenate(parts)[None]

    @property
    def masks(self) -> dict[str, FloatArray]:
        """The noise drawn by the last `forward`, by kind and layer; empty once `backward` has used it up.

        ``dropout_l{k}`` of the layer's output's shape and ``recurrent_dropout_l{k}`` (B, H) are factors: 0 or
        1 / (1 - p). ``zoneout_l{k}`` (T, B, H) is 1 where a unit keeps its state.
        """
        return dict(self._training.masks) if self._training else {}

    def _draw(self, call: _Call) -> dict[str, FloatArray]:
        """Fresh noise."""
        if not (self.dropout or self.recurrent_dropout or self.zoneout):
            return {}
        state = self.random_state
        assert state is not None
        generator = np.random.Generator(np.random.SFC64([state["seed"], state["draws"]]))
        self.random_state = {**state, "draws": state["draws"] + 1}
        batch, H, masks = call.batch, self.hidden_size, {}

        def hits(p: float, shape: tuple[int, ...]) -> Any:
            return generator.random(shape, np.float32) < p

        for layer in range(self.num_layers):
            for suffix, _, _ in list(self._places())[layer * self.num_directions :][: self.num_directions]:
                if p := self.recurrent_dropout:
                    masks[f"recurrent_dropout_{suffix}"] = ~hits(p, (batch.B, H)) * self.dtype.type(1 / (1 - p))
                if self.zoneout:
                    for kind in ("zoneout", "zoneout_c")[: self._states]:
                        masks[f"{kind}_{suffix}"] = hits(self.zoneout, (batch.T, batch.B, H)).astype(self.dtype)
            if self.dropout and layer < self.num_layers - 1:
                shape = (*call.x.shape[:2], self._width)
                masks[f"dropout_l{layer}"] = ~hits(self.dropout, shape) * self.dtype.type(1 / (1 - self.dropout))
        return masks

    def _noise(self, call: _Call, direction: Direction, masks: dict[str, FloatArray], keep: bool) -> Noise:
        """A direction's share of the noise, in the order of the kernels' steps and rows."""
        if call.resets is None and not masks and not self.zoneout:
            return QUIET
        batch, suffix = call.batch, direction.names["weight_ih"].removeprefix("weight_ih_")
        zoneouts = [masks[name] for name in (f"zoneout_{suffix}", f"zoneout_c_{suffix}") if name in masks]
        zoneout, mask = None, masks.get(f"recurrent_dropout_{suffix}")
        if zoneouts:
            zoneout = batch.in_steps(zoneouts[0] if len(zoneouts) == 1 else np.dstack(zoneouts), direction.reverse)
        elif self.zoneout and not keep:
            zoneout = np.full(self._states * self.hidden_size, self.zoneout, self.dtype)
        resets = call.resets
        if resets is not None and direction.reverse:  # a cut before step t is met on the way from t to t - 1
            resets = np.concatenate([resets[1:], np.zeros_like(resets[:1])])
        return Noise(
            resets=None if resets is None else batch.in_steps(resets, direction.reverse),
            zoneout=zoneout,
            mask=None if mask is None else batch.in_rows(mask),
        )

    def _checked(self, x: Any, h_0: Any, lengths: Any, reset: Any) -> _Call:
        listed = _is_listed(x)
        if listed:
            if lengths is not None:
                raise ValueError("lengths: expected none, as a list of sequences tells its lengths, got some")
            if x and all(np.ndim(one) == 1 for one in x):
                parts = [_check.tokens(f"x[{at}]", one, self.input_size)[:, None] for at, one in enumerate(x)]
            else:
                parts = _check.sequences("x", x, self.dtype, self.input_size)
            x = np.concatenate(parts)[None]
            own = np.array([part.shape[0] for part in parts])
            batch = Batch(int(own.max()), own.size, 1, 0, own, np.cumsum(own) - own)
        else:
            if np.ndim(x) == 2 and np.asarray(x).dtype.kind in "iu":
                x = _check.tokens("x", x, self.input_size)[:, :, None]
            else:
                x = _check.array("x", x, self.dtype, (*("BT" if self.batch_first else "TB"), self.input_size))
            T, B = (x.shape[1], x.shape[0]) if self.batch_first else x.shape[:2]
            stride, distance = (1, T) if self.batch_first else (B, 1)
            batch = Batch(T, B, stride, distance)
            if lengths is not None:
                lengths = _check.lengths("lengths", lengths, B, T)
                if lengths.min() < T:
                    batch = Batch(int(lengths.max()), B, stride, distance, lengths)
        resets = None if reset is None else self._checked_reset(reset, batch, x, listed)
        first = batch.in_rows(self._checked_h_0(h_0, batch.B))
        return _Call(x, first, batch, resets, listed, h_0 is not None)

    def _checked_states(self, name: str, states: Any, *shape: int) -> FloatArray:
        """(S, ...)."""
        return _check.states(name, states, self.dtype, shape, self._states).reshape(-1, *shape)

    def _checked_h_0(self, h_0: Any, B: int) -> FloatArray:
        shape = (self.num_layers * self.num_directions, B, self.hidden_size)
        if h_0 is not None:
            return self._checked_states("h_0", h_0, *shape)
        if not self.learn_h_0:
            return np.zeros((self._states, *shape), self.dtype)
        parameters = self._parameters()
        return np.stack([np.broadcast_to(parameters[name], shape) for name in self._first_states])

    def _checked_reset(self, reset: Any, batch: Batch, x: FloatArray, listed: bool) -> FloatArray:
        """(T, B) by time and sequence."""
        if not listed:
            checked = _check.booleans("reset", reset, x.shape[:2])
            return (checked.T if self.batch_first else checked)[: batch.T]
        lengths = [] if batch.own_lengths is None else batch.own_lengths.tolist()
        if not isinstance(reset, list) or len(reset) != len(lengths):
            raise ValueError(f"reset: expected a list of {len(lengths)} arrays, as x is one, got {_check.brief(reset)}")
        resets = np.zeros((batch.T, batch.B), np.bool_)
        for at, (one, length) in enumerate(zip(reset, lengths, strict=True)):
            resets[:length, at] = _check.booleans(f"reset[{at}]", one, (length,))
        return resets

    def step(self, x_t: ArrayLike, h: ArrayLike, out: FloatArray | None = None) -> FloatArray:
        """One time step: the same bits as a whole sequence, with the least to do for it.

        Parameters
        ----------
        x_t : array_like, shape (B, I) or (I,)
            The input. Without its last dimension, integers: tokens, as in a call.
        h : array_like, shape (L, B, H) or (L, H)
            The states before the step.
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
        self._require_one_direction()
        dtype = self.dtype
        given = x_t if isinstance(x_t, np.ndarray) else _check.real("x_t", x_t)
        if given.dtype is not dtype and given.dtype.kind in "iu" and np.ndim(h) == given.ndim + 1 + self._states:
            return self._step_of_tokens(given, h, out)
        batch = given.shape[:1] if given.ndim > 1 else ()
        below = _check.array("x_t", given, dtype, (*batch, self.input_size))
        before = _check.states("h", h, dtype, (self.num_layers, *batch, self.hidden_size), self._states)
        if out is None:
            out = np.empty(before.shape, dtype)
        else:
            _check.output("out", out, before.shape, dtype, below)
            if np.may_share_memory(out, before):
                before = before.copy()
        block, _ = self._weights()
        one_step.call_step(self._step_function, block, below, before, out)
        return out

    def _step_of_tokens(self, x_t: FloatArray, h: ArrayLike, out: FloatArray | None) -> FloatArray:
        x = _check.tokens("x_t", x_t, self.input_size).reshape((-1, 1) if self.batch_first else (1, -1))
        before = _check.states("h", h, self.dtype, (self.num_layers, *x_t.shape, self.hidden_size), self._states)
        _, after = self(x, before.reshape(self._state_shape(self.num_layers, x.size, self.hidden_size)))
        if out is None:
            return after.reshape(before.shape)
        _check.output("out", out, before.shape, self.dtype)
        out[...] = after.reshape(before.shape)
        return out

    def stream(self, batch_size: int = 1, h_0: ArrayLike | None = None) -> Stream:
        """Keep the states from call to call: sequences that arrive in pieces.

        Parameters
        ----------
        batch_size : int
            B, the number of sequences.
        h_0 : array_like, shape (L, B, H), optional
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
        return Compiled(one_step.step, one_step.StepWeights(block, self._step_function).copy())

    def _require_one_direction(self) -> None:
        if self.bidirectional:
            raise ValueError("bidirectional: expected a layer of one direction, got both; call it on whole sequences")

    @cached_property
    def _step_function(self) -> int:
        return one_step.function_for(self._kind, self.dtype)

    @property
    def small_inputs(self) -> Sequence[tuple[int, ...]]:
        """One step of one sequence, and of more than fill a tile."""
        B = TARGET.rows + 1
        return (1, 1, self.input_size), (B, 1, self.input_size) if self.batch_first else (1, B, self.input_size)

    def _weights(self, tokens: bool = False) -> tuple[FloatArray, list[Weights]]:
        """The packed weights of all directions, packed again if a parameter has changed since."""
        packed = self._packed
        if packed is not None and packed.exposures == self._exposures and packed.tokens == tokens:
            return packed.weights
        exposures = -1 if self._exposed() else self._exposures
        if packed is None or packed.tokens != tokens or not self._is_same(packed):
            with threads.one_at_a_time():
                packed = self._packed
                if packed is None or packed.tokens != tokens or not self._is_same(packed):
                    packed = self._packed = None
                    packed = _Packed(self._pack(tokens), tokens, self._flat_parameters.copy(), exposures)
        self._packed = packed = packed._replace(exposures=exposures)
        return packed.weights

    def _is_same(self, packed: _Packed) -> bool:
        words = np.dtype(f"i{self.dtype.itemsize}")
        return bool(same_bits(self._flat_parameters.view(words), packed.parameters.view(words)))

    def _pack(self, tokens: bool) -> tuple[FloatArray, list[Weights]]:
        parameters, D = self._parameters(), self.num_directions
        widths = [direction.input_size for direction in self._directions]
        block, parts = one_step.new_block(self._kind, widths, self.hidden_size, self.dtype, self.zoneout)
        for at, (direction, weights) in enumerate(zip(self._directions, parts, strict=True)):
            direction.pack(weights, parameters, tokens and at < D)
        return block, parts
