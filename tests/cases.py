"""Seeded problems, what the library and the oracle make of them, and how far apart the two may be.

A problem and its results are dicts of arrays in the library's own names and shapes (batch second, states
(1, B, H)), so that one loop over the names compares everything: y, h_n, dx, dh_0 and the gradient of each
parameter by its name; of an LSTM c_n and dc_0, too. How many gates the weights have says which cell it is.
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
from numgru.kernels._jit import SharedKernel
from numgru.kernels.plain import PLAIN
from numgru.layers.recurrent import Recurrent
from tests import reference

Arrays = dict[str, NDArray[Any]]
CELLS = {3: reference.GRU, 1: reference.RNN, 4: reference.LSTM}  # by gates
LAYERS: dict[int, Any] = {3: numgru.GRU, 1: numgru.RNN, 4: numgru.LSTM}


def problem_of(
    T: int,
    B: int,
    I: int,
    H: int,
    dtype: DTypeLike = np.float32,
    bias: bool = True,
    seed: int = 0,
    num_layers: int = 1,
    bidirectional: bool = False,
    cell: reference.Cell = reference.GRU,
) -> Arrays:
    """Inputs, upstream gradients and parameters of a layer; of a size that keeps the gates off 0 and 1."""
    rng = np.random.default_rng([seed, T, B, I, H])
    D, rows = 1 + bidirectional, cell.gates * H
    state = (num_layers * D, B, H)
    shapes: dict[str, tuple[int, ...]] = {"x": (T, B, I), "h_0": state, "dy": (T, B, D * H), "dh_n": state}
    shapes |= {"c_0": state, "dc_n": state} if cell.states == 2 else {}
    problem = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    shapes = {}
    for k in range(num_layers):
        for suffix in (f"_l{k}", f"_l{k}_reverse")[:D]:
            shapes |= {f"weight_ih{suffix}": (rows, D * H if k else I), f"weight_hh{suffix}": (rows, H)}
            if bias:
                shapes |= {f"bias_ih{suffix}": (rows,), f"bias_hh{suffix}": (rows,)}
    problem |= {name: rng.uniform(-1.5, 1.5, shape) * shape[-1] ** -0.5 for name, shape in shapes.items()}
    return {name: value.astype(dtype) for name, value in problem.items()}


def ragged(problem: Arrays, seed: int = 0) -> Arrays:
    """The problem with sequences of different lengths, one of them shorter than x."""
    T, B = problem["x"].shape[:2]
    lengths = np.random.default_rng(seed).integers(1, T + 1, B)
    lengths[seed % B] = T - 1
    return problem | {"lengths": lengths}


def glued(problem: Arrays, seed: int = 0) -> Arrays:
    """The problem with new sequences starting within a row, and one at a row's first step."""
    reset = np.random.default_rng(seed).random(problem["x"].shape[:2]) < 0.3
    reset[0, 0] = reset[-1, -1] = True
    return problem | {"reset": reset}


def learned(problem: Arrays) -> Arrays:
    """The problem with one first state for the whole batch, a parameter."""
    return problem | {name: problem[name][:, :1] for name in ("h_0", "c_0") if name in problem}


def of_tokens(problem: Arrays, seed: int = 0) -> Arrays:
    """The problem with integers for an input."""
    vocabulary = problem["weight_ih_l0"].shape[1]
    return problem | {"x": np.random.default_rng(seed).integers(0, vocabulary, problem["x"].shape[:2])}


def parameters(problem: Arrays) -> Arrays:
    return {name: value for name, value in problem.items() if name.startswith(("weight", "bias"))}


def noise(problem: Arrays) -> Arrays:
    return {n: value for n, value in problem.items() if n.startswith(("dropout", "recurrent_dropout", "zoneout"))}


def gates_of(problem: Arrays) -> int:
    rows, H = problem["weight_hh_l0"].shape
    return rows // H


def cell_of(problem: Arrays) -> reference.Cell:
    """The cell; of those with as many gates the one that is a layer's default."""
    return CELLS[gates_of(problem)]


def states(problem: Arrays, name: str) -> Any:
    """The states h_0, or the gradients dh_n; of an LSTM both, as it takes them."""
    other = name.replace("h", "c")
    return (problem[name], problem[other]) if other in problem else problem[name]


def by_name(states: Any, name: str) -> Arrays:
    """The other way round."""
    both = states if len(states) == 2 and states.ndim == 4 else [states]
    return dict(zip((name, name.replace("h", "c")), both, strict=False))


def layer_of(problem: Arrays, learn_h_0: bool = False, **options: Any) -> Recurrent:
    """A layer with the problem's parameters."""
    I, H = problem["weight_ih_l0"].shape[1], problem["weight_hh_l0"].shape[1]
    p = parameters(problem)
    options = {
        "num_layers": sum(name.startswith("weight_ih") and not name.endswith("_reverse") for name in p),
        "bias": "bias_ih_l0" in p,
        "bidirectional": "weight_ih_l0_reverse" in p,
    } | options
    gru = LAYERS[gates_of(problem)](I, H, learn_h_0=learn_h_0, dtype=problem["dy"].dtype, **options)
    gru.load_state_dict(p | {name: problem[name] for name in ("h_0", "c_0") if learn_h_0 and name in problem})
    return gru


def arguments(gru: Recurrent, problem: Arrays) -> dict[str, Any]:
    """What both kinds of forward pass are called with: x, h_0 unless it is learned, lengths and reset if there are."""
    given = {name: problem[name] for name in ("x", "lengths", "reset") if name in problem}
    if not gru.learn_h_0:
        given["h_0"] = states(problem, "h_0")
    return given | {name: time_first(gru, given[name]) for name in ("x", "reset") if name in given}


def time_first(gru: Recurrent, a: Any) -> Any:
    """Time first instead of the layer's order of axes, and back."""
    return a.swapaxes(0, 1) if gru.batch_first and a is not None else a


def run(gru: Recurrent, problem: Arrays) -> Arrays:
    """Every result of one forward and one backward pass of the library, and the noise that it drew."""
    gru.zero_grad()
    y, h_n = gru.forward(**arguments(gru, problem))
    drawn = {n: time_first(gru, m) if n.startswith("dropout") else m for n, m in gru.masks.items()}
    dx, dh_0 = gru.backward(time_first(gru, problem["dy"]), states(problem, "dh_n"))
    results = {"y": time_first(gru, y), "dx": time_first(gru, dx), **by_name(h_n, "h_n"), **by_name(dh_0, "dh_0")}
    if problem["x"].dtype.kind == "i":
        assert results.pop("dx") is None
    return results | drawn | copied(gru.gradients)


def infer(gru: Recurrent, problem: Arrays) -> Arrays:
    """y and h_n of a call."""
    y, h_n = gru(**arguments(gru, problem))
    return {"y": time_first(gru, y), **by_name(h_n, "h_n")}


def exact(problem: Arrays, cell: reference.Cell | None = None) -> Arrays:
    """The same results from the oracle, in float64; the gradient named h_0 is that of a learned one."""
    cell = cell or cell_of(problem)
    wide = {n: value.astype(np.float64) if value.dtype.kind == "f" else value for n, value in problem.items()}
    p, x = parameters(wide), wide["x"]
    if x.ndim == 2:
        x = np.eye(p["weight_ih_l0"].shape[1])[x]
    T, B = x.shape[:2]

    def side_by_side(*names: str) -> Any:
        return np.concatenate([np.broadcast_to(wide[name], wide["dh_n"].shape) for name in names], axis=-1)

    h_0 = side_by_side("h_0", "c_0") if cell.states == 2 else side_by_side("h_0")
    dh_n = side_by_side("dh_n", "dc_n") if cell.states == 2 else side_by_side("dh_n")
    lengths, reset = wide.get("lengths", np.full(B, T)), wide.get("reset", np.zeros((T, B), bool))
    y, h_n, parts = reference.network(cell, x, h_0, p, lengths, reset, noise(wide))
    dx, dh_0, dp = reference.network_backward(cell, wide["dy"], dh_n, x, parts, p)
    results = {"y": y, "dx": dx}
    for name, values in [("h_n", h_n), ("dh_0", dh_0), ("h_0", dh_0.sum(axis=1, keepdims=True))]:
        apart = np.split(values, cell.states, axis=-1)
        results |= dict(zip((name, name.replace("h", "c")), apart, strict=False))
    return results | dp | noise(wide)


def rounding(cell: reference.Cell, eps: float, rng: np.random.Generator) -> reference.Cell:
    """The cell, with each number that a step reads, keeps or gives off by up to `eps` of itself."""

    def off(value: Any) -> Any:
        if value is None:
            return None
        if isinstance(value, tuple):
            return tuple(off(v) for v in value)
        if isinstance(value, dict):
            return {name: off(v) for name, v in value.items()}
        return value * (1 + eps * rng.uniform(-1, 1, value.shape))

    return cell._replace(
        step=lambda *arguments: off(cell.step(*off(arguments))),
        step_backward=lambda *arguments: off(cell.step_backward(*off(arguments))),
    )


def tolerances(problem: Arrays, cell: reference.Cell | None = None, draws: int = 4) -> dict[str, float]:
    """How far each result may be from the oracle's.

    The yardstick is the problem's own: how far the exact results move when all that a step reads, keeps or
    gives is off by one rounding. That covers cancellation, and the growth of errors over time. What it
    leaves out are the roundings within a chain of K additions: those of a random walk of growing partial
    sums add up to some sqrt(K) / 4 of what the roundings of the summands do. Hence the factor, with the
    longest chain there is.
    """
    eps = np.finfo(problem["dy"].dtype).eps
    rng = np.random.default_rng(1)
    cell = cell or cell_of(problem)
    results = exact(problem, cell)
    moved = dict.fromkeys(results, 0.0)
    for _ in range(draws):
        for name, value in exact(problem, rounding(cell, eps, rng)).items():
            moved[name] = max(moved[name], np.abs(value - results[name]).max())
    T, B, H = problem["dy"].shape[0], *problem["dh_n"].shape[1:]
    chain = max(T * B, *(p.shape[-1] + H for p in parameters(problem).values() if p.ndim == 2))
    return {name: (4 + chain**0.5 / 4) * distance for name, distance in moved.items()}


def assert_close(got: Arrays, expected: Arrays, tolerance: dict[str, float]) -> None:
    """`got` is what is expected, for every name in `got`."""
    for name, value in got.items():
        assert value.shape == expected[name].shape, f"{name}: shape {value.shape}, not {expected[name].shape}"
        error = np.abs(value - expected[name]).max()
        assert error <= tolerance[name], f"{name}: off by {error:.2e}, allowed {tolerance[name]:.2e}"


def assert_exact(got: Arrays, problem: Arrays, cell: reference.Cell | None = None) -> None:
    """`got` is what the oracle says, as near as its dtype allows."""
    assert_close(got, exact(problem, cell), tolerances(problem, cell))
    for name, value in got.items():
        assert value.dtype == problem["dy"].dtype, f"{name}: dtype {value.dtype}, not {problem['dy'].dtype}"


def assert_same_bits(got: Arrays, expected: Arrays) -> None:
    """Equal to the last bit, signs of zero and NaNs included, for every name in `got`."""
    for name, value in got.items():
        assert value.shape == expected[name].shape, f"{name}: shape {value.shape}, not {expected[name].shape}"
        assert value.dtype == expected[name].dtype, f"{name}: dtype {value.dtype}, not {expected[name].dtype}"
        differ = np.flatnonzero(bits(value) != bits(expected[name]))
        assert not differ.size, f"{name}: {differ.size} of {value.size} elements differ in bits, first {differ[0]}"


def copied(arrays: Arrays) -> Arrays:
    return {name: array.copy() for name, array in arrays.items()}


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
    values = [value for module in modules for value in vars(module).values()]
    values += [kernel for kernels in PLAIN.values() for kernel in kernels]
    values += [part for value in values if isinstance(value, SharedKernel) for part in value]
    dispatchers = {id(value): value for value in values if isinstance(value, Dispatcher)}
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
