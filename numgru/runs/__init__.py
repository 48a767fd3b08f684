"""What every run of `numgru train` has in common, whatever is learnt."""

from .folder import Run, RunError, drop, kind_in, margin, margin_in_words, refuse_to_replace
from .learner import Data, Learner, Settings

__all__ = [
    "Data",
    "Learner",
    "Run",
    "RunError",
    "Settings",
    "drop",
    "kind_in",
    "margin",
    "margin_in_words",
    "refuse_to_replace",
]
