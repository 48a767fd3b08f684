"""How fast a step of an optimizer is: `python -m bench.optimizers`, some 10 seconds for each number of threads.

Beside PyTorch's, if that is installed: as it is by default, and with `fused=True`, which it has for some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numgru

from .bursts import Measured, command, fastest, gradients, with_torch
from .tables import head, row

SIZES = [1_000, 100_000, 1_000_000, 10_000_000]
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {}),
    ("SGD", {"momentum": 0.9}),
    ("RMSprop", {}),
    ("Adam", {}),
    ("AdamW", {}),
]
LR = 1e-9  # of both


class Row(NamedTuple):
    """Seconds of the fastest step."""

    optimizer: str
    parameters: int
    numgru: float
    torch: float | None
    torch_fused: float | None


def ours(name: str, options: dict[str, Any], size: int) -> Callable[[], object]:
    model = numgru.Linear(size // 100, 100, bias=False, seed=0)
    model.flat_gradients[...] = gradients(model.flat_gradients.size)
    step: Callable[[], object] = getattr(numgru, name)(model, lr=LR, **options).step
    return step


def theirs(name: str, options: dict[str, Any], size: int) -> Callable[[], object]:
    import torch

    parameter = torch.nn.Parameter(torch.zeros(size))
    parameter.grad = torch.tensor(gradients(size))
    step: Callable[[], object] = getattr(torch.optim, name)([parameter], lr=LR, **options).step
    return step


def measure(sizes: Sequence[int], threads: int, rounds: int) -> Measured:
    has_torch = with_torch(threads)
    rows = []
    for size in sizes:
        for name, options in OPTIMIZERS:
            calls = {"numgru": ours(name, options, size)}
            if has_torch:
                calls["torch"] = theirs(name, options, size)
                if name != "RMSprop":
                    calls["fused"] = theirs(name, options | {"fused": True}, size)
            least = dict(zip(calls, fastest(list(calls.values()), rounds), strict=True))
            label = ", ".join([name, *(f"{option} {value}" for option, value in options.items())])
            rows.append(Row(label, size, least["numgru"], least.get("torch"), least.get("fused")))
    return Measured({"steps": rows}, [table(rows)])


def table(rows: Sequence[Row]) -> str:
    lines = head(["parameters", "optimizer", "numgru, µs", "PyTorch, µs", "fused, µs", "ratio"])
    for one in rows:
        others = [time for time in (one.torch, one.torch_fused) if time]
        ratio = f"{min(others) / one.numgru:.2f}" if others else ""
        times = [f"{time * 1e6:.1f}" if time else "" for time in (one.numgru, one.torch, one.torch_fused)]
        lines.append(row([f"{one.parameters:,}", one.optimizer, *times, ratio]))
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    command("optimizers", __doc__, SIZES, measure, arguments)


if __name__ == "__main__":
    main()
