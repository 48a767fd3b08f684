"""The monitor of gradients: what it keeps, what it suggests, what it draws."""

import math

import numpy as np
import pytest

from numgru import (
    GRU,
    Adam,
    LastStep,
    Linear,
    MSELoss,
    Sequential,
    clip_grad_norm_,
    clip_grad_norm_per_array_,
    fit,
)
from numgru.diagnostics import GradientMonitor

NORMS = (3.0, 4.0, 50.0, math.nan, 5.0)


def filled(norms=NORMS, limit=10.0):
    monitor = GradientMonitor()
    for norm in norms:
        monitor(clip_grad_norm_({"W": np.full(1, norm * 0.6), "b": np.full(1, norm * 0.8)}, limit, nonfinite="skip"))
    return monitor


def test_what_it_keeps():
    monitor = filled()
    assert len(monitor) == 5
    np.testing.assert_allclose(monitor.norm, NORMS)
    np.testing.assert_allclose(monitor.norms["W"], np.multiply(NORMS, 0.6))
    np.testing.assert_allclose(monitor.factors["b"], [1, 1, 0.2, 1, 1])
    assert monitor.clipped.tolist() == [False, False, True, False, False]
    assert monitor.skipped.tolist() == [False, False, False, True, False]
    assert monitor.clipped_share == 0.2


def test_before_the_first_step():
    monitor = GradientMonitor()
    assert (len(monitor), monitor.clipped_share, monitor.norm.shape, monitor.norms) == (0, 0.0, (0,), {})
    for use in (monitor.suggested_threshold, monitor.plot, lambda: monitor.plot(1.0)):
        with pytest.raises(ValueError, match="expected finite norms seen before, got none in 0 steps"):
            use()


def test_the_suggestion_is_a_percentile_that_explosions_do_not_move():
    monitor = filled()
    assert monitor.suggested_threshold(50) == pytest.approx(np.percentile([3, 4, 50, 5], 50))
    assert [monitor.suggested_threshold(end) for end in (0, 100)] == pytest.approx([3, 50])
    assert monitor.suggested_threshold(50, name="b") == pytest.approx(0.8 * monitor.suggested_threshold(50))
    calm, wild = (filled([1.0] * 95 + [size] * 5).suggested_threshold() for size in (1.0, 1e12))
    assert calm == wild == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"percentile": -1}, "percentile: expected a number from 0 to 100, got -1"),
        ({"percentile": math.nan}, "percentile: expected a number from 0 to 100, got nan"),
        ({"name": "V"}, r"name: expected one of 'W', 'b', got 'V'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        filled().suggested_threshold(**arguments)


def test_one_clipped_array_is_a_clipped_step():
    monitor = GradientMonitor()
    monitor(clip_grad_norm_per_array_({"W": np.full(1, 100.0), "b": np.ones(1)}, 10.0))
    assert monitor.clipped.tolist() == [True] and monitor.clipped_share == 1.0


@pytest.mark.parametrize("norms", [[0.0, 0.0, 0.0], [0.0, math.nan, 0.0]])
def test_a_picture_of_nothing_but_zeros(norms):
    above, beside, _, _ = filled(norms).plot().axes
    lines = {line.get_label(): line for line in above.lines}
    np.testing.assert_array_equal(lines["all together"].get_ydata(), norms)
    assert above.get_yscale() == "linear" and sum(bar.get_width() for bar in beside.patches) == norms.count(0.0)


@pytest.mark.parametrize(("arrays", "last"), [(17, "w16"), (20, "4 smaller ones")])
def test_a_legend_names_the_largest_of_many_arrays(arrays, last):
    monitor = GradientMonitor()
    monitor(clip_grad_norm_({f"w{at}": np.full(1, 100.0 - at) for at in range(arrays)}, 1.0))
    figure = monitor.plot()
    shown = [text.get_text() for text in figure.legends[0].get_texts()]
    assert shown[:16] == [f"w{at}" for at in range(16)] and shown[16:18] == [last, "all together"]
    assert len(figure.axes[0].lines) == arrays + 2


@pytest.mark.parametrize(("threshold", "error"), [(0, ValueError), (math.nan, ValueError), ("x", TypeError)])
def test_a_threshold_that_no_norm_could_have(threshold, error):
    with pytest.raises(error, match="threshold: expected a finite number above 0"):
        filled().plot(threshold)


def test_foreign_reports_are_refused():
    monitor = filled()
    with pytest.raises(TypeError, match="seen: expected a ClipReport or a Step, got float"):
        monitor(3.0)
    with pytest.raises(ValueError, match=r"seen: expected a report of \['W', 'b'\], as before, got one of \['W'\]"):
        monitor(clip_grad_norm_({"W": np.ones(1)}, 1.0))
    with pytest.raises(ValueError, match=r"got one of \['b', 'W'\]"):
        monitor(clip_grad_norm_({"b": np.ones(1), "W": np.ones(1)}, 1.0))
    assert len(monitor) == 5


def test_it_hears_every_step_of_fit():
    x, y = np.random.default_rng(0).standard_normal((5, 20, 2)), np.zeros((20, 1))
    y[3] = np.inf  # a step without gradients
    model, monitor = Sequential(GRU(2, 3, seed=0), LastStep(), Linear(3, 1, seed=1)), GradientMonitor()
    options = {"loss": MSELoss(), "optimizer": Adam(model), "batch_size": 5, "batch_axis": (1, 0), "shuffle": False}
    history = fit(model, x, y, epochs=2, clip_norm=0.1, nonfinite="skip", on_step=monitor, **options)
    assert len(monitor) == 6 and list(monitor.norms) == list(model.gradients)
    assert history.grad_norm_max == [monitor.norm[:3].max(), monitor.norm[3:].max()]
    assert history.clipped_share == [monitor.clipped[:3].mean(), monitor.clipped[3:].mean()]


@pytest.mark.parametrize("steps", [1, 119, 1000])
@pytest.mark.parametrize("threshold", [None, 2.5])
def test_picture(steps, threshold):
    sizes = np.random.default_rng(0).lognormal(size=steps)
    sizes[1::7] = math.nan
    monitor = filled(sizes, 2.0)
    above, beside, below, _ = monitor.plot(threshold).axes
    lines = {line.get_label(): line for line in above.lines}
    together = lines["all together"].get_ydata()
    assert len(together) == min(steps, 120) and ("skipped: not finite" in lines) == (steps > 1)
    if steps < 120:
        np.testing.assert_allclose(together, sizes)
        np.testing.assert_array_equal(lines["all together"].get_xdata(), np.arange(1, steps + 1))
        np.testing.assert_allclose(lines["b"].get_ydata(), 0.8 * sizes)
    limit = monitor.suggested_threshold() if threshold is None else threshold
    label = f"90 % of the steps are below {limit:.3g}" if threshold is None else "threshold 2.5"
    assert list(lines[label].get_ydata()) == [limit, limit]
    assert sum(bar.get_width() for bar in beside.patches) == np.isfinite(sizes).sum()
    assert f"{np.mean(sizes > 2):.0%} in all" in below.get_title(loc="left")
