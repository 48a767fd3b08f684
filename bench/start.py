"""What a fresh process waits for: imports, and first results with an empty and with a filled cache of kernels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import numgru

FRESH_PROCESS = """
import json, time
marks = [time.perf_counter()]
def mark(): marks.append(time.perf_counter())
import numpy, numba; mark()
import numgru; mark()
gru = numgru.GRU(32, 64, seed=0)
x = numpy.zeros((4, 16, 32), "float32")
mark(); y, h = gru(x); mark()
y, h = gru.forward(x); gru.backward(y, need_dx=False); mark()
print(json.dumps([b - a for a, b in zip(marks, marks[1:])]))
"""
_BETWEEN = ""
_INTERVALS = [
    "import numpy, numba",
    "import numgru after them",
    _BETWEEN,
    "first inference",
    "first training step",
]
STEPS = [name for name in _INTERVALS if name != _BETWEEN]
CACHES = ["compiling", "from_cache"]


def measure_start(repeats: int) -> dict[str, dict[str, float]]:
    """Seconds of each step: once with an empty cache of compiled code, then with it filled (median)."""
    with tempfile.TemporaryDirectory() as cache:
        runs = [fresh_process(cache) for _ in range(repeats + 1)]
    filled = np.median(runs[1:], axis=0)
    return {
        name: dict(zip(CACHES, (empty, float(cached)), strict=True))
        for name, empty, cached in zip(_INTERVALS, runs[0], filled, strict=True)
        if name != _BETWEEN
    }


def fresh_process(cache: str) -> list[float]:
    """One process, which imports the same numgru as this one."""
    path = os.pathsep.join(filter(None, (str(Path(numgru.__path__[0]).parent), os.environ.get("PYTHONPATH"))))
    ended = subprocess.run(
        [sys.executable, "-c", FRESH_PROCESS],
        env=os.environ | {"NUMBA_CACHE_DIR": cache, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    times: list[float] = json.loads(ended.stdout)
    return times
