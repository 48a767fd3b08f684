"""A fresh process: the import, and the first call with compiled code in the cache."""

from __future__ import annotations

import sys

# The new process finds the library where this one does.
WHERE = f"import sys; sys.path[:] = {sys.path!r}"
FIRST_CALL = """
import numpy, numgru
numgru.GRU(8, 16, seed=0)(numpy.zeros((4, 2, 8), "float32"))
"""


class FreshProcess:
    """asv runs the returned statement in a new interpreter for each sample, after the untimed setup."""

    timeout = 300

    def timeraw_import(self) -> tuple[str, str]:
        return "import numgru", WHERE

    def timeraw_import_and_first_call(self) -> tuple[str, str]:
        return FIRST_CALL, WHERE
