"""The oracle: forward and backward passes as the equations say, in plain float64 NumPy, step by step.

It shares nothing with the library it checks. A cell is two functions: a step, and directly below it its
backward, which quotes the lines it differentiates; `forward` and `backward` run any cell over a sequence.
Gradients are named d + name; a parameter's gradient has its name.

Shapes: T time, B batch, I input, H hidden.
    x, dx (T, B, I)    y, dy (T, B, H)    states (B, H): a tuple of one for the GRU
    weight_ih (3H, I)  weight_hh (3H, H)  bias_ih, bias_hh (3H), or absent; gates r, z, n one below the other
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Tokens = NDArray[np.int64]
State = tuple[Array, ...]
Parameters = dict[str, Array]


class Cell(NamedTuple):
    """`step(x, state, p)` gives the new state, whose first part is the output, and what to keep."""

    step: Callable[[Array, State, Parameters], tuple[State, Any]]
    step_backward: Callable[[State, Array, State, Any, Parameters], tuple[Array, State, Parameters]]


def sigmoid(v: Array) -> Array:
    with np.errstate(over="ignore"):  # exp(-v) = inf gives the right 0
        return 1 / (1 + np.exp(-v))


def linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    y = x @ weight.T
    return y if bias is None else y + bias


def linear_backward(dy: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """dx, dweight and dbias of y = x W^T + b; every axis but the last is a batch."""
    dx = dy @ weight
    dy, x = dy.reshape(-1, dy.shape[-1]), x.reshape(-1, x.shape[-1])
    return dx, dy.T @ x, dy.sum(axis=0)


def embedding(tokens: Tokens, weight: Array) -> Array:
    return weight[tokens]


def embedding_backward(dy: Array, tokens: Tokens, weight: Array) -> Array:
    """dweight of y = weight[tokens]."""
    dweight = np.zeros_like(weight)
    np.add.at(dweight, tokens, dy)
    return dweight


def gru_step(x: Array, state: State, p: Parameters) -> tuple[State, Any]:
    (h,) = state
    x_r, x_z, x_n = np.split(linear(x, p["weight_ih"], p.get("bias_ih")), 3, axis=-1)
    h_r, h_z, q = np.split(linear(h, p["weight_hh"], p.get("bias_hh")), 3, axis=-1)
    r = sigmoid(x_r + h_r)
    z = sigmoid(x_z + h_z)
    n = np.tanh(x_n + r * q)
    return ((1 - z) * n + z * h,), (r, z, n, q)


def gru_step_backward(
    dstate: State, x: Array, state: State, kept: Any, p: Parameters
) -> tuple[Array, State, Parameters]:
    (dh_new,), (h,), (r, z, n, q) = dstate, state, kept
    dz = dh_new * (h - n) * z * (1 - z)  # h' = (1 - z) n + z h,  z = sigmoid(x_z + h_z)
    dn = dh_new * (1 - z) * (1 - n**2)  # n = tanh(x_n + r q)
    dr = dn * q * r * (1 - r)  # r = sigmoid(x_r + h_r)
    dq = dn * r
    from_x, from_h = np.concatenate([dr, dz, dn], axis=-1), np.concatenate([dr, dz, dq], axis=-1)
    dx, dweight_ih, dbias_ih = linear_backward(from_x, x, p["weight_ih"])
    dh, dweight_hh, dbias_hh = linear_backward(from_h, h, p["weight_hh"])
    dp = {"weight_ih": dweight_ih, "weight_hh": dweight_hh, "bias_ih": dbias_ih, "bias_hh": dbias_hh}
    return dx, (dh + dh_new * z,), dp


GRU = Cell(gru_step, gru_step_backward)


def forward(cell: Cell, x: Array, state: State, p: Parameters) -> tuple[Array, State, list[Any]]:
    """The outputs, the last state, and for `backward` each step's input, state and what it kept."""
    y, tape = [], []
    for x_t in x:
        new, kept = cell.step(x_t, state, p)
        tape.append((x_t, state, kept))
        y.append(new[0])
        state = new
    return np.stack(y), state, tape


def backward(cell: Cell, dy: Array, dstate: State, tape: list[Any], p: Parameters) -> tuple[Array, State, Parameters]:
    """dx, the gradient of the first state and that of each parameter; `dstate` is the last state's."""
    dx = []
    dp = {name: np.zeros_like(value) for name, value in p.items()}
    for dy_t, (x_t, state, kept) in reversed(list(zip(dy, tape, strict=True))):
        dstate = (
            dstate[0] + dy_t,
            *dstate[1:],
        )  # y_t is the first of the states, read by the next step as well
        dx_t, dstate, step_dp = cell.step_backward(dstate, x_t, state, kept, p)
        dx.append(dx_t)
        for name in dp:
            dp[name] += step_dp[name]
    return np.stack(dx[::-1]), dstate, dp
