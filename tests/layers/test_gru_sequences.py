"""The same bits, whether sequences are in one call or each in its own: ragged, in a list, or glued by a reset.

Noise has no part in that, for other calls draw other masks: where passes are compared, it never strikes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests import reference
from tests.cases import (
    Arrays,
    assert_exact,
    assert_same_bits,
    by_name,
    infer,
    layer_of,
    noise,
    of_tokens,
    problem_of,
    ragged,
    run,
    states,
)
from tests.combinations import (
    BEFORE_RAGGED,
    BOTH_WAYS,
    BY_ROW,
    EVERYTHING,
    GLUED,
    LSTM_EVERYTHING,
    ONLY_LENGTHS,
    case,
    each_depth,
    part_of,
    rows_of,
)

SHAPE = (9, 11, 3, 17)


def filled(results: Arrays, T: int) -> Arrays:
    """With zeros after the last step."""
    rest = {name: T - len(results[name]) for name in ("y", "dx") if name in results}
    return results | {name: np.pad(results[name], [(0, n), (0, 0), (0, 0)]) for name, n in rest.items()}


@pytest.mark.parametrize(
    "combination",
    [ONLY_LENGTHS, EVERYTHING, BEFORE_RAGGED, LSTM_EVERYTHING],
    ids=["plain", "everything", "before", "LSTM"],
)
@each_depth
def test_ragged_row_is_that_sequence_alone(combination: frozenset[str], depth: dict[str, Any]) -> None:
    """Where other options go with it, alone but for a step after its end, which runs the same code."""
    drawn = case(combination, SHAPE, **depth)
    problem, gru, quiet = drawn.problem, drawn.layer(), drawn.without_noise()
    np.minimum(problem["lengths"], SHAPE[0] - 1, out=problem["lengths"])
    whole, inferred = run(quiet, problem), infer(gru, problem)
    for row, n in enumerate(problem["lengths"]):
        if combination == ONLY_LENGTHS:
            alone = part_of(problem, [row], slice(n))
            del alone["lengths"]
        else:
            alone = part_of(problem, [row], slice(n + 1))
        assert_same_bits(rows_of(whole, [row]), filled(run(quiet, alone), SHAPE[0]))
        assert_same_bits(rows_of(inferred, [row]), filled(infer(gru, alone), SHAPE[0]))


def test_what_lies_past_an_end_is_never_read() -> None:
    drawn = case(ONLY_LENGTHS, SHAPE, **BOTH_WAYS)
    gru, problem = drawn.layer(), drawn.problem
    expected = run(gru, problem)
    spoilt = problem | {name: problem[name].copy() for name in ("x", "dy")}
    for row, n in enumerate(problem["lengths"]):
        spoilt["x"][n:, row] = spoilt["dy"][n:, row] = np.nan
    assert_same_bits(run(gru, spoilt), expected)
    assert_same_bits(infer(gru, spoilt), expected)


def test_lengths_that_are_all_whole_change_nothing() -> None:
    problem = problem_of(*SHAPE, np.float64, num_layers=2, bidirectional=True)
    gru = layer_of(problem)
    assert_same_bits(run(gru, problem | {"lengths": np.full(SHAPE[1], SHAPE[0])}), run(gru, problem))


@pytest.mark.parametrize("cell", [reference.GRU, reference.LSTM], ids=["GRU", "LSTM"])
@pytest.mark.parametrize("tokens", [False, True])
@each_depth
def test_list_is_the_padded_batch(depth: dict[str, Any], tokens: bool, cell: reference.Cell) -> None:
    problem = ragged(problem_of(*SHAPE, np.float64, **depth, cell=cell))
    problem = of_tokens(problem) if tokens else problem
    gru, lengths = layer_of(problem), problem["lengths"]
    expected = run(gru, problem)

    def listed(padded: Any) -> list[Any]:
        return [padded[:n, row] for row, n in enumerate(lengths)]

    gru.zero_grad()
    x = listed(problem["x"])
    inferred, h_n = gru(x, states(problem, "h_0"))
    y, trained_h_n = gru.forward(x, states(problem, "h_0"))
    dx, dh_0 = gru.backward(listed(problem["dy"]), states(problem, "dh_n"))
    assert_same_bits(by_name(h_n, "h_n") | by_name(dh_0, "dh_0") | gru.gradients, expected)
    assert_same_bits(by_name(trained_h_n, "h_n"), expected)
    for name, got in {"y": inferred, "dx": dx}.items():
        if name == "dx" and tokens:
            assert got is None
            continue
        assert isinstance(got, list)
        assert_same_bits(dict(enumerate(got)), dict(enumerate(listed(expected[name]))))  # type: ignore[arg-type]
    assert_same_bits(dict(enumerate(y)), dict(enumerate(inferred)))  # type: ignore[arg-type]


@pytest.mark.parametrize("depth", [{}, {"num_layers": 3}], ids=["one", "three"])
@pytest.mark.parametrize("at", [1, 5, 8])
def test_glued_by_reset_is_two_sequences(depth: dict[str, Any], at: int) -> None:
    """Read forward: the other direction meets the parts of a row in the other order."""
    drawn = case(GLUED, SHAPE, **depth)
    problem, gru, quiet = drawn.problem, drawn.layer(), drawn.without_noise()
    problem["reset"][...] = False
    problem["reset"][at] = True
    whole, inferred = run(quiet, problem), infer(gru, problem)
    parts = [part_of(problem, slice(None), steps) for steps in (slice(at), slice(at, None))]
    parts[0]["dh_n"] = np.zeros_like(parts[0]["dh_n"])
    first, second = (run(quiet, part) for part in parts)
    expected = {name: np.concatenate([first[name], second[name]]) for name in ("y", "dx")}
    expected |= {"h_n": second["h_n"], "dh_0": first["dh_0"] + second["dh_0"]}
    assert_same_bits({name: whole[name] for name in BY_ROW if name in whole}, expected)
    for part in parts:
        del part["reset"]
    first, second = (infer(gru, part) for part in parts)
    assert_same_bits(inferred, {"y": np.concatenate([first["y"], second["y"]]), "h_n": second["h_n"]})


def test_glued_by_reset_in_both_directions() -> None:
    """Each direction begins anew where it crosses the cut."""
    drawn = case(GLUED, SHAPE, **BOTH_WAYS)
    problem, gru = drawn.problem, drawn.without_noise()
    problem["reset"][...] = False
    problem["reset"][5] = True
    whole = run(gru, problem)
    first, second = (part_of(problem, slice(None), steps) for steps in (slice(5), slice(5, None)))
    for part, goes_on in ((first, 0), (second, 1)):  # the direction that goes on into the other part
        part["dh_n"] = part["dh_n"].copy()
        part["dh_n"][goes_on::2] = 0
        del part["reset"]
    results = [run(gru, part) for part in (first, second)]
    expected = {name: np.concatenate([part[name] for part in results]) for name in ("y", "dx")}
    assert_same_bits({name: whole[name] for name in expected}, expected)
    for direction, last in ((0, results[1]), (1, results[0])):
        np.testing.assert_array_equal(whole["h_n"][direction::2], last["h_n"][direction::2])


@pytest.mark.parametrize("longest", [1, 5])
def test_steps_that_no_sequence_has(longest: int) -> None:
    """They cost nothing but zeros in the output."""
    drawn = case(EVERYTHING, SHAPE, **BOTH_WAYS, dropout=0.5)
    problem = drawn.problem | {"lengths": np.minimum(drawn.problem["lengths"], longest)}
    results = run(drawn.layer(), problem)
    assert not results["y"][longest:].any()
    assert not results["dx"][longest:].any()
    assert_exact(results, problem | noise(results))


def test_sums_ahead_of_steps_stay_within_their_memory() -> None:
    """Of few rows, which end at steps that are no multiple of how many are summed ahead."""
    problem = problem_of(200, 3, 5, 40, np.float64) | {"lengths": np.array([199, 5, 70])}
    gru = layer_of(problem)
    assert_same_bits(infer(gru, problem), run(gru, problem))
