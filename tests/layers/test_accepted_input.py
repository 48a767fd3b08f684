"""Any layout and real dtype is taken: right results, the caller's array untouched, nothing compiled anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cases import assert_same_bits, count_compiled, layer_of, problem_of, run

Array = np.ndarray[Any, Any]


def read_only(a: Array) -> Array:
    a = a.copy()
    a.flags.writeable = False
    return a


def every_second(a: Array) -> Array:
    wide = np.full((2 * len(a), *a.shape[1:]), np.nan, a.dtype)
    wide[::2] = a
    return wide[::2]


def inner_slice(a: Array) -> Array:
    wide = np.full((*a.shape[:-1], a.shape[-1] + 3), np.nan, a.dtype)
    wide[..., 1:-2] = a
    return wide[..., 1:-2]


def unaligned(a: Array) -> Array:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    shifted = raw[1:].view(a.dtype).reshape(a.shape)
    shifted[...] = a
    return shifted


LAYOUTS: dict[str, Callable[[Array], Any]] = {
    "list": lambda a: a.tolist(),
    "Fortran": np.asfortranarray,
    "transposed": lambda a: np.ascontiguousarray(a.transpose(1, 0, 2)).transpose(1, 0, 2),
    "every second": every_second,
    "backwards": lambda a: a[::-1].copy()[::-1],
    "inner slice": inner_slice,
    "broadcast": lambda a: np.broadcast_to(a, a.shape),
    "read-only": read_only,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "float64": lambda a: a.astype(np.float64),
    "float16": lambda a: a.astype(np.float16),
    "int64": lambda a: a.astype(np.int64),
    "uint8": lambda a: a.astype(np.uint8),
    "bool": lambda a: a.astype(bool),
    "unaligned": unaligned,
    "subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
}


def whole_numbers(shape: tuple[int, int, int, int]) -> dict[str, Any]:
    """Of 0 and 1, which every dtype holds; a bit more is needed of the parameters."""
    problem = problem_of(*shape)
    for name in ("x", "h_0", "dy", "dh_n"):
        problem[name] = (problem[name] > 0).astype(np.float32)
    return problem


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layout(layout: str) -> None:
    problem = whole_numbers((4, 5, 3, 6))
    gru = layer_of(problem)
    expected = run(gru, problem)
    y, h_n = gru(problem["x"], problem["h_0"])
    compiled = count_compiled()
    assert compiled > 0

    inputs = {name: LAYOUTS[layout](problem[name]) for name in ("x", "h_0", "dy", "dh_n")}
    before = {name: np.array(value) for name, value in inputs.items()}
    gru.zero_grad()
    y, h_n = gru(inputs["x"], inputs["h_0"])
    assert_same_bits({"y": y, "h_n": h_n}, expected)
    y, h_n = gru.forward(inputs["x"], inputs["h_0"])
    dx, dh_0 = gru.backward(inputs["dy"], inputs["dh_n"])
    assert_same_bits({"y": y, "h_n": h_n, "dx": dx, "dh_0": dh_0} | gru.gradients, expected)
    for name, value in inputs.items():
        assert np.array_equal(value, before[name]), name
    assert all(type(a) is np.ndarray for a in (y, h_n, dx, dh_0))
    assert count_compiled() == compiled


def test_memory_map(tmp_path: Path) -> None:
    problem = whole_numbers((4, 5, 3, 6))
    gru = layer_of(problem)
    expected = run(gru, problem)
    compiled = count_compiled()
    np.save(tmp_path / "x.npy", problem["x"])
    for mode in ("r", "r+", "c"):
        y, _ = gru(np.load(tmp_path / "x.npy", mmap_mode=mode), problem["h_0"])
        assert_same_bits({"y": y}, expected)
    assert count_compiled() == compiled


def test_state_dict_of_any_layout() -> None:
    problem = problem_of(4, 5, 3, 6)
    gru = layer_of(problem)
    expected = gru.state_dict()
    gru.flat_parameters[...] = 0
    gru.load_state_dict({name: np.asfortranarray(value.astype(">f8")) for name, value in expected.items()})
    assert_same_bits(gru.parameters, expected)
