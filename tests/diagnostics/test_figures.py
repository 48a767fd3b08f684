"""Pictures of gradients and gates show the numbers that they were given."""

from __future__ import annotations

import numpy as np
import pytest

import numgru
from numgru.diagnostics import (
    Growth,
    gate_statistics,
    gates_figure,
    gradient_flow_figure,
    growth_figure,
)

T, B, I, H = 6, 3, 2, 5


def test_gradient_flow_figure() -> None:
    flow = np.arange(2.0 * T * B).reshape(2, T, B)
    flow[1, 4:] = 0  # after the ends
    axes = gradient_flow_figure({"GRU": flow}).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == [
        f"GRU, layer and direction {row}" for row in (0, 1)
    ]
    first, second = axes.lines
    np.testing.assert_array_equal(first.get_ydata(), [1.5, *np.median(flow[0, 1:], axis=1)])  # without the zero
    np.testing.assert_array_equal(second.get_xdata(), range(4))
    assert axes.get_yscale() == "log" and axes.get_ylabel().endswith("(log scale)")


def test_gradient_flow_of_nothing_but_zeros() -> None:
    axes = gradient_flow_figure({"GRU": np.zeros((1, T, B))}).axes[0]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), np.zeros(T))
    assert axes.get_yscale() == "linear" and "log" not in axes.get_ylabel()
    one, zeros = gradient_flow_figure({"GRU": np.ones((1, T, B)), "RNN": np.zeros((1, T, B))}).axes[0].lines
    assert one.axes.get_yscale() == "log" and not zeros.get_xdata().size


def test_no_two_of_many_lines_look_alike() -> None:
    figure = gradient_flow_figure({name: np.ones((4, T, B)) for name in ("RNN", "LSTM", "GRU")})
    lines = figure.axes[0].lines
    assert figure.axes[0].get_legend() is None and len(figure.legends[0].get_texts()) == 12
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 12


def test_a_long_legend_lies_below() -> None:
    figure = gradient_flow_figure({name: np.ones((8, T, B)) for name in ("RNN", "LSTM", "GRU")})
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.y0 >= 0 and box.y1 <= figure.axes[0].get_window_extent().y0


def test_arrays_without_names() -> None:
    with pytest.raises(TypeError, match=r"flows: expected a mapping by name, .* got ndarray"):
        gradient_flow_figure(np.ones((1, T, B)))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"growths: expected a mapping by name, .* got Growth"):
        growth_figure(Growth(np.ones((1, T)), np.ones((1, T))))  # type: ignore[arg-type]


def test_a_single_step_is_a_dot() -> None:
    assert gradient_flow_figure({"GRU": np.ones((1, 1, B))}).axes[0].lines[0].get_marker() == "o"


def test_growth_figure() -> None:
    growth = Growth(np.array([[1.0, 0.5, 0.0]]), np.array([[0.1, 0.1, 0.0]]))
    axes = growth_figure({"RNN": growth, "LSTM": growth}).axes[0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["RNN", "LSTM"]
    np.testing.assert_array_equal(axes.lines[0].get_ydata(), [1.0, 0.5, np.nan])
    assert len(axes.lines) == 3


@pytest.mark.parametrize("cell", [numgru.GRU, numgru.LSTM])
@pytest.mark.parametrize("num_layers", [1, 2])
def test_gates_figure(cell: type[numgru.GRU], num_layers: int) -> None:
    x = np.random.default_rng(0).standard_normal((T, B, I))
    statistics = gate_statistics(cell(I, H, num_layers, seed=0), x)
    *histograms, memory = gates_figure(statistics).axes
    assert len(histograms) == len(statistics.gates) and len(memory.lines) == num_layers
    for axes, gate in zip(histograms, statistics.gates.values(), strict=True):
        assert axes.get_title(loc="left").startswith(gate.name)
        assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(100)


def test_no_gates() -> None:
    with pytest.raises(ValueError, match="statistics: expected those of a layer with gates"):
        gates_figure(gate_statistics(numgru.RNN(I, H), np.ones((T, B, I))))
