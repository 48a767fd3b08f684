"""Long short-term memory as a layer."""

from __future__ import annotations

from ..kernels.cell import Weights
from ..kernels.lstm import LSTMWeights
from .recurrent import Recurrent


class LSTM(Recurrent):
    """Long short-term memory: one layer or several, in one direction or both.

    For every step, with the gates in the order i, f, g, o and the previous states h and c::

        i  = sigmoid(W_ii x + b_ii + W_hi h + b_hi)         input gate
        f  = sigmoid(W_if x + b_if + W_hf h + b_hf)         forget gate
        g  = tanh(W_ig x + b_ig + W_hg h + b_hg)            candidate
        o  = sigmoid(W_io x + b_io + W_ho h + b_ho)         output gate
        c' = f * c + i * g
        h' = o * tanh(c')

    Parameters
    ----------
    input_size, hidden_size : int
        I and H.
    num_layers : int
        L; a layer reads the outputs, h, of the one before.
    zoneout : float
        As for a `GRU`, for h and for c, each with noise of its own; h' comes from the c' before c's noise
        (Krueger et al. 2017).
    learn_h_0 : bool
        Whether h and c before the first step are parameters.
    bias, batch_first, dropout, bidirectional, recurrent_dropout, checkpoint_every
        As for a `GRU`; recurrent dropout acts on h. With `checkpoint_every`, c is kept for every step.
    clip_flow_value, clip_flow_norm, dtype, seed
        As for a `GRU`; what flows into c is bounded as what flows into h.

    Raises
    ------
    ValueError, TypeError
        As for a `GRU`.

    Attributes
    ----------
    parameters, gradients : dict
        ``weight_ih_l{k}`` (4H, I or D H), ``weight_hh_l{k}`` (4H, H), ``bias_ih_l{k}`` (4H,), ``bias_hh_l{k}`` (4H,)
        for layer k, and the same with ``_reverse`` behind it for the other direction, as PyTorch names and orders
        them; ``h_0`` and ``c_0`` (L D, 1, H) with `learn_h_0`.

    Notes
    -----
    Equations: Hochreiter and Schmidhuber 1997, with the forget gate of Gers et al. 2000, as cuDNN and PyTorch compute
    them. All else is as for a `GRU`: results have the same bits for any batch and number of threads, `forward` is a
    training pass, a call is inference.

    States are given as a pair (h_0, c_0), or as one array (2, L D, B, H), which saves a copy. They're returned, and
    their gradients as well, as one such array, which unpacks into h and c.

    Examples
    --------
    >>> import numpy as np, numgru
    >>> lstm = numgru.LSTM(2, 3, seed=0)
    >>> y, (h_n, c_n) = lstm(np.zeros((5, 4, 2)))
    >>> y.shape, h_n.shape, c_n.shape
    ((5, 4, 3), (1, 4, 3), (1, 4, 3))
    """

    @property
    def _kind(self) -> type[Weights]:
        return LSTMWeights
