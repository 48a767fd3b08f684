"""The same bits, whatever the batch, the pieces, the threads and the vector unit."""

from __future__ import annotations

import platform
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import numgru
from numgru.kernels.target import TARGET
from numgru.kernels.threads import in_parts
from tests.cases import (
    CELLS,
    LAYERS,
    Arrays,
    assert_exact,
    assert_same_bits,
    layer_of,
    problem_of,
    run,
    run_elsewhere,
)

DTYPES = [np.float32, np.float64]
# (T, B, I, H), none a multiple of anything: narrow, a rest of rows and units, and two that are worth several
# threads, one of them with parcels of rows.
SMALL, UNEVEN, LARGE, MANY = (5, 1, 3, 7), (6, 19, 10, 37), (12, 45, 70, 150), (52, 45, 13, 59)
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_shape = pytest.mark.parametrize("shape", [SMALL, UNEVEN, LARGE, MANY])
BATCH_AXIS = {"x": 1, "h_0": 1, "dy": 1, "dh_n": 1, "y": 1, "h_n": 1, "dx": 1, "dh_0": 1}


def pick(arrays: Arrays, rows: Any) -> Arrays:
    """Those rows of the batch, in each array that has a batch."""
    return {name: a.take(rows, axis=BATCH_AXIS[name]) if name in BATCH_AXIS else a for name, a in arrays.items()}


@each_dtype
@pytest.mark.parametrize("B", [1, 2, 3, 4, 5, 6, 7, 8, 9, 14, 16, 17])
def test_batch_size_and_place_in_the_batch(B: int, dtype: Any) -> None:
    problem = problem_of(4, 21, 10, 37, dtype)
    gru = layer_of(problem)
    whole = run(gru, problem)
    for rows in (np.arange(B), np.arange(21 - B, 21), np.random.default_rng(B).permutation(21)[:B]):
        part = run(gru, pick(problem, rows))
        expected = pick(whole, rows)
        assert_same_bits({name: part[name] for name in ("y", "h_n", "dx", "dh_0")}, expected)


@each_dtype
@pytest.mark.parametrize("H", [15, 31, 33, 49, 63, 64, 65, 97])
@pytest.mark.parametrize("cell", LAYERS.values())
def test_a_row_alone(cell: Any, H: int, dtype: Any) -> None:
    """Its tiles are wider or narrower by what a cache holds."""
    layer = cell(3, H, dtype=dtype, seed=0)
    x = np.random.default_rng(0).standard_normal((7, 11, 3)).astype(dtype)
    y, _ = layer(x)
    assert_same_bits({"y": layer(x[:, 4:5])[0]}, {"y": y[:, 4:5]})


@each_dtype
@each_shape
@pytest.mark.parametrize("piece", [1, 4])
def test_piece_by_piece(piece: int, shape: tuple[int, int, int, int], dtype: Any) -> None:
    problem = problem_of(*shape, dtype)
    gru = layer_of(problem)
    y, h_n = gru(problem["x"], problem["h_0"])
    h, pieces = problem["h_0"], []
    for t in range(0, len(y), piece):
        y_t, h = gru(problem["x"][t : t + piece], h)
        pieces.append(y_t)
    assert_same_bits({"y": np.concatenate(pieces), "h_n": h}, {"y": y, "h_n": h_n})


@each_dtype
@each_shape
def test_inference_and_training(shape: tuple[int, int, int, int], dtype: Any) -> None:
    problem = problem_of(*shape, dtype)
    gru = layer_of(problem)
    y, h_n = gru(problem["x"], problem["h_0"])
    assert_same_bits({"y": y, "h_n": h_n}, run(gru, problem))


@each_dtype
@pytest.mark.parametrize("shape", [UNEVEN, LARGE, MANY])
@pytest.mark.parametrize("threads", [2, 3, 8, 13])
def test_threads(threads: int, shape: tuple[int, int, int, int], dtype: Any, regions: list[int]) -> None:
    problem = problem_of(*shape, dtype)
    gru = layer_of(problem)
    numgru.set_num_threads(1)
    alone = run(gru, problem)
    assert not regions
    numgru.set_num_threads(threads)
    assert numgru.get_num_threads() == threads
    with in_parts(threads) if shape == UNEVEN else nullcontext():  # which isn't worth threads
        assert_same_bits(run(gru, problem), alone)
        y, h_n = gru(problem["x"], problem["h_0"])
    assert regions
    assert_same_bits({"y": y, "h_n": h_n}, alone)


def test_a_small_layer_trains_many_rows_on_all_threads(regions: list[int]) -> None:
    """Not only on as many as could share its units."""
    problem = problem_of(40, 256, 8, 16)
    gru = layer_of(problem)
    numgru.set_num_threads(1)
    alone = run(gru, problem)
    numgru.set_num_threads(8)
    assert_same_bits(run(gru, problem), alone)
    assert regions == [8, 8]


@each_dtype
@each_shape
def test_batch_first(shape: tuple[int, int, int, int], dtype: Any) -> None:
    problem = problem_of(*shape, dtype)
    assert_same_bits(run(layer_of(problem, batch_first=True), problem), run(layer_of(problem), problem))


@each_dtype
@each_shape
def test_again(shape: tuple[int, int, int, int], dtype: Any) -> None:
    """Whatever ran before in the same workspace."""
    T, B, I, H = shape
    problem, longer = problem_of(*shape, dtype), problem_of(T + 3, B + 3, I, H, dtype)
    gru = layer_of(problem)
    first = run(gru, problem)
    run(gru, longer)
    assert_same_bits(run(gru, problem), first)


def problem_with(shape: tuple[int, int, int, int], dtype: Any, gates: int) -> Arrays:
    return problem_of(*shape, dtype, cell=CELLS[gates])


def results(*sizes: Any) -> Arrays:
    problem = problem_with(*sizes)
    return run(layer_of(problem), problem)


PROBLEMS = [(shape, dtype, 3) for shape in (SMALL, UNEVEN, LARGE, MANY) for dtype in ("float32", "float64")]
PROBLEMS += [(shape, "float32", 4) for shape in (SMALL, UNEVEN)]
SAVE_RESULTS = """
from numgru.kernels import target
assert target.TARGET in (target.{target}, target.AVX2), target.TARGET
target.TARGET = target.{target}
import numpy, numgru
from tests.test_invariance import PROBLEMS, results
numgru.set_num_threads(1)
arrays = [(i, results(*problem)) for i, problem in enumerate(PROBLEMS)]
numpy.savez({path!r}, **{{f"{{i}} {{name}}": array for i, found in arrays for name, array in found.items()}})
"""
AVX2 = "+sse4.2,+popcnt,+avx,+avx2,+fma,+f16c,+bmi,+bmi2,+lzcnt,+movbe"


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="they are units of x86 processors")
@pytest.mark.parametrize(
    ("target", "cpu", "features"),
    [
        ("AVX2", "haswell", AVX2),
        ("NEON", "x86-64-v3", AVX2),  # tiles and registers as on an ARM processor
        ("GENERIC", "x86-64", "+sse2"),
    ],
    ids=["AVX2", "NEON", "GENERIC"],
)
def test_other_vector_units(target: str, cpu: str, features: str, tmp_path: Path) -> None:
    """The same bits as here; without a fused multiply-add, results that are as exact.

    Numba takes the host's features if none are named, whatever the processor. Each row has a processor of its
    own, since Numba's cache keeps the compiled code apart by it.
    """
    if target != "GENERIC" and not TARGET.fma:
        pytest.skip("this processor has no fused multiply-add")
    path = str(tmp_path / "results.npz")
    code = SAVE_RESULTS.format(target=target, path=path)
    run_elsewhere(code, NUMBA_CPU_NAME=cpu, NUMBA_CPU_FEATURES=features)
    with np.load(path) as saved:
        for i, sizes in enumerate(PROBLEMS):
            here = results(*sizes)
            there = {name: saved[f"{i} {name}"] for name in here}
            if target == "GENERIC":
                assert_exact(there, problem_with(*sizes))
            else:
                assert_same_bits(here, there)
