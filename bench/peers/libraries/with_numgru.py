from __future__ import annotations

from itertools import chain
from typing import Any

import numgru

from ...workload import layer_of, lengths_of
from ..peer import Peer
from ..problem import Problem


class Layer(Peer):
    version = numgru.__version__

    def __init__(self, problem: Problem, threads: int) -> None:
        numgru.set_num_threads(threads)
        self.layer, self.lengths = layer_of(problem.shape), lengths_of(problem.shape)
        for parameter, weight in zip(self.layer.parameters.values(), chain(*problem.weights), strict=True):
            parameter[...] = weight

        shape = problem.shape
        # Another layer's kernels are the same ones, and this layer's memory isn't touched before a call takes it.
        numgru.warmup(layer_of(shape._replace(I=1, H=1)), training=True, need_dx=False)
        self.is_step = shape.T == 1 and shape.layers == 1 and not shape.bidirectional and shape.cell != "LSTM"
        self.x_t = problem.x[0]

    def inference(self, x: Any, h_0: Any) -> tuple[Any, Any]:
        if self.is_step:  # what users call for one step, whose state they keep
            h_n = self.layer.step(self.x_t, h_0)
            return h_n, h_n
        return self.layer(x, h_0, **self.lengths)

    def training(self, x: Any, dy: Any) -> list[Any]:
        self.layer.zero_grad()  # `backward` adds to the gradients
        self.layer.forward(x, **self.lengths)
        self.layer.backward(dy, need_dx=False)
        return list(self.layer.gradients.values())
