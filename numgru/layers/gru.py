"""The GRU layer: parameters, checks, and the state that lives from forward to backward. The arithmetic is in kernels.

Shapes: T time, B batch, I input, H hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..kernels import recurrent, threads
from ..kernels.gru import GRUCell, GRUWeights, infer
from ..kernels.packing import aligned_empty, blocks_of, same_bits
from ..kernels.target import TARGET
from ..kernels.team import memory
from ..kernels.tiles import WIDE
from ..kernels.weight_gradients import tiles_of, weight_gradients, weight_gradients_parallel, workspace_size
from . import _check
from ._check import FloatArray
from .base import Layer

GATES = 3


class _Tape(NamedTuple):
    """What the backward pass needs of a forward pass."""

    x: FloatArray
    h_0: FloatArray
    y: FloatArray
    gates: FloatArray


class GRU(Layer):
    """One layer of gated recurrent units, reading a sequence from its first step to its last.

    For every step, with the gates in the order r, z, n and the previous state h::

        r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)         reset gate
        z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)         update gate
        n  = tanh(W_in x + b_in + r * (W_hn h + b_hn))      candidate
        h' = (1 - z) * n + z * h

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    bias : bool
        Whether there are b_i and b_h.
    batch_first : bool
        Sequences are (B, T, features) instead of (T, B, features). States are (1, B, H) either way.
    dtype : dtype_like
        float32 or float64.
    seed : int, optional
        Of the initial weights, uniform in +-1/sqrt(H). None draws fresh ones.

    Attributes
    ----------
    parameters, gradients : dict
        ``weight_ih_l0`` (3H, I), ``weight_hh_l0`` (3H, H), ``bias_ih_l0`` (3H,), ``bias_hh_l0`` (3H,), as PyTorch
        names and orders them.

    Notes
    -----
    Equations: Deep Learning Book, chapter 53, as cuDNN and PyTorch compute them (the reset gate after the product).
    A result has the same bits for any batch size, place in the batch, number of threads and calls of one step
    instead of many.

    The backward pass reads the forward pass's input and output again: change neither in between.

    Examples
    --------
    >>> import numpy as np, numgru
    >>> gru = numgru.GRU(2, 3, seed=0)
    >>> y, h_n = gru(np.zeros((5, 4, 2)))
    >>> y.shape, h_n.shape
    ((5, 4, 3), (1, 4, 3))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self.input_size = I = _check.size("input_size", input_size)
        self.hidden_size = H = _check.size("hidden_size", hidden_size)
        self.bias, self.batch_first = bool(bias), bool(batch_first)
        shapes: dict[str, tuple[int, ...]] = {"weight_ih_l0": (GATES * H, I), "weight_hh_l0": (GATES * H, H)}
        if bias:
            shapes |= {"bias_ih_l0": (GATES * H,), "bias_hh_l0": (GATES * H,)}
        super().__init__(shapes, dtype)
        self.flat_parameters[...] = np.random.default_rng(seed).uniform(-(H**-0.5), H**-0.5, self.flat_parameters.size)
        self._no_bias = np.empty(0, self.dtype)
        self._blocks = blocks_of(H, self.dtype)
        self._forget()

    def __repr__(self) -> str:
        return self._made_by(
            self.input_size,
            self.hidden_size,
            bias=(self.bias, True),
            batch_first=(self.batch_first, False),
            dtype=(self.dtype, np.float32),
        )

    _transient = Layer._transient | {"_packed", "_packed_from", "_packed_at", "_room", "_tape"}

    def _forget(self) -> None:
        self._packed: GRUWeights | None = None
        self._packed_from: FloatArray | None = None
        self._packed_at = -1  # exposures of the parameters; the same number again: nobody can have changed them
        self._room: dict[str, FloatArray] = {}  # memory of training calls, kept for the next one
        self._tape: _Tape | None = None

    def __call__(self, x: ArrayLike, h_0: ArrayLike | None = None) -> tuple[FloatArray, FloatArray]:
        """Run a sequence and keep nothing.

        Parameters
        ----------
        x : array_like, shape (T, B, I), or (B, T, I) with `batch_first`
            The input; any real dtype, converted to the layer's.
        h_0 : array_like, shape (1, B, H), optional
            The state before the first step; zero by default.

        Returns
        -------
        y : ndarray, shape (T, B, H), or (B, T, H) with `batch_first`
            The state after every step.
        h_n : ndarray, shape (1, B, H)
            The state after the last step.

        Raises
        ------
        ValueError
            For a wrong rank or size, or an empty dimension.
        TypeError
            For numbers that aren't real.
        """
        x, h_0 = self._checked(x, h_0)
        y = self._output(x)
        weights, parts = self._weights(), self._parts(x)
        if parts == 1:
            infer(*weights, x, h_0, y, self.batch_first)
        else:
            self._run(parts, weights, x, h_0, y, None)
        return y, self._last_state(y)

    def forward(self, x: ArrayLike, h_0: ArrayLike | None = None) -> tuple[FloatArray, FloatArray]:
        """Run a sequence and keep what `backward` needs. Parameters, returns and errors as for a call."""
        x, h_0 = self._checked(x, h_0)
        y = self._output(x)
        block = x.shape[0] * x.shape[1] * GRUCell.slots * TARGET.lanes(self.dtype)
        self._tape = None  # of the forward pass before, whose gates are overwritten now
        gates = self._room_for("gates", self._blocks * block)
        self._run(self._parts(x), self._weights(), x, h_0, y, gates)
        self._tape = _Tape(x, h_0, y, gates)
        return y, self._last_state(y)

    def backward(
        self, dy: ArrayLike, dh_n: ArrayLike | None = None, *, need_dx: bool = True
    ) -> tuple[FloatArray | None, FloatArray]:
        """Back-propagate through the whole sequence of the last `forward`, and use it up.

        Parameters
        ----------
        dy : array_like, of y's shape
            The gradient of the loss with respect to y.
        dh_n : array_like, shape (1, B, H), optional
            The same for h_n, beyond what reaches it through y; zero by default.
        need_dx : bool
            Without it, dx isn't computed.

        Returns
        -------
        dx : ndarray of x's shape, or None
            The gradient with respect to x.
        dh_0 : ndarray, shape (1, B, H)
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
        if self._tape is None:
            raise ValueError("backward: expected a forward pass before it, got none (each backward uses one up)")
        x, h_0, y, gates = self._tape
        dy = _check.array("dy", dy, self.dtype, y.shape)
        _, B, H = h_0.shape
        lanes = TARGET.lanes(self.dtype)
        blocks, input_blocks = self._blocks, blocks_of(self.input_size, self.dtype)
        carry = np.zeros((B, blocks * lanes), self.dtype)
        if dh_n is not None:
            carry[:, :H] = _check.array("dh_n", dh_n, self.dtype, (1, B, H))[0]
        self._tape = None

        dx, dh_0 = np.empty_like(x) if need_dx else None, np.empty((1, B, H), self.dtype)
        parameters = self._parameters()
        w_ih, w_hh = parameters["weight_ih_l0"], parameters["weight_hh_l0"]
        weights = GRUWeights(
            input=self._room_for("input", input_blocks * GATES * H * lanes) if need_dx else self._no_bias,
            state=self._room_for("state", blocks * GATES * H * lanes),
            bias=self._no_bias,
        )
        recurrent.pack_weights_backward(weights, w_ih, w_hh, need_dx)
        flat_dx = None if dx is None else dx.reshape(-1)
        self._time_loop(
            recurrent.backward, recurrent.backward_parallel, recurrent.backward_team, self._parts(x),
            weights, x, h_0, y, gates, dy, flat_dx, dh_0, carry.reshape(-1), self.batch_first,
        )  # fmt: skip
        parts = threads.parts_for(self._work(x), blocks * (tiles_of(self.input_size) + tiles_of(H)))
        d = self.gradients
        threads.run(
            weight_gradients, weight_gradients_parallel, parts,
            weights, x, h_0, y, gates, d["weight_ih_l0"], d["weight_hh_l0"],
            d.get("bias_ih_l0", self._no_bias), d.get("bias_hh_l0", self._no_bias), self.batch_first,
            self._room_for("sums", workspace_size(self.input_size, H, GATES, GRUCell.slots, self.dtype, parts)),
        )  # fmt: skip
        return dx, dh_0

    def _room_for(self, name: str, size: int) -> FloatArray:
        room = self._room.get(name)
        if room is None or room.size < size:
            room = self._room[name] = aligned_empty(size, self.dtype)
        return room[:size]

    @property
    def small_inputs(self) -> Sequence[tuple[int, ...]]:
        """One step of one sequence, and of more than fill a tile."""
        B = TARGET.rows + 1
        return (1, 1, self.input_size), (B, 1, self.input_size) if self.batch_first else (1, B, self.input_size)

    def _checked(self, x: ArrayLike, h_0: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
        # What is right already, a controller's every step, is seen to be so without the general check.
        if not (
            type(x) is np.ndarray
            and x.dtype is self.dtype
            and x.ndim == 3
            and x.shape[2] == self.input_size
            and x.size
            and x.flags.carray
        ):
            x = _check.array("x", x, self.dtype, (*("BT" if self.batch_first else "TB"), self.input_size))
        shape = (1, x.shape[0] if self.batch_first else x.shape[1], self.hidden_size)
        if h_0 is None:
            return x, np.zeros(shape, self.dtype)
        if not (type(h_0) is np.ndarray and h_0.dtype is self.dtype and h_0.shape == shape and h_0.flags.carray):
            h_0 = _check.array("h_0", h_0, self.dtype, shape)
        return x, h_0

    def _output(self, x: FloatArray) -> FloatArray:
        first, second, _ = x.shape
        return np.empty((first, second, self.hidden_size), self.dtype)

    def _parts(self, x: FloatArray) -> int:
        """Shares of the time loop: rows, or where they are too few for all threads, blocks of units for a team."""
        B = x.shape[0] if self.batch_first else x.shape[1]
        shares = -(-B // TARGET.rows) if B > TARGET.rows else self._blocks // WIDE  # noqa: SIM300
        return threads.parts_for(self._work(x), shares) if shares > 1 else 1

    def _work(self, x: FloatArray) -> int:
        """Operations of a forward pass, in lanes that are switched off as well."""
        steps, units = x.size // self.input_size, self._blocks * TARGET.lanes(self.dtype)
        return 2 * steps * GATES * units * (self.input_size + self.hidden_size)

    def _run(self, parts: int, weights: GRUWeights, x: FloatArray, h_0: FloatArray, *others: Any) -> None:
        self._time_loop(
            recurrent.forward, recurrent.forward_parallel, recurrent.forward_team, parts,
            weights, x, h_0, *others, self.batch_first,
        )  # fmt: skip

    def _time_loop(self, serial: Any, parallel: Any, team: Any, parts: int, *arguments: Any) -> None:
        B = arguments[2].shape[1]
        if parts > 1 and TARGET.rows >= B:
            tiles = max(self._blocks, blocks_of(self.input_size, self.dtype))  # of a phase, at most
            shared = memory(tiles, parts), tiles
            threads.run(serial, team, parts, *arguments, shared=shared)
        else:
            threads.run(serial, parallel, parts, *arguments)

    def _last_state(self, y: FloatArray) -> FloatArray:
        return y[:, -1].copy()[None] if self.batch_first else y[-1:].copy()

    def _weights(self) -> GRUWeights:
        """The packed weights, packed again if a parameter has changed since."""
        if self._packed is not None and self._packed_at == self._exposures:
            return self._packed
        exposures = -1 if self._exposed() else self._exposures
        if self._packed is None or not self._is_packed():
            with threads.one_at_a_time():
                if self._packed is None:
                    self._packed = self._room_for_weights()
                if not self._is_packed():
                    self._packed_from = None
                    p = self._parameters()
                    recurrent.pack_weights(
                        self._packed, p["weight_ih_l0"], p["weight_hh_l0"],
                        p.get("bias_ih_l0", self._no_bias), p.get("bias_hh_l0", self._no_bias),
                    )  # fmt: skip
                    self._packed_from = self._flat_parameters.copy()
        self._packed_at = exposures
        return self._packed

    def _is_packed(self) -> bool:
        words, packed_from = np.dtype(f"i{self.dtype.itemsize}"), self._packed_from
        return packed_from is not None and same_bits(self._flat_parameters.view(words), packed_from.view(words))

    def _room_for_weights(self) -> GRUWeights:
        block = self._blocks * TARGET.lanes(self.dtype)
        sizes = (block * GATES * self.input_size, block * GATES * self.hidden_size, block * GRUCell.slots)
        return GRUWeights(*(aligned_empty(size, self.dtype) for size in sizes))
