"""The linear output of a network.

Shapes: N rows (every axis of x but the last), K inputs, O outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _check
from .._types import FloatArray
from ..kernels import linear, threads
from ..kernels.blocks import aligned_empty, blocks_of
from ..kernels.cell import blocks_together
from ..kernels.examples import parcels_of
from ..kernels.target import TARGET
from ..kernels.weight_gradients import tiles_of, weight_gradients, workspace_size
from .base import Layer, fixed
from .summary import Shape


class Linear(Layer):
    """y = x W^T + b over the last axis of x: for every step of a sequence, or for its last alone.

    Parameters
    ----------
    in_features, out_features : int
        K and O.
    bias : bool
        Whether there is b.
    dtype : dtype_like
        float32 or float64.
    seed : int, optional
        Of the initial weights, uniform in +-1/sqrt(K). None draws fresh ones.

    Raises
    ------
    ValueError
        For a size below 1, another dtype, a negative seed.
    TypeError
        For numbers of a wrong kind.

    Attributes
    ----------
    parameters, gradients : dict
        ``weight`` (O, K), ``bias`` (O,).
    """

    in_features: int = fixed()
    out_features: int = fixed()
    bias: bool = fixed()

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        bias: bool = True,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self.in_features = K = _check.size("in_features", in_features)
        self.out_features = O = _check.size("out_features", out_features)
        self.bias = _check.flag("bias", bias)
        shapes: dict[str, tuple[int, ...]] = {"weight": (O, K)}
        if bias:
            shapes["bias"] = (O,)
        super().__init__(shapes, dtype)
        self.flat_parameters[...] = _check.generator(seed).uniform(-(K**-0.5), K**-0.5, self.flat_parameters.size)

    _transient = Layer._transient | {"_x"}

    def _forget(self) -> None:
        self._x: FloatArray | None = None

    def __call__(self, x: ArrayLike) -> FloatArray:
        """The output for `x`; nothing is kept.

        Parameters
        ----------
        x : array_like, shape (..., K)

        Returns
        -------
        ndarray, shape (..., O)

        Raises
        ------
        ValueError
            For a wrong last axis or an empty one.
        TypeError
            For numbers that aren't real.
        """
        return self._map(self._checked(x))

    def forward(self, x: ArrayLike) -> FloatArray:
        """The output for `x`, which is kept for `backward`. Shapes and errors as for a call."""
        checked = self._checked(x)
        y = self._map(checked)
        self._x = checked
        return y

    def backward(self, dy: ArrayLike, *, need_dx: bool = True) -> FloatArray | None:
        """Add into `gradients`; returns dx of x's shape, or None without `need_dx`.

        Raises
        ------
        ValueError
            Without a `forward` before it, or for a wrong shape.
        TypeError
            For numbers that aren't real.
        """
        x, weight, O = _check.kept(self._x), self.parameters["weight"], self.out_features
        dy = _check.array("dy", dy, self.dtype, (*x.shape[:-1], O))
        self._x = None
        self._add_gradients(dy.reshape(-1, O), x.reshape(-1, self.in_features))
        if not need_dx:
            return None
        weights = self._weights(self.in_features, O)
        linear.pack_weight_backward(weight, weights.packed)
        return self._affine(dy, weights, self.in_features)

    def _add_gradients(self, dy: FloatArray, x: FloatArray) -> None:
        K, O = self.in_features, self.out_features
        lanes = TARGET.lanes(self.dtype)
        blocks = blocks_of(O, self.dtype)
        slots = dy
        if O % lanes:
            slots = np.zeros((dy.shape[0], blocks * lanes), self.dtype)
            slots[:, :O] = dy
        parts = threads.parts_for(2 * dy.size * K, blocks * tiles_of(K))
        parcels = parcels_of(1, dy.shape[0], K, 1)
        groups = parcels * -(-blocks // blocks_together(linear.LinearSlots))
        size = workspace_size(K, 0, linear.LinearSlots, self.dtype, parts, groups, held=parcels > 1)
        no_state, none = np.empty((1, 0, O), self.dtype), np.empty(0, self.dtype)
        d = self.gradients
        threads.run(
            weight_gradients, parts,
            linear.LinearWeights(none, none), x[None], no_state, dy[None], slots.reshape(-1),
            None, parcels, d["weight"], no_state[0, :, :0], d.get("bias", none), none, False, 0, True, True,
            aligned_empty(size, self.dtype),
        )  # fmt: skip

    @property
    def small_input(self) -> tuple[int, ...]:
        """One row."""
        return (1, self.in_features)

    def output_shape(self, shape: Shape) -> Shape:
        """With O for K."""
        return (*shape[:-1], self.out_features)

    def _checked(self, x: Any) -> FloatArray:
        x = _check.real("x", x)
        shape = x.shape
        if not shape:
            raise ValueError(f"x: expected shape (..., {self.in_features}), got a single number")
        return _check.array("x", x, self.dtype, (*"ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(shape) - 1], self.in_features))

    def _map(self, x: FloatArray) -> FloatArray:
        weights = self._weights(self.out_features, self.in_features)
        linear.pack_weight(self.parameters["weight"], weights.packed)
        if "bias" in self.parameters:
            weights.start[: self.out_features] = self.parameters["bias"]
        return self._affine(x, weights, self.out_features)

    def _weights(self, outputs: int, inputs: int) -> linear.LinearWeights:
        """Room for packed weights, with a start of zero."""
        units = blocks_of(outputs, self.dtype) * TARGET.lanes(self.dtype)
        return linear.LinearWeights(aligned_empty(units * inputs, self.dtype), np.zeros(units, self.dtype))

    def _affine(self, x: FloatArray, weights: linear.LinearWeights, outputs: int) -> FloatArray:
        y = np.empty((*x.shape[:-1], outputs), self.dtype)
        rows = x.reshape(-1, x.shape[-1])
        parts = threads.parts_for(2 * rows.size * outputs, -(-rows.shape[0] // TARGET.rows))
        threads.run(linear.affine, parts, weights, rows, y.reshape(-1, outputs))
        return y
