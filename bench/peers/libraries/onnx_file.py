"""A layer as an ONNX model, for the runtimes that read those.

Shapes: B batch, T time, I input, H hidden, L layers, D directions.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ..problem import Array, Problem, Weights

# z, r, n; and i, o, f, g.
ORDERS = {"GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2], "RNN": [0]}


def onnx_file(problem: Problem) -> bytes:
    """The model, with sizes fixed, as a runtime optimises best: x (T, B, I), h_0 (L D, B, H) to y (T, D, B, H), h_n.

    An LSTM's has c_0 and c_n, too.
    """
    shape = problem.shape
    B, T, I, H = shape[:4]
    L, D = shape.layers, shape.directions
    constants: dict[str, NDArray[Any]] = {"lengths": shape.lengths.astype(np.int32)} if shape.ragged else {}
    nodes, below, kinds = [], "x", "hc" if shape.cell == "LSTM" else "h"
    firsts, lasts = ({kind: [f"{kind}_{end}"] for kind in kinds} for end in "0n")
    if L > 1:
        constants["joined"] = np.array([T, B, D * H])
        firsts, lasts = ({kind: [f"{kind}_{end}_{at}" for at in range(L)] for kind in kinds} for end in "0n")
        nodes += [helper.make_node("Split", [f"{kind}_0"], firsts[kind], axis=0) for kind in kinds]
    for layer in range(L):
        names = [f"{name}_{layer}" for name in "WRB"]
        constants |= zip(names, _arrays(problem.weights[layer * D : (layer + 1) * D], ORDERS[shape.cell]), strict=True)
        y = "y" if layer == L - 1 else f"y_{layer}"
        inputs = [below, *names, "lengths" if shape.ragged else "", *(firsts[kind][layer] for kind in kinds)]
        nodes.append(
            helper.make_node(
                shape.cell,
                inputs,
                [y, *(lasts[kind][layer] for kind in kinds)],
                hidden_size=H,
                direction="bidirectional" if shape.bidirectional else "forward",
                **({"linear_before_reset": int(not shape.reset_before)} if shape.cell == "GRU" else {}),
            )
        )
        if layer < L - 1:
            below = f"x_{layer + 1}"
            nodes.append(helper.make_node("Transpose", [y], [f"{y}_by_row"], perm=[0, 2, 1, 3]))
            nodes.append(helper.make_node("Reshape", [f"{y}_by_row", "joined"], [below]))
    if L > 1:
        nodes += [helper.make_node("Concat", lasts[kind], [f"{kind}_n"], axis=0) for kind in kinds]
    graph = helper.make_graph(
        nodes,
        shape.cell,
        [_value("x", T, B, I), *(_value(f"{kind}_0", L * D, B, H) for kind in kinds)],
        [_value("y", T, D, B, H), *(_value(f"{kind}_n", L * D, B, H) for kind in kinds)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    # A version that runtimes older than the onnx package read too.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def states_by_name(h_0: Array) -> dict[str, Array]:
    """The states as the model's inputs."""
    return {"h_0": h_0} if h_0.ndim == 3 else dict(zip(("h_0", "c_0"), h_0, strict=True))


def _arrays(directions: list[Weights], order: list[int]) -> tuple[Array, Array, Array]:
    """W (D, G H, I), R (D, G H, H) and B (D, 2 G H) of a layer, with gates in that order."""
    w_ih, w_hh, b_ih, b_hh = (
        np.stack([_in_order(weight, order) for weight in weights]) for weights in zip(*directions, strict=True)
    )
    return w_ih, w_hh, np.concatenate([b_ih, b_hh], axis=1)


def _in_order(weight: Array, order: list[int]) -> Array:
    gates = np.split(weight, len(order))
    return np.concatenate([gates[gate] for gate in order])


def _value(name: str, *shape: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
