"""How many threads a call takes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from numgru.kernels import threads
from numgru.kernels._jit import SharedKernel


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds, for tests to set; no call has been worth threads before."""
    now = [100.0]
    monkeypatch.setattr(threads.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(threads, "_last_call", 0.0)
    monkeypatch.setattr(threads, "_in_a_row", 0)
    threads.set_num_threads(4)
    return now


def kernel(*signatures: str) -> SharedKernel:
    """One that is compiled for threads with these."""
    return SharedKernel(None, SimpleNamespace(overloads=dict.fromkeys(signatures)))


def parts_at(clock: list[float], time: float, work: int, shares: int = 8) -> int:
    clock[0] = time
    return threads.parts_for(work, shares, kernel("of float32"))


def test_work_of_a_moderate_size_wakes_no_threads_but_takes_those_that_are_awake(clock: list[float]) -> None:
    moderate = 6_000_000
    assert [parts_at(clock, 100 + n * 5e-4, moderate) for n in range(10)] == [1] * 8 + [4] * 2
    assert parts_at(clock, 100.0070, moderate) == 1  # they may sleep
    assert [parts_at(clock, 100.0070 + n * 5e-4, moderate) for n in range(1, 9)] == [1] * 7 + [4]


def test_nothing_is_compiled_for_work_of_a_moderate_size(clock: list[float]) -> None:
    large, moderate = 20_000_000, 6_000_000
    for _ in range(8):
        assert threads.parts_for(large, 8) == threads.parts_for(large, 8, kernel()) == 4
    assert threads.parts_for(moderate, 8) == threads.parts_for(moderate, 8, kernel()) == 1
    assert threads.parts_for(moderate, 8, kernel("of float32")) == 4


def test_large_work_wakes_threads(clock: list[float]) -> None:
    assert [parts_at(clock, 100 + n * 5e-4, 20_000_000) for n in range(8)] == [4] * 8
    assert parts_at(clock, 100.004, 6_000_000) == 4


def test_small_work_takes_one_thread_and_keeps_none_awake(clock: list[float]) -> None:
    assert [parts_at(clock, 100 + n * 5e-4, 4_000_000) for n in range(20)] == [1] * 20
    assert parts_at(clock, 100.01, 6_000_000) == 1


def test_no_more_threads_than_shares(clock: list[float]) -> None:
    assert parts_at(clock, 100.0, 20_000_000, shares=3) == 3
    assert parts_at(clock, 100.0, 20_000_000, shares=1) == 1


@pytest.mark.parametrize(
    ("text", "cpus"),
    [
        ("max 100000", None),
        ("50000 100000", 1),
        ("20000 100000", 1),
        ("290000 100000", 3),
        ("something else", None),
    ],
)
def test_the_quota_of_a_control_group(text: str, cpus: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads.Path, "read_text", lambda _: text)
    assert threads._cgroup_quota() == cpus
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: range(4), raising=False)
    assert threads.available_cpus() == (cpus or 4)


def test_parts_can_be_forced_for_a_while(clock: list[float]) -> None:
    """A layer that decides alone takes no more of them than its work is worth."""
    small, large = 1_000, 20_000_000
    with pytest.raises(KeyboardInterrupt), threads.in_parts(3):
        assert (threads.parts_for(small, 2), threads.parts_for(large, 8)) == (3, 3)
        assert (threads.parts_for_layer(small, 8), threads.parts_for_layer(large, 8)) == (1, 3)
        raise KeyboardInterrupt
    assert (threads.parts_for(small, 2), threads.parts_for(large, 8)) == (1, 4)
    with threads.in_parts(8):
        assert threads.parts_for_layer(large, 8) == 4
