"""GRU networks on CPUs, trained and run by fused Numba kernels."""

from .kernels.threads import get_num_threads, set_num_threads
from .layers.gru import GRU

__all__ = ["GRU", "get_num_threads", "set_num_threads"]
__version__ = "0.1.0"
