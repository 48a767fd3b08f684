"""What a look at the gradients costs: `python -m bench.flow`, on one thread, a minute.

How much longer a training pass takes with `measure_flow`, in one layer that takes turns, and how long a call of
`GradientMonitor` takes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numgru
from numgru.diagnostics import GradientMonitor

from .bursts import fastest
from .command import parser, write
from .tables import head, row
from .workload import GATES, Shape, Workload

SIZES = [(1, 100, 128, 256), (32, 100, 64, 64), (32, 100, 128, 256), (64, 50, 512, 512)]
ROUNDS = 15


def cost(shape: Shape) -> float:
    """The share of a training pass's time that measuring adds to it."""
    work = Workload(shape)

    def train(measured: bool) -> None:
        work.layer.measure_flow = measured
        work.training()

    without, measured = fastest([lambda: train(False), lambda: train(True)], ROUNDS)
    return measured / without - 1


def monitor_call() -> float:
    """Seconds."""
    layer = Workload(Shape(*SIZES[0])).layer
    monitor, report = GradientMonitor(), numgru.clip_grad_norm_(layer.gradients, 1.0)
    return fastest([lambda: monitor(report)], ROUNDS)[0]


def main(arguments: Sequence[str] | None = None) -> None:
    asked = parser("flow", __doc__).parse_args(arguments)
    numgru.set_num_threads(1)
    print(*head(["B,T,I,H", "cell", "more time with measure_flow"]), sep="\n")
    shares = {}
    for shape in (Shape(*size, cell=cell) for size in SIZES for cell in GATES):
        shares[str(shape)] = share = cost(shape)
        print(row([",".join(map(str, shape[:4])), shape.cell, f"{share:.1%}"]), flush=True)
    monitor = monitor_call()
    print(f"\na call of GradientMonitor: {monitor * 1e6:.1f} us")
    write(asked.json, {"more_time_with_measure_flow": shares, "monitor_us": monitor * 1e6})


if __name__ == "__main__":
    main()
