"""Learning to write text from start to end: what the command line does, for programs."""

from .folder import TextRun
from .model import CharacterModel, Settings
from .sampling import sample

__all__ = ["CharacterModel", "Settings", "TextRun", "sample"]
