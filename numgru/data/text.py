"""A text as tokens: its vocabulary, its parts, and streams to train on.

Shapes: n characters, S steps, B streams side by side.
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .series import DataError

Tokens = NDArray[np.int32]

FIT_END, VALIDATION_END = 0.8, 0.9  # as shares of the text
UNKNOWN = "\N{REPLACEMENT CHARACTER}"  # how the last token is shown


@dataclass(frozen=True)
class Vocabulary:
    """A token for each character that is known, and one more for all others.

    Attributes
    ----------
    characters : str
        Those that are known, each once, sorted: a character's token is its place.
    """

    characters: str

    @classmethod
    def of(cls, text: str) -> Vocabulary:
        """The characters of `text`."""
        return cls("".join(sorted(set(text))))

    def __len__(self) -> int:
        """Number of tokens."""
        return len(self.characters) + 1

    def encode(self, text: str) -> Tokens:
        """A token for each character, shape (n,)."""
        known, given = _code_points(self.characters), _code_points(text)
        tokens = np.searchsorted(known, given)
        is_known = np.append(known, 0)[tokens] == given
        is_known &= tokens < len(known)
        return np.where(is_known, tokens, len(known)).astype(np.int32)

    def decode(self, tokens: ArrayLike) -> str:
        """The characters of tokens of shape (n,); `UNKNOWN` for the last token."""
        return "".join((self.characters + UNKNOWN)[token] for token in np.asarray(tokens, int).tolist())

    def unseen(self, text: str) -> str:
        """The characters of `text` that aren't known, each once, sorted."""
        return "".join(sorted(set(text) - set(self.characters)))


@dataclass(frozen=True)
class Text:
    """A text cut in its order: [0, fit_end) is fitted, [fit_end, validation_end) chooses, the tail tests.

    Attributes
    ----------
    name : str
    vocabulary : Vocabulary
        Of the part that is fitted.
    tokens : ndarray of int32, shape (n,)
    fit_end, validation_end : int
        Where the parts end.
    """

    name: str
    vocabulary: Vocabulary
    tokens: Tokens
    fit_end: int
    validation_end: int

    @classmethod
    def of(cls, name: str, content: str) -> Text:
        """Fit the first 80 % of `content`, choose by the next 10 %, test on the last 10 %.

        Raises
        ------
        DataError
            If one of the parts would be empty.
        """
        n = len(content)
        fit_end, validation_end = int(FIT_END * n), int(VALIDATION_END * n)
        if not 0 < fit_end < validation_end < n:
            raise DataError(f"{name}: expected a text, got {n} characters")
        vocabulary = Vocabulary.of(content[:fit_end])
        return cls(name, vocabulary, vocabulary.encode(content), fit_end, validation_end)

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def fit(self) -> Tokens:
        """The part that is fitted."""
        return self.tokens[: self.fit_end]

    @property
    def validation(self) -> Tokens:
        """The part that chooses the epoch."""
        return self.tokens[self.fit_end : self.validation_end]

    @property
    def tail(self) -> Tokens:
        """The part that is held out."""
        return self.tokens[self.validation_end :]

    @property
    def note(self) -> str:
        """How long it is, how many characters there are, and how many of the rest the fitted part doesn't know."""
        known = len(self.vocabulary.characters)
        unknown = int((self.tokens[self.fit_end :] == known).sum())
        parts = f"{len(self)} characters, {known} different ones in the fitted {self.fit_end}"
        return f"{parts}; {unknown} of the others aren't among them" if unknown else parts

    def crc32(self) -> int:
        """Tells this text from others."""
        return zlib.crc32(self.tokens.tobytes(), zlib.crc32(self.vocabulary.characters.encode()))


def read_text(path: str | os.PathLike[str]) -> Text:
    """Read a file of text in UTF-8; every kind of line end is read as a line feed.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    Text
        Named after the file, cut into its parts.

    Raises
    ------
    DataError
        If the file is missing, no text in UTF-8, or too short to be cut into parts.
    """
    try:
        content = Path(path).read_text("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except OSError as error:
        raise DataError(f"{path}: can't be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: expected a text in UTF-8, got something else ({error})") from error
    return Text.of(Path(path).name, content)


def streams(tokens: Tokens, count: int) -> tuple[Tokens, Tokens]:
    """Inputs and targets, both (S, B): `count` pieces of the text side by side, each character's target the next.

    Up to `count` characters at the end are left out.
    """
    steps = (len(tokens) - 1) // count
    x, y = (tokens[first : first + steps * count].reshape(count, steps) for first in (0, 1))
    return np.ascontiguousarray(x.T), np.ascontiguousarray(y.T)


def _code_points(text: str) -> NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), "<u4")
