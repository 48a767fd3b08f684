"""The same bits with every option, whatever the batch, the threads, the order of axes and what is computed twice."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest

import numgru
from numgru.kernels.examples import parcels_of
from tests.cases import assert_same_bits, infer, layer_of, parameters, problem_of, run
from tests.combinations import (
    BEFORE_ZONEOUT,
    BOTH_WAYS,
    COMBINATIONS,
    EVERYTHING,
    LSTM_EVERYTHING,
    PLAIN,
    case,
    each_depth,
    name_of,
    part_of,
    rows_of,
)

SHAPE = (9, 11, 3, 17)
each_cell = pytest.mark.parametrize(
    "combination", [EVERYTHING, BEFORE_ZONEOUT, LSTM_EVERYTHING], ids=["after", "before", "LSTM"]
)


@each_cell
@each_depth
@pytest.mark.parametrize("B", [1, 3, 5, 9])
def test_any_batch(B: int, depth: dict[str, Any], combination: frozenset[str]) -> None:
    drawn = case(combination, SHAPE, **depth)
    problem, gru, quiet = drawn.problem, drawn.layer(), drawn.without_noise()
    if "lengths" in problem:
        np.minimum(problem["lengths"], SHAPE[0] - 1, out=problem["lengths"])
    whole, inferred = run(quiet, problem), infer(gru, problem)
    for rows in (np.arange(B), np.random.default_rng(B).permutation(SHAPE[1])[:B]):
        part = part_of(problem, rows)
        assert_same_bits(rows_of(run(quiet, part), slice(None)), rows_of(whole, rows))
        assert_same_bits(infer(gru, part), rows_of(inferred, rows))


@each_cell
@pytest.mark.parametrize("B", [45, 4, 1], ids=["rows", "teams", "a team for one"])
def test_any_number_of_threads(B: int, combination: frozenset[str], regions: list[int]) -> None:
    """With the noise, which the threads have no part in; many rows are cut into parcels in the lower layer."""
    shape = (64, B, 70, 150) if B > 8 else (12, B, 70, 300)
    assert parcels_of(*shape[:2], sum(shape[2:]), 4) == (2 if B > 8 else 1)
    dtype = np.float32 if combination is EVERYTHING else np.float64  # whose kernels for one thread others compile, too
    drawn = case(combination, shape, dtype, **BOTH_WAYS, dropout=0.5)
    numgru.set_num_threads(1)
    expected = run(drawn.layer(), drawn.problem)
    inferred = infer(drawn.layer(), drawn.problem)
    assert not regions
    for threads in (2, 3, 8):
        numgru.set_num_threads(threads)
        assert_same_bits(run(drawn.layer(), drawn.problem), expected)
        assert_same_bits(infer(drawn.layer(), drawn.problem), inferred)
        assert threads in regions


@pytest.mark.parametrize("combination", COMBINATIONS, ids=name_of)
@pytest.mark.parametrize("every", [1, 4, 9, 100])
def test_recomputation(combination: frozenset[str], every: int) -> None:
    """Of all gradients, the parameters' too, and with the same noise."""
    drawn = case(combination, SHAPE, **BOTH_WAYS, dropout=0.5)
    assert_same_bits(run(drawn.layer(checkpoint_every=every), drawn.problem), run(drawn.layer(), drawn.problem))


CELLS = [numgru.GRU, partial(numgru.GRU, reset_after=False), numgru.LSTM, numgru.RNN]


def test_parcels() -> None:
    """The sums for weights of a batch that is cut into parcels of rows, whoever computes them and from what."""
    T, B, I, H = 64, 75, 13, 60
    rng = np.random.default_rng(0)
    x, dy = (rng.standard_normal((T, B, width), np.float32) for width in (I, H))
    lengths = rng.integers(1, T + 1, B)

    def gradients(threads: int = 1, x: Any = x, dy: Any = dy, *, lengths: Any = None, **options: Any) -> Any:
        numgru.set_num_threads(threads)
        layer = numgru.GRU(I, H, seed=0, **options)
        layer.forward(x, lengths=lengths)
        layer.backward(dy)
        return layer.gradients

    assert parcels_of(T, B, I + H, 4) == 4
    whole, ragged = gradients(), gradients(lengths=lengths)
    for threads in (2, 3, 8):
        assert_same_bits(gradients(threads), whole)
        assert_same_bits(gradients(threads, lengths=lengths), ragged)
    assert_same_bits(gradients(3, x.swapaxes(0, 1), dy.swapaxes(0, 1), batch_first=True), whole)
    assert_same_bits(gradients(3, lengths=np.full(B, T)), whole)
    assert_same_bits(gradients(3, checkpoint_every=5), whole)
    assert_same_bits(gradients(3, lengths=lengths, checkpoint_every=5), ragged)
    tokens = rng.integers(I, size=(T, B))
    for own in (None, lengths):
        whole = gradients(1, tokens, lengths=own)
        assert_same_bits(gradients(3, tokens, lengths=own), whole)
        assert_same_bits(gradients(3, tokens, lengths=own, checkpoint_every=5), whole)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("T", "B"), [(2, 1), (2, 16), (32, 1), (3, 11)])
@pytest.mark.parametrize(("I", "H"), [(1, 1), (33, 15), (16, 33)])
def test_few_examples(T: int, B: int, I: int, H: int, cell: Any) -> None:
    """Up to 32 in one call, summed without transposed tiles, and more, beside two calls, which need the tiles."""
    results = []
    for every in (None, T - 1):
        layer = cell(I, H, seed=0, checkpoint_every=every)
        rng = np.random.default_rng(0)
        layer.flat_gradients[...] = rng.standard_normal(layer.flat_gradients.size)  # it's added to what is there
        layer.forward(rng.standard_normal((T, B, I)))
        layer.backward(rng.standard_normal((T, B, H)))
        results.append(layer.gradients)
    assert_same_bits(*results)


@pytest.mark.parametrize("combination", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_batch_first(combination: frozenset[str]) -> None:
    drawn = case(combination, SHAPE, **BOTH_WAYS)
    assert_same_bits(run(drawn.layer(batch_first=True), drawn.problem), run(drawn.layer(), drawn.problem))
    assert_same_bits(infer(drawn.layer(batch_first=True), drawn.problem), infer(drawn.layer(), drawn.problem))


@pytest.mark.parametrize("B", [1, 4, 9])
@pytest.mark.parametrize("reset_after", [True, False])
def test_single_steps(reset_after: bool, B: int) -> None:
    problem = problem_of(5, B, 3, 33, np.float64, num_layers=2)
    gru = layer_of(problem, reset_after=reset_after)
    h, steps = problem["h_0"], []
    for x_t in problem["x"]:
        h = gru.step(x_t, h)
        steps.append(h[-1])
    assert_same_bits({"y": np.stack(steps), "h_n": h}, infer(gru, problem))


def test_layers_are_layers_of_one() -> None:
    """A stack is its layers, one after the other: values, and gradients on the way back."""
    problem = problem_of(*SHAPE, np.float64, num_layers=3)
    whole = run(layer_of(problem), problem)
    singles, y = [], problem["x"]
    for k in range(3):
        own = {f"{name.removesuffix(f'_l{k}')}_l0": p for name, p in parameters(problem).items() if f"_l{k}" in name}
        singles.append(layer_of(own | {"dy": problem["dy"]}))
        y, h_n = singles[-1].forward(y, problem["h_0"][k : k + 1])
        assert_same_bits({"h_n": h_n}, {"h_n": whole["h_n"][k : k + 1]})
    assert_same_bits({"y": y}, whole)
    dy = problem["dy"]
    for k in reversed(range(3)):
        dy, dh_0 = singles[k].backward(dy, problem["dh_n"][k : k + 1])
        assert_same_bits({"dh_0": dh_0}, {"dh_0": whole["dh_0"][k : k + 1]})
        assert_same_bits({n.replace("_l0", f"_l{k}"): g for n, g in singles[k].gradients.items()}, whole)
    assert_same_bits({"dx": dy}, whole)


def test_the_reverse_direction_reads_the_sequence_turned_round() -> None:
    H = SHAPE[-1]
    problem = problem_of(*SHAPE, np.float64, bidirectional=True)
    whole = run(layer_of(problem), problem)
    turned = {name: problem[name][::-1] for name in ("x", "dy")} | {name: problem[name][1:] for name in ("h_0", "dh_n")}
    turned["dy"] = turned["dy"][..., H:]
    own = {n.removesuffix("_reverse"): p for n, p in parameters(problem).items() if n.endswith("_reverse")}
    alone = run(layer_of(own | turned), own | turned)
    assert_same_bits({"y": whole["y"][..., H:], "h_n": whole["h_n"][1:]}, {"y": alone["y"][::-1], "h_n": alone["h_n"]})
    assert_same_bits({"dh_0": whole["dh_0"][1:]}, alone)
    assert_same_bits({name: whole[f"{name}_reverse"] for name in own}, alone)


@pytest.mark.parametrize("shape", [(1, 1, 3, 17), (6, 3, 5, 40), (2, 11, 20, 16)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("reset_after", [True, False])
def test_no_reset(reset_after: bool, bias: bool, shape: tuple[int, int, int, int]) -> None:
    """A call without any options has kernels of its own."""
    problem = problem_of(*shape, bias=bias)
    gru = layer_of(problem, reset_after=reset_after)
    assert_same_bits(run(gru, problem), run(gru, problem | {"reset": np.zeros(shape[:2], np.bool_)}))
