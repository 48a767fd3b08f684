"""The networks that the experiments compare, and their first weights, which decide what they can learn.

Shapes: T steps, I inputs, H units, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.tasks import Task
from ..layers.gru import GRU
from ..layers.heads import LastStep
from ..layers.linear import Linear
from ..layers.lstm import LSTM
from ..layers.recurrent import Recurrent
from ..layers.rnn import RNN
from ..layers.sequential import Sequential
from ..training import SGD, clip_grad_norm_

UNITS = 50

Network = Callable[[Task, np.random.Generator], Sequential]


def smart_tanh(task: Task, rng: np.random.Generator) -> Sequential:
    """A plain RNN, sparse: 15 weights for each unit, and a spectral radius of 0.95 (Pascanu et al. 2013)."""
    model = _plain(task, rng, 0.01)
    weights = model.parameters["0.weight_hh_l0"]
    for row in weights:  # of one unit, what it reads
        row[rng.permutation(UNITS)[15:]] = 0
    weights *= 0.95 / np.abs(np.linalg.eigvals(weights.astype(np.float64))).max()
    return model


def basic_tanh(task: Task, rng: np.random.Generator) -> Sequential:
    """A plain RNN with normal weights, of standard deviation 0.1 (Pascanu et al. 2013)."""
    return _plain(task, rng, 0.1)


def lstm(task: Task, rng: np.random.Generator) -> Sequential:
    """An LSTM whose forget gates start open for 1 to T steps, and its input gates as far closed."""
    layer = LSTM(task.input_size, UNITS, seed=_seed(rng))
    memory = _memory(task, rng)
    _set_bias(layer, [-memory, memory, None, None])
    return _with_output(layer, task, rng)


def gru(task: Task, rng: np.random.Generator) -> Sequential:
    """A GRU whose update gates start so as to keep a state for 1 to T steps."""
    layer = GRU(task.input_size, UNITS, seed=_seed(rng))
    _set_bias(layer, [None, _memory(task, rng), None])
    return _with_output(layer, task, rng)


NETWORKS: dict[str, Network] = {"RNN, smart tanh": smart_tanh, "RNN, basic tanh": basic_tanh, "LSTM": lstm, "GRU": gru}


def vectors(task: Task, x: NDArray[Any]) -> NDArray[np.float32]:
    """Inputs of a task as vectors (T, B, I); so few of them are quicker than tokens."""
    return x if x.ndim == 3 else np.eye(task.input_size, dtype=np.float32)[x]


def train_step(model: Sequential, optimizer: SGD, task: Task, x: NDArray[Any], y: NDArray[Any], limit: float) -> float:
    """One update, after clipping to the norm `limit`; returns the norm before.

    Raises
    ------
    NonFiniteGradientError
        If a gradient is NaN or infinite; no parameter has changed.
    """
    model.zero_grad()
    _, d_prediction = task.loss(model.forward(vectors(task, x)), y)
    model.backward(d_prediction, need_dx=False)
    norm = clip_grad_norm_(model.flat_gradients, limit).norm
    optimizer.step()
    return norm


def _plain(task: Task, rng: np.random.Generator, scale: float) -> Sequential:
    model = _with_output(RNN(task.input_size, UNITS, seed=0), task, rng)
    for name, values in model.parameters.items():
        values[...] = 0 if "bias" in name else rng.normal(0, scale, values.shape)
    return model


def _with_output(layer: Recurrent, task: Task, rng: np.random.Generator) -> Sequential:
    output = Linear(UNITS, task.output_size, seed=_seed(rng))
    return Sequential(layer, output) if task.every_step else Sequential(layer, LastStep(), output)


def _memory(task: Task, rng: np.random.Generator) -> NDArray[np.float64]:
    """Biases of gates that keep a state for a number of steps, uniform in 1 .. T - 1 (Tallec and Ollivier 2018)."""
    return np.log(rng.uniform(1, task.length - 1, UNITS))


def _set_bias(layer: Recurrent, gates: list[NDArray[np.float64] | None]) -> None:
    layer.parameters["bias_ih_l0"][...] = 0
    layer.parameters["bias_hh_l0"][...] = np.concatenate([np.zeros(UNITS) if b is None else b for b in gates])


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
