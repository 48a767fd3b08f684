"""How many threads a call takes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from numgru.kernels import threads


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """The time, in seconds, for tests to set; no call has been worth threads before."""
    now = [100.0]
    monkeypatch.setattr(threads.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(threads, "_last_call", 0.0)
    before = threads.get_num_threads()
    threads.set_num_threads(4)
    yield now
    threads.set_num_threads(before)


def parts_at(clock: list[float], time: float, work: int, shares: int = 8) -> int:
    clock[0] = time
    return threads.parts_for(work, shares)


def test_work_of_a_moderate_size_wakes_no_threads_but_takes_those_that_are_awake(clock: list[float]) -> None:
    moderate = 6_000_000
    assert parts_at(clock, 100.0, moderate) == 1
    assert parts_at(clock, 100.0005, moderate) == 4
    assert parts_at(clock, 100.0010, moderate) == 4
    assert parts_at(clock, 100.0030, moderate) == 1  # they may sleep


def test_large_work_wakes_threads(clock: list[float]) -> None:
    assert parts_at(clock, 100.0, 20_000_000) == 4
    assert parts_at(clock, 100.0005, 6_000_000) == 4


def test_small_work_takes_one_thread_and_keeps_none_awake(clock: list[float]) -> None:
    assert parts_at(clock, 100.0, 4_000_000) == 1
    assert parts_at(clock, 100.0005, 6_000_000) == 1


def test_no_more_threads_than_shares(clock: list[float]) -> None:
    assert parts_at(clock, 100.0, 20_000_000, shares=3) == 3
    assert parts_at(clock, 100.0, 20_000_000, shares=1) == 1
