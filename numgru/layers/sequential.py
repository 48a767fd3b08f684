"""Layers one after the other.

Shapes: T time, B batch.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from itertools import repeat
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike

from .._types import FloatArray
from .base import Layer, fixed
from .summary import Shape

Maybe = ArrayLike | None
States = tuple[Maybe, ...] | list[Maybe] | None


class Sequential(Layer):
    """Layers applied one after the other; the parameters of all in one flat buffer.

    Of a recurrent layer the next one gets the outputs of all steps; a head as `LastStep` makes one vector of them.

    Parameters
    ----------
    *layers : Layer
        At least one; a layer belongs to one container and is in it once. Layers with parameters share a dtype, those
        that have a `batch_first` share it.

    Raises
    ------
    ValueError
        For no layer, one that is there twice or in another container, dtypes or orders of time and batch that differ,
        or a layer that takes another number of features than the one before it puts out.
    TypeError
        For something else than a layer.

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

    layers: tuple[Layer, ...] = fixed()

    def __init__(self, *layers: Layer) -> None:
        for at, layer in enumerate(layers):
            if not isinstance(layer, Layer):
                raise TypeError(f"layers[{at}]: expected a numgru layer, got {type(layer).__name__}")
            if any(layer is other for other in layers[:at]):
                raise ValueError(f"layers[{at}]: expected each layer once, got the same one twice")
            if layer._container() is not None:
                raise ValueError(
                    f"layers[{at}]: expected a layer of its own, got {type(layer).__name__} of another container; "
                    "copy.deepcopy makes one"
                )
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
        self._leaves = {
            f"{at}.{name}".removesuffix("."): leaf
            for at, layer in enumerate(layers)
            for name, leaf in layer.leaves.items()
        }
        _check_orders(self._leaves)
        _check_features(self._leaves)
        self._house()

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
            layer._container = weakref.ref(self)
            start = end

    @overload
    def __call__(self, x: Any, h_0: States = ..., *, lengths: Maybe = ..., reset: Maybe = ...) -> FloatArray: ...

    @overload
    def __call__(
        self, x: Any, h_0: States = ..., *, lengths: Maybe = ..., reset: Maybe = ..., return_h_n: Literal[True]
    ) -> tuple[FloatArray, tuple[FloatArray, ...]]: ...

    def __call__(
        self, x: Any, h_0: States = None, *, lengths: Maybe = None, reset: Maybe = None, return_h_n: bool = False
    ) -> Any:
        """The last layer's output for `x`; nothing is kept.

        Parameters
        ----------
        x : array_like
            What the first layer takes.
        h_0 : tuple or list, optional
            The state before the first step for each recurrent layer in order, as that layer takes it; None for its
            own default.
        lengths : array_like of int, shape (B,), optional
            How many steps of each sequence count; passed on to every layer that takes it.
        reset : array_like of bool, shape (T, B) or (B, T), optional
            At which steps the states start anew; passed on likewise.
        return_h_n : bool
            Whether to return the states after the last step, too.

        Returns
        -------
        y : ndarray
        h_n : tuple of ndarray
            With `return_h_n`; the next call takes it as `h_0` to go on.

        Raises
        ------
        ValueError
            If `h_0` has another number of states or no layer takes `lengths` or `reset`; else as the layers do.
        TypeError
            If `h_0` is neither a tuple nor a list; else as the layers do.
        """
        y, h_n = self._run(False, x, h_0, lengths=lengths, reset=reset)
        return (y, h_n) if return_h_n else y

    @overload
    def forward(self, x: Any, h_0: States = ..., *, lengths: Maybe = ..., reset: Maybe = ...) -> FloatArray: ...

    @overload
    def forward(
        self, x: Any, h_0: States = ..., *, lengths: Maybe = ..., reset: Maybe = ..., return_h_n: Literal[True]
    ) -> tuple[FloatArray, tuple[FloatArray, ...]]: ...

    def forward(
        self, x: Any, h_0: States = None, *, lengths: Maybe = None, reset: Maybe = None, return_h_n: bool = False
    ) -> Any:
        """The last layer's output, as a call; every layer keeps what `backward` needs."""
        y, h_n = self._run(True, x, h_0, lengths=lengths, reset=reset)
        return (y, h_n) if return_h_n else y

    def backward(self, dy: ArrayLike, *, need_dx: bool = True) -> FloatArray | None:
        """Add into `gradients`; returns dx, or None without `need_dx`.

        No gradient reaches the states that `forward` was given or returned.
        """
        d: Any = dy
        for layer in reversed(self.layers):
            result = layer.backward(d, need_dx=need_dx or layer is not self.layers[0])
            d = result[0] if isinstance(result, tuple) else result  # a recurrent layer's second is dh_0
        dx: FloatArray | None = d
        return dx

    @property
    def takes(self) -> frozenset[str]:
        """What any of the layers takes; with `h_0` goes `return_h_n`."""
        names = frozenset().union(*(layer.takes for layer in self.leaves.values())) & super().takes
        return names | {"return_h_n"} if "h_0" in names else names

    @property
    def leaves(self) -> dict[str, Layer]:
        """The layers that compute, those of containers within it included, by the names that state dicts have."""
        return self._leaves

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """The first layer's."""
        return self.layers[0].input_dtype

    @property
    def small_input(self) -> tuple[int, ...]:
        """The first layer's."""
        return self.layers[0].small_input

    @property
    def input_shape(self) -> Shape:
        """The first layer's."""
        return self.layers[0].input_shape

    def output_shape(self, shape: Shape) -> Shape:
        """The last layer's, for an input of `shape` to the first."""
        for layer in self.layers:
            shape = layer.output_shape(shape)
        return shape

    def _run(self, training: bool, x: Any, h_0: States, **options: Maybe) -> tuple[Any, tuple[Any, ...]]:
        """Call every layer with what it takes; returns the output and the states."""
        options = {name: value for name, value in options.items() if value is not None}
        if options and (unused := [name for name in options if name not in self.takes]):
            raise ValueError(f"{unused[0]}: expected None, since no layer of {self!r} takes it, got one")
        y, h_n, states = x, [], self._states(h_0)
        try:
            for layer in self._leaves.values():
                call: Any = layer.forward if training else layer
                takes = layer.takes
                given = {name: value for name, value in options.items() if name in takes} if options else {}
                if "h_0" in takes:
                    y, state = call(y, h_0=next(states), **given)
                    h_n.append(state)
                else:
                    y = call(y, **given)
        except BaseException:
            if training and y is not x:  # some layers keep this pass, others the one before
                for layer in self._leaves.values():
                    layer._forget()
            raise
        return y, tuple(h_n)

    def _states(self, h_0: States) -> Iterator[Any]:
        """A state, or None, for each recurrent layer."""
        if h_0 is None:
            return repeat(None)
        if not isinstance(h_0, tuple | list):
            raise TypeError(
                f"h_0: expected a tuple or list of states, one a recurrent layer, got {type(h_0).__name__}; "
                "for a single recurrent layer: (h_0,)"
            )
        recurrent = sum("h_0" in layer.takes for layer in self._leaves.values())
        if len(h_0) != recurrent:
            raise ValueError(f"h_0: expected {recurrent} states, one a recurrent layer, got {len(h_0)}")
        return iter(h_0)


def _check_orders(layers: dict[str, Layer]) -> None:
    """That layers agree about the order of time and batch; a head would take one for the other."""
    orders = {
        f"{name} {type(layer).__name__}": layer.batch_first
        for name, layer in layers.items()
        if hasattr(layer, "batch_first")
    }
    if len(set(orders.values())) > 1:
        raise ValueError(f"layers: expected all with batch_first or none, got {orders}")


def _check_features(layers: dict[str, Layer]) -> None:
    """That each layer takes as many features as the one before puts out, where both are known."""
    given: int | str = "any"
    giver = ""
    for name, layer in layers.items():
        taken = _features_taken(layer)
        if isinstance(given, int) and isinstance(taken, int) and given != taken:
            raise ValueError(
                f"layers: expected {name} {layer!r} to take the {given} features that {giver} puts out, got {taken}; "
                "give both the same number"
            )
        known = type(layer).output_shape is not Layer.output_shape  # a layer from elsewhere need not say it
        given, giver = layer.output_shape(("T", "B", given))[-1] if known else "any", f"{name} {layer!r}"


def _features_taken(layer: Layer) -> int | str:
    try:
        return layer.input_shape[-1]
    except NotImplementedError:
        return "any"
