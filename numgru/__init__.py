"""GRU networks on CPUs, trained and run by fused Numba kernels."""

__version__ = "0.1.0"
