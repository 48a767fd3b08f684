from __future__ import annotations

from typing import Any

import onnxruntime

from ..peer import Peer
from ..problem import Problem
from .onnx_file import onnx_file, states_by_name


class Layer(Peer):
    version = onnxruntime.__version__
    trains = False
    lacks = frozenset({"tokens"})
    spins = 0.06  # 0.04 were seen

    def __init__(self, problem: Problem, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(onnx_file(problem), options, providers=["CPUExecutionProvider"])

    def inference(self, x: Any, h_0: Any) -> tuple[Any, Any]:
        y, *last = self.session.run(None, {"x": x, **states_by_name(h_0)})
        return y, last
