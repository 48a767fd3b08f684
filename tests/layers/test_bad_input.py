"""A bad argument is refused with its name, what was expected and what came; nothing changes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numgru
from numgru.layers.recurrent import Recurrent
from tests.cases import assert_same_bits, layer_of, problem_of, run

T, B, I, H = 4, 3, 5, 6
Call = Callable[[numgru.GRU, dict[str, Any]], Any]


def zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


# name of the argument: (what is passed, the error, what the message says)
X = {
    "rank 2": (zeros(B, I), ValueError, r"x: expected 3 dimensions .*got 2.*\(3, 5\)"),
    "rank 4": (zeros(1, T, B, I), ValueError, r"x: expected 3 dimensions .*got 4"),
    "scalar": (1.0, ValueError, "x: expected 3 dimensions .*got 0"),
    "features": (zeros(T, B, I + 1), ValueError, r"x: expected .*5\).*got \(4, 3, 6\)"),
    "no steps": (zeros(0, B, I), ValueError, r"x: expected .*got \(0, 3, 5\)"),
    "no rows": (zeros(T, 0, I), ValueError, r"x: expected .*got \(4, 0, 5\)"),
    "object": (zeros(T, B, I).astype(object), TypeError, "x: expected .*got .*object"),
    "complex": (zeros(T, B, I).astype(complex), TypeError, "x: expected .*got .*complex128"),
    "string": (zeros(T, B, I).astype(str), TypeError, "x: expected .*got .*<U"),
    "date": (zeros(T, B, I).astype("M8[s]"), TypeError, r"x: expected .*got .*datetime64\[s\]"),
    "none": (None, TypeError, "x: expected .*got .*object"),
}
H_0 = {
    "rank 2": (zeros(B, H), ValueError, r"h_0: expected 3 dimensions \(1, 3, 6\), got 2"),
    "layers": (zeros(2, B, H), ValueError, r"h_0: expected .*\(1, 3, 6\), got \(2, 3, 6\)"),
    "rows": (zeros(1, B + 1, H), ValueError, r"h_0: expected .*\(1, 3, 6\), got \(1, 4, 6\)"),
    "one row": (zeros(1, 1, H), ValueError, r"h_0: expected .*\(1, 3, 6\), got \(1, 1, 6\)"),
    "units": (zeros(1, B, 1), ValueError, r"h_0: expected .*\(1, 3, 6\), got \(1, 3, 1\)"),
    "complex": (zeros(1, B, H) * 1j, TypeError, "h_0: expected .*got .*complex64"),
}
DY = {
    "rank 2": (zeros(B, H), ValueError, r"dy: expected 3 dimensions .*got 2"),
    "steps": (zeros(T - 1, B, H), ValueError, r"dy: expected .*\(4, 3, 6\), got \(3, 3, 6\)"),
    "units": (zeros(T, B, I), ValueError, r"dy: expected .*\(4, 3, 6\), got \(4, 3, 5\)"),
    "string": (zeros(T, B, H).astype(str), TypeError, "dy: expected .*got .*<U"),
    "none": (None, TypeError, "dy: expected .*got .*object"),
}
DH_N = {
    "rank 2": (zeros(B, H), ValueError, r"dh_n: expected 3 dimensions \(1, 3, 6\), got 2"),
    "units": (zeros(1, B, H + 1), ValueError, r"dh_n: expected .*\(1, 3, 6\), got \(1, 3, 7\)"),
}
FORWARD = {"x": X, "h_0": H_0}
BACKWARD = {"dy": DY, "dh_n": DH_N}


def cases(arguments: dict[str, Any]) -> list[Any]:
    return [
        pytest.param(name, *case, id=f"{name}: {label}")
        for name, table in arguments.items()
        for label, case in table.items()
    ]


@pytest.fixture
def problem() -> dict[str, Any]:
    return problem_of(T, B, I, H)


@pytest.fixture
def gru(problem: dict[str, Any]) -> Recurrent:
    return layer_of(problem)


@pytest.mark.parametrize("how", ["__call__", "forward"])
@pytest.mark.parametrize(("name", "value", "error", "message"), cases(FORWARD))
def test_forward(
    gru: Recurrent, problem: dict[str, Any], how: str, name: str, value: Any, error: Any, message: str
) -> None:
    expected = run(gru, problem)
    arguments = {"x": problem["x"], "h_0": problem["h_0"]} | {name: value}
    with pytest.raises(error, match=message):
        getattr(gru, how)(**arguments)
    assert_same_bits(gru.gradients, expected)
    assert_same_bits(run(gru, problem), expected)


@pytest.mark.parametrize(("name", "value", "error", "message"), cases(BACKWARD))
def test_backward(gru: Recurrent, problem: dict[str, Any], name: str, value: Any, error: Any, message: str) -> None:
    """The forward pass still waits for its backward, and the gradients hold nothing of the bad call."""
    expected = run(gru, problem)
    gru.zero_grad()
    gru.forward(problem["x"], problem["h_0"])
    arguments = {"dy": problem["dy"], "dh_n": problem["dh_n"]}
    with pytest.raises(error, match=message):
        gru.backward(**(arguments | {name: value}))
    assert not gru.flat_gradients.any()
    dx, dh_0 = gru.backward(**arguments)
    assert_same_bits({"dx": dx, "dh_0": dh_0} | gru.gradients, expected)


def test_backward_needs_its_own_forward(gru: Recurrent, problem: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="backward: expected a forward pass before it, got none"):
        gru.backward(problem["dy"])
    gru(problem["x"])
    with pytest.raises(ValueError, match="backward: expected a forward pass before it, got none"):
        gru.backward(problem["dy"])
    expected = run(gru, problem)
    with pytest.raises(ValueError, match="backward: expected a forward pass before it, got none"):
        gru.backward(problem["dy"])
    assert_same_bits(gru.gradients, expected)


def test_gates_need_a_forward(gru: numgru.GRU, problem: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="gates: expected a forward pass before it, got none"):
        _ = gru.gates
    run(gru, problem)
    with pytest.raises(ValueError, match=r"gates: .*each backward uses one up"):
        _ = gru.gates


WEIGHT = "weight_hh_l0"


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda d: d.pop(WEIGHT), ValueError, f"missing.*{WEIGHT}"),
        (lambda d: d.update(weight_hh_l1=zeros(3 * H, H)), ValueError, "not known here.*weight_hh_l1"),
        (lambda d: d.update({WEIGHT: zeros(H, 3 * H)}), ValueError, rf"{WEIGHT}.*\(18, 6\), got \(6, 18\)"),
        (lambda d: d.update(bias_hh_l0=zeros(1)), ValueError, r"bias_hh_l0.*\(18,\), got \(1,\)"),
        (lambda d: d.update(bias_hh_l0=["a"] * 3 * H), TypeError, "bias_hh_l0.*got .*<U1"),
    ],
    ids=["missing", "extra", "transposed", "short", "string"],
)
def test_state_dict(gru: Recurrent, change: Callable[[dict[str, Any]], Any], error: Any, message: str) -> None:
    before = gru.state_dict()
    other = numgru.GRU(I, H, seed=3).state_dict()
    change(other)
    with pytest.raises(error, match=message):
        gru.load_state_dict(other)
    assert_same_bits(gru.parameters, before)


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((0, 4), {}, ValueError, "input_size: expected an integer of at least 1, got 0"),
        ((4, -1), {}, ValueError, "hidden_size: expected an integer of at least 1, got -1"),
        ((4.0, 4), {}, TypeError, "input_size: expected an integer of at least 1, got float"),
        ((4, True), {}, TypeError, "hidden_size: expected an integer of at least 1, got bool"),
        ((4, 4), {"dtype": np.float16}, ValueError, "dtype: expected float32 or float64, got float16"),
        ((4, 4), {"dtype": int}, ValueError, "dtype: expected float32 or float64, got int64"),
        *(
            ((4, 4), {name: "no"}, TypeError, f"{name}: expected True or False, got str")
            for name in ("bias", "batch_first", "bidirectional", "learn_h_0", "reset_after")
        ),
    ],
)
def test_constructor(arguments: Any, options: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        numgru.GRU(*arguments, **options)


LINEAR, LAST, BOTH = "Linear", "LastStep", "Sequential"


def head(name: str) -> numgru.Layer:
    layers = {LINEAR: numgru.Linear(I, 2, seed=0), LAST: numgru.LastStep()}
    return layers[name] if name in layers else numgru.Sequential(layers[LAST], layers[LINEAR])


@pytest.mark.parametrize(
    ("layer", "x", "error", "message"),
    [
        (LINEAR, 1.0, ValueError, r"x: expected shape \(\.\.\., 5\), got a single number"),
        (LINEAR, zeros(B, I + 1), ValueError, r"x: expected .*5\).*got \(3, 6\)"),
        (LINEAR, zeros(0, I), ValueError, r"x: expected .*got \(0, 5\)"),
        (LINEAR, zeros(B, I) * 1j, TypeError, "x: expected .*got .*complex64"),
        (LAST, zeros(B, I), ValueError, r"x: expected shape \(T, B, H\).*got \(3, 5\)"),
        (LAST, zeros(0, B, I), ValueError, r"x: expected shape \(T, B, H\) with no empty .*, got \(0, 3, 5\)"),
        (LAST, zeros(T, B, I) * 1j, TypeError, "x: expected .*got .*complex64"),
        (BOTH, zeros(T, B, I + 1), ValueError, r"x: expected .*got \(3, 6\)"),
    ],
)
def test_heads(layer: str, x: Any, error: Any, message: str) -> None:
    subject = head(layer)
    for call in (subject, subject.forward):
        with pytest.raises(error, match=message):
            call(x)


@pytest.mark.parametrize("layer", [LINEAR, LAST, BOTH])
def test_backward_of_heads(layer: str) -> None:
    subject = head(layer)
    y = subject.forward(zeros(T, B, I))
    before = subject.flat_gradients.copy()
    with pytest.raises(ValueError, match=r"dy: expected .*got "):
        subject.backward(y[1:])
    assert np.array_equal(subject.flat_gradients, before)
    subject.backward(y)
    with pytest.raises(ValueError, match="backward: expected a forward pass before it"):
        subject.backward(y)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", None, True])
def test_number_of_threads(threads: Any) -> None:
    before = numgru.get_num_threads()
    with pytest.raises((TypeError, ValueError), match=r"expected .*got"):
        numgru.set_num_threads(threads)
    assert numgru.get_num_threads() == before


def test_disabled_jit_is_one_clear_message() -> None:
    code = "import numgru, numpy; numgru.GRU(2, 3)(numpy.zeros((1, 1, 2)))"
    environment = os.environ | {"NUMBA_DISABLE_JIT": "1"}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "NUMBA_DISABLE_JIT" in ended.stderr.splitlines()[-1]
    assert "During handling" not in ended.stderr
