"""What all layers share: how they show themselves, and arrays by name."""

from __future__ import annotations

import copy
import pickle
from typing import Any

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


@pytest.mark.parametrize("which", ["parameters", "gradients"])
def test_no_way_of_a_dict_leads_around_the_buffer(which: str) -> None:
    layer = numgru.Linear(2, 1, seed=0)
    views, flat = getattr(layer, which), getattr(layer, f"flat_{which}")
    views.update({"bias": [5]})
    views |= {"weight": [[6, 7]]}
    assert flat.tolist() == [6, 7, 5]
    for change in (lambda: views.pop("bias"), lambda: views.clear(), lambda: views.setdefault("bias", 1)):
        with pytest.raises(TypeError, match=r"names are those of a layer, \['weight', 'bias'\]"):
            change()
    with pytest.raises(ValueError, match=r"bias: expected shape \(1,\), got \(2,\)"):
        views["bias"] = np.zeros(2)
    setattr(layer, f"flat_{which}", [1, 2, 3])
    assert flat.tolist() == [1, 2, 3]


def test_a_state_dict_may_be_made_of_the_layers_own_arrays() -> None:
    layer = numgru.GRU(3, 4, seed=0)
    before, own = layer.state_dict(), dict(layer.parameters)
    own["bias_ih_l0"], own["bias_hh_l0"] = own["bias_hh_l0"], own["bias_ih_l0"]
    layer.load_state_dict(own)
    np.testing.assert_array_equal(layer.parameters["bias_ih_l0"], before["bias_hh_l0"])
    np.testing.assert_array_equal(layer.parameters["bias_hh_l0"], before["bias_ih_l0"])


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"dtype": None}, ValueError, "dtype: expected float32 or float64, got None"),
        ({"dtype": "wide"}, ValueError, "dtype: expected float32 or float64, got wide"),
        ({"seed": -1}, ValueError, "seed: expected an integer of at least 0, got -1"),
        ({"seed": 1.5}, TypeError, r"seed: expected an integer of at least 0, got float \(1\.5\)"),
    ],
)
def test_bad_options(options: Any, error: Any, message: str) -> None:
    for layer in (numgru.GRU, numgru.Linear, numgru.Embedding):
        with pytest.raises(error, match=message):
            layer(2, 3, **options)
    with pytest.raises(TypeError, match="state_dict: expected a dict of arrays, got NoneType"):
        numgru.Linear(2, 3).load_state_dict(None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("layer", "name", "value"),
    [
        (numgru.GRU(3, 64), "input_size", 2),
        (numgru.GRU(3, 64), "hidden_size", 8),
        (numgru.GRU(3, 64), "num_layers", 2),
        (numgru.GRU(3, 64), "bias", False),
        (numgru.GRU(3, 64), "batch_first", True),
        (numgru.GRU(3, 64), "bidirectional", True),
        (numgru.GRU(3, 64), "learn_h_0", True),
        (numgru.GRU(3, 64), "reset_after", False),
        (numgru.GRU(3, 64), "dtype", np.dtype(np.float64)),
        (numgru.RNN(3, 64), "nonlinearity", "relu"),
        (numgru.Embedding(3, 4), "num_embeddings", 9),
        (numgru.Embedding(3, 4), "embedding_dim", 9),
        (numgru.Linear(3, 4), "in_features", 9),
        (numgru.Linear(3, 4), "out_features", 9),
        (numgru.LastStep(), "batch_first", True),
        (numgru.GRU(3, 4), "hidden_size", np.array([4, 4])),
        (numgru.Sequential(numgru.LastStep()), "layers", ()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_decides_over_parameters_stays(layer: numgru.Layer, name: str, value: Any) -> None:
    """Buffers and kernels are made for it; with another one they would be read beyond their end."""
    before = getattr(layer, name)
    with pytest.raises(AttributeError, match=f"{name}: expected to stay .*; make a new {type(layer).__name__}"):
        setattr(layer, name, value)
    setattr(layer, name, before)
    assert getattr(layer, name) == before


@pytest.mark.parametrize("again", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_copy_has_the_dtype_of_arrays(again: Any) -> None:
    """The very object, so that a step in a loop needn't compare more than that."""
    assert again(numgru.GRU(3, 4)).dtype is np.zeros(1, np.float32).dtype
