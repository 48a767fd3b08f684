from __future__ import annotations

from typing import Any

import numgru

from ..peer import Peer
from ..problem import Problem


class GRU(Peer):
    version = numgru.__version__

    def __init__(self, problem: Problem, threads: int) -> None:
        numgru.set_num_threads(threads)
        self.gru = numgru.GRU(problem.shape.I, problem.shape.H)
        for parameter, weight in zip(self.gru.parameters.values(), problem.weights, strict=True):
            parameter[...] = weight

    def inference(self, x: Any, h_0: Any) -> tuple[Any, Any]:
        return self.gru(x, h_0)

    def training(self, x: Any, dy: Any) -> list[Any]:
        self.gru.zero_grad()  # `backward` adds to the gradients
        self.gru.forward(x)
        self.gru.backward(dy, need_dx=False)
        return list(self.gru.gradients.values())
