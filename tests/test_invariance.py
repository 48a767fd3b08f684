"""The same bits, whatever the batch, the pieces, the threads and the vector unit."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cases import Arrays, assert_same_bits, gru_layer, gru_problem, run, run_elsewhere
from numgru.kernels.target import TARGET

import numgru

DTYPES = [np.float32, np.float64]
# (T, B, I, H), none a multiple of anything: narrow, a rest of rows and units, and one that is worth several
# threads.
SMALL, UNEVEN, LARGE = (5, 1, 3, 7), (6, 19, 10, 37), (12, 45, 70, 150)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_shape = pytest.mark.parametrize("shape", [SMALL, UNEVEN, LARGE])
BATCH_AXIS = {"x": 1, "h_0": 1, "dy": 1, "dh_n": 1, "y": 1, "h_n": 1, "dx": 1, "dh_0": 1}


def pick(arrays: Arrays, rows: Any) -> Arrays:
    """Those rows of the batch, in each array that has a batch."""
    return {
        name: a.take(rows, axis=BATCH_AXIS[name]) if name in BATCH_AXIS else a for name, a in arrays.items()
    }


@each_dtype
@pytest.mark.parametrize("B", [1, 2, 3, 4, 5, 7, 8, 9, 16, 17])
def test_batch_size_and_place_in_the_batch(B: int, dtype: Any) -> None:
    problem = gru_problem(4, 21, 10, 37, dtype)
    gru = gru_layer(problem)
    whole = run(gru, problem)
    for rows in (np.arange(B), np.arange(21 - B, 21), np.random.default_rng(B).permutation(21)[:B]):
        part = run(gru, pick(problem, rows))
        expected = pick(whole, rows)
        assert_same_bits({name: part[name] for name in ("y", "h_n", "dx", "dh_0")}, expected)


@each_dtype
@each_shape
@pytest.mark.parametrize("piece", [1, 4])
def test_piece_by_piece(piece: int, shape: tuple[int, int, int, int], dtype: Any) -> None:
    problem = gru_problem(*shape, dtype)
    gru = gru_layer(problem)
    y, h_n = gru(problem["x"], problem["h_0"])
    h, pieces = problem["h_0"], []
    for t in range(0, len(y), piece):
        y_t, h = gru(problem["x"][t : t + piece], h)
        pieces.append(y_t)
    assert_same_bits({"y": np.concatenate(pieces), "h_n": h}, {"y": y, "h_n": h_n})


@each_dtype
@each_shape
def test_inference_and_training(shape: tuple[int, int, int, int], dtype: Any) -> None:
    problem = gru_problem(*shape, dtype)
    gru = gru_layer(problem)
    y, h_n = gru(problem["x"], problem["h_0"])
    assert_same_bits({"y": y, "h_n": h_n}, run(gru, problem))


@each_dtype
@each_shape
@pytest.mark.parametrize("threads", [2, 3, 8])
def test_threads(threads: int, shape: tuple[int, int, int, int], dtype: Any) -> None:
    problem = gru_problem(*shape, dtype)
    gru = gru_layer(problem)
    numgru.set_num_threads(1)
    alone = run(gru, problem)
    numgru.set_num_threads(threads)
    assert numgru.get_num_threads() == threads
    assert_same_bits(run(gru, problem), alone)
    y, h_n = gru(problem["x"], problem["h_0"])
    assert_same_bits({"y": y, "h_n": h_n}, alone)


@each_dtype
@each_shape
def test_batch_first(shape: tuple[int, int, int, int], dtype: Any) -> None:
    problem = gru_problem(*shape, dtype)
    assert_same_bits(run(gru_layer(problem, batch_first=True), problem), run(gru_layer(problem), problem))


@each_dtype
@each_shape
def test_again(shape: tuple[int, int, int, int], dtype: Any) -> None:
    """Whatever ran before in the same workspace."""
    problem, longer = gru_problem(*shape, dtype), gru_problem(*(n + 3 for n in shape[:2]), *shape[2:], dtype)
    gru = gru_layer(problem)
    first = run(gru, problem)
    run(gru, longer)
    assert_same_bits(run(gru, problem), first)


AVX2 = ["sse4.2", "popcnt", "avx", "avx2", "fma", "f16c", "bmi", "bmi2", "lzcnt", "movbe"]


def every_result() -> Iterator[tuple[str, Arrays]]:
    for shape in (SMALL, UNEVEN, LARGE):
        for dtype in DTYPES:
            problem = gru_problem(*shape, dtype)
            yield f"{shape} {np.dtype(dtype)}", run(gru_layer(problem), problem)


def save_every_result(path: str) -> None:
    np.savez(path, **{f"{case}: {name}": a for case, arrays in every_result() for name, a in arrays.items()})


@pytest.mark.skipif(
    TARGET.name != "avx512", reason="compares AVX-512 with AVX2: this processor has no AVX-512"
)
def test_avx2_and_avx512(tmp_path: Path) -> None:
    """The features are named too: with a processor's name alone, Numba goes on using the host's features."""
    code = f"""
from numgru.kernels.target import TARGET
from test_invariance import save_every_result
assert TARGET.name == "avx2", TARGET
save_every_result({str(tmp_path / "avx2.npz")!r})
"""
    features = ",".join(f"+{name}" for name in AVX2)
    run_elsewhere(code, NUMBA_CPU_NAME="haswell", NUMBA_CPU_FEATURES=features)
    with np.load(tmp_path / "avx2.npz") as there:
        for case, here in every_result():
            assert_same_bits(here, {name: there[f"{case}: {name}"] for name in here})
