"""The first layer of a network that reads tokens.

Shapes: V different tokens, E numbers for each.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from .. import _check
from .._types import FloatArray, IntArray
from ..kernels.embedding import embed, embed_backward
from .base import Layer, fixed
from .summary import Shape


class Embedding(Layer):
    """A vector for each token: its row of a matrix that is learnt.

    Parameters
    ----------
    num_embeddings, embedding_dim : int
        V and E.
    dtype : dtype_like
        float32 or float64.
    seed : int, optional
        Of the initial weights, standard normal. None draws fresh ones.

    Raises
    ------
    ValueError
        For a size below 1, another dtype, a negative seed.
    TypeError
        For numbers of a wrong kind.

    Attributes
    ----------
    parameters, gradients : dict
        ``weight`` (V, E).

    Notes
    -----
    The backward pass touches only the gradients of rows that occur, and adds to each from the end of x's first axis,
    which is time, to its beginning. It reads the tokens again: don't change them in between.

    Examples
    --------
    >>> import numpy as np, numgru
    >>> embedding = numgru.Embedding(27, 8, seed=0)
    >>> embedding(np.zeros((20, 4), int)).shape
    (20, 4, 8)
    """

    num_embeddings: int = fixed()
    embedding_dim: int = fixed()

    def __init__(
        self,
        num_embeddings: int,
        embedding_dim: int,
        *,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self.num_embeddings = V = _check.size("num_embeddings", num_embeddings)
        self.embedding_dim = E = _check.size("embedding_dim", embedding_dim)
        super().__init__({"weight": (V, E)}, dtype)
        self.flat_parameters[...] = _check.generator(seed).standard_normal(V * E)

    _transient = Layer._transient | {"_tokens"}

    def _forget(self) -> None:
        self._tokens: IntArray | None = None

    def __call__(self, x: ArrayLike) -> FloatArray:
        """The vectors of the tokens `x`; nothing is kept.

        Parameters
        ----------
        x : array_like of int, any shape; usually (T, B)
            From 0 to V - 1.

        Returns
        -------
        ndarray, x's shape and E behind it

        Raises
        ------
        TypeError
            If `x` isn't made of integers.
        ValueError
            For a token that isn't there, or without any token.
        """
        return self._embed(_check.tokens("x", x, self.num_embeddings))

    def forward(self, x: ArrayLike) -> FloatArray:
        """The vectors of the tokens `x`, which are kept for `backward`. Shapes and errors as for a call."""
        self._tokens = _check.tokens("x", x, self.num_embeddings)
        return self._embed(self._tokens)

    def backward(self, dy: ArrayLike, *, need_dx: bool = True) -> None:
        """Add into `gradients`; returns None whatever `need_dx` says, for a token has no gradient.

        Raises
        ------
        ValueError
            Without a `forward` before it, or for a wrong shape.
        TypeError
            For numbers that aren't real.
        """
        tokens = _check.kept(self._tokens)
        dy = _check.array("dy", dy, self.dtype, (*tokens.shape, self.embedding_dim))
        self._tokens = None
        by_step = _by_step(tokens)
        embed_backward(by_step, dy.reshape(*by_step.shape, self.embedding_dim), self.gradients["weight"])

    @property
    def input_dtype(self) -> np.dtype[Any]:
        """That of tokens."""
        return np.dtype(np.int64)

    @property
    def small_input(self) -> tuple[int, ...]:
        """One token."""
        return (1, 1)

    @property
    def input_shape(self) -> Shape:
        """Usually a token for each step of each sequence."""
        return ("T", "B")

    def output_shape(self, shape: Shape) -> Shape:
        """With E behind it."""
        return (*shape, self.embedding_dim)

    @property
    def multiply_adds(self) -> int:
        """None: rows are copied."""
        return 0

    def _embed(self, tokens: IntArray) -> FloatArray:
        y = np.empty((*tokens.shape, self.embedding_dim), self.dtype)
        by_step = _by_step(tokens)
        embed(by_step, self._parameters()["weight"], y.reshape(*by_step.shape, self.embedding_dim))
        return y


def _by_step(tokens: IntArray) -> IntArray:
    """Two axes: the first, which is time, and all others as one."""
    return tokens.reshape(tokens.shape[0] if tokens.ndim else 1, -1)
