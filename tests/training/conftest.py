"""A layer small enough to train in microseconds, in plain NumPy."""

import numpy as np
import pytest

from numgru.layers.base import Layer


class Tanh(Layer):
    """y = V tanh(W x + b) over the last axis of x."""

    def __init__(self, inputs=3, outputs=2, hidden=4, dtype=np.float64, seed=0):
        super().__init__({"W": (hidden, inputs), "b": (hidden,), "V": (outputs, hidden)}, dtype)
        self.flat_parameters[...] = np.random.default_rng(seed).standard_normal(self.flat_parameters.size) / 2

    def __call__(self, x):
        return np.tanh(x @ self.parameters["W"].T + self.parameters["b"]) @ self.parameters["V"].T

    def forward(self, x):
        self.x, self.h = x, np.tanh(x @ self.parameters["W"].T + self.parameters["b"])
        return self.h @ self.parameters["V"].T

    def backward(self, dy, *, need_dx=True):
        da = (dy @ self.parameters["V"]) * (1 - self.h**2)
        sums = dy.reshape(-1, dy.shape[-1]), da.reshape(-1, da.shape[-1])
        self.gradients["V"] += sums[0].T @ self.h.reshape(-1, self.h.shape[-1])
        self.gradients["W"] += sums[1].T @ self.x.reshape(-1, self.x.shape[-1])
        self.gradients["b"] += sums[1].sum(0)
        return da @ self.parameters["W"] if need_dx else None


@pytest.fixture
def make_model():
    return Tanh
