"""A GRU as an ONNX model, for the runtimes that read those."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..problem import Array, Problem


def onnx_file(problem: Problem) -> bytes:
    """The model, with sizes fixed, as a runtime optimises best: x (T, B, I), h_0 (1, B, H) to y (T, 1, B, H), h_n."""
    B, T, I, H = problem.shape
    w_ih, w_hh, b_ih, b_hh = (_gates_zrh(weight) for weight in problem.weights)
    constants = {"W": w_ih[None], "R": w_hh[None], "B": np.concatenate([b_ih, b_hh])[None]}
    node = helper.make_node(
        "GRU", ["x", "W", "R", "B", "", "h_0"], ["y", "h_n"], hidden_size=H, linear_before_reset=1
    )  # fmt: skip
    graph = helper.make_graph(
        [node],
        "gru",
        [_value("x", T, B, I), _value("h_0", 1, B, H)],
        [_value("y", T, 1, B, H), _value("h_n", 1, B, H)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    # A version that runtimes older than the onnx package read too.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _gates_zrh(weight: Array) -> Array:
    r, z, n = np.split(weight, 3)
    return np.concatenate([z, r, n])


def _value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
