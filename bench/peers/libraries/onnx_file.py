"""A GRU as an ONNX model, for the runtimes that read those.

Shapes: B batch, T time, I input, H hidden, L layers, D directions.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ..problem import Array, Problem, Weights


def onnx_file(problem: Problem) -> bytes:
    """The model, with sizes fixed, as a runtime optimises best: x (T, B, I), h_0 (L D, B, H) to y (T, D, B, H), h_n."""
    shape = problem.shape
    B, T, I, H = shape[:4]
    L, D = shape.layers, shape.directions
    constants = {"lengths": shape.lengths.astype(np.int32)} if shape.ragged else {}
    nodes, below, states, lasts = [], "x", ["h_0"], ["h_n"]
    if L > 1:
        constants["joined"] = np.array([T, B, D * H])
        states, lasts = ([f"{name}_{layer}" for layer in range(L)] for name in ("h_0", "h_n"))
        nodes.append(helper.make_node("Split", ["h_0"], states, axis=0))
    for layer in range(L):
        names = [f"{name}_{layer}" for name in "WRB"]
        constants |= zip(names, _arrays(problem.weights[layer * D : (layer + 1) * D]), strict=True)
        y = "y" if layer == L - 1 else f"y_{layer}"
        inputs = [below, *names, "lengths" if shape.ragged else "", states[layer]]
        nodes.append(
            helper.make_node(
                "GRU",
                inputs,
                [y, lasts[layer]],
                hidden_size=H,
                linear_before_reset=int(not shape.reset_before),
                direction="bidirectional" if shape.bidirectional else "forward",
            )
        )
        if layer < L - 1:
            below = f"x_{layer + 1}"
            nodes.append(helper.make_node("Transpose", [y], [f"{y}_by_row"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"{y}_by_row", "joined"], [below]))
    if L > 1:
        nodes.append(helper.make_node("Concat", lasts, ["h_n"], axis=0))
    graph = helper.make_graph(
        nodes,
        "gru",
        [_value("x", T, B, I), _value("h_0", L * D, B, H)],
        [_value("y", T, D, B, H), _value("h_n", L * D, B, H)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    # A version that runtimes older than the onnx package read too.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _arrays(directions: list[Weights]) -> tuple[Array, Array, Array]:
    """W (D, 3H, I), R (D, 3H, H) and B (D, 6H) of a layer, with gates in the order z, r, n."""
    w_ih, w_hh, b_ih, b_hh = (
        np.stack([_gates_zrh(weight) for weight in weights]) for weights in zip(*directions, strict=True)
    )
    return w_ih, w_hh, np.concatenate([b_ih, b_hh], axis=1)


def _gates_zrh(weight: Array) -> Array:
    r, z, n = np.split(weight, 3)
    return np.concatenate([z, r, n])


def _value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
