"""The summary of a model: its rows, its total, its table."""

from __future__ import annotations

import numpy as np
import pytest

import numgru


def test_rows_and_total() -> None:
    model = numgru.Sequential(
        numgru.GRU(3, 4, batch_first=True, dtype=np.float64),
        numgru.Sequential(numgru.MeanOverTime(batch_first=True), numgru.Linear(4, 2, dtype=np.float64)),
    )
    gru, mean, linear = model.summary().rows
    assert (gru.name, gru.layer, gru.output_shape) == ("0.l0", "GRU", ("B", "T", 4))
    assert (gru.parameters, gru.bytes, gru.multiply_adds) == (108, 864, 84)
    assert (mean.name, mean.layer, mean.output_shape) == ("1.0", "MeanOverTime", ("B", 4))
    assert (mean.parameters, mean.bytes, mean.multiply_adds) == (0, 0, 0)
    assert (linear.name, linear.layer, linear.output_shape) == ("1.1", "Linear", ("B", 2))
    assert (linear.parameters, linear.bytes, linear.multiply_adds) == (10, 80, 8)
    total = model.summary().total
    assert total.output_shape == ("B", 2)
    assert total.parameters == model.flat_parameters.size
    assert total.bytes == model.flat_parameters.nbytes
    assert total.multiply_adds == 92


def test_an_embedding_multiplies_nothing() -> None:
    (row,) = numgru.Embedding(27, 8).summary().rows
    assert (row.layer, row.parameters, row.bytes, row.multiply_adds) == ("Embedding", 216, 864, 0)


def test_layers_and_directions_of_a_stack() -> None:
    stack = numgru.GRU(3, 5, 2, bidirectional=True, learn_h_0=True)
    summary = stack.summary()
    assert [row.name for row in summary.rows] == ["l0", "l0_reverse", "l1", "l1_reverse", "h_0"]
    assert [row.output_shape for row in summary.rows] == [("T", "B", 5)] * 4 + [()]
    assert [row.multiply_adds for row in summary.rows] == [120, 120, 225, 225, 0]
    assert [row.parameters for row in summary.rows] == [150, 150, 255, 255, 20]
    assert summary.total.output_shape == ("T", "B", 10)
    assert summary.total.parameters == stack.flat_parameters.size


@pytest.mark.parametrize(
    ("layer", "output_shape"),
    [
        (numgru.GRU(3, 4), ("T", "B", 4)),
        (numgru.GRU(3, 4, 2, bidirectional=True, batch_first=True), ("B", "T", 8)),
        (numgru.Linear(3, 4), ("B", 4)),
        (numgru.LastStep(), ("B", "H")),
        (numgru.MaxOverTime(batch_first=True), ("B", "H")),
        (numgru.Sequential(numgru.GRU(3, 4), numgru.Linear(4, 7)), ("T", "B", 7)),
        (numgru.Embedding(3, 4), ("T", "B", 4)),
        (numgru.Sequential(numgru.Embedding(3, 4), numgru.GRU(4, 7)), ("T", "B", 7)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, numgru.Layer) else "",
)
def test_output_shapes(layer: numgru.Layer, output_shape: tuple[int | str, ...]) -> None:
    """The shape that a call gives, with letters for its lengths."""
    assert layer.summary().total.output_shape == layer.output_shape(layer.input_shape) == output_shape
    letters = {"T": 5, "B": 2, "H": 3}
    x = np.zeros([letters.get(n, n) for n in layer.input_shape], layer.input_dtype)
    y = layer(x)
    y = y[0] if isinstance(y, tuple) else y
    assert y.shape == tuple(letters.get(n, n) for n in output_shape)


def test_table() -> None:
    model = numgru.Sequential(numgru.GRU(1, 32), numgru.LastStep(), numgru.Linear(32, 26))
    assert str(model.summary()) == repr(model.summary())
    assert str(model.summary()).splitlines() == [
        "       layer     output      parameters   bytes  multiply-adds a step",
        "0.l0   GRU       (T, B, 32)       3,360  13,440                 3,168",
        "1      LastStep  (B, 32)              0       0                     0",
        "2      Linear    (B, 26)            858   3,432                   832",
        "total            (B, 26)          4,218  16,872                 4,000",
    ]
