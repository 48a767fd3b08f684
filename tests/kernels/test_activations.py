"""sigmoid and tanh over the whole range of numbers: how far off at most, and what the special values give."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mpmath
import numba
import numpy as np
import pytest
from numba.extending import intrinsic

from numgru.kernels import activations
from numgru.kernels.blocks import lanes_of
from numgru.kernels.tiles import kind_of, pointer
from numgru.kernels.vectors import I64, Grid, Vec, first_lanes

Array = np.ndarray[Any, Any]

FUNCTIONS = ["sigmoid", "tanh"]
# In units in the last place of the result.
BOUND = {("sigmoid", 32): 2.5, ("tanh", 32): 2.75, ("sigmoid", 64): 2.5, ("tanh", 64): 2.75}

each_function = pytest.mark.parametrize("name", FUNCTIONS)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def elementwise(function: Callable[[Vec], Vec]) -> Callable[[Array, Array], None]:
    """out = function(x), register by register and with masks at the end, as the tiles do."""

    @intrinsic
    def register(typing_context: Any, x: Any, out: Any, at: Any, left: Any) -> Any:
        def codegen(context: Any, b: Any, signature: Any, args: Any) -> Any:
            source, target = (
                Grid(b, kind_of(kind.dtype), pointer(context, b, kind, array), args[2], I64(0), I64(0))
                for kind, array in zip(signature.args[:2], args[:2], strict=True)
            )
            mask = first_lanes(b, source.kind, args[3])
            target.store(function(source.load(0, 0, mask=mask)), 0, 0, mask=mask)
            return context.get_dummy_value()

        return numba.types.void(x, out, at, left), codegen

    @numba.njit
    def run(x: Array, out: Array) -> None:
        for at in range(0, x.size, lanes_of(x)):
            register(x, out, at, x.size - at)

    return run


RUN = {"sigmoid": elementwise(activations.sigmoid), "tanh": elementwise(activations.tanh)}


def compute(name: str, x: Array) -> Array:
    out = np.empty_like(x)
    RUN[name](x, out)
    return out


def in_float64(name: str, x: Array) -> Array:
    with np.errstate(over="ignore"):
        return np.tanh(x) if name == "tanh" else 1 / (1 + np.exp(-x))


def in_mpmath(name: str, x: Array) -> list[Any]:
    function: Callable[[Any], Any] = mpmath.tanh if name == "tanh" else lambda v: 1 / (1 + mpmath.exp(-v))
    with mpmath.workdps(40):
        return [function(mpmath.mpf(float(v))) for v in x]


def ulps_off(got: Array, error: Array) -> Array:
    """Errors in units in the last place of the result; below normal numbers, in smallest normal numbers."""
    tiny = np.finfo(got.dtype).smallest_normal
    normal = np.abs(got) >= tiny
    return error / np.where(normal, np.spacing(np.abs(got)), tiny)


def float32_numbers(stride: int) -> Array:
    """Every `stride`-th of all finite float32 numbers of both signs, denormal ones included."""
    largest = np.float32(np.finfo(np.float32).max).view(np.uint32)
    positive = np.arange(0, int(largest) + 1, stride, dtype=np.uint32).view(np.float32)
    return np.concatenate([-positive[::-1], positive])


@each_function
def test_float32_over_the_whole_range(name: str) -> None:
    """One number in 499, which is prime: no pattern of bits is left out. float64 is exact enough to judge."""
    x = float32_numbers(499)
    got, exact = compute(name, x), in_float64(name, x.astype(np.float64))
    off = ulps_off(got, np.abs(got - exact))
    worst = off.argmax()
    assert off[worst] <= BOUND[name, 32], f"{name}({x[worst]!r}) = {got[worst]!r} is off by {off[worst]:.2f} ULP"
    assert got.min() >= (-1 if name == "tanh" else 0)
    assert got.max() == 1


@each_function
@each_dtype
def test_against_mpmath(name: str, dtype: Any) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(0, 4, 2000), rng.uniform(-800, 800, 500), 10.0 ** rng.uniform(-40, 2, 500)])
    x = x.astype(dtype)
    got, exact = compute(name, x), in_mpmath(name, x)
    error = [float(abs(mpmath.mpf(float(g)) - e)) for g, e in zip(got, exact, strict=True)]
    off = ulps_off(got, np.array(error))
    worst = off.argmax()
    bound = BOUND[name, 8 * x.itemsize]
    assert off[worst] <= bound, f"{name}({x[worst]!r}) = {got[worst]!r} is off by {off[worst]:.2f} ULP"


@each_function
@each_dtype
def test_nearly_monotone(name: str, dtype: Any) -> None:
    """A step down is never larger than twice what each of its ends may be off."""
    x = np.linspace(-30, 30, 1_000_001).astype(dtype)
    got = compute(name, x)
    assert ulps_off(got[1:], got[:-1] - got[1:]).max() <= 2 * BOUND[name, 8 * got.itemsize]


@each_dtype
def test_special_values(dtype: Any) -> None:
    largest, least = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
    x = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, largest, -largest, least, -least], dtype)
    sigmoid, tanh = compute("sigmoid", x), compute("tanh", x)
    assert np.isnan(sigmoid[:2]).all()
    assert np.isnan(tanh[:2]).all()
    assert sigmoid[2:].tolist() == [1, 0, 0.5, 0.5, 1, 0, 0.5, 0.5]
    assert tanh[2:8].tolist() == [1, -1, 0, 0, 1, -1]
    assert np.abs(tanh[8:] - x[8:]).max() <= 2 * least


@each_function
@each_dtype
@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 65])
def test_every_lane_alike(name: str, size: int, dtype: Any) -> None:
    """A value in any place of an array of any length, and nothing is written behind its end."""
    out = np.full(size + 64, 7, dtype)
    RUN[name](np.full(size, 0.3, dtype), out[:size])
    assert np.array_equal(out[:size], np.full(size, compute(name, np.array([0.3], dtype))[0]))
    assert (out[size:] == 7).all()
