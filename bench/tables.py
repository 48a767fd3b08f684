"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def head(titles: Sequence[object]) -> list[str]:
    return [row(titles), row(["---"] * len(titles))]


def row(cells: Iterable[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def count(threads: int) -> str:
    return f"{threads} thread" if threads == 1 else f"{threads} threads"
