"""The noises of training: what is drawn, when and how often; what they do is in test_gru_options.py."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numgru.layers.recurrent import Recurrent
from tests.cases import assert_same_bits, infer, layer_of, noise, problem_of, run
from tests.combinations import EVERYTHING, Case, case

T, B, I, H, L = 30, 20, 3, 17, 3
RATES = {"dropout": 0.5, "recurrent_dropout": 0.25, "zoneout": 0.125}


def noisy(**options: Any) -> Case:
    """Three layers, both ways, with all three noises."""
    options = {"num_layers": L, "bidirectional": True, "dropout": RATES["dropout"]} | options
    drawn = case(EVERYTHING, (T, B, I, H), **options)
    return drawn._replace(options=drawn.options | {name: RATES[name] for name in ("recurrent_dropout", "zoneout")})


def masks_of(gru: Recurrent, drawn: Case) -> dict[str, Any]:
    return noise(run(gru, drawn.problem))


def test_names_shapes_and_values() -> None:
    drawn = noisy()
    masks = masks_of(drawn.layer(), drawn)
    ends = [f"_l{k}{way}" for k in range(L) for way in ("", "_reverse")]
    expected = {f"dropout_l{k}": (T, B, 2 * H) for k in range(L - 1)}
    expected |= {f"recurrent_dropout{end}": (B, H) for end in ends} | {f"zoneout{end}": (T, B, H) for end in ends}
    assert {name: mask.shape for name, mask in masks.items()} == expected
    for name, mask in masks.items():
        kind = name.partition("_l")[0]
        kept = 1.0 if kind == "zoneout" else 1 / (1 - RATES[kind])
        assert set(np.unique(mask)) == {0.0, kept}, name


def test_share_of_zeros() -> None:
    """Within four standard deviations, each unit, row and step for itself."""
    drawn = noisy()
    for name, mask in masks_of(drawn.layer(), drawn).items():
        kind = name.partition("_l")[0]
        p = 1 - RATES[kind] if kind == "zoneout" else RATES[kind]
        assert abs((mask == 0).mean() - p) < 4 * (p * (1 - p) / mask.size) ** 0.5, name
        for axis in range(mask.ndim):
            assert mask.std(axis=axis).any(), f"{name}: all alike along axis {axis}"


def test_no_two_are_alike() -> None:
    """Neither those of two layers and directions, nor those of two passes."""
    drawn = noisy()
    gru = drawn.layer()
    masks = [mask > 0 for _ in range(2) for mask in masks_of(gru, drawn).values()]
    for i, one in enumerate(masks):
        assert not any(np.array_equal(one, other) for other in masks[:i] if other.shape == one.shape)


def test_the_seed_decides() -> None:
    drawn = noisy()
    first, again = drawn.layer(), drawn.layer()
    assert_same_bits(run(first, drawn.problem), run(again, drawn.problem))
    assert_same_bits(masks_of(first, drawn), masks_of(again, drawn))
    other = drawn.layer(seed=6)
    assert not np.array_equal(masks_of(other, drawn)["zoneout_l0"], masks_of(drawn.layer(), drawn)["zoneout_l0"])


def test_recomputation_draws_the_same() -> None:
    """So do threads: test_invariance_of_options.py."""
    drawn = noisy()
    assert_same_bits(masks_of(drawn.layer(checkpoint_every=4), drawn), masks_of(drawn.layer(), drawn))


def test_inference_draws_nothing() -> None:
    drawn = noisy()
    gru, other = drawn.layer(), drawn.layer()
    first = infer(gru, drawn.problem)
    assert_same_bits(infer(gru, drawn.problem), first)
    for _ in range(2):
        infer(gru, drawn.problem)
        assert_same_bits(masks_of(gru, drawn), masks_of(other, drawn))


def test_without_noise_none_is_drawn() -> None:
    problem = problem_of(4, 3, 5, 6, np.float64, num_layers=2)
    gru = layer_of(problem)
    results = run(gru, problem)
    assert_same_bits(infer(gru, problem), results)
    assert not noise(results)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_dropout_of_one_layer_warns_and_does_nothing(rate: float) -> None:
    problem = problem_of(4, 3, 5, 6, np.float64)
    if rate:
        with pytest.warns(UserWarning, match=r"dropout.*num_layers"):
            gru = layer_of(problem, dropout=rate)
    else:
        gru = layer_of(problem, dropout=rate)
    assert_same_bits(run(gru, problem), run(layer_of(problem), problem))


def test_zero_rates_are_no_noise() -> None:
    drawn = case(EVERYTHING, (4, 3, 5, 6))
    problem = {name: value for name, value in drawn.problem.items() if name not in ("lengths", "reset")}
    gru = drawn.layer(zoneout=0.0, recurrent_dropout=0.0)
    assert_same_bits(run(gru, problem), run(layer_of(problem), problem))
