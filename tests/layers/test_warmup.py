"""After `warmup` no call compiles anything; copies of a layer are layers of their own."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import numgru
from tests.cases import assert_same_bits, count_compiled, run_elsewhere


def model(dtype: Any = np.float32) -> numgru.Sequential:
    layers = numgru.GRU(3, 20, dtype=dtype, seed=0), numgru.LastStep(), numgru.Linear(20, 2, dtype=dtype, seed=1)
    return numgru.Sequential(*layers)


def train_step(subject: numgru.Layer, x: Any, need_dx: bool = True) -> None:
    for wanted in (False, True) if need_dx else (False,):
        subject.backward(np.ones_like(subject.forward(x)), need_dx=wanted)


@pytest.mark.parametrize(
    ("training", "threads", "need_dx"),
    [(False, 1, True), (False, 2, True), (True, 1, True), (True, 2, True), (True, 2, False)],
)
def test_nothing_is_compiled_after_warmup(training: bool, threads: int, need_dx: bool) -> None:
    """In a new process, since this one has compiled most of it already."""
    code = f"from tests.layers.test_warmup import compiled_later; compiled_later({training}, {threads}, {need_dx})"
    assert run_elsewhere(code).split() == ["0"]


def compiled_later(training: bool, most_threads: int, need_dx: bool) -> None:
    numgru.set_num_threads(most_threads)
    subject = model()
    numgru.warmup(subject, training=training, need_dx=need_dx)
    assert not subject.flat_gradients.any()
    before = count_compiled()
    for threads in range(1, most_threads + 1):
        numgru.set_num_threads(threads)
        for T, B in ((1, 1), (30, 2), (300, 200)):
            x = np.zeros((T, B, 3), np.float32)
            subject(x)
            if training:
                train_step(subject, x, need_dx)
    print(count_compiled() - before)


@pytest.mark.parametrize("head", ["LastStep", "MeanOverTime", "MaxOverTime"])
def test_heads_are_compiled_for_the_dtype_of_their_model(head: str) -> None:
    code = f"from tests.layers.test_warmup import head_compiled_later; head_compiled_later({head!r})"
    assert run_elsewhere(code).split() == ["0"]


def head_compiled_later(head: str) -> None:
    subject = numgru.Sequential(numgru.Linear(3, 3, dtype=np.float64), getattr(numgru, head)())
    numgru.warmup(subject, training=True)
    before = count_compiled()
    x = np.zeros((5, 4, 3), np.float64)
    train_step(subject, x)
    subject.forward(x, lengths=[1, 2, 3, 5])
    print(count_compiled() - before)


def test_gradients_are_left_alone() -> None:
    subject = model()
    subject.flat_gradients[...] = 3
    before = subject.state_dict()
    numgru.warmup(subject, training=True)
    assert (subject.flat_gradients == 3).all()
    assert_same_bits(subject.parameters, before)


def test_noise_is_left_alone() -> None:
    class Noisy(numgru.Linear):
        random_state: Any = {"draws": 0}  # noqa: RUF012

        def forward(self, x: Any) -> Any:
            self.random_state = {"draws": self.random_state["draws"] + 1}
            return super().forward(x)

    subject = Noisy(2, 2)
    numgru.warmup(numgru.Sequential(subject), training=True)
    assert subject.random_state == {"draws": 0}


def test_only_layers() -> None:
    with pytest.raises(TypeError, match="model: expected a numgru layer, got dict"):
        numgru.warmup({})


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_a_copy_is_a_layer_of_its_own(duplicate: Callable[[Any], Any]) -> None:
    subject, x = model(), np.random.default_rng(0).standard_normal((5, 4, 3)).astype(np.float32)
    expected = subject(x)
    twin = duplicate(subject)
    assert np.array_equal(twin(x), expected)
    train_step(twin, x)
    twin.flat_parameters -= twin.flat_gradients
    assert not np.array_equal(twin(x), expected)
    assert np.array_equal(subject(x), expected)
    assert not subject.flat_gradients.any()
