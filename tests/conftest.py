"""Settings that hold for every test."""

from __future__ import annotations

import os
from collections.abc import Iterator

# Numba fixes its largest number of threads when it is imported; the tests want more than there are cores.
os.environ.setdefault("NUMBA_NUM_THREADS", "8")

import hypothesis
import pytest

import numgru

# The first example compiles, so a deadline says nothing; the same examples every time make a failure
# reproducible.
hypothesis.settings.register_profile("numgru", deadline=None, derandomize=True, max_examples=50)
hypothesis.settings.load_profile("numgru")


@pytest.fixture(autouse=True)
def _same_threads_afterwards() -> Iterator[None]:
    threads = numgru.get_num_threads()
    yield
    numgru.set_num_threads(threads)
