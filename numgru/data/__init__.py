"""A small real data set, and what it takes to learn from a series or a text."""

from .series import DataError, Series, load_co2, read_csv
from .text import Text, Vocabulary, read_text

__all__ = ["DataError", "Series", "Text", "Vocabulary", "load_co2", "read_csv", "read_text"]
