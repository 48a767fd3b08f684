"""The GRU layer: parameters, checks, and the state that lives from forward to backward. The arithmetic is in kernels.

Shapes: T time, B batch, I input, H hidden.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from ..kernels import recurrent, threads
from ..kernels.gru import GRUCell, GRUWeights
from ..kernels.packing import aligned_empty, blocks_of, same_bits
from ..kernels.target import TARGET
from ..kernels.weight_gradients import tiles_of, weight_gradients, weight_gradients_parallel, workspace
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
        self._forget()

    _transient = Layer._transient | {"_packed", "_packed_from", "_gates", "_tape"}

    def _forget(self) -> None:
        self._packed: GRUWeights | None = None
        self._packed_from: FloatArray | None = None
        self._gates = np.empty(0, self.dtype)
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
        y = np.empty((*x.shape[:2], self.hidden_size), self.dtype)
        self._run(x, h_0, y, None)
        return y, self._last_state(y)

    def forward(self, x: ArrayLike, h_0: ArrayLike | None = None) -> tuple[FloatArray, FloatArray]:
        """Run a sequence and keep what `backward` needs. Parameters, returns and errors as for a call."""
        x, h_0 = self._checked(x, h_0)
        y = np.empty((*x.shape[:2], self.hidden_size), self.dtype)
        block = x.shape[0] * x.shape[1] * GRUCell.slots * TARGET.lanes(self.dtype)
        size = blocks_of(self.hidden_size, self.dtype) * block
        if self._gates.size < size:
            self._gates = aligned_empty(size, self.dtype)
        self._tape = None  # of the forward pass before, whose gates are overwritten now
        gates = self._gates[:size]
        self._run(x, h_0, y, gates)
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
        B, H = h_0.shape
        lanes = TARGET.lanes(self.dtype)
        blocks, input_blocks = blocks_of(H, self.dtype), blocks_of(self.input_size, self.dtype)
        carry = np.zeros((B, blocks * lanes), self.dtype)
        if dh_n is not None:
            carry[:, :H] = _check.array("dh_n", dh_n, self.dtype, (1, B, H))[0]
        self._tape = None

        dx, dh_0 = np.empty_like(x) if need_dx else None, np.empty((B, H), self.dtype)
        w_ih, w_hh = self.parameters["weight_ih_l0"], self.parameters["weight_hh_l0"]
        weights = GRUWeights(
            input=aligned_empty(input_blocks * GATES * H * lanes if need_dx else 0, self.dtype),
            state=aligned_empty(blocks * GATES * H * lanes, self.dtype),
            bias=self._no_bias,
        )
        recurrent.pack_weights_backward(weights, w_ih, w_hh, need_dx)
        work = self._work(x)
        flat_dx = None if dx is None else dx.reshape(-1)
        threads.run(
            recurrent.backward, recurrent.backward_parallel, threads.parts_for(work, -(-B // TARGET.rows)),
            weights, x, h_0, y, gates, dy, flat_dx, dh_0, carry.reshape(-1), self.batch_first,
        )  # fmt: skip
        parts = threads.parts_for(work, blocks * (tiles_of(self.input_size) + tiles_of(H)))
        d = self.gradients
        threads.run(
            weight_gradients, weight_gradients_parallel, parts,
            weights, x, h_0, y, gates, d["weight_ih_l0"], d["weight_hh_l0"],
            d.get("bias_ih_l0", self._no_bias), d.get("bias_hh_l0", self._no_bias), self.batch_first,
            workspace(self.input_size, H, GATES, GRUCell.slots, self.dtype, parts),
        )  # fmt: skip
        return dx, dh_0[None]

    @property
    def smallest_input(self) -> tuple[int, ...]:
        """One step of one sequence."""
        return (1, 1, self.input_size)

    def _checked(self, x: ArrayLike, h_0: ArrayLike | None) -> tuple[FloatArray, FloatArray]:
        x = _check.array("x", x, self.dtype, (*("BT" if self.batch_first else "TB"), self.input_size))
        B = x.shape[0] if self.batch_first else x.shape[1]
        if h_0 is None:
            return x, np.zeros((B, self.hidden_size), self.dtype)
        return x, _check.array("h_0", h_0, self.dtype, (1, B, self.hidden_size))[0]

    def _run(self, x: FloatArray, h_0: FloatArray, y: FloatArray, gates: FloatArray | None) -> None:
        parts = threads.parts_for(self._work(x), -(-h_0.shape[0] // TARGET.rows))
        threads.run(
            recurrent.forward, recurrent.forward_parallel, parts,
            self._weights(), x, h_0, y, gates, self.batch_first,
        )  # fmt: skip

    def _work(self, x: FloatArray) -> int:
        """Operations of a forward pass."""
        steps = int(x.shape[0] * x.shape[1])
        return 2 * steps * GATES * self.hidden_size * (self.input_size + self.hidden_size)

    def _last_state(self, y: FloatArray) -> FloatArray:
        return (y[:, -1] if self.batch_first else y[-1]).copy()[None]

    def _weights(self) -> GRUWeights:
        """The packed weights, packed again if a parameter has changed since."""
        if self._packed is None or not self._is_packed():
            with threads.one_at_a_time():
                if self._packed is None:
                    self._packed = self._room_for_weights()
                if not self._is_packed():
                    self._packed_from = None
                    p = self.parameters
                    recurrent.pack_weights(
                        self._packed, p["weight_ih_l0"], p["weight_hh_l0"],
                        p.get("bias_ih_l0", self._no_bias), p.get("bias_hh_l0", self._no_bias),
                    )  # fmt: skip
                    self._packed_from = self.flat_parameters.copy()
        return self._packed

    def _is_packed(self) -> bool:
        words, packed_from = np.dtype(f"i{self.dtype.itemsize}"), self._packed_from
        return packed_from is not None and same_bits(self.flat_parameters.view(words), packed_from.view(words))

    def _room_for_weights(self) -> GRUWeights:
        block = blocks_of(self.hidden_size, self.dtype) * TARGET.lanes(self.dtype)
        sizes = (block * GATES * self.input_size, block * GATES * self.hidden_size, block * GRUCell.slots)
        return GRUWeights(*(aligned_empty(size, self.dtype) for size in sizes))
