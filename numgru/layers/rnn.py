"""The plain recurrent network as a layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from .. import _check
from ..kernels.cell import Weights
from ..kernels.rnn import ReluWeights, TanhWeights
from .base import fixed
from .recurrent import Recurrent

_KINDS = {"tanh": TanhWeights, "relu": ReluWeights}


class RNN(Recurrent):
    """Plain recurrent units: one layer or several, in one direction or both.

    For every step, with the previous state h::

        h' = tanh(W_i x + b_i + W_h h + b_h)

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        L; a layer reads the outputs of the one before.
    nonlinearity : str
        "tanh", or "relu", max(., 0), in its place.
    bias, batch_first, dropout, bidirectional, recurrent_dropout, zoneout, learn_h_0, checkpoint_every
        As for a `GRU`.
    clip_flow_value, clip_flow_norm, dtype, seed
        As for a `GRU`.

    Raises
    ------
    ValueError, TypeError
        As for a `GRU`; ValueError for another `nonlinearity`, too.

    Attributes
    ----------
    parameters, gradients : dict
        ``weight_ih_l{k}`` (H, I or D H), ``weight_hh_l{k}`` (H, H), ``bias_ih_l{k}`` (H,), ``bias_hh_l{k}`` (H,) for
        layer k, and the same with ``_reverse`` behind it for the other direction, as PyTorch names them; ``h_0``
        (L D, 1, H) with `learn_h_0`.

    Notes
    -----
    Equations: Elman 1990, with PyTorch's two biases. All else is as for a `GRU`: results have the same bits for any
    batch and number of threads, `forward` is a training pass, a call is inference.

    Examples
    --------
    >>> import numpy as np, numgru
    >>> rnn = numgru.RNN(2, 3, seed=0)
    >>> y, h_n = rnn(np.zeros((5, 4, 2)))
    >>> y.shape, h_n.shape
    ((5, 4, 3), (1, 4, 3))
    """

    nonlinearity: str = fixed()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        learn_h_0: bool = False,
        checkpoint_every: int | None = None,
        clip_flow_value: float | None = None,
        clip_flow_norm: float | None = None,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        _check.one_of("nonlinearity", nonlinearity, _KINDS)
        self.nonlinearity = nonlinearity
        super().__init__(
            input_size, hidden_size, num_layers, bias=bias, batch_first=batch_first, dropout=dropout,
            bidirectional=bidirectional, recurrent_dropout=recurrent_dropout, zoneout=zoneout, learn_h_0=learn_h_0,
            checkpoint_every=checkpoint_every, clip_flow_value=clip_flow_value, clip_flow_norm=clip_flow_norm,
            dtype=dtype, seed=seed,
        )  # fmt: skip

    @property
    def _kind(self) -> type[Weights]:
        return _KINDS[self.nonlinearity]
