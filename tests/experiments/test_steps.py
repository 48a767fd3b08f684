"""What the experiments hand to a step of training, and what they keep; no step is made."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from numgru._files import load_arrays
from numgru.data import TemporalOrder
from numgru.experiments import gradients, temporal_order
from numgru.experiments.gradients import Study
from numgru.experiments.networks import basic_tanh, smart_tanh
from numgru.experiments.temporal_order import Plan, Results, Trial


class Call(NamedTuple):
    weights: Any
    x: Any
    limit: float


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """The steps that were asked for."""
    calls: list[Call] = []

    def train_step(model: Any, optimizer: Any, task: Any, x: Any, y: Any, limit: float) -> float:
        calls.append(Call(model.flat_parameters.copy(), x, limit))
        model.flat_parameters[0] = limit
        optimizer.steps += 1
        return 0.5

    for module in (gradients, temporal_order):
        monkeypatch.setattr(module, "train_step", train_step)
    monkeypatch.setattr(temporal_order, "TEST_SIZE", 10)
    return calls


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Of two networks of one kind, with a norm for each step that is its number."""
    monkeypatch.setattr(gradients, "STUDIED", {"smart": smart_tanh, "basic": basic_tanh})
    monkeypatch.setattr(gradients, "state_gradient_norms", lambda *_: np.arange(10.0))
    return Study("temporal-order", TemporalOrder(10), 2, 0, tmp_path)


def test_trials_clip_or_not_and_begin_alike(calls: list[Call]) -> None:
    for length in (10, 12):
        for clipped in (True, False):
            Trial("RNN, smart tanh", clipped, length, 0).run(1)
    assert [call.limit for call in calls] == [1.0, math.inf] * 2
    first, same, other, _ = calls
    assert np.array_equal(first.weights, same.weights) and np.array_equal(first.x, same.x)
    assert not np.array_equal(first.weights, other.weights)


@pytest.mark.parametrize("name", ["BATCH_SIZE", "LEARNING_RATE", "THRESHOLD"])
def test_constants_are_settings(name: str, study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def settings() -> list[Any]:
        return [study.settings, Results(tmp_path / "none.json", Plan())._settings]

    before = settings()
    for module in (gradients, temporal_order):
        monkeypatch.setattr(module, name, 7)
    assert all(now != was for now, was in zip(settings(), before, strict=True))


def test_a_study_is_kept_and_gone_on_with(study: Study, calls: list[Call]) -> None:
    updates: list[int] = []
    for _ in range(2):  # training, loading
        found = list(study.measurements(lambda: updates.append(1)))
        assert [each.updates for each in found] == [0, 2, 2] * 2
        assert all(each.norms.tolist() == list(range(9, -1, -1)) for each in found)
    assert len(updates) == 2 * len(calls) == 16
    for network in ("smart", "basic"):
        for kind, limit in (("clipped", 1.0), ("not-clipped", math.inf)):
            arrays, _ = load_arrays(study.folder / f"{network}-{kind}.npz")
            assert next(iter(arrays.values())).flat[0] == limit


def test_each_network_has_data_and_weights_of_its_own(
    study: Study, calls: list[Call], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gradients, "STUDIED", {"one": smart_tanh, "other": smart_tanh})
    list(study.measurements(lambda: None))
    one, same, other, _ = calls[::2]
    assert np.array_equal(one.x, same.x) and np.array_equal(one.weights, same.weights)
    assert not np.array_equal(one.x, other.x) and not np.array_equal(one.weights, other.weights)
