"""A fresh process: the import, and the first call with compiled code in the cache."""

from __future__ import annotations

FIRST_CALL = """
import numpy, numgru
gru = numgru.GRU(8, 16, seed=0)
gru(numpy.zeros((4, 2, 8), "float32"))
"""


class FreshProcess:
    """asv runs the returned code in a new interpreter for each sample."""

    timeout = 300

    def timeraw_import(self) -> str:
        return "import numgru"

    def timeraw_import_and_first_call(self) -> str:
        return FIRST_CALL
