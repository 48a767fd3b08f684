"""What every run of `numgru train` has in common, whatever is learnt."""

from .folder import Run, RunError, drop, kind_in, margin, margin_in_words, refuse_to_replace
from .learner import Data, Examples, Learner, RunSettings

__all__ = [
    "Data",
    "Examples",
    "Learner",
    "Run",
    "RunError",
    "RunSettings",
    "drop",
    "kind_in",
    "margin",
    "margin_in_words",
    "refuse_to_replace",
]
