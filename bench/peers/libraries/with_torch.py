from __future__ import annotations

from typing import Any

import torch

from ..peer import Peer
from ..problem import Array, Problem


class GRU(Peer):
    version = torch.__version__

    def __init__(self, problem: Problem, threads: int) -> None:
        torch.set_num_threads(threads)
        self.gru = torch.nn.GRU(problem.shape.I, problem.shape.H)
        self.parameters = list(self.gru.parameters())  # in the order of `Weights`
        with torch.no_grad():
            for parameter, weight in zip(self.parameters, problem.weights, strict=True):
                parameter.copy_(torch.from_numpy(weight))

    def array(self, array: Array) -> Any:
        return torch.from_numpy(array)

    def inference(self, x: Any, h_0: Any) -> tuple[Any, Any]:
        with torch.inference_mode():
            return self.gru(x, h_0)

    def training(self, x: Any, dy: Any) -> list[Any]:
        for parameter in self.parameters:
            parameter.grad = None  # cheaper than filling with zeros: the next gradient takes its place
        y, _ = self.gru(x)
        torch.autograd.backward(y, dy)
        return [parameter.grad for parameter in self.parameters]
