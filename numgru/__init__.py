"""GRU, LSTM and plain recurrent networks on CPUs, trained and run by fused Numba kernels."""

from .kernels.threads import get_num_threads, set_num_threads
from .layers.base import Layer
from .layers.embedding import Embedding
from .layers.flow_report import FlowReport
from .layers.gru import GRU
from .layers.heads import LastStep, MaxOverTime, MeanOverTime
from .layers.linear import Linear
from .layers.lstm import LSTM
from .layers.rnn import RNN
from .layers.sequential import Sequential
from .layers.warmup import warmup
from .training import *  # noqa: F403
from .training import __all__ as _training

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "Embedding",
    "FlowReport",
    "LastStep",
    "Layer",
    "Linear",
    "MaxOverTime",
    "MeanOverTime",
    "Sequential",
    "get_num_threads",
    "set_num_threads",
    "warmup",
    *_training,
]
__version__ = "0.1.0"
