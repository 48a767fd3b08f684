"""What numgru runs on: versions, processor, threads."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numba
import numpy as np
from numba.core import event

from . import __version__, get_num_threads
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


class _Listener(event.Listener):  # type: ignore[misc]
    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell: Callable[[], object] | None = tell

    def on_start(self, event: object) -> None:
        """Numba has not found a kernel in the cache."""
        tell, self._tell = self._tell, None
        if tell is not None:
            tell()

    def on_end(self, event: object) -> None:
        """Of no interest."""


@contextmanager
def told_of_compiling(tell: Callable[[], object]) -> Iterator[None]:
    """Call `tell` once, when the first kernel is compiled that isn't in the cache."""
    with event.install_listener("numba:compile", _Listener(tell)):
        yield


def _is_writable(folder: Path) -> bool:
    """Whether it is, or can be made."""
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    return os.access(existing, os.W_OK)


def machine() -> dict[str, str]:
    """The processor as the compiler sees it, how the kernels use it, and where they are kept."""
    pool = numba.get_num_threads()  # starts the threading layer, which has no name before
    return {
        "processor": cpu_name(),
        "vectors": f"{TARGET.name}: {TARGET.lanes(np.dtype(np.float32))} float32, "
        f"{TARGET.lanes(np.dtype(np.float64))} float64; fused multiply-add: {'yes' if TARGET.fma else 'no'}",
        "tile": f"{TARGET.rows} rows x 3 vectors",
        "threads": f"{get_num_threads()} of a pool of {pool}",
        "threading layer": numba.threading_layer(),
        "cache": f"{_jit.cache_folder()}{'' if _is_writable(_jit.cache_folder()) else ' (not writable)'}",
    }
