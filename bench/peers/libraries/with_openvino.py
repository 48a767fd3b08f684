from __future__ import annotations

from typing import Any

import openvino

from ..peer import Peer
from ..problem import Problem
from .onnx_file import onnx_file, states_by_name


class Layer(Peer):
    version = openvino.__version__.split("-")[0]
    trains = False
    lacks = frozenset({"tokens"})

    def __init__(self, problem: Problem, threads: int) -> None:
        core = openvino.Core()
        settings = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # where the processor has bfloat16, it would take that
            "PERFORMANCE_HINT": "LATENCY",
        }
        model = core.compile_model(core.read_model(model=onnx_file(problem)), "CPU", settings)
        self.request = model.create_infer_request()

    def inference(self, x: Any, h_0: Any) -> tuple[Any, Any]:
        # Shared: nothing is copied in or out.
        states = states_by_name(h_0)
        result = self.request.infer({"x": x, **states}, share_inputs=True, share_outputs=True)
        return result["y"], [result[name.replace("0", "n")] for name in states]
