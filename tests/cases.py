"""Seeded problems, what the library and the oracle make of them, and how far apart the two may be.

A problem and its results are dicts of arrays in the library's own names and shapes (batch second, states
(1, B, H)), so that one loop over the names compares everything: y, h_n, dx, dh_0 and the gradient of each
parameter by its name.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numba.core.dispatcher import Dispatcher
from numpy.typing import DTypeLike, NDArray

import numgru
from tests import reference

Arrays = dict[str, NDArray[Any]]


def gru_problem(
    T: int, B: int, I: int, H: int, dtype: DTypeLike = np.float32, bias: bool = True, seed: int = 0
) -> Arrays:
    """Inputs, upstream gradients and parameters of a GRU; of a size that keeps the gates off 0 and 1."""
    rng = np.random.default_rng([seed, T, B, I, H])
    shapes: dict[str, tuple[int, ...]] = {"x": (T, B, I), "h_0": (1, B, H), "dy": (T, B, H), "dh_n": (1, B, H)}
    problem = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    shapes = {"weight_ih_l0": (3 * H, I), "weight_hh_l0": (3 * H, H)}
    if bias:
        shapes |= {"bias_ih_l0": (3 * H,), "bias_hh_l0": (3 * H,)}
    problem |= {name: rng.uniform(-1.5, 1.5, shape) * shape[-1] ** -0.5 for name, shape in shapes.items()}
    return {name: value.astype(dtype) for name, value in problem.items()}


def parameters(problem: Arrays) -> Arrays:
    return {name: value for name, value in problem.items() if name.startswith(("weight", "bias"))}


def gru_layer(problem: Arrays, **options: Any) -> numgru.GRU:
    """A layer with the problem's parameters."""
    three_h, I = problem["weight_ih_l0"].shape
    bias = "bias_ih_l0" in problem
    gru = numgru.GRU(I, three_h // 3, bias=bias, dtype=problem["x"].dtype, **options)
    gru.load_state_dict(parameters(problem))
    return gru


def run(gru: numgru.GRU, problem: Arrays) -> Arrays:
    """Every result of one forward and one backward pass of the library."""

    def swap(a: Any) -> Any:
        return a.swapaxes(0, 1) if gru.batch_first else a

    gru.zero_grad()
    y, h_n = gru.forward(swap(problem["x"]), problem["h_0"])
    dx, dh_0 = gru.backward(swap(problem["dy"]), problem["dh_n"])
    gradients = {name: value.copy() for name, value in gru.gradients.items()}
    return {"y": swap(y), "h_n": h_n, "dx": swap(dx), "dh_0": dh_0} | gradients


def exact(problem: Arrays, cell: reference.Cell = reference.GRU) -> Arrays:
    """The same results from the oracle, in float64."""
    wide = {name: value.astype(np.float64) for name, value in problem.items()}
    p = {name.removesuffix("_l0"): value for name, value in parameters(wide).items()}
    y, (h_n,), tape = reference.forward(cell, wide["x"], (wide["h_0"][0],), p)
    dx, (dh_0,), dp = reference.backward(cell, wide["dy"], (wide["dh_n"][0],), tape, p)
    return {"y": y, "h_n": h_n[None], "dx": dx, "dh_0": dh_0[None]} | {f"{k}_l0": v for k, v in dp.items()}


def rounding(cell: reference.Cell, eps: float, rng: np.random.Generator) -> reference.Cell:
    """The cell, with each number that a step reads, keeps or gives off by up to `eps` of itself."""

    def off(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(off(v) for v in value)
        if isinstance(value, dict):
            return {name: off(v) for name, v in value.items()}
        return value * (1 + eps * rng.uniform(-1, 1, value.shape))

    return reference.Cell(
        lambda *arguments: off(cell.step(*off(arguments))),
        lambda *arguments: off(cell.step_backward(*off(arguments))),
    )


def tolerances(problem: Arrays, draws: int = 4) -> dict[str, float]:
    """How far each result may be from the oracle's.

    The yardstick is the problem's own: how far the exact results move when all that a step reads, keeps or
    gives is off by one rounding. That covers cancellation, and the growth of errors over time. What it
    leaves out are the roundings within a chain of K additions: those of a random walk of growing partial
    sums add up to some sqrt(K) / 4 of what the roundings of the summands do. Hence the factor, with the
    longest chain there is.
    """
    eps = np.finfo(problem["x"].dtype).eps
    rng = np.random.default_rng(1)
    results = exact(problem)
    moved = dict.fromkeys(results, 0.0)
    for _ in range(draws):
        for name, value in exact(problem, rounding(reference.GRU, eps, rng)).items():
            moved[name] = max(moved[name], np.abs(value - results[name]).max())
    T, B, I = problem["x"].shape
    chain = max(T * B, I + problem["h_0"].shape[-1])
    return {name: (4 + chain**0.5 / 4) * distance for name, distance in moved.items()}


def assert_close(got: Arrays, expected: Arrays, tolerance: dict[str, float]) -> None:
    """`got` is what is expected, for every name in `got`."""
    for name, value in got.items():
        assert value.shape == expected[name].shape, f"{name}: shape {value.shape}, not {expected[name].shape}"
        error = np.abs(value - expected[name]).max()
        assert error <= tolerance[name], f"{name}: off by {error:.2e}, allowed {tolerance[name]:.2e}"


def assert_exact(got: Arrays, problem: Arrays) -> None:
    """`got` is what the oracle says, as near as its dtype allows."""
    assert_close(got, exact(problem), tolerances(problem))
    for name, value in got.items():
        assert value.dtype == problem["x"].dtype, f"{name}: dtype {value.dtype}, not {problem['x'].dtype}"


def assert_same_bits(got: Arrays, expected: Arrays) -> None:
    """Equal to the last bit, signs of zero and NaNs included, for every name in `got`."""
    for name, value in got.items():
        assert value.shape == expected[name].shape, f"{name}: shape {value.shape}, not {expected[name].shape}"
        assert value.dtype == expected[name].dtype, f"{name}: dtype {value.dtype}, not {expected[name].dtype}"
        differ = np.flatnonzero(bits(value) != bits(expected[name]))
        assert not differ.size, f"{name}: {differ.size} of {value.size} elements differ in bits, first {differ[0]}"


def bits(a: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(a).view(f"u{a.itemsize}").ravel()


def sentences(count: int = 150, seed: int = 0) -> str:
    """Lines such as "the cat sees a small dog."."""
    rng = np.random.default_rng(seed)
    nouns, verbs, adjectives = ["cat", "dog", "bird", "fish"], ["sees", "hears", "likes"], ["", "small ", "old "]

    def one() -> str:
        a, b = rng.choice(nouns, 2)
        return f"the {rng.choice(adjectives)}{a} {rng.choice(verbs)} a {rng.choice(adjectives)}{b}.\n"

    return "".join(one() for _ in range(count))


def count_compiled() -> int:
    """Signatures of all compiled functions of the library."""
    modules = [module for name, module in sys.modules.items() if name.startswith("numgru.")]
    dispatchers = {id(v): v for m in modules for v in vars(m).values() if isinstance(v, Dispatcher)}
    return sum(len(d.signatures) for d in dispatchers.values())


def difference(
    loss: Callable[[], float], moves: Iterable[tuple[NDArray[Any], NDArray[Any]]], step: float = 1e-6
) -> float:
    """The slope of `loss` along (array, direction) pairs by central differences, moving in place."""
    saved = [(array, direction, array.copy()) for array, direction in moves]
    losses = []
    for sign in (1, -1):
        for array, direction, start in saved:
            array[...] = start + sign * step * direction
        losses.append(loss())
    for array, _, start in saved:
        array[...] = start
    return (losses[0] - losses[1]) / (2 * step)


def run_elsewhere(code: str, **environment: str) -> str:
    """What `code` prints in a new interpreter, which finds the same modules; it must end well."""
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ended.returncode == 0, f"exit status {ended.returncode}\n{ended.stdout}\n{ended.stderr}"
    return ended.stdout
