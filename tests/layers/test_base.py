"""What all layers share: how they show themselves, and arrays by name."""

from __future__ import annotations

import numpy as np
import pytest

import numgru


@pytest.mark.parametrize(
    ("layer", "shown"),
    [
        (numgru.GRU(3, 4), "GRU(3, 4)"),
        (numgru.GRU(3, 4, batch_first=True), "GRU(3, 4, batch_first=True)"),
        (numgru.GRU(3, 4, bias=False, dtype=np.float64, seed=1), "GRU(3, 4, bias=False, dtype=float64)"),
        (numgru.Embedding(27, 8), "Embedding(27, 8)"),
        (numgru.Embedding(27, 8, dtype="float64", seed=1), "Embedding(27, 8, dtype=float64)"),
        (numgru.Linear(4, 1), "Linear(4, 1)"),
        (numgru.Linear(4, 1, bias=False, dtype="float64"), "Linear(4, 1, bias=False, dtype=float64)"),
        (numgru.LastStep(), "LastStep()"),
        (numgru.LastStep(batch_first=True), "LastStep(batch_first=True)"),
        (numgru.MeanOverTime(), "MeanOverTime()"),
        (numgru.MaxOverTime(batch_first=True), "MaxOverTime(batch_first=True)"),
        (
            numgru.Sequential(numgru.GRU(1, 32), numgru.LastStep(), numgru.Linear(32, 26)),
            "Sequential(GRU(1, 32), LastStep(), Linear(32, 26))",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_repr_is_how_it_is_made(layer: numgru.Layer, shown: str) -> None:
    assert repr(layer) == shown


@pytest.mark.parametrize("which", ["parameters", "gradients"])
def test_assignment_copies_and_an_unknown_name_is_refused(which: str) -> None:
    layer = numgru.Linear(2, 1, seed=0)
    getattr(layer, which)["bias"] = 5
    assert getattr(layer, f"flat_{which}")[-1] == 5
    with pytest.raises(KeyError, match=r"name: expected one of \['weight', 'bias'\], got 'weight_ih'"):
        getattr(layer, which)["weight_ih"] = 1
    assert list(getattr(layer, which)) == ["weight", "bias"]
