"""Every number of blocks of inputs and units, of which tiles and groups take two, three or six at a time."""

from __future__ import annotations

import numpy as np
import pytest

from numgru.kernels.target import TARGET
from tests.combinations import BEFORE, LSTM, TANH, case, name_of

LANES = TARGET.lanes(np.dtype(np.float32))


@pytest.mark.parametrize("rows", [1, 2, 3, 6, 11])
@pytest.mark.parametrize("blocks", range(1, 9))
@pytest.mark.parametrize("names", [frozenset(), frozenset({BEFORE}), frozenset({TANH}), frozenset({LSTM})], ids=name_of)
def test_every_number_of_blocks(names: frozenset[str], blocks: int, rows: int) -> None:
    """With tiles for few rows, and with more than a tile has, more examples than a bundle, too many for direct sums."""
    units = blocks * LANES - 3
    case(names, (7, rows, units, units), np.float32).check()
