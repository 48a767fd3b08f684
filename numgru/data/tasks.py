"""Tasks that can't be learned without remembering: what decides the answer lies far back in the sequence.

Shapes: T steps, B sequences, I inputs, O outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from .. import _check
from .._types import BoolArray
from ..training import CrossEntropyLoss, Loss, MSELoss

Seed = int | np.random.Generator

SOLVED_BELOW = 0.01  # the share of wrong answers of a model that has learned a task (Pascanu et al. 2013)


@dataclass(frozen=True)
class Task(ABC):
    """Sequences of one length, drawn at random, and what is to be said about them.

    Parameters
    ----------
    length : int
        T.

    Attributes
    ----------
    input_size, output_size : int
        I and O. Inputs are vectors (T, B, I), or tokens from 0 to I - 1 (T, B).
    every_step : bool
        Whether there is a target for every step, or one for the sequence, which the last step is to say.
    loss : Loss
        What a model is trained with.

    Raises
    ------
    TypeError, ValueError
        If `length` isn't an integer, or is shorter than the task needs.
    """

    length: int

    every_step: ClassVar[bool] = False
    loss: ClassVar[Loss] = CrossEntropyLoss()

    def __post_init__(self) -> None:
        _check.integer("length", self.length, self.shortest)

    @property
    def shortest(self) -> int:
        """The shortest length."""
        return 10

    @property
    @abstractmethod
    def input_size(self) -> int:
        """I."""

    @property
    @abstractmethod
    def output_size(self) -> int:
        """O."""

    def batch(self, size: int, rng: Seed) -> tuple[NDArray[Any], NDArray[Any]]:
        """Draw sequences and their targets.

        Parameters
        ----------
        size : int
            B.
        rng : int or numpy.random.Generator
            A seed, which always draws the same; or a generator, which goes on.

        Returns
        -------
        x : ndarray of float32, shape (T, B, I), or of int32, shape (T, B)
        y : ndarray
            Targets for `loss`: (B, O) of float32 or (B,) of integers; (T, B) with `every_step`.

        Raises
        ------
        TypeError, ValueError
            If `size` isn't an integer of at least 1, or `rng` neither a generator nor an integer of at least 0.
        """
        _check.integer("size", size, 1)
        return self._drawn(size, _generator(rng))

    @abstractmethod
    def _drawn(self, size: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
        """x and y."""

    def wrong(self, prediction: NDArray[Any], y: NDArray[Any]) -> BoolArray:
        """Which sequences have a wrong answer, shape (B,): another class than y, in any step that has a target.

        A NaN is wrong.
        """
        differ = np.logical_or(prediction.argmax(-1) != y, np.isnan(prediction).any(-1))
        wrong: BoolArray = np.logical_or.reduce(differ) if self.every_step else differ
        return wrong

    def error_rate(self, model: Callable[[Any], NDArray[Any]], size: int, rng: Seed) -> float:
        """The share of `size` new sequences of which the model's answer is wrong.

        The task is solved where this is below `SOLVED_BELOW`. `rng` as for `batch`.
        """
        _check.integer("size", size, 1)
        rng, wrong = _generator(rng), 0
        for start in range(0, size, 1000):  # bounds the memory
            x, y = self._drawn(min(1000, size - start), rng)
            wrong += int(self.wrong(model(x), y).sum())
        return wrong / size


@dataclass(frozen=True)
class Adding(Task):
    """The mean of two of the numbers, those that are marked.

    Each step has a number, uniform in 0 .. 1, and a mark, 0 or 1. One mark is in the first tenth of the sequence, the
    other between there and the middle. An answer is wrong if its squared error is above 0.04.

    Notes
    -----
    Hochreiter and Schmidhuber 1997, section 5.4, with the numbers and marks of Pascanu et al. 2013. They draw the
    length of each batch, too, from T to 1.1 T.
    """

    loss: ClassVar[Loss] = MSELoss()

    @property
    def input_size(self) -> int:
        """A number and a mark."""
        return 2

    @property
    def output_size(self) -> int:
        """The mean."""
        return 1

    def _drawn(self, size: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
        each = np.arange(size)
        x = np.zeros((self.length, size, self.input_size), np.float32)
        x[:, :, 0] = rng.random((self.length, size), np.float32)
        marked = [_steps(tenths, self.length, size, rng) for tenths in ((0, 1), (1, 5))]
        for at in marked:
            x[at, each, 1] = 1
        return x, np.mean([x[at, each, 0] for at in marked], axis=0)[:, None]

    def wrong(self, prediction: NDArray[Any], y: NDArray[Any]) -> BoolArray:
        """Which sequences have a wrong answer, shape (B,). A NaN is wrong."""
        near: BoolArray = (prediction - y)[:, 0] ** 2 <= 0.04
        return ~near


@dataclass(frozen=True)
class TemporalOrder(Task):
    """The order of two of the symbols, or three: those that are A or B.

    All others are drawn from c, d, e and f. The tokens of A to f are 0 to 5. With two symbols, these lie in the second
    and in the sixth tenth of the sequence, with three in the second, the fourth and the seventh. The classes count in
    the binary system, A as 0 and B as 1, the first symbol's digit the lowest: AA, BA, AB, BB.

    Parameters
    ----------
    length : int
        T.
    symbols : int
        2 or 3.

    Raises
    ------
    ValueError, TypeError
        For a length that is too short, or a number outside its range.

    Notes
    -----
    Hochreiter and Schmidhuber 1997, section 5.6, with the places of Pascanu et al. 2013, which grow with the length.
    """

    symbols: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        _check.integer("symbols", self.symbols, 2)
        _check.one_of("symbols", self.symbols, _TENTHS)

    @property
    def input_size(self) -> int:
        """A, B, and four that say nothing."""
        return 6

    @property
    def output_size(self) -> int:
        """The number of orders."""
        return 1 << self.symbols

    def _drawn(self, size: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
        x = rng.integers(2, self.input_size, (self.length, size), np.int32)
        y = np.zeros(size, np.int64)
        for digit, tenth in enumerate(_TENTHS[self.symbols]):
            symbol = rng.integers(2, size=size)
            x[_steps((tenth, tenth + 1), self.length, size, rng), np.arange(size)] = symbol
            y += symbol << digit
        return x, y


_TENTHS = {2: (1, 5), 3: (1, 3, 6)}


@dataclass(frozen=True)
class Memorization(Task):
    """Read a pattern of symbols, wait, and at a signal write it.

    The sequence begins with `pattern` tokens from 0 to `values` - 1. Blanks follow, the token `values`, but for the
    signal `values` + 1 where the last `pattern` steps begin. In these the target is the pattern, before them a blank.

    Parameters
    ----------
    length : int
        T, of the whole sequence; at least twice the pattern.
    pattern : int
        How many symbols there are.
    values : int
        Which different ones there can be.

    Raises
    ------
    ValueError, TypeError
        For a length that is too short, or a number outside its range.

    Notes
    -----
    Pascanu et al. 2013 after Martens and Sutskever 2011: noiseless, since nothing but blanks lies between. They give
    the length of the blanks instead of that of the whole. Five symbols of two values are their pattern of 5 bits, ten
    of five values the one of over 20; ten of eight values are much like the copying of Arjovsky et al. 2016, where the
    signal comes a step before the first symbol is to be written.
    """

    pattern: int = 5
    values: int = 2

    every_step: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check.integer("pattern", self.pattern, 1)
        _check.integer("values", self.values, 2)
        super().__post_init__()

    @property
    def shortest(self) -> int:
        """To read the pattern and to write it."""
        return 2 * self.pattern

    @property
    def input_size(self) -> int:
        """The values, the blank and the signal."""
        return self.values + 2

    @property
    def output_size(self) -> int:
        """The values and the blank."""
        return self.values + 1

    def _drawn(self, size: int, rng: np.random.Generator) -> tuple[NDArray[Any], NDArray[Any]]:
        pattern = rng.integers(self.values, size=(self.pattern, size), dtype=np.int32)
        x = np.full((self.length, size), self.values, np.int32)
        y = x.copy()
        x[-self.pattern] = self.values + 1
        x[: self.pattern], y[-self.pattern :] = pattern, pattern
        return x, y


TASKS: dict[str, Callable[[int], Task]] = {
    "adding": Adding,
    "temporal-order": TemporalOrder,
    "temporal-order-3": partial(TemporalOrder, symbols=3),
    "copy": partial(Memorization, pattern=10, values=8),
    "memorization": Memorization,
    "memorization-20-bits": partial(Memorization, pattern=10, values=5),
}


def make(name: str, length: int) -> Task:
    """The task of this name in `TASKS`, for sequences of `length` steps.

    Raises
    ------
    TypeError, ValueError
        If there is none, or for a length that isn't an integer or is too short for it.
    """
    _check.one_of("task", name, TASKS)
    return TASKS[name](length)


def _steps(tenths: tuple[int, int], length: int, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """One step for each sequence, between two tenths of the length."""
    first, end = (length * tenth // 10 for tenth in tenths)
    return rng.integers(first, end, size)


def _generator(rng: Seed) -> np.random.Generator:
    if isinstance(rng, np.random.Generator):
        return rng
    return np.random.default_rng(_check.integer("rng", rng, 0))
