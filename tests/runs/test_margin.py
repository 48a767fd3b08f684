from __future__ import annotations

import pytest

from numgru.runs import margin, margin_in_words


@pytest.mark.parametrize(
    ("ours", "baseline", "words"),
    [
        (3.0, 4.0, "25% smaller"),
        (5.0, 4.0, "25% larger"),
        (4.0, 4.0, "as large"),
        (4.001, 4.0, "as large"),
        (3.999, 4.0, "as large"),
        (1.0, 0.0, ""),
    ],
)
def test_a_margin_in_words(ours: float, baseline: float, words: str) -> None:
    assert margin_in_words(margin(ours, baseline)) == words
