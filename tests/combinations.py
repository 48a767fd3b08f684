"""Layers with several options at once, and the problems that they are given.

Kernels are compiled for three kinds of calls of each cell, which takes seconds each: plain ones, those with lengths or
tokens, and those with resets or noise.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from numgru.layers.recurrent import Recurrent
from tests import reference
from tests.cases import (
    Arrays,
    assert_exact,
    glued,
    infer,
    layer_of,
    learned,
    noise,
    of_tokens,
    parameters,
    problem_of,
    ragged,
    run,
)

BEFORE, LENGTHS, RESET, ZONEOUT, RECURRENT = "reset before", "lengths", "reset", "zoneout", "recurrent dropout"
TANH, RELU, LSTM = "tanh", "relu", "LSTM"
# A combination without one of these is of the GRU with its reset gate after the product.
CELLS: dict[str, tuple[reference.Cell, dict[str, Any]]] = {
    BEFORE: (reference.GRU_BEFORE, {"reset_after": False}),
    TANH: (reference.RNN, {}),
    RELU: (reference.RNN_RELU, {"nonlinearity": "relu"}),
    LSTM: (reference.LSTM, {}),
}
PLAIN: frozenset[str] = frozenset()
ONLY_LENGTHS = frozenset({LENGTHS})
EVERYTHING = frozenset({LENGTHS, RESET, ZONEOUT, RECURRENT})
GLUED = frozenset({RESET, RECURRENT})
BEFORE_ZONEOUT = frozenset({BEFORE, ZONEOUT})
BEFORE_RAGGED = frozenset({BEFORE, LENGTHS, RECURRENT})
LSTM_EVERYTHING = EVERYTHING | {LSTM}
# Each kind of call with the GRU's cells; any two options together, each without the other, and neither. The others'
# cells with little and with everything.
COMBINATIONS = [
    PLAIN,
    ONLY_LENGTHS,
    EVERYTHING,
    BEFORE_ZONEOUT,
    frozenset({BEFORE, LENGTHS, RESET, ZONEOUT}),
    BEFORE_RAGGED,
    GLUED,
    GLUED | {BEFORE},
    frozenset({TANH}),
    EVERYTHING | {TANH},
    frozenset({RELU, ZONEOUT}),
    frozenset({LSTM}),
    LSTM_EVERYTHING,
]


def name_of(combination: frozenset[str]) -> str:
    """For tests."""
    return ", ".join(sorted(combination))


NOISE = {ZONEOUT: "zoneout", RECURRENT: "recurrent_dropout"}
SIZES = [1, 2, 3, 5, 7, 8, 9]
UNITS = [1, 2, 3, 7, 8, 9, 15, 17, 31, 33]
BOTH_WAYS = {"num_layers": 2, "bidirectional": True}
each_depth = pytest.mark.parametrize("depth", [{}, {"num_layers": 3}, BOTH_WAYS], ids=["one", "three", "both ways"])
BY_ROW = ("y", "h_n", "c_n", "dx", "dh_0", "dc_0")


class Case(NamedTuple):
    """A combination, a problem with it, and the options of a layer for that."""

    combination: frozenset[str]
    problem: Arrays
    options: dict[str, Any]

    def layer(self, **others: Any) -> Recurrent:
        """The same parameters and the same noise each time."""
        return layer_of(self.problem, **{"seed": 5, **self.options, **others})

    def without_noise(self) -> Recurrent:
        """The layer with rates at which no noise ever strikes in training; what runs is the same."""
        return self.layer(**{name: 1e-17 for name in NOISE.values() if name in self.options})

    @property
    def cell(self) -> reference.Cell:
        return _cell_of(self.combination)[0]

    def check(self) -> None:
        """Training, with the noise that was drawn, and inference are what the oracle says."""
        gru = self.layer()
        results = run(gru, self.problem)
        assert_exact(results, self.problem | noise(results), self.cell)
        if gru.dtype == np.float32:  # whose kernels take another minute to compile, and are the same code
            return
        T, B, _ = self.problem["dy"].shape
        share = np.full((T, B, gru.hidden_size), self.options.get("zoneout", 0.0))
        kinds = ["zoneout", "zoneout_c"][: self.cell.states]
        hidden = [name for name in gru.parameters if name.startswith("weight_hh")]
        names = [name.replace("weight_hh", kind) for name in hidden for kind in kinds]
        assert_exact(infer(gru, self.problem), self.problem | dict.fromkeys(names, share), self.cell)


def _cell_of(combination: frozenset[str]) -> tuple[reference.Cell, dict[str, Any]]:
    """The cell, and the layer's options for it."""
    return next((CELLS[name] for name in CELLS if name in combination), (reference.GRU, {}))


def case(
    combination: frozenset[str],
    shape: tuple[int, int, int, int],
    dtype: DTypeLike = np.float64,
    *,
    bias: bool = True,
    num_layers: int = 1,
    bidirectional: bool = False,
    learn_h_0: bool = False,
    tokens: bool = False,
    seed: int = 0,
    **options: Any,
) -> Case:
    """A problem with what the combination says, and the layer's `options` with it."""
    cell, own_options = _cell_of(combination)
    problem = problem_of(*shape, dtype, bias, seed, num_layers, bidirectional, cell)
    for wanted, made in [(LENGTHS in combination, ragged), (RESET in combination, glued), (tokens, of_tokens)]:
        problem = made(problem, seed) if wanted else problem
    problem = learned(problem) if learn_h_0 else problem
    options |= {name: 0.25 for kind, name in NOISE.items() if kind in combination}
    return Case(combination, problem, {"learn_h_0": learn_h_0, **own_options, **options})


def part_of(problem: Arrays, rows: Any, steps: slice = slice(None)) -> Arrays:
    """Some rows of a problem, and some of their steps."""
    by_step = {name: problem[name][steps, rows] for name in ("x", "dy", "reset") if name in problem}
    by_row = {name: problem[name][:, rows] for name in ("h_0", "c_0", "dh_n", "dc_n") if name in problem}
    lengths = {"lengths": problem["lengths"][rows]} if "lengths" in problem else {}
    return parameters(problem) | by_step | by_row | lengths


def rows_of(results: Arrays, rows: Any) -> Arrays:
    """The same rows of the results that have rows."""
    return {name: results[name][:, rows] for name in BY_ROW if name in results}


@st.composite
def cases(draw: st.DrawFn, dtype: DTypeLike = np.float64) -> Case:
    """Any options together, and any small shape."""
    num_layers = draw(st.integers(1, 3))
    combination = draw(st.frozensets(st.sampled_from([BEFORE, LENGTHS, RESET, ZONEOUT, RECURRENT])))
    flags = ("bias", "bidirectional", "learn_h_0", "tokens", "batch_first")
    return case(
        combination,
        tuple(draw(st.sampled_from(sizes)) for sizes in (SIZES[1:], SIZES, SIZES, UNITS)),
        dtype,
        num_layers=num_layers,
        dropout=draw(st.sampled_from([0.0, 0.5])) if num_layers > 1 else 0.0,
        checkpoint_every=draw(st.sampled_from([None, 1, 2, 3, 20])),
        seed=draw(st.integers(0, 99)),
        **{name: draw(st.booleans()) for name in flags},
    )
