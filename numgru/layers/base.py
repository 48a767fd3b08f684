"""What every layer is: named parameters in one flat buffer, their gradients in another, forward and backward."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from math import prod
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _check
from .._types import FloatArray
from .summary import Row, Shape, Summary, products, summarize


class Views(dict[str, FloatArray]):
    """Arrays by name, all parts of one flat buffer; to assign to a name is to copy into its array."""

    def __init__(self, flat: FloatArray, shapes: Mapping[str, tuple[int, ...]]) -> None:
        start = 0
        for name, shape in shapes.items():
            end = start + prod(shape)
            super().__setitem__(name, flat[start:end].reshape(shape))
            start = end

    def __setitem__(self, name: str, value: ArrayLike) -> None:
        if name not in self:
            raise KeyError(f"name: expected one of {list(self)}, got {name!r}")
        given, own = _check.real(name, value), self[name]
        if given.shape not in ((), own.shape):
            raise ValueError(f"{name}: expected shape {own.shape}, got {given.shape}")
        own[...] = given

    def update(self, *given: Any, **named: ArrayLike) -> None:
        """Assign to several names."""
        for name, value in dict(*given, **named).items():
            self[name] = value

    def __ior__(self, given: Any) -> Self:  # type: ignore[override, misc]
        self.update(given)
        return self

    def _refuse(self, *_: Any) -> Any:
        raise TypeError(f"the names are those of a layer, {list(self)}, and none can be removed or added")

    __delitem__ = pop = popitem = clear = setdefault = _refuse


class Parameters(Views):
    """Views that are no gradients: clipping refuses them."""


# Of a buffer that nobody else holds: the layer's own and the argument of getrefcount.
_OWN_REFERENCES = 2 if getattr(sys, "_is_gil_enabled", lambda: True)() else 0


class _Fixed:
    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __set__(self, layer: Layer, value: Any) -> None:
        held = layer.__dict__.setdefault(self._name, value)
        if isinstance(value, np.ndarray) or held != value:
            kind = type(layer).__name__
            raise AttributeError(f"{self._name}: expected to stay {held!r}, got {value!r}; make a new {kind} with it")


def fixed() -> Any:
    """An attribute that can't change once it's set, as buffers or kernels depend on it; it's read without a call."""
    return _Fixed()


class Layer:
    """Parameters, gradients and the forward/backward contract.

    A layer maps an input to an output:

    - ``layer(x)`` is inference and keeps nothing;
    - ``layer.forward(x)`` keeps what the backward pass needs;
    - ``layer.backward(dy)`` uses it up, *adds* the parameters' gradients into `gradients` and returns dx.

    Whatever else a layer takes, it names in the signature of `forward`, and a `Sequential` hands it on: `lengths`,
    `reset`, and `h_0`. A layer that takes `h_0` returns (y, h_n).

    Attributes
    ----------
    dtype : numpy.dtype
        float32 or float64; of the parameters and their gradients, and of the output and dx. A layer without parameters
        may put out its input's instead.
    parameters, gradients : dict of str to ndarray
        By name; views into `flat_parameters` and `flat_gradients`, so either may be changed in place.
    flat_parameters, flat_gradients : ndarray, shape (n,)
        All parameters, all gradients, each one contiguous buffer in the order of the names.
    random_state : dict or None
        What the noise of the next `forward` depends on, in numbers that JSON can hold; None without noise. A layer
        never changes the dict, but puts another in its place.
    """

    dtype: np.dtype[Any] = fixed()
    random_state: dict[str, Any] | None = None

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: DTypeLike = np.float32) -> None:
        self.dtype = _check.float_dtype(dtype)
        self._shapes = dict(shapes)
        size = sum(prod(shape) for shape in shapes.values())
        self._flat_parameters: FloatArray = np.zeros(size, self.dtype)
        self._exposures = 0
        self._house_gradients(np.zeros(size, self.dtype))
        self._forget()

    def _house_gradients(self, flat_gradients: FloatArray) -> None:
        self._flat_gradients = flat_gradients
        self.gradients = Views(flat_gradients, self._shapes)
        self._bytes_of_gradients = flat_gradients.view(np.uint8)

    @property
    def flat_gradients(self) -> FloatArray:
        """All gradients, shape (n,)."""
        return self._flat_gradients

    @flat_gradients.setter
    def flat_gradients(self, values: ArrayLike) -> None:
        self._flat_gradients[...] = values

    @property
    def flat_parameters(self) -> FloatArray:
        """All parameters, shape (n,)."""
        view = self._flat_parameters[:]
        self._expose()
        return view

    @flat_parameters.setter
    def flat_parameters(self, values: ArrayLike) -> None:
        self.flat_parameters[...] = values

    @property
    def parameters(self) -> Parameters:
        """The parameters by name."""
        views = self._parameters()
        self._expose()
        return views

    def _expose(self) -> None:
        """Note that there are views by which parameters can be changed, before anybody gets them."""
        self._exposures += 1

    def _parameters(self) -> Parameters:
        return Parameters(self._flat_parameters, self._shapes)

    def _exposed(self) -> bool:
        """Whether somebody may change a parameter without asking for it again.

        Whoever holds a view of the parameters holds a reference to the buffer. Buffers inside a container's can't tell.
        """
        return self._flat_parameters.base is not None or sys.getrefcount(self._flat_parameters) > _OWN_REFERENCES

    def __repr__(self) -> str:
        """The call that made it, with those of the options that aren't the default."""
        shown: list[str] = []
        for name, parameter in inspect.signature(type(self)).parameters.items():
            if not hasattr(self, name):  # as a seed, which isn't kept
                continue
            value = getattr(self, name)
            if parameter.kind is parameter.VAR_POSITIONAL:
                shown += map(str, value)
            elif parameter.default is parameter.empty:
                shown.append(str(value))
            elif value != parameter.default:
                shown.append(f"{name}={value}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def __getstate__(self) -> dict[str, Any]:
        """What a copy or another process gets: all but views and workspaces."""
        return {name: value for name, value in self.__dict__.items() if name not in self._transient}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.__dict__["dtype"] = np.dtype(self.dtype.type)  # NumPy's own again, as arrays have it, not a copy of it
        self._house_gradients(self._flat_gradients)
        self._forget()

    _transient: ClassVar[frozenset[str]] = frozenset({"gradients", "_bytes_of_gradients", "_container"})
    _container: Callable[[], Layer | None] = staticmethod(lambda: None)  # in whose buffers it lives, if in any's

    def _forget(self) -> None:
        """Make the workspaces anew, and drop what a forward pass kept."""

    def _move(self, flat_parameters: FloatArray, flat_gradients: FloatArray) -> None:
        """Live in these buffers from now on (a container's), with the values held so far."""
        flat_parameters[...] = self._flat_parameters
        flat_gradients[...] = self._flat_gradients
        self._flat_parameters = flat_parameters
        self.__dict__["dtype"] = flat_parameters.dtype  # another one only for a layer without parameters
        self._expose()
        self._house_gradients(flat_gradients)

    def __call__(self, x: ArrayLike) -> Any:
        """The output for `x`; nothing is kept."""
        raise NotImplementedError

    def forward(self, x: ArrayLike) -> Any:
        """The output for `x`; keeps what `backward` needs."""
        raise NotImplementedError

    def backward(self, dy: ArrayLike, *, need_dx: bool = True) -> Any:
        """Adds into `gradients` and returns dx, or None in its place without `need_dx`."""
        raise NotImplementedError

    @property
    def takes(self) -> frozenset[str]:
        """The names of what `forward` takes beside x."""
        return _names_after_x(type(self).forward)

    @property
    def leaves(self) -> dict[str, Layer]:
        """The layers that compute, in order, by name: the layer itself, without a name, or all those in a container."""
        return {"": self}

    @property
    def parameter_shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every parameter by name."""
        return self._shapes

    @property
    def input_shape(self) -> Shape:
        """The shape of an input, with letters for lengths that any call may choose."""
        *lengths, features = self.small_input
        axes = "BT" if getattr(self, "batch_first", False) else "TB"
        return (*axes[-len(lengths) :], features)

    def output_shape(self, shape: Shape) -> Shape:
        """The shape of the output for an input of `shape`; either may have letters for lengths."""
        return shape

    @property
    def multiply_adds(self) -> int:
        """For one step of one sequence."""
        return products(self._shapes.values())

    def summary_rows(self, name: str, shape: Shape) -> list[Row]:
        """The layer's lines in a summary of a model where it has that name and takes inputs of `shape`."""
        return [self._row(name, self.output_shape(shape), self._shapes.values(), self.multiply_adds)]

    def _row(self, name: str, shape: Shape, sizes: Iterable[tuple[int, ...]], multiply_adds: int) -> Row:
        """The line of parameters of those sizes."""
        numbers = sum(map(prod, sizes))
        return Row(name, type(self).__name__, shape, numbers, numbers * self.dtype.itemsize, multiply_adds)

    def summary(self) -> Summary:
        """The layers with output shapes, numbers of parameters, bytes and multiply-adds; `print` shows a table."""
        return summarize(self)

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """What the input is converted to."""
        return self.dtype

    @property
    def small_input(self) -> tuple[int, ...]:
        """The shape of a small input that needs every kernel of the layer."""
        raise NotImplementedError(f"small_input: expected a layer that defines this property, got {self!r}")

    def zero_grad(self) -> None:
        """Set every gradient to zero."""
        self._bytes_of_gradients.fill(0)  # NumPy takes twice as long to set numbers

    def state_dict(self) -> dict[str, FloatArray]:
        """A copy of every parameter by name."""
        return {name: value.copy() for name, value in self.parameters.items()}

    def load_state_dict(self, state_dict: Mapping[str, ArrayLike]) -> None:
        """Take over the values of `state_dict`; on an error no parameter has changed.

        Parameters
        ----------
        state_dict : mapping of str to array_like
            Exactly the names of `parameters`, each of its shape.

        Raises
        ------
        ValueError
            If an entry is missing, not known or of another shape.
        TypeError
            If an entry isn't made of real numbers.
        """
        _check.entries("state_dict", state_dict, self.parameters)
        checked = {
            name: _check.array(f"state_dict[{name!r}]", _as_array(state_dict[name]), self.dtype, value.shape).copy()
            for name, value in self.parameters.items()
        }
        for name, value in checked.items():  # copies, as an entry may be another's parameter
            self.parameters[name][...] = value


@cache
def _names_after_x(forward: Callable[..., Any]) -> frozenset[str]:
    _, _, *names = inspect.signature(forward).parameters
    return frozenset(names)


def _as_array(value: Any) -> Any:
    """A PyTorch tensor that requires a gradient refuses `np.asarray`; its detached self doesn't."""
    return value.detach() if hasattr(value, "detach") else value
