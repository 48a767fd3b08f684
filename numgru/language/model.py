"""A GRU that says which character comes next: its settings, its training, its measure.

Shapes: S steps, B streams side by side, V tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..data import DataError
from ..data.text import FIT_END, Text, Vocabulary, read_text, streams
from ..layers.embedding import Embedding
from ..layers.gru import GRU
from ..layers.linear import Linear
from ..layers.sequential import Sequential
from ..runs import Examples, Learner, RunSettings
from ..training import CrossEntropyLoss

_EMBEDDING = 32  # numbers a character
_SHORTEST = 20  # characters, so that each part has one that follows another
_CHUNK = 1024  # steps that are evaluated at once


@dataclass(frozen=True)
class Settings(RunSettings):
    """All that decides what a run computes, but the thread count, which changes no bit of it.

    Attributes
    ----------
    text : str
        The file.
    window : int
        Steps through which gradients flow back.
    batch_size : int
        Streams side by side.
    """

    hidden_size: int = 256
    epochs: int = 20
    learning_rate: float = 0.005
    clip_norm: float | None = 1.0
    text: str = ""
    window: int = 64

    @property
    def source(self) -> str:
        """The file of text."""
        return self.text

    def read(self) -> Text:
        """The text, read anew."""
        return read_text(self.text)


def network(settings: Settings, tokens: int) -> Sequential:
    """Untrained layers from tokens (S, B) to logits (S, B, V)."""
    seed, H = settings.seed, settings.hidden_size
    return Sequential(
        Embedding(tokens, _EMBEDDING, seed=seed),
        GRU(_EMBEDDING, H, seed=seed + 1),
        Linear(H, tokens, seed=seed + 2),
    )


class CharacterModel(Learner[Settings, Text]):
    """The logits of the next character.

    Parameters
    ----------
    settings : Settings
    vocabulary : Vocabulary
    """

    kind = "character model"

    def __init__(self, settings: Settings, vocabulary: Vocabulary) -> None:
        self.settings, self.vocabulary = settings, vocabulary
        self.model: Sequential = network(settings, len(vocabulary))

    @classmethod
    def untrained(cls, settings: Settings, data: Text) -> Self:
        """A new one, for the characters of the fitted part.

        Raises
        ------
        DataError
            If the text is too short for the settings.
        """
        B, window = settings.batch_size, settings.window
        needed = max(_SHORTEST, math.ceil((B * window + 1) / FIT_END))
        if len(data) < needed:
            raise DataError(
                f"{data.name}: {len(data)} characters are too few to train on {B} streams with a window of {window}, "
                f"which need {needed}; give a smaller window or batch size, or more text"
            )
        return cls(settings, data.vocabulary)

    @classmethod
    def _restored(cls, metadata: Mapping[str, Any]) -> Self:
        return cls(Settings(**metadata["settings"]), Vocabulary(metadata["characters"]))

    def _metadata(self) -> dict[str, Any]:
        return {"characters": self.vocabulary.characters}

    def _examples(self, data: Text) -> tuple[Examples, Examples]:
        """Streams (S, B); for validation fewer, so that each is a window long, if there are enough characters."""
        B = self.settings.batch_size
        few = max(1, min(B, (len(data.validation) - 1) // self.settings.window))
        return streams(data.fit, B), streams(data.validation, few)

    def _fit_options(self) -> dict[str, Any]:
        return {
            "loss": CrossEntropyLoss(),
            "batch_size": self.settings.batch_size,
            "batch_axis": 1,
            "bptt_steps": self.settings.window,
            "shuffle": False,
        }

    def bits_per_character(self, text: Text) -> float:
        """The mean cross-entropy of the held-out part in bits, read in one stream after a window of what's before."""
        loss, bits = CrossEntropyLoss(), 0.0
        past = min(self.settings.window, text.validation_end - 1)
        x, y = streams(text.tokens[text.validation_end - 1 - past :], 1)
        _, h = self.model(x[:past], return_h_n=True)
        for start in range(past, len(x), _CHUNK):
            chunk = slice(start, start + _CHUNK)
            logits, h = self.model(x[chunk], h, return_h_n=True)
            bits += loss(logits, y[chunk])[0] * len(logits) / math.log(2)
        return bits / len(text.tail)
