"""What numgru runs on: versions, processor, threads."""

from __future__ import annotations

import platform

import numba
import numpy as np

from . import __version__
from .kernels import _jit
from .kernels.target import TARGET, cpu_name


def versions() -> dict[str, str]:
    """The versions that decide about results."""
    return {
        "numgru": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
    }


def _threading_layer() -> str:
    """Numba chooses one when a parallel kernel first runs."""
    try:
        return str(numba.threading_layer())
    except ValueError:
        return f"not chosen yet, from: {numba.config.THREADING_LAYER}"


def machine() -> dict[str, str]:
    """The processor as the compiler sees it, how the kernels use it, and where they are kept."""
    return {
        "processor": cpu_name(),
        "vectors": f"{TARGET.name}: {TARGET.lanes(np.dtype(np.float32))} float32, "
        f"{TARGET.lanes(np.dtype(np.float64))} float64; fused multiply-add: {'yes' if TARGET.fma else 'no'}",
        "tile": f"{TARGET.rows} rows x 3 vectors",
        "threads": f"{numba.get_num_threads()} of {numba.config.NUMBA_NUM_THREADS}",
        "threading layer": _threading_layer(),
        "cache": str(_jit.cache_folder()),
    }
