"""A recurrent layer's step for loops that Numba compiles, and for C."""

from __future__ import annotations

from typing import Any, NamedTuple

from ..kernels.single_step import StepWeights


class Compiled(NamedTuple):
    """One time step of a layer, without the interpreter: ``step, weights = gru.compiled()``.

    Attributes
    ----------
    step : compiled function
        ``step(weights, x, h, out)`` writes the states after the step that starts from `h` and reads `x`. Arrays are
        C-contiguous and of the layer's dtype: x (I,), h and out (L, H), or x (B, I), h and out (L, B, H); of an LSTM
        h and c, (2, L, H) or (2, L, B, H). `out` lies apart from x and h. It allocates nothing, but for
        a GRU with ``reset_after=False``, whose gates lie in memory between its two products. It raises ValueError for
        a wrong shape. Wrong types are a TypingError when the loop is compiled.
    weights : StepWeights
        A copy of the layer's weights, which doesn't follow them: ``weights.block[:] = gru.compiled().weights.block``
        fetches them anew, while no step runs. Pass it to the loop as an argument; Numba would make a constant of a
        global one.

    Notes
    -----
    For C, `address` is that of a function ::

        void step(const void *weights, const T *x, const T *h, T *out, int64_t batch);

    with T float or double, the layer's dtype, and `weights_address` is its first argument. Both are valid as long as
    this object, or its `weights`, exists. It checks nothing, needs no interpreter and may be called from any thread.
    """

    step: Any
    weights: StepWeights

    @property
    def address(self) -> int:
        """The address of the C function."""
        return self.weights.function

    @property
    def weights_address(self) -> int:
        """The address of the weights."""
        return self.weights.block.ctypes.data
