"""A small real data set, what it takes to learn from a series or a text, and tasks that take a long memory."""

from .series import DataError, Series, load_co2, read_csv
from .tasks import SOLVED_BELOW, TASKS, Adding, Memorization, Task, TemporalOrder
from .text import Text, Vocabulary, read_text

__all__ = [
    "SOLVED_BELOW",
    "TASKS",
    "Adding",
    "DataError",
    "Memorization",
    "Series",
    "Task",
    "TemporalOrder",
    "Text",
    "Vocabulary",
    "load_co2",
    "read_csv",
    "read_text",
]
