"""Writing: one character at a time, each drawn from what the model expects after all before it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from .. import _check
from .._types import FloatArray
from .model import CharacterModel


def sample(
    learner: CharacterModel, prompt: str = "", *, length: int, temperature: float = 1.0, seed: int | None = None
) -> Iterator[str]:
    """Write what follows `prompt`, character by character.

    Parameters
    ----------
    learner : CharacterModel
    prompt : str
        How the text begins. If empty, the text goes on after the first character of the vocabulary, which in most
        texts is the end of a line.
    length : int
        Characters to write.
    temperature : float, above 0
        Logits are divided by it: below 1 the likely becomes likelier.
    seed : int, optional
        Of the draws; the same seed, the same text. None draws anew.

    Yields
    ------
    str
        One character; never one that stands for those that are not known.

    Raises
    ------
    ValueError, TypeError
        If the prompt has characters that the model doesn't know, or a number isn't in its range; before the first
        character.
    """
    if unseen := learner.vocabulary.unseen(prompt):
        raise ValueError(f"prompt: expected characters that the model knows, got {unseen!r}")
    length, temperature = _check.integer("length", length, 0), _check.positive("temperature", temperature)
    tokens = learner.vocabulary.encode(prompt or learner.vocabulary.characters[0])
    return _draws(learner, tokens[:, None], length, temperature, _check.generator(seed))


def _draws(
    learner: CharacterModel, tokens: np.ndarray, length: int, temperature: float, rng: np.random.Generator
) -> Iterator[str]:
    h: tuple[FloatArray, ...] | None = None
    for _ in range(length):
        logits, h = learner.model(tokens, h, return_h_n=True)
        known = logits[-1, 0, :-1].astype(np.float64)
        with np.errstate(over="ignore"):  # a low temperature makes it -inf, whose exponential is 0
            weights = np.exp((known - known.max()) / temperature).cumsum()
        token = np.searchsorted(weights[:-1], rng.random() * weights[-1], side="right")
        tokens = np.array([[token]])
        yield learner.vocabulary.decode(tokens[0])
