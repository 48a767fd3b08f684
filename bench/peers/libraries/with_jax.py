from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ...workload import Shape
from ..peer import Peer
from ..problem import Array, Problem, Weights


class Layer(Peer):
    """The input's part of the gates is one product for all steps; the rest a scan. Weights are the other way round."""

    version = jax.__version__
    lacks = frozenset({"tokens"})

    def __init__(self, problem: Problem, threads: int) -> None:
        # The threads are those the process was started with: see `remote.confined`.
        self.weights = [Weights(*(jnp.asarray(np.ascontiguousarray(w.T)) for w in each)) for each in problem.weights]
        self.zero = jnp.zeros_like(problem.h_0)
        self.run = jax.jit(partial(run, problem.shape))
        self.differentiate = jax.jit(jax.grad(partial(loss, problem.shape)))

    def array(self, array: Array) -> Any:
        return jnp.asarray(array)

    def inference(self, x: Any, h_0: Any) -> tuple[Any, Any]:
        y, h_n = jax.block_until_ready(self.run(self.weights, x, h_0))
        return y, h_n

    def training(self, x: Any, dy: Any) -> Sequence[Any]:
        result: Sequence[Any] = jax.block_until_ready(self.differentiate(self.weights, x, self.zero, dy))
        return result

    def gradients(self, result: Sequence[Any]) -> list[Weights]:
        return [Weights(*(np.asarray(each).T for each in weights)) for weights in result]


def run(shape: Shape, weights: list[Weights], x: Any, h_0: Any) -> tuple[Any, Any]:
    D, last = shape.directions, list[Any]()
    for layer in range(shape.layers):
        places = range(layer * D, (layer + 1) * D)
        firsts = (h_0[..., at, :, :] for at in places)
        runs = zip(places, firsts, strict=True)
        h_n, y = zip(*(scan(shape, weights[at], x, first, reverse=at % D == 1) for at, first in runs), strict=True)
        x = jnp.concatenate(y, axis=-1)
        last += h_n
    return x, jnp.stack(last, axis=-3)


def scan(shape: Shape, weights: Weights, x: Any, h_0: Any, *, reverse: bool) -> tuple[Any, Any]:
    w_ih, w_hh, b_ih, b_hh = weights
    H = shape.H
    inside = jnp.arange(shape.T)[:, None, None] < shape.lengths[:, None] if shape.ragged else None

    def rnn(h: Any, of_input: Any) -> Any:
        return jnp.tanh(of_input + h @ w_hh + b_hh)

    def lstm(states: Any, of_input: Any) -> Any:
        h, c = states
        i, f, g, o = jnp.split(of_input + h @ w_hh + b_hh, 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        return jnp.stack([jax.nn.sigmoid(o) * jnp.tanh(c), c])

    def gru(h: Any, of_input: Any) -> Any:
        x_r, x_z, x_n = jnp.split(of_input, 3, axis=-1)
        if shape.reset_before:
            h_r, h_z = jnp.split(h @ w_hh[:, : 2 * H] + b_hh[: 2 * H], 2, axis=-1)
        else:
            h_r, h_z, h_n = jnp.split(h @ w_hh + b_hh, 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        q = (r * h) @ w_hh[:, 2 * H :] + b_hh[2 * H :] if shape.reset_before else r * h_n
        n = jnp.tanh(x_n + q)
        return (1 - z) * n + z * h

    cell = {"GRU": gru, "LSTM": lstm, "RNN": rnn}[shape.cell]

    def step(states: Any, at: Any) -> tuple[Any, Any]:
        of_input, inside = at
        after = cell(states, of_input)
        h = after[0] if shape.cell == "LSTM" else after
        if inside is None:
            return after, h
        return jnp.where(inside, after, states), jnp.where(inside, h, 0)

    return jax.lax.scan(step, h_0, (x @ w_ih + b_ih, inside), reverse=reverse)


def loss(shape: Shape, weights: list[Weights], x: Any, h_0: Any, dy: Any) -> Any:
    y, _ = run(shape, weights, x, h_0)
    return jnp.sum(y * dy)
