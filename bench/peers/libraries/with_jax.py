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


class GRU(Peer):
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
    D, last = shape.directions, []
    for layer in range(shape.layers):
        places = range(layer * D, (layer + 1) * D)
        h_n, y = zip(*(scan(shape, weights[at], x, h_0[at], reverse=at % D == 1) for at in places), strict=True)
        x = jnp.concatenate(y, axis=-1)
        last += h_n
    return x, jnp.stack(last)


def scan(shape: Shape, weights: Weights, x: Any, h_0: Any, *, reverse: bool) -> tuple[Any, Any]:
    w_ih, w_hh, b_ih, b_hh = weights
    H = shape.H
    inside = jnp.arange(shape.T)[:, None, None] < shape.lengths[:, None] if shape.ragged else None

    def step(h: Any, at: Any) -> tuple[Any, Any]:
        of_input, inside = at
        x_r, x_z, x_n = jnp.split(of_input, 3, axis=-1)
        if shape.reset_before:
            h_r, h_z = jnp.split(h @ w_hh[:, : 2 * H] + b_hh[: 2 * H], 2, axis=-1)
        else:
            h_r, h_z, h_n = jnp.split(h @ w_hh + b_hh, 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        q = (r * h) @ w_hh[:, 2 * H :] + b_hh[2 * H :] if shape.reset_before else r * h_n
        n = jnp.tanh(x_n + q)
        after = (1 - z) * n + z * h
        if inside is None:
            return after, after
        return jnp.where(inside, after, h), jnp.where(inside, after, 0)

    return jax.lax.scan(step, h_0, (x @ w_ih + b_ih, inside), reverse=reverse)


def loss(shape: Shape, weights: list[Weights], x: Any, h_0: Any, dy: Any) -> Any:
    y, _ = run(shape, weights, x, h_0)
    return jnp.sum(y * dy)
