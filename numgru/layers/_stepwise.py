"""A recurrent layer step by step: a single one, sequences that arrive in pieces, and loops that others compile.

Shapes: B batch, I input, H hidden, L layers.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike

from .. import _check
from .._types import FloatArray
from ..kernels import one_step
from ._plain import PlainCalls
from .compiled import Compiled
from .stream import Stream


class Stepwise(PlainCalls):
    """What a layer of one direction can do without its whole input."""

    _transient: ClassVar = PlainCalls._transient | {"_step_function"}

    def __call__(self, x: ArrayLike, h_0: ArrayLike | None = None, /) -> tuple[Any, FloatArray]:
        """Whole sequences."""
        raise NotImplementedError

    def step(self, x_t: ArrayLike, h: ArrayLike, out: FloatArray | None = None) -> FloatArray:
        """One time step: the same bits as a whole sequence, with the least to do for it.

        Parameters
        ----------
        x_t : array_like, shape (B, I) or (I,)
            The input. Without its last dimension, integers: tokens, as in a call.
        h : array_like, shape (L, B, H) or (L, H)
            The states before the step; of an LSTM h and c, as a pair, or as one array (2, ...), as they're returned.
        out : ndarray of h's shape, optional
            Where the states after the step are written: C-contiguous, of the layer's dtype; it may be h.

        Returns
        -------
        ndarray of h's shape
            The states after the step; the last layer's, ``[-1]``, is the output.

        Raises
        ------
        ValueError
            For a wrong shape, or a bidirectional layer, which needs whole sequences.
        TypeError
            For numbers that aren't real.
        """
        given: Any = x_t
        before: Any = h
        dtype, function = self.dtype, self._step_function
        if type(given) is type(before) is np.ndarray and given.dtype is dtype is before.dtype:
            after = np.empty(before.shape, dtype) if out is None else out
            if type(after) is np.ndarray and after.dtype is dtype:  # the kernel looks at the rest, which takes it less
                states = before.copy() if out is before else before
                if one_step.call_step(function, self._weights()[0], given, states, after):
                    return after
        given = x_t if isinstance(x_t, np.ndarray) else _check.real("x_t", x_t)
        if given.dtype is not dtype and given.dtype.kind in "iu" and np.ndim(h) == given.ndim + 1 + self._states:
            return self._step_of_tokens(given, h, out)
        return self._checked_step(given, h, out)

    def _checked_step(self, x_t: FloatArray, h: ArrayLike, out: FloatArray | None) -> FloatArray:
        """A step of what the kernel doesn't take as it is, and the errors of what it can't."""
        batch = x_t.shape[:1] if x_t.ndim > 1 else ()
        below = _check.array("x_t", x_t, self.dtype, (*batch, self.input_size))
        before = _check.states("h", h, self.dtype, (self.num_layers, *batch, self.hidden_size), self._states)
        if out is None:
            out = np.empty(before.shape, self.dtype)
        else:
            _check.output("out", out, before.shape, self.dtype, below)
            if np.may_share_memory(out, before):
                before = before.copy()
        one_step.call_step(self._step_function, self._weights()[0], below, before, out)
        return out

    def _step_of_tokens(self, x_t: FloatArray, h: ArrayLike, out: FloatArray | None) -> FloatArray:
        x = _check.tokens("x_t", x_t, self.input_size).reshape((-1, 1) if self.batch_first else (1, -1))
        before = _check.states("h", h, self.dtype, (self.num_layers, *x_t.shape, self.hidden_size), self._states)
        after: FloatArray
        _, after = self(x, before.reshape(self._state_shape(self.num_layers, x.size, self.hidden_size)))
        if out is None:
            return after.reshape(before.shape)
        _check.output("out", out, before.shape, self.dtype)
        out[...] = after.reshape(before.shape)
        return out

    def stream(self, batch_size: int = 1, h_0: ArrayLike | None = None) -> Stream:
        """Keep the states from call to call: sequences that arrive in pieces.

        Parameters
        ----------
        batch_size : int
            B, the number of sequences.
        h_0 : array_like, shape (L, B, H), or of an LSTM (2, L, B, H) or a pair, optional
            The states before the first step; by default those learned with `learn_h_0`, or zero.

        Returns
        -------
        Stream
            ``stream(x)`` returns y, the same bits as the whole sequence's.

        Raises
        ------
        ValueError
            For a wrong shape, or a bidirectional layer, which needs whole sequences.
        TypeError
            For numbers that aren't real, or a batch_size that isn't an integer.
        """
        self._require_one_direction()
        return Stream(self, _check.size("batch_size", batch_size), h_0)

    def compiled(self) -> Compiled:
        """A step for loops compiled by Numba, and for C: see `Compiled`.

        Returns
        -------
        Compiled
            ``step, weights = gru.compiled()``. The weights are a copy of the layer's present ones.

        Raises
        ------
        ValueError
            For a bidirectional layer, which needs whole sequences.
        """
        self._require_one_direction()
        block, _ = self._weights()
        return Compiled(one_step.step, one_step.StepWeights(block, self._step_function).copy())

    @cached_property
    def _step_function(self) -> int:
        self._require_one_direction()
        return one_step.function_for(self._kind, self.dtype)
