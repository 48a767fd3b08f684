"""The gated recurrent unit as a layer."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike

from .. import _check
from ..kernels.cell import Weights
from ..kernels.gru import GRUWeights, ResetBeforeWeights
from .base import fixed
from .recurrent import Recurrent


class GRU(Recurrent):
    """Gated recurrent units: one layer or several, in one direction or both.

    For every step, with the gates in the order r, z, n and the previous state h::

        r  = sigmoid(W_ir x + b_ir + W_hr h + b_hr)         reset gate
        z  = sigmoid(W_iz x + b_iz + W_hz h + b_hz)         update gate
        n  = tanh(W_in x + b_in + r * (W_hn h + b_hn))      candidate
        h' = (1 - z) * n + z * h

    With ``reset_after=False`` the reset gate is applied before the product instead (Cho et al. 2014)::

        n  = tanh(W_in x + b_in + W_hn (r * h) + b_hn)

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        L; a layer reads the outputs of the one before.
    bias : bool
        Whether there are b_i and b_h.
    batch_first : bool
        Sequences are (B, T, features) instead of (T, B, features). States are (L D, B, H) either way.
    dropout : float
        Share of the outputs between layers that a training pass sets to zero; the others are scaled by 1 / (1 - p).
    bidirectional : bool
        Read sequences from their end, too, with weights of its own; D is 2 then, and y holds both directions' states.
    reset_after : bool
        Whether the reset gate multiplies W_hn h + b_hn, or else h. Weights of one don't fit the other.
    recurrent_dropout : float
        Share of the state's units that a training pass sets to zero where the state is multiplied with W_h, one mask
        for all steps; the others are scaled by 1 / (1 - p) (Gal and Ghahramani 2016).
    zoneout : float
        Share of the units that keep their state in a step of a training pass; otherwise every unit keeps this share
        of its state (Krueger et al. 2017).
    learn_h_0 : bool
        Whether the states before the first step are parameters.
    checkpoint_every : int, optional
        Keep no gates from forward to backward but compute them again, so many steps at once: memory for time.
    clip_flow_value, clip_flow_norm : float, optional
        Hold the gradient that flows back from step t + 1 into the state of step t within bounds: every number within
        +-clip_flow_value (after Graves 2013, who so bounds the gradients of the gates' sums), which may turn it, or
        each row's norm at most clip_flow_norm, which keeps its direction, of an LSTM that of h's and that of c's
        gradient, each by itself; of both, the norm comes first. What comes through y_t and h_n is added as it is.
        `flow_report` says what they did. A norm that overflows, as `gradient_flow` says when, makes its row NaN. A
        float32 flow 1e38 times as long as clip_flow_norm is only brought near that, one 1e45 times as long to zero.
    dtype : dtype_like
        float32 or float64.
    seed : int, optional
        Of the initial weights, uniform in +-1/sqrt(H), and of the noise. None draws fresh ones.

    Raises
    ------
    ValueError
        For a size below 1, a rate outside [0, 1), a bound that isn't above 0, another dtype, a negative seed.
    TypeError
        For numbers of a wrong kind.

    Warns
    -----
    UserWarning
        For `dropout` with a single layer, where it has no effect.

    Attributes
    ----------
    parameters, gradients : dict
        ``weight_ih_l{k}`` (3H, I or D H), ``weight_hh_l{k}`` (3H, H), ``bias_ih_l{k}`` (3H,), ``bias_hh_l{k}`` (3H,)
        for layer k, and the same with ``_reverse`` behind it for the other direction, as PyTorch names and orders
        them; ``h_0`` (L D, 1, H) with `learn_h_0`.
    dropout, recurrent_dropout, zoneout, checkpoint_every, clip_flow_value, clip_flow_norm
        As given; another value takes effect with the next call or `forward`. All other arguments stay as they are.
    measure_flow : bool
        Whether training passes measure `gradient_flow`, which says within what range; to be set before `forward`.
        False at first.

    Notes
    -----
    Equations: Cho et al. 2014, with the reset gate after the product as in cuDNN and PyTorch, and in chapter 53 of the
    Deep Learning Book.
    A result has the same bits for any batch size, place in the batch, number of threads, for sequences of different
    lengths in one batch or alone, and for calls of one step instead of many. `forward` is a training pass, with
    dropout and zoneout; a call is inference, without.

    The backward pass reads the forward pass's input and output again, and the parameters: change none in between.

    Examples
    --------
    >>> import numpy as np, numgru
    >>> gru = numgru.GRU(2, 3, seed=0)
    >>> y, h_n = gru(np.zeros((5, 4, 2)))
    >>> y.shape, h_n.shape
    ((5, 4, 3), (1, 4, 3))
    """

    reset_after: bool = fixed()

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        *,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        reset_after: bool = True,
        recurrent_dropout: float = 0.0,
        zoneout: float = 0.0,
        learn_h_0: bool = False,
        checkpoint_every: int | None = None,
        clip_flow_value: float | None = None,
        clip_flow_norm: float | None = None,
        dtype: DTypeLike = np.float32,
        seed: int | None = None,
    ) -> None:
        self.reset_after = _check.flag("reset_after", reset_after)
        super().__init__(
            input_size, hidden_size, num_layers, bias=bias, batch_first=batch_first, dropout=dropout,
            bidirectional=bidirectional, recurrent_dropout=recurrent_dropout, zoneout=zoneout, learn_h_0=learn_h_0,
            checkpoint_every=checkpoint_every, clip_flow_value=clip_flow_value, clip_flow_norm=clip_flow_norm,
            dtype=dtype, seed=seed,
        )  # fmt: skip

    @property
    def _kind(self) -> type[Weights]:
        return GRUWeights if self.reset_after else ResetBeforeWeights
