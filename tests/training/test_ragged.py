"""Training on sequences of different lengths: only the steps that count do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numgru import GRU, LastStep, Layer, Linear, Sequential
from numgru.training import SGD, CrossEntropyLoss, MSELoss, fit

N, T, I, C = 11, 7, 3, 2
LENGTHS = np.random.default_rng(0).integers(1, T + 1, N)


def network(every_step: bool, batch_first: bool, dtype: Any = np.float64) -> Sequential:
    gru = GRU(I, 5, seed=0, batch_first=batch_first, dtype=dtype)
    head = [] if every_step else [LastStep(batch_first=batch_first)]
    return Sequential(gru, *head, Linear(5, C, seed=1, dtype=dtype))


def data(every_step: bool, batch_first: bool, beyond: float) -> tuple[Any, Any]:
    """Sequences with `beyond` in all that lies past their ends."""
    rng = np.random.default_rng(1)
    x, y = rng.standard_normal((N, T, I)), rng.standard_normal((N, T, C) if every_step else (N, C))
    for array in (x, y) if every_step else (x,):
        array[np.arange(T) >= LENGTHS[:, None]] = beyond
    if not batch_first:
        x, y = x.swapaxes(0, 1), y.swapaxes(0, 1) if every_step else y
    return x, y


def train(every_step: bool, batch_first: bool, beyond: float, **options: Any) -> tuple[Sequential, Any]:
    model = network(every_step, batch_first)
    x, y = data(every_step, batch_first, beyond)
    axis = 0 if batch_first else 1
    options = {"lengths": LENGTHS, "batch_axis": (axis, axis if every_step else 0), "seed": 3, **options}
    options = {"validation": (x, y, options["lengths"]), **options}
    history = fit(
        model, x, y, loss=MSELoss(), optimizer=SGD(model, lr=0.1), epochs=2, batch_size=4, restore_best=False, **options
    )  # fmt: skip
    return model, history


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("every_step", [False, True])
def test_it_is_the_loop_over_single_sequences_written_out(every_step: bool, batch_first: bool) -> None:
    model, history = train(every_step, batch_first, np.nan, shuffle=False)
    other = network(every_step, True)
    x, y = data(every_step, True, 0.0)

    def gradients_of(rows: np.ndarray) -> float:
        """The mean loss of all steps that count, whose gradients the model then has."""
        other.zero_grad()
        squares, count = 0.0, LENGTHS[rows].sum() * C if every_step else rows.size * C
        for row in rows:
            length = LENGTHS[row]
            target = y[row : row + 1, :length] if every_step else y[row : row + 1]
            d = other.forward(x[row : row + 1, :length]) - target
            other.backward(2 * d / count)
            squares += (d**2).sum()
        return squares / count

    for epoch in range(2):
        losses, weights = [], []
        for start in range(0, N, 4):
            rows = np.arange(start, min(start + 4, N))
            losses.append(gradients_of(rows))
            weights.append(LENGTHS[rows].sum() if every_step else rows.size)
            other.flat_parameters -= 0.1 * other.flat_gradients
        assert np.isclose(history.loss[epoch], np.average(losses, weights=weights), rtol=1e-12)
        assert np.isclose(history.validation_loss[epoch], gradients_of(np.arange(N)), rtol=1e-12)
    np.testing.assert_allclose(model.flat_parameters, other.flat_parameters, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("every_step", [False, True])
def test_what_lies_past_the_ends_changes_no_bit(every_step: bool) -> None:
    """Shuffled, too: lengths go with their sequences."""
    (one, first), (other, second) = (train(every_step, True, beyond) for beyond in (0.0, np.nan))
    assert np.array_equal(one.flat_parameters, other.flat_parameters)
    assert first.loss == second.loss and first.validation_loss == second.validation_loss


def test_full_lengths_are_as_none() -> None:
    model, _ = train(True, True, 0.0, lengths=np.full(N, T))
    other = network(True, True)
    x, y = data(True, True, 0.0)
    fit(other, x, y, loss=MSELoss(), optimizer=SGD(other, lr=0.1), epochs=2, batch_size=4, seed=3)
    np.testing.assert_allclose(model.flat_parameters, other.flat_parameters, rtol=1e-12, atol=1e-15)


def test_classes_past_the_ends_need_not_exist() -> None:
    model = network(True, True)
    x, _ = data(True, True, 0.0)
    classes = np.random.default_rng(2).integers(0, C, (N, T))
    classes[np.arange(T) >= LENGTHS[:, None]] = -1
    fit(model, x, classes, loss=CrossEntropyLoss(), optimizer=SGD(model, lr=0.1), epochs=1, lengths=LENGTHS)


def test_other_lengths_are_other_data(tmp_path: Path) -> None:
    options: dict[str, Any] = {"validation": None, "checkpoint": tmp_path / "run.npz"}
    train(False, True, 0.0, **options)
    with pytest.raises(ValueError, match="another data"):
        train(False, True, 0.0, **options, resume=True, lengths=np.full(N, T))


class Mean(Layer):
    """Of the steps that count; it doesn't say what inputs it takes."""

    def forward(self, x: Any, lengths: Any = None) -> Any:
        return x.mean(1)

    def backward(self, dy: Any, *, need_dx: bool = True) -> None:
        pass


def test_without_lengths_a_layer_need_not_tell_its_input() -> None:
    model = Mean({})
    options: dict[str, Any] = {"loss": MSELoss(), "optimizer": SGD(model, lr=0.1), "epochs": 1}
    x, y = np.ones((N, T, I)), np.ones((N, I))
    assert fit(model, x, y, **options).loss == [0.0]
    with pytest.raises(NotImplementedError, match=r"small_input: expected .* Mean\(\)"):
        fit(model, x, y, lengths=LENGTHS, **options)


SQUARE = {"x": np.zeros((5, 5, I)), "y": np.zeros((5, 5, C)), "lengths": [5] * 5}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lengths": LENGTHS[:-1]}, r"lengths: expected shape \(11,\), one for each sequence, got \(10,\)"),
        ({"lengths": LENGTHS * 0}, "lengths: expected 1 to 7, the steps of x, got 0"),
        ({"lengths": LENGTHS, "bptt_steps": 3}, "lengths: expected None with bptt_steps"),
        ({"y": np.zeros((N, T - 1, C)), "lengths": LENGTHS}, "y: expected a target for every step"),
        ({"x": np.zeros((N, I)), "lengths": LENGTHS}, "y: expected a target for every step"),
        ({"lengths": LENGTHS, "batch_axis": (0, 1), "y": np.zeros((T, N, C))}, "y: expected a target for every step"),
        ({**SQUARE, "batch_axis": (0, 1)}, "y: expected a target for every step"),
        (
            {
                "model": network(False, True),
                "x": np.zeros((5, 4, I)),
                "y": np.zeros((I, C)),
                "lengths": [1, 2, 3],
                "batch_axis": (2, 0),
            },
            r"x: expected shape .* for lengths, got \(5, 4, 3\) with batch_axis=2",
        ),
        ({"validation": (np.zeros((N, T, I)), np.zeros((N, T, C)), [9] * N)}, r"validation\[2\]: expected 1 to 7"),
        ({"model": Sequential(Linear(I, C, seed=0)), "lengths": LENGTHS}, "lengths: expected None, since no layer of"),
    ],
)
def test_bad_input(change: dict[str, Any], message: str) -> None:
    options = {"model": network(True, True), "x": np.zeros((N, T, I)), "y": np.zeros((N, T, C)), **change}
    model, x, y = (options.pop(name) for name in ("model", "x", "y"))
    before = model.flat_parameters.copy()
    with pytest.raises(ValueError, match=message):
        fit(model, x, y, loss=MSELoss(), optimizer=SGD(model, lr=0.1), epochs=1, **options)
    assert np.array_equal(model.flat_parameters, before)
