"""The layers and sequences that are timed, how many floating-point operations they take, and a stopwatch.

Shapes: B batch, T time, I input, H hidden, D directions.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

import numgru

GATES = {"GRU": 3, "LSTM": 4, "RNN": 1}


class Shape(NamedTuple):
    """The sizes, and what is unlike one layer that reads full sequences of any vectors in one direction."""

    B: int
    T: int
    I: int
    H: int
    layers: int = 1
    bidirectional: bool = False
    ragged: bool = False  # lengths uniform in 1 .. T
    reset_before: bool = False  # reset_after=False
    one_hot: bool = False  # vectors with a single one
    tokens: bool = False  # integers in their place
    cell: str = "GRU"  # or LSTM, or RNN, which has tanh

    @classmethod
    def parse(cls, text: str) -> Shape:
        """From B,T,I,H and options, as in 32,100,128,256,layers=2,bidirectional."""
        words = text.split(",")
        options: dict[str, Any] = {}
        for word in words[4:]:
            name, _, value = word.partition("=")
            options[name] = value if name == "cell" else int(value) if value else True
        B, T, I, H = map(int, words[:4])
        shape = cls(B, T, I, H, **options)
        if min(shape[:5]) < 1:
            raise ValueError(f"expected positive sizes, got {text!r}")
        if shape.cell not in GATES:
            raise ValueError(f"expected a cell of {list(GATES)}, got {text!r}")
        if (shape.reset_before and shape.cell != "GRU") or (shape.tokens and shape.one_hot):
            raise ValueError(f"expected options that go together, got {text!r}")
        return shape

    def __str__(self) -> str:
        return ",".join([*map(str, self[:4]), *self.options])

    @property
    def options(self) -> list[str]:
        given = [(name, value) for name, value in self._asdict().items() if value != self._field_defaults.get(name)]
        return [name if value is True else f"{name}={value}" for name, value in given[4:]]

    @property
    def directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def gates(self) -> int:
        return GATES[self.cell]

    @property
    def widths(self) -> list[int]:
        """What W_ih is as wide as, by layer and direction."""
        D = self.directions
        return [self.I] * D + [D * self.H] * (D * (self.layers - 1))

    @property
    def multiplied(self) -> list[int]:
        """Those widths that take products: the columns of tokens are only looked up."""
        return self.widths[self.directions if self.tokens else 0 :]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(B,); the same in every process."""
        return np.random.default_rng(0).integers(1 if self.ragged else self.T, self.T, self.B, endpoint=True)

    @property
    def forward_flops(self) -> int:
        """Multiplications and additions of the matrix products; the gates' functions are not counted."""
        return self._flops(self.multiplied) + self._flops_of_states

    @property
    def training_flops(self) -> int:
        """Forward, and backward to the states, the weights and what lies between layers, but not to x."""
        return 2 * self.forward_flops + self._flops_of_states + self._flops(self.widths[self.directions :])

    @property
    def _flops_of_states(self) -> int:
        return self._flops([self.H] * len(self.widths))

    def _flops(self, widths: list[int]) -> int:
        return 2 * int(self.lengths.sum()) * self.gates * self.H * sum(widths)

    def flops(self, job: str) -> int:
        return self.forward_flops if job == "inference" else self.training_flops


# One step of a stream, sequences one by one and in batches, long ones, and sizes that fill no register; then what a
# layer and its batch can be besides, and other cells.
SHAPES = [
    Shape(1, 1, 64, 64),
    Shape(1, 100, 32, 64),
    Shape(1, 100, 128, 256),
    Shape(1, 100, 512, 1024),
    Shape(4, 100, 64, 128),
    Shape(32, 100, 32, 64),
    Shape(32, 100, 128, 256),
    Shape(64, 50, 512, 512),
    Shape(128, 28, 28, 128),
    Shape(64, 100, 256, 1024),
    Shape(7, 33, 13, 50),
    Shape(3, 1000, 5, 17),
    Shape(256, 20, 8, 32),
    Shape(16, 2000, 8, 96),
    Shape(32, 100, 128, 256, layers=2, bidirectional=True),
    Shape(64, 100, 64, 128, ragged=True),
    Shape(32, 100, 128, 256, reset_before=True),
    Shape(32, 100, 1000, 128, one_hot=True),
    Shape(32, 100, 1000, 128, tokens=True),
    Shape(1, 100, 128, 256, cell="LSTM"),
    Shape(32, 100, 128, 256, cell="LSTM"),
    Shape(64, 50, 512, 512, cell="LSTM"),
    Shape(1, 100, 128, 256, cell="RNN"),
    Shape(32, 100, 128, 256, cell="RNN"),
    Shape(64, 50, 512, 512, cell="RNN"),
]
JOBS = ["inference", "training"]
THREADS = {"1": 1, "all": numgru.get_num_threads()}  # names that mean the same on any machine


def layer_of(shape: Shape, dtype: DTypeLike = np.float32) -> Any:
    """Given only the options it needs, so that versions which lack the others are measured too."""
    options: dict[str, Any] = {}
    if shape.layers > 1:
        options["num_layers"] = shape.layers
    if shape.bidirectional:
        options["bidirectional"] = True
    if shape.reset_before:
        options["reset_after"] = False
    return getattr(numgru, shape.cell)(shape.I, shape.H, dtype=dtype, seed=0, **options)


def lengths_of(shape: Shape) -> dict[str, NDArray[np.int64]]:
    """What a call takes besides x."""
    return {"lengths": shape.lengths} if shape.ragged else {}


def input_of(shape: Shape, rng: np.random.Generator) -> NDArray[Any]:
    """(T, B, I); or tokens, (T, B)."""
    B, T, I, _ = shape[:4]
    if not (shape.tokens or shape.one_hot):
        return rng.standard_normal((T, B, I), np.float32)
    tokens = rng.integers(0, I, (T, B))
    return tokens if shape.tokens else np.eye(I, dtype=np.float32)[tokens]


class Workload:
    """A layer with a sequence and an upstream gradient of one shape."""

    def __init__(self, shape: Shape, dtype: DTypeLike = np.float32) -> None:
        rng = np.random.default_rng(0)
        self.layer, self.lengths = layer_of(shape, dtype), lengths_of(shape)
        x = input_of(shape, rng)
        self.x: NDArray[Any] = x if shape.tokens else x.astype(dtype)
        self.dy: NDArray[Any] = rng.standard_normal((shape.T, shape.B, shape.directions * shape.H)).astype(dtype)

    def inference(self) -> None:
        self.layer(self.x, **self.lengths)

    def training(self) -> None:
        """Forward, and backward into all weight gradients, as for a first layer."""
        self.layer.forward(self.x, **self.lengths)
        self.layer.backward(self.dy, need_dx=False)

    def call(self, job: str) -> Callable[[], None]:
        call: Callable[[], None] = getattr(self, job)
        return call


def computable() -> list[Shape]:
    """Those of SHAPES for which this version has the options: the suite measures older ones as well."""

    def computes(shape: Shape) -> bool:
        try:
            Workload(shape._replace(B=1, T=1, I=1, H=1)).inference()
        except (AttributeError, TypeError, ValueError):
            return False
        return True

    return list(filter(computes, SHAPES))


@cache
def prepared(shape: Shape, job: str, dtype: str = "float32") -> Callable[[], None]:
    """A job that has run twice: it is compiled, its weights are packed and have been seen not to change.

    It's kept, because asv calls `setup` before every call that it times; only the first time there is work to do.
    """
    call = Workload(shape, dtype).call(job)
    call()
    call()
    return call


def seconds(function: Callable[[], object]) -> float:
    """How long one call takes."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def burst(call: Callable[[], object], budget: float, least: int = 3) -> list[float]:
    """The times of as many calls as fit into `budget` seconds, at least `least`."""
    times: list[float] = []
    while len(times) < least or sum(times) < budget:
        times.append(seconds(call))
    return times


def median_seconds(call: Callable[[], object], budget: float = 0.5) -> float:
    """The median of a burst of at least 5 calls."""
    return float(np.median(burst(call, budget, 5)))
