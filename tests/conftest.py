"""Settings that hold for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

# Numba fixes its largest number of threads when it is imported; the tests want more than there are cores.
os.environ.setdefault("NUMBA_NUM_THREADS", "8")

import hypothesis
import pytest

import numgru
from numgru.kernels import threads

# The first example compiles, so a deadline says nothing; the same examples every time make a failure
# reproducible.
hypothesis.settings.register_profile("numgru", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("numgru")


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    before = numgru.get_num_threads()
    yield
    numgru.set_num_threads(before)


@pytest.fixture
def regions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The parts of every parallel region that is entered."""
    entered: list[int] = []
    in_region = threads._in_region

    def counted(parallel: Any, parts: int, *args: Any) -> None:
        entered.append(parts)
        in_region(parallel, parts, *args)

    monkeypatch.setattr(threads, "_in_region", counted)
    return entered
