from __future__ import annotations

from itertools import chain
from typing import Any

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..peer import Peer
from ..problem import Array, Problem


class Layer(Peer):
    version = torch.__version__
    lacks = frozenset({"reset_before", "tokens"})

    def __init__(self, problem: Problem, threads: int) -> None:
        torch.set_num_threads(threads)
        shape = problem.shape
        self.lengths = torch.from_numpy(shape.lengths) if shape.ragged else None
        kind = getattr(torch.nn, shape.cell)
        self.layer = kind(shape.I, shape.H, shape.layers, bidirectional=shape.bidirectional)
        self.parameters = list(self.layer.parameters())  # in the order of `Problem.weights`
        with torch.no_grad():
            for parameter, weight in zip(self.parameters, chain(*problem.weights), strict=True):
                parameter.copy_(torch.from_numpy(weight))

    def array(self, array: Array) -> Any:
        return torch.from_numpy(array)

    def run(self, x: Any, h_0: Any = None) -> tuple[Any, Any]:
        if self.lengths is None:
            return self.layer(x, h_0)
        y, h_n = self.layer(pack_padded_sequence(x, self.lengths, enforce_sorted=False), h_0)
        return pad_packed_sequence(y, total_length=len(x))[0], h_n

    def inference(self, x: Any, h_0: Any) -> tuple[Any, Any]:
        with torch.inference_mode():
            return self.run(x, tuple(h_0) if h_0.ndim == 4 else h_0)

    def training(self, x: Any, dy: Any) -> list[Any]:
        for parameter in self.parameters:
            parameter.grad = None  # cheaper than filling with zeros: the next gradient takes its place
        y, _ = self.run(x)
        torch.autograd.backward(y, dy)
        return [parameter.grad for parameter in self.parameters]
