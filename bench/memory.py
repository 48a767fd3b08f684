"""How much resident memory a call takes at its peak, beside PyTorch: `python -m bench.memory`. Linux only.

Each figure is the least of several fresh processes: an allocator's choices differ from one to the next. There the
library is loaded and compiled by small calls, inputs and parameters are made, and then one call is watched: the growth
is the peak of resident memory within it, less what was resident before. It counts all that this call is the first to
touch: outputs, what is kept for the backward pass, workspaces, packed weights, and the gradients of the weights.

Shapes: B batch, T time, I input, H hidden.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from .command import note, parser, shape_of, write
from .peers.peer import Peer, calls_of, installed, load
from .peers.problem import Problem
from .peers.remote import confined
from .peers.report import OURS
from .tables import head, row
from .workload import JOBS, Shape

NAMES = [OURS, "PyTorch"]
SHAPES = [
    Shape(32, 100, 128, 256),
    Shape(64, 50, 512, 512),
    Shape(64, 100, 256, 1024),
    Shape(16, 2000, 8, 96),
    Shape(1, 100, 512, 1024),
    Shape(3, 1000, 5, 17),
]
# Few rows of the batch and many, with work enough for every thread: between them they need every kernel.
SMALL = [Shape(1, 32, 32, 384), Shape(16, 16, 32, 128)]
WORD = 4  # bytes of a float32
MB = 1e6
CLEAR = Path("/proc/self/clear_refs")


def allowed(shape: Shape, job: str) -> int:
    """Bytes that numgru may take.

    Training: 5 T B H values and the output; of the weights, their gradients, and packed ones for either direction.
    Inference: the output and packed weights. On top come a few states and bundles, and with small H what it takes to
    fill whole registers.
    """
    B, T, I, H = shape[:4]
    weights = 3 * H * (I + H + 2)
    values = T * B * H + weights if job == JOBS[0] else 6 * T * B * H + 3 * weights
    return WORD * values


def growth(name: str, shape: Shape, job: str, threads: int) -> int:
    """Bytes, measured in this process, which must be a fresh one."""
    peer_class = load(name)
    for small in SMALL:
        _call(peer_class, small, job, threads)()
    call = _call(peer_class, shape, job, threads)
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)  # what has been freed doesn't help the call
    CLEAR.write_text("5")  # the peak is now what is resident
    before = _resident("VmRSS")
    result = call()
    after = _resident("VmHWM")
    del result
    return after - before


def _call(peer_class: type[Peer], shape: Shape, job: str, threads: int) -> Callable[[], Any]:
    problem = Problem.of(shape)
    return calls_of(peer_class(problem, threads), problem)[job]


def _resident(field: str) -> int:
    """VmRSS, now, or VmHWM, at the peak."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return 1024 * int(found[1])


def measure(name: str, shape: Shape, job: str, threads: int) -> int:
    """The same in a fresh process, confined to that many processors."""
    context = multiprocessing.get_context("spawn")
    with confined(threads), ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(growth, name, shape, job, threads).result()


def rows_of(names: Sequence[str], shapes: Sequence[Shape], threads: int, processes: int) -> list[dict[str, Any]]:
    rows = []
    for job in JOBS:
        for shape in shapes:
            note(f"{job}, {shape}")
            taken = {name: min(measure(name, shape, job, threads) for _ in range(processes)) for name in names}
            rows.append({"B,T,I,H": str(shape), "job": job, "bytes": taken, "allowed": allowed(shape, job)})
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    names = list(rows[0]["bytes"])
    others = [f"numgru / {name}" for name in names if name != OURS]
    lines = head(["job", "B,T,I,H", *(f"{name}, MB" for name in names), "allowed, MB", *others])
    for each in rows:
        taken = each["bytes"]
        sizes = [f"{size / MB:.1f}" for size in (*taken.values(), each["allowed"])]
        ratios = [f"{taken[OURS] / taken[name]:.2f}" for name in names if name != OURS]
        lines.append(row([each["job"], each["B,T,I,H"], *sizes, *ratios]))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    options = parser("memory", __doc__)
    options.add_argument("--shapes", nargs="+", type=shape_of, default=SHAPES, metavar="B,T,I,H")
    options.add_argument("--threads", type=int, default=1)
    options.add_argument("--processes", type=int, default=3, help="for each figure; the least counts")
    asked = options.parse_args(arguments)
    for shape in asked.shapes:
        if shape.options:
            options.error(f"--shapes: expected B,T,I,H alone, got {shape}")
    if not CLEAR.exists():
        sys.exit(f"expected Linux, which resets the peak through {CLEAR}")
    names = [name for name in NAMES if installed(name)]
    rows = rows_of(names, asked.shapes, asked.threads, asked.processes)
    print(table(rows))
    write(asked.json, {"threads": asked.threads, "rows": rows})


if __name__ == "__main__":
    main()
