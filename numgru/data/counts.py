"""What a character model has to beat: counts of what follows the last few characters.

Shapes: n characters.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from .text import Text


def probabilities(text: Text) -> Iterator[NDArray[np.float64]]:
    """The probability of each character of the text, shape (n,), after none, one, two ... characters before it.

    What was seen k times after a context that was seen n times, d different characters after it, has the probability
    (k + d p) / (n + d), p its probability after the context without its first character; below the empty context all
    tokens are equally likely (interpolation of Witten and Bell 1991). The fitted part is what is counted.
    """
    tokens, fit_end, size = text.tokens.astype(np.int64), text.fit_end, len(text.vocabulary)
    p = np.full(len(text), 1 / size)
    context = np.zeros(len(text), np.int64)  # before each character, as a number
    while True:
        pairs, pair = np.unique(context * size + tokens, return_inverse=True)
        times = np.bincount(pair[:fit_end], minlength=pairs.size)
        contexts = int(context.max()) + 1
        context_times = np.bincount(context[:fit_end], minlength=contexts)[context]
        followers = np.bincount(pairs[times > 0] // size, minlength=contexts)[context]
        p = np.where(context_times > 0, (times[pair] + followers * p) / np.maximum(context_times + followers, 1), p)
        yield p
        context = np.append(pairs.size, pair[:-1])  # nothing is before the first character


def bits_per_character(text: Text) -> dict[str, float]:
    """Of the held-out part, by name, from the longest contexts to none."""
    p = list(islice(probabilities(text), 5))
    named = {"counts after 4 characters": p[4], "counts after 2 characters": p[2], "counts of characters": p[0]}
    bits = {name: float(-np.log2(each[text.validation_end :]).mean()) for name, each in named.items()}
    return bits | {"uniform": math.log2(len(text.vocabulary))}
