"""Truncated back-propagation through time: what is carried, what is cut, and that nothing else is different.

Shapes: T time, B sequences, I inputs, O outputs, V different tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from numgru import (
    GRU,
    SGD,
    Adam,
    CrossEntropyLoss,
    Embedding,
    History,
    LastStep,
    Layer,
    Linear,
    MSELoss,
    Sequential,
    fit,
)
from tests import reference

T, B, I, H, O, V = 11, 5, 2, 6, 3, 4
rng = np.random.default_rng(0)
X, Y = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))
TOKENS = rng.integers(0, V, (T, B))


def make(dtype: Any = np.float64, batch_first: bool = False, **more: Any) -> Sequential:
    options: dict[str, Any] = {"dtype": dtype, "batch_first": batch_first, "learn_h_0": True}
    return Sequential(
        GRU(I, H, 2, seed=0, **options, **more),
        Sequential(GRU(H, H, seed=1, **options), Linear(H, O, dtype=dtype, seed=2)),
    )


def train(model: Sequential, x: Any = X, y: Any = Y, **options: Any) -> History:
    options = {"epochs": 3, "batch_size": B, "batch_axis": 1, "shuffle": False, "loss": MSELoss()} | options
    return fit(model, x, y, optimizer=options.pop("optimizer", SGD)(model, lr=0.1), **options)


def oracle(p: dict[str, Any], steps: int, carry: bool = True) -> dict[str, Any]:
    """Three epochs for one GRU and a linear layer, window by window, each with a backward pass of its own."""
    p = {name: value.copy() for name, value in p.items()}
    gru = {name: p[f"0.{name}_l0"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
    weight, bias, never = p["1.weight"], p["1.bias"], np.zeros((T, B), bool)
    for _ in range(3):
        h = np.zeros((B, H))
        for start in range(0, T, steps):
            x, target = X[start : start + steps], Y[start : start + steps]
            y, _, tape = reference.steps(reference.GRU, x, h, gru, never, None, None)
            h = y[-1] if carry else h
            d = 2 * (reference.linear(y, weight, bias) - target) / target.size
            dy, dweight, dbias = reference.linear_backward(d, y, weight)
            _, _, dgru = reference.steps_backward(reference.GRU, dy, np.zeros((B, H)), tape, gru, never, None, None)
            for value, gradient in ((weight, dweight), (bias, dbias), *((gru[name], dgru[name]) for name in gru)):
                value -= 0.1 * gradient
    return p


@pytest.mark.parametrize("steps", [1, 4, 6, 10, 11])
def test_oracle_that_cuts(steps: int) -> None:
    model = Sequential(GRU(I, H, dtype=np.float64, seed=0), Linear(H, O, dtype=np.float64, seed=1))
    start = model.state_dict()
    train(model, bptt_steps=steps)
    expected, forgetful = oracle(start, steps), oracle(start, steps, carry=False)
    for name, value in model.parameters.items():
        np.testing.assert_allclose(value, expected[name], rtol=0, atol=1e-13, err_msg=name)
        if steps < T:
            assert np.abs(value - forgetful[name]).max() > 1e-5, name


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("steps", [3, 4, 10])
def test_it_is_the_loop_written_out(steps: int, batch_first: bool, dtype: Any) -> None:
    """Several recurrent layers, states learned; each batch of sequences begins anew; the same bits."""
    model, other = make(dtype, batch_first), make(dtype, batch_first)
    x, y = (a.swapaxes(0, 1) if batch_first else a for a in (X, Y))
    train(model, x, y, bptt_steps=steps, batch_size=2, batch_axis=0 if batch_first else 1)
    loss, optimizer = MSELoss(), SGD(other, lr=0.1)
    for _ in range(3):
        for first in (0, 2, 4):
            h = None
            for start in range(0, T, steps):
                window = [slice(start, start + steps), slice(first, first + 2)]
                at = tuple(reversed(window)) if batch_first else tuple(window)
                prediction, h = other.forward(x[at], h, return_h_n=True)
                _, d = loss(prediction, y[at])
                other.zero_grad()
                other.backward(d, need_dx=False)
                optimizer.step()
    np.testing.assert_array_equal(model.flat_parameters, other.flat_parameters)


@pytest.mark.parametrize("steps", [T, T + 1, 1000])
@pytest.mark.parametrize("shuffle", [True, False])
def test_windows_as_long_as_the_sequences_are_no_truncation(steps: int, shuffle: bool) -> None:
    whole, cut = make(np.float32), make(np.float32)
    options: dict[str, Any] = {"shuffle": shuffle, "batch_size": 2, "validation": (X[:, :3], Y[:, :3])}
    histories = [asdict(train(whole, **options)), asdict(train(cut, bptt_steps=steps, **options))]
    np.testing.assert_array_equal(cut.flat_parameters, whole.flat_parameters)
    for history in histories:
        history.pop("examples_per_second")
    assert histories[0] == histories[1]


def token_model() -> Sequential:
    return Sequential(Embedding(V, I, dtype=np.float64, seed=3), *make().layers)


@pytest.mark.parametrize(("make", "x"), [(make, X), (token_model, TOKENS)], ids=["numbers", "tokens"])
def test_classes_for_every_step(make: Callable[[], Sequential], x: Any) -> None:
    """Targets of one dimension less than the outputs, cut along the same axis."""
    model, other = make(), make()
    classes = np.random.default_rng(0).integers(0, O, (T, B))
    loss, optimizer = CrossEntropyLoss(), SGD(other, lr=0.1)
    history = train(model, x, classes, loss=loss, bptt_steps=6, epochs=1)
    h, total = None, 0.0
    for window in (slice(0, 6), slice(6, T)):
        y, h = other.forward(x[window], h, return_h_n=True)
        value, dy = loss(y, classes[window])
        total += value * len(y) / T
        other.zero_grad()
        other.backward(dy, need_dx=False)
        optimizer.step()
    np.testing.assert_array_equal(model.flat_parameters, other.flat_parameters)
    assert history.loss == [pytest.approx(total, rel=1e-12)]


class Recorder(GRU):
    """Keeps the states that it starts from and ends with, and how many steps and sequences it is given."""

    def __init__(self) -> None:
        super().__init__(I, H, seed=0)
        self.training: list[Any] = []
        self.inference: list[Any] = []

    def __call__(self, x: Any, h_0: Any = None) -> Any:
        y, h_n = super().__call__(x, h_0)
        self.inference.append((h_0, h_n, x.shape[:2]))
        return y, h_n

    def forward(self, x: Any, h_0: Any = None) -> Any:
        y, h_n = super().forward(x, h_0)
        self.training.append((h_0, h_n, x.shape[:2]))
        return y, h_n


@pytest.mark.parametrize("shuffle", [True, False])
def test_the_state_goes_from_window_to_window_and_no_further(shuffle: bool) -> None:
    recorder = Recorder()
    model = Sequential(recorder, Linear(H, O))
    steps: list[Any] = []
    train(model, bptt_steps=4, batch_size=3, shuffle=shuffle, validation=(X[:7], Y[:7]), on_step=steps.append)
    for calls, shapes in (
        (recorder.training, [(4, 3), (4, 3), (3, 3), (4, 2), (4, 2), (3, 2)]),
        (recorder.inference, [(4, 3), (3, 3), (4, 2), (3, 2)]),
    ):
        assert [shape for _, _, shape in calls] == 3 * shapes
        windows = len(shapes) // 2
        for at, (h_0, _, _) in enumerate(calls):
            if at % windows:
                np.testing.assert_array_equal(h_0, calls[at - 1][1])
            else:
                assert h_0 is None
    assert [(step.epoch, step.step) for step in steps] == [(e, s) for e in (1, 2, 3) for s in range(1, 7)]


def test_losses_are_means_over_all_steps() -> None:
    """With a learning rate of zero the windows' losses add up to that of the whole, in training and in validation."""
    model = make()
    history = fit(
        model, X, Y, loss=MSELoss(), optimizer=SGD(model, lr=0.0), epochs=1, batch_size=2, batch_axis=1,
        validation=(X, Y), bptt_steps=4,
    )  # fmt: skip
    expected = ((model(X) - Y) ** 2).mean()
    assert history.loss == [pytest.approx(expected, rel=1e-12)]
    assert history.validation_loss == [pytest.approx(expected, rel=1e-12)]


class KilledError(Exception):
    pass


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("last", [(2, 3), (2, 9), (3, 1)])
def test_resumed_is_uninterrupted(last: tuple[int, int], shuffle: bool, tmp_path: Any) -> None:
    def kill(step: Any) -> None:
        if (step.epoch, step.step) == last:
            raise KilledError

    options: dict[str, Any] = {"bptt_steps": 4, "batch_size": 2, "shuffle": shuffle, "validation": (X[:7], Y[:7])}
    options |= {"optimizer": Adam}
    noise = {"dropout": 0.3, "recurrent_dropout": 0.2, "zoneout": 0.1}
    whole, resumed = make(np.float32, **noise), make(np.float32, **noise)
    histories = [asdict(train(whole, **options))]
    options["checkpoint"] = tmp_path / "run.npz"
    with pytest.raises(KilledError):
        train(make(np.float32, **noise), on_step=kill, **options)
    with pytest.raises(ValueError, match="another bptt_steps: 4 in the file, 5 here"):
        train(make(np.float32, **noise), resume=True, **options | {"bptt_steps": 5})
    histories.append(asdict(train(resumed, resume=True, **options)))
    np.testing.assert_array_equal(resumed.flat_parameters, whole.flat_parameters)
    for history in histories:
        history.pop("examples_per_second")
    assert histories[0] == histories[1]


def test_progress_counts_windows(capsys: Any) -> None:
    train(make(), bptt_steps=4, batch_size=2, epochs=1, progress=True)
    assert "9/9" in capsys.readouterr().err


class Stateful(Layer):
    """It starts from a state, and keeps the one that it ends with to itself."""

    def forward(self, x: Any, h_0: Any = None) -> Any:
        return x


def bidirectional() -> Sequential:
    return Sequential(GRU(I, H, bidirectional=True), Linear(2 * H, O))


@pytest.mark.parametrize(
    ("model", "options", "error", "message"),
    [
        (make, {"bptt_steps": 0}, ValueError, "bptt_steps: expected an integer of at least 1, got 0"),
        (make, {"bptt_steps": 2.0}, TypeError, "bptt_steps: expected an integer of at least 1, got float"),
        (make, {"batch_axis": 0}, ValueError, r"batch_axis: expected 1 for x and y, .* GRU\(2, 6, .*got \(0, 0\)"),
        (make, {"batch_axis": (1, 0)}, ValueError, r"batch_axis: expected 1 for x and y, .*got \(1, 0\)"),
        (lambda: make(batch_first=True), {}, ValueError, r"batch_axis: expected 0 for x and y, .*got \(1, 1\)"),
        (
            make,
            {"y": Y[1:]},
            ValueError,
            r"y: expected a target for every step, .*\(11, 5, 2\), got shape \(10, 5, 3\)",
        ),
        (
            make,
            {"validation": (X, Y[1:])},
            ValueError,
            r"validation\[1\]: expected a target for every step, .* as validation\[0\]",
        ),
        (lambda: Sequential(Linear(I, O)), {}, TypeError, "bptt_steps: expected a model that takes h_0 and return_h_n"),
        (lambda: Stateful({}), {}, TypeError, "bptt_steps: expected a model that takes h_0 and return_h_n"),
        (lambda: Sequential(GRU(I, O), LastStep()), {}, ValueError, r"target: expected .* shape \(5, 3\)"),
        (bidirectional, {}, ValueError, r"bptt_steps: expected layers of one direction, got GRU\(2, 6"),
    ],
)
def test_bad_arguments_change_nothing(model: Any, options: Any, error: Any, message: str) -> None:
    subject: Layer = model()
    start = subject.flat_parameters.copy()
    with pytest.raises(error, match=message):
        train(subject, **{"bptt_steps": 4} | options)
    np.testing.assert_array_equal(subject.flat_parameters, start)
