"""What a look at the gradients costs, and bounds of their flow: `python -m bench.flow`, on one thread, five minutes.

How much longer a training pass takes with `measure_flow`, and with bounds, which keep what their report is made of, in
one layer that takes turns, and how long a call of `GradientMonitor` takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numgru
from numgru.diagnostics import GradientMonitor

from .bursts import fastest
from .command import parser, write
from .tables import head, row
from .workload import GATES, Shape, Workload

SIZES = [
    (32, 20, 1, 32), (20, 50, 6, 50), (1, 100, 128, 256), (32, 100, 64, 64), (32, 100, 128, 256), (64, 50, 512, 512),
]  # fmt: skip
ROUNDS = 15
# One bound is never met, the other by most numbers of these gradients.
WAYS: dict[str, dict[str, Any]] = {
    "measure_flow": {"measure_flow": True},
    "clip_flow_value, not met": {"clip_flow_value": 1e6},
    "clip_flow_value, met": {"clip_flow_value": 1e-3},
    "clip_flow_norm, not met": {"clip_flow_norm": 1e6},
}
NONE = {"measure_flow": False, "clip_flow_value": None, "clip_flow_norm": None}


def costs(shape: Shape) -> dict[str, float]:
    """The share of a training pass's time that each way adds to it."""
    work = Workload(shape)

    def train(options: dict[str, Any]) -> None:
        for name, value in (NONE | options).items():
            setattr(work.layer, name, value)
        work.training()

    without, *others = fastest([partial(train, options) for options in ({}, *WAYS.values())], ROUNDS)
    return {name: seconds / without - 1 for name, seconds in zip(WAYS, others, strict=True)}


def monitor_call() -> float:
    """Seconds."""
    layer = Workload(Shape(*SIZES[0])).layer
    monitor, report = GradientMonitor(), numgru.clip_grad_norm_(layer.gradients, 1.0)
    return fastest([lambda: monitor(report)], ROUNDS)[0]


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parser("flow", __doc__).parse_args(arguments)
    numgru.set_num_threads(1)
    print(*head(["B,T,I,H", "cell", *(f"more time with {name}" for name in WAYS)]), sep="\n")
    shares = {}
    for shape in (Shape(*size, cell=cell) for size in SIZES for cell in GATES):
        shares[str(shape)] = found = costs(shape)
        print(
            row([",".join(map(str, shape[:4])), shape.cell, *(f"{share:.1%}" for share in found.values())]), flush=True
        )
    monitor = monitor_call()
    print(f"\na call of GradientMonitor: {monitor * 1e6:.1f} us")
    write(asked.json, {"more_time": shares, "monitor_us": monitor * 1e6})


if __name__ == "__main__":
    main()
