from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..peer import Peer
from ..problem import Array, Problem, Weights


class GRU(Peer):
    """The input's part of the gates is one product for all steps; the rest a scan. Weights are the other way round."""

    version = jax.__version__

    def __init__(self, problem: Problem, threads: int) -> None:
        # The threads are those the process was started with: see `remote.confined`.
        self.weights = tuple(jnp.asarray(np.ascontiguousarray(weight.T)) for weight in problem.weights)
        self.zero = jnp.zeros_like(problem.h_0)
        self.run = jax.jit(run)
        self.differentiate = jax.jit(jax.grad(loss))

    def array(self, array: Array) -> Any:
        return jnp.asarray(array)

    def inference(self, x: Any, h_0: Any) -> tuple[Any, Any]:
        y, h_n = jax.block_until_ready(self.run(self.weights, x, h_0))
        return y, h_n

    def training(self, x: Any, dy: Any) -> Sequence[Any]:
        result: Sequence[Any] = jax.block_until_ready(self.differentiate(self.weights, x, self.zero, dy))
        return result

    def gradients(self, result: Sequence[Any]) -> Weights:
        return Weights(*(np.asarray(each).T for each in result))


def run(weights: Any, x: Any, h_0: Any) -> tuple[Any, Any]:
    w_ih, w_hh, b_ih, b_hh = weights

    def step(h: Any, of_input: Any) -> tuple[Any, Any]:
        x_r, x_z, x_n = jnp.split(of_input, 3, axis=-1)
        h_r, h_z, h_n = jnp.split(h @ w_hh + b_hh, 3, axis=-1)
        r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + r * h_n)
        h = (1 - z) * n + z * h
        return h, h

    h_n, y = jax.lax.scan(step, h_0[0], x @ w_ih + b_ih)
    return y, h_n[None]


def loss(weights: Any, x: Any, h_0: Any, dy: Any) -> Any:
    y, _ = run(weights, x, h_0)
    return jnp.sum(y * dy)
