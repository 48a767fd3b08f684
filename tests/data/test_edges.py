"""Data at the edges: of files, of seasons, of a text's parts."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from numgru.data import Memorization, baselines, counts, read_csv
from numgru.data.series import next_dates
from numgru.data.tasks import make
from numgru.data.text import Text, read_text


@pytest.mark.parametrize(("name", "pattern", "values"), [("copy", 10, 8), ("memorization-20-bits", 10, 5)])
def test_tasks_by_name(name: str, pattern: int, values: int) -> None:
    assert make(name, 20) == Memorization(20, pattern, values)


def test_one_date_has_no_next() -> None:
    assert next_dates(np.array(["2020-01-01"], "datetime64"), 2) is None


@pytest.mark.parametrize(
    ("rows", "filled", "words"),
    [
        ("1\n NA \n3\nNone\n5", [0, 1, 0, 1, 0], "2 of 5 values were missing, in 2 gaps"),
        ("1\nNaN\nnull\n4", [0, 1, 1, 0], "2 of 4 values were missing, in one gap"),
        ("1\nn/a\n3", [0, 1, 0], "1 of 3 values was missing"),
    ],
)
def test_cells_without_a_value(rows: str, filled: list[int], words: str, tmp_path: Path) -> None:
    lines = enumerate(rows.split("\n"), 10)
    (tmp_path / "a.csv").write_text("day, a\n" + "".join(f"2020-01-{day},{cell}\n" for day, cell in lines))
    series = read_csv(tmp_path / "a.csv", "a")
    assert series.filled.tolist() == filled and words in series.note


def test_a_season_is_seen_more_than_twice() -> None:
    """At 36 of 100 steps the resemblance may be still rising at a third of the length, where the search ends."""
    assert baselines.find_season(np.sin(2 * np.pi * np.arange(100) / 36)) is None


@pytest.mark.parametrize(("resemblance", "season"), [(0.28, None), (0.33, 12)])
def test_how_much_noise_hides_a_season(resemblance: float, season: int | None) -> None:
    """The autocorrelation one season apart is the wave's share of the variance; it counts from 0.3 on."""
    noise = (0.5 / resemblance - 0.5) ** 0.5 * np.random.default_rng(3).standard_normal(600)
    found = baselines.find_season(np.sin(2 * np.pi * np.arange(600) / 12) + noise)
    assert (found is None) == (season is None) and (found or 0) % 12 == 0


def test_counts_are_measured_on_the_tail() -> None:
    rng = np.random.default_rng(0)
    text = Text.of("t", "".join(rng.choice(list("abc"), 900)) + "ab" * 50)
    p = list(islice(counts.probabilities(text), 5))
    bits = counts.bits_per_character(text)
    for name, order in {
        "counts after 4 characters": 4,
        "counts after 2 characters": 2,
        "counts of characters": 0,
    }.items():
        assert bits[name] == pytest.approx(-np.log2(p[order][text.validation_end :]).mean())
    assert len(set(bits.values())) == 4


def test_the_vocabulary_is_that_of_the_fitted_part() -> None:
    assert Text.of("t", "ab" * 40 + "c" * 10 + "ab" * 5).vocabulary.characters == "ab"


def test_a_byte_order_mark_is_no_character(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("ab" * 50, "utf-8-sig")
    text = read_text(tmp_path / "a.txt")
    assert (len(text), text.vocabulary.characters) == (100, "ab")
