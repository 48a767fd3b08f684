"""Layers one after the other, and the heads between them.

Shapes: T time, B batch, H features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import _check
from ._check import FloatArray
from .base import Layer

States = tuple[Any, ...]


class LastStep(Layer):
    """The last time step of a sequence: (T, B, H) to (B, H).

    Parameters
    ----------
    batch_first : bool
        Sequences are (B, T, H).
    """

    def __init__(self, *, batch_first: bool = False) -> None:
        super().__init__({})
        self.batch_first = bool(batch_first)
        self._forget()

    def __repr__(self) -> str:
        return self._made_by(batch_first=(self.batch_first, False))

    _transient = Layer._transient | {"_shape"}

    def _forget(self) -> None:
        self._shape: tuple[int, ...] | None = None

    def __call__(self, x: ArrayLike) -> FloatArray:
        """The last step of `x`, shape (B, H), in x's dtype.

        Raises
        ------
        ValueError
            If `x` doesn't have three dimensions, none of them empty.
        """
        sequence = _check.real("x", x)
        if sequence.ndim != 3 or 0 in sequence.shape:
            expected = "(B, T, H)" if self.batch_first else "(T, B, H)"
            raise ValueError(f"x: expected shape {expected} with no empty dimension, got {sequence.shape}")
        return (sequence[:, -1] if self.batch_first else sequence[-1]).copy()

    def forward(self, x: ArrayLike) -> FloatArray:
        """The last step of `x`; keeps x's shape for `backward`."""
        y = self(x)
        self._shape = np.shape(x)
        return y

    def backward(self, dy: ArrayLike, *, need_dx: bool = True) -> FloatArray | None:
        """dx of x's shape: dy in the last step, zero before it; None without `need_dx`.

        Raises
        ------
        ValueError
            Without a `forward` before it, or for a wrong shape.
        """
        if self._shape is None:
            raise ValueError("backward: expected a forward pass before it, got none (each backward uses one up)")
        shape, dy = self._shape, _check.real("dy", dy)
        if dy.shape != (expected := (shape[0] if self.batch_first else shape[1], shape[2])):
            raise ValueError(f"dy: expected shape {expected}, got {dy.shape}")
        self._shape = None
        if not need_dx:
            return None
        dx = np.zeros(shape, dy.dtype)
        dx[(slice(None), -1) if self.batch_first else -1] = dy
        return dx

    @property
    def small_inputs(self) -> Sequence[tuple[int, ...]]:
        """One step of one sequence of one feature."""
        return ((1, 1, 1),)


class Sequential(Layer):
    """Layers applied one after the other; the parameters of all in one flat buffer.

    Of a recurrent layer the next one gets the outputs of all steps; `LastStep` picks the last of them.

    Parameters
    ----------
    *layers : Layer
        At least one; a layer belongs to one container and is in it once. Layers with parameters share a dtype.

    Attributes
    ----------
    parameters, gradients : dict
        Under the position of the layer and its own name, as in PyTorch: ``0.weight_ih_l0``.

    Examples
    --------
    >>> import numpy as np, numgru
    >>> model = numgru.Sequential(numgru.GRU(1, 16, seed=0), numgru.LastStep(), numgru.Linear(16, 3, seed=1))
    >>> model(np.zeros((20, 8, 1))).shape
    (8, 3)
    """

    def __init__(self, *layers: Layer) -> None:
        for at, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{at}]: expected a numgru layer, got {type(layer).__name__}")
            if any(layer is other for other in layers[:at]):
                raise ValueError(f"layers[{at}]: expected each layer once, got the same one twice")
        if not layers:
            raise ValueError("layers: expected at least one layer, got none")
        dtypes = {layer.dtype for layer in layers if layer.parameters}
        if len(dtypes) > 1:
            raise ValueError(f"layers: expected one dtype, got {sorted(str(dtype) for dtype in dtypes)}")
        names = {
            f"{at}.{name}": value.shape for at, layer in enumerate(layers) for name, value in layer.parameters.items()
        }
        super().__init__(names, dtypes.pop() if dtypes else layers[0].dtype)
        self.layers = layers
        self._house()

    def __repr__(self) -> str:
        return self._made_by(*self.layers)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._house()

    def _move(self, flat_parameters: FloatArray, flat_gradients: FloatArray) -> None:
        super()._move(flat_parameters, flat_gradients)
        self._house()

    def _house(self) -> None:
        """Move every layer into its part of the flat buffers."""
        start = 0
        for layer in self.layers:
            end = start + layer.flat_gradients.size
            layer._move(self._flat_parameters[start:end], self.flat_gradients[start:end])
            start = end

    def __call__(self, x: ArrayLike) -> FloatArray:
        """The last layer's output for `x`; nothing is kept."""
        return self.stream(x)[0]

    def forward(self, x: ArrayLike) -> FloatArray:
        """The last layer's output for `x`; every layer keeps what `backward` needs."""
        return self.stream(x, training=True)[0]

    def stream(
        self, x: ArrayLike, states: States | None = None, *, training: bool = False
    ) -> tuple[FloatArray, States]:
        """The output for a piece of a longer sequence, and the states from which the next piece goes on.

        Parameters
        ----------
        x : array_like
            As for a call.
        states : tuple, optional
            What the call for the piece before returned; None, from zero states, for the first.
        training : bool
            Keep what `backward` needs, as `forward` does. Gradients end at the beginning of the piece.

        Returns
        -------
        y : ndarray
        states : tuple
            An entry for each layer; None for those that have no state.

        Raises
        ------
        ValueError
            If `states` isn't what another piece of as many sequences left.
        """
        before = (None,) * len(self.layers) if states is None else states
        if len(before) != len(self.layers):
            raise ValueError(f"states: expected an entry for each of {len(self.layers)} layers, got {len(before)}")
        y: Any = np.asarray(x)
        after = []
        for layer, state in zip(self.layers, before, strict=True):
            if isinstance(layer, Sequential):
                y, state_after = layer.stream(y, state, training=training)
            else:
                call: Any = layer.forward if training else layer
                result = call(y) if state is None else call(y, state)
                y, state_after = result if isinstance(result, tuple) else (result, None)
            after.append(state_after)
        return y, tuple(after)

    def backward(self, dy: ArrayLike, *, need_dx: bool = True) -> FloatArray | None:
        """Add into `gradients`; returns dx, or None without `need_dx`."""
        d: Any = dy
        for layer in reversed(self.layers):
            d = _dx(layer.backward(d, need_dx=need_dx or layer is not self.layers[0]))
        dx: FloatArray | None = d
        return dx

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """The first layer's."""
        return self.layers[0].input_dtype

    @property
    def small_inputs(self) -> Sequence[tuple[int, ...]]:
        """The first layer's."""
        return self.layers[0].small_inputs


def _dx(result: Any) -> Any:
    """A recurrent layer returns the gradient of its first state, too."""
    return result[0] if isinstance(result, tuple) else result
