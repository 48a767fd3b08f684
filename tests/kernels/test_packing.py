"""Packed weights: the same from several threads, and for a large layer without compiling what it doesn't need."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from numgru.kernels import recurrent, threads
from numgru.kernels.cell import Weights
from numgru.kernels.gru import GRUWeights, ResetBeforeWeights
from numgru.kernels.lstm import LSTMWeights
from numgru.layers._direction import Direction
from tests.cases import count_compiled, run_elsewhere

PARTS = 3


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("I", "H"), [(1, 1), (17, 15), (33, 65), (5, 129)])
@pytest.mark.parametrize("kind", [GRUWeights, ResetBeforeWeights, LSTMWeights])
def test_several_threads_pack_the_same(kind: type[Weights], I: int, H: int, dtype: Any) -> None:
    """Also where there are fewer blocks than threads."""
    rng = np.random.default_rng(0)
    gates = len(kind.cell.input_slots)
    w_ih, w_hh = (rng.standard_normal((gates * H, width)).astype(dtype) for width in (I, H))
    biases = rng.standard_normal((2, gates * H)).astype(dtype)
    for kernel, arguments in (
        (recurrent.pack_weights, (w_ih, w_hh, *biases)),
        (recurrent.pack_weights_backward, (w_ih, w_hh, True)),
    ):
        one, more = (Direction(kind, "l0", slice(0), I, H, H, 0, False, dtype).backward_weights for _ in range(2))
        for part in (*one, *more):
            part[...] = np.nan
        threads.run(kernel, 1, one, *arguments)
        threads.run(kernel, PARTS, more, *arguments)
        assert np.isfinite(one.state).all()
        for part, expected in zip(more, one, strict=True):
            np.testing.assert_array_equal(part, expected)


def test_nothing_is_compiled_after_the_warmup_of_a_large_layer() -> None:
    code = "from tests.kernels.test_packing import compiled_later; compiled_later()"
    assert run_elsewhere(code).split() == ["0"]


def compiled_later() -> None:
    import numgru

    numgru.set_num_threads(2)
    layer = numgru.GRU(64, 448, seed=0)
    (direction,) = layer._directions
    assert direction.training_parts(1, 1, direction.plain.train) == (2, 1), "too small for two threads"
    numgru.warmup(layer, training=True, need_dx=False)
    before = count_compiled()
    for count in (1, 2):
        numgru.set_num_threads(count)
        for B in (1, 20):
            layer.backward(layer.forward(np.zeros((10, B, 64), np.float32))[0], need_dx=False)
            layer(np.zeros((10, B, 64), np.float32))
    print(count_compiled() - before)
