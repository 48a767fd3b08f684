"""What a character model has to beat: counts of what follows the last few characters.

Shapes: n characters.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .text import Text


def probabilities(text: Text, order: int) -> NDArray[np.float64]:
    """The probability of each character of the text after the `order` before it, as the fitted part counts, shape (n,).

    What was seen k times after a context that was seen n times, d different characters after it, has the probability
    (k + d p) / (n + d), p its probability after the context without its first character; below the empty context all
    tokens are equally likely (interpolation of Witten and Bell 1991).
    """
    tokens, fit_end, size = text.tokens.astype(np.int64), text.fit_end, len(text.vocabulary)
    p = np.full(len(text), 1 / size)
    context = np.zeros(len(text), np.int64)  # before each character, as a number
    for _ in range(order + 1):
        pairs, pair = np.unique(context * size + tokens, return_inverse=True)
        times = np.bincount(pair[:fit_end], minlength=pairs.size)
        contexts = int(context.max()) + 1
        context_times = np.bincount(context[:fit_end], minlength=contexts)[context]
        followers = np.bincount(pairs[times > 0] // size, minlength=contexts)[context]
        p = np.where(context_times > 0, (times[pair] + followers * p) / np.maximum(context_times + followers, 1), p)
        context = np.append(pairs.size, pair[:-1])  # nothing is before the first character
    return p


def bits_per_character(text: Text) -> dict[str, float]:
    """Of the held-out part, by name; the best first, if contexts help."""
    tail = slice(text.validation_end, None)
    names = {"counts after 4 characters": 4, "counts after 2 characters": 2, "counts of characters": 0}
    bits = {name: float(-np.log2(probabilities(text, order)[tail]).mean()) for name, order in names.items()}
    return bits | {"uniform": math.log2(len(text.vocabulary))}
