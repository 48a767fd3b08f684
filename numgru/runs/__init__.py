"""What every run of `numgru train` has in common, whatever is learnt."""

from .folder import Run, RunError, kind_in, margin, margin_in_words
from .learner import Data, Learner, Settings

__all__ = ["Data", "Learner", "Run", "RunError", "Settings", "kind_in", "margin", "margin_in_words"]
