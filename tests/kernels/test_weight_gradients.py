"""Weights' gradients of every number of blocks of units that a group can have, whole and beyond."""

from __future__ import annotations

import numpy as np
import pytest

from numgru.kernels.target import TARGET
from tests.combinations import BEFORE, LSTM, TANH, case, name_of

LANES = TARGET.lanes(np.dtype(np.float32))


@pytest.mark.parametrize("blocks", range(1, 9))
@pytest.mark.parametrize("names", [frozenset(), frozenset({BEFORE}), frozenset({TANH}), frozenset({LSTM})], ids=name_of)
def test_every_number_of_blocks(names: frozenset[str], blocks: int) -> None:
    """With more examples than a panel has, and too many to be summed directly."""
    case(names, (7, 11, 5, blocks * LANES - 3), np.float32).check()
