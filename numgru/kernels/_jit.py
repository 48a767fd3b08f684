"""How every kernel is compiled, and where the result is kept; no other file names an option.

No `fastmath`, anywhere: the same bits for any batch size, thread count and vector width need IEEE arithmetic.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple

import llvmlite
import llvmlite.binding as llvm
import numba
import numba.extending
from numba.core import caching, codegen, sigutils, targetconfig
from numba.core.ccallback import CFunc
from numba.core.compiler import Compiler
from numba.misc.appdirs import AppDirs

if numba.config.DISABLE_JIT:
    raise ImportError("numgru's kernels exist in compiled form only: unset NUMBA_DISABLE_JIT and import it again")

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile a serial kernel."""
    return _kept(numba.njit(**_OPTIONS)(function))


class SharedKernel(NamedTuple):
    """A kernel whose last argument is the number of its shares: for one share, and for threads that share it out."""

    serial: Any
    parallel: Any


def shared_kernel(function: Callable[..., Any]) -> SharedKernel:
    """Compile a kernel whose work is in `prange` loops over shares, for one thread and for several."""
    twin = FunctionType(function.__code__, function.__globals__, function.__name__, None, function.__closure__)
    twin.__qualname__ = f"{function.__qualname__}_parallel"  # what it's called in the cache
    parallel = numba.njit(parallel=True, pipeline_class=_SharedCompiler, **_OPTIONS)(twin)
    return SharedKernel(kernel(function), _kept(parallel))


def piece(function: Callable[..., Any]) -> Any:
    """A function that only kernels call; it's compiled as a part of them, and has no code of its own."""
    return _part(function)


def c_function(signature: Any, function: Callable[..., Any]) -> Any:
    """Compile a function for this signature that has an address, for callers in C."""
    compiled = CFunc(function, sigutils.normalize_signature(signature), {}, {"error_model": "numpy"})
    compiled._cache = _KernelCache(function)  # type: ignore[attr-defined]
    compiled.compile()
    return compiled


def borrower(function: Callable[..., Any]) -> Any:
    """A piece that allocates nothing: it counts no references to the arrays it is passed, which takes atomic steps."""
    return _part(function, _nrt=False)


def inlined(function: Callable[..., Any]) -> Any:
    """A borrower without a call: to pass on what a tile is told takes as long as some of its sums."""
    return _part(function, _nrt=False, forceinline=True)


def _part(function: Callable[..., Any], **options: Any) -> Any:
    return numba.njit(**_of_pieces(), **options)(function)


def _of_pieces() -> dict[str, Any]:
    return _OPTIONS | {"pipeline_class": _PieceCompiler, "no_cpython_wrapper": True}


def overload(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """As Numba's: what a function is in kernels, chosen by its arguments' types; a piece."""
    decorate: Callable[[Callable[..., Any]], Any] = numba.extending.overload(function, jit_options=_of_pieces())
    return decorate


def in_threads() -> Any:
    """True in a kernel's own code where its shares run on threads, None in its twin for one thread."""
    raise NotImplementedError


@numba.extending.overload(in_threads)
def _() -> Any:
    if targetconfig.ConfigStack.top_or_none().auto_parallel.enabled:
        return lambda: True
    return lambda: None


def intrinsic(emitter: Callable[..., Any]) -> Any:
    """A function that writes its own LLVM code; constants among its arguments reach it as literals."""
    return numba.extending.intrinsic(prefer_literal=True)(emitter)


class _PieceLibrary(codegen.JITCodeLibrary):
    """LLVM code as it was lowered, for kernels to link in.

    Numba would optimise and translate every function alone, and then again in each that calls it: most of the time
    that a kernel takes to compile.
    """

    _bitcode: bytes | None = None

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def _optimize_final_module(self) -> None:
        pass

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._finalized = True

    def _get_module_for_linking(self) -> Any:
        """Parsed anew each time: as modules of LLVM, the pieces of a process's kernels would fill gigabytes."""
        if self._bitcode is None:
            self._bitcode = super()._get_module_for_linking().as_bitcode()
            self._final_module = self._shared_module = None
        return llvm.parse_bitcode(self._bitcode)

    def get_pointer_to_function(self, name: str) -> int:
        """What a call from Python runs: it raises TypeError."""
        return ctypes.cast(ctypes.pythonapi.PyErr_BadArgument, ctypes.c_void_p).value or 0

    @property
    def codegen(self) -> Any:
        """Itself, as all that Numba asks of a codegen here is `set_env`."""
        return self

    def set_env(self, name: str, env: Any) -> None:
        """Nothing: only code that calls Python has an environment."""


class _PieceCompiler(Compiler):
    """Numba's compiler, but for what becomes of the code."""

    def _compile_bytecode(self) -> Any:
        self.state.library = _PieceLibrary(self.state.targetctx.codegen(), self.state.func_id.func_qualname)
        return super()._compile_bytecode()


class _SharedCompiler(Compiler):
    """The same for a kernel on threads: its loop's body, and two wrappers around that, have no code of their own.

    They are linked into the kernel, as Numba does, but Numba would optimise and translate each of them, too.
    """

    def _compile_bytecode(self) -> Any:
        codegen = self.state.targetctx.codegen()
        usual = codegen._library_class

        def library(codegen: Any, name: str) -> Any:
            return (_PieceLibrary if "gufunc" in name.lower() else usual)(codegen, name)

        codegen._library_class = library
        try:
            return super()._compile_bytecode()
        finally:
            codegen._library_class = usual


@cache
def cache_folder() -> Path:
    """Where compiled kernels are kept: below `NUMBA_CACHE_DIR`, or the user's cache folder.

    Its name is a hash of the kernels' sources, because Numba sees neither a change in a function that a kernel calls
    nor one in what an intrinsic emits.
    """
    sources = hashlib.sha256(f"{numba.__version__} {llvmlite.__version__}".encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        sources.update(file.read_bytes())
    root = Path(numba.config.CACHE_DIR or AppDirs("numgru", appauthor=False).user_cache_dir)
    if not (root.is_absolute() or numba.config.CACHE_DIR):
        root = Path(os.devnull)  # who has no home has no cache either, and no folder named ~
    return root / f"numgru-{sources.hexdigest()[:16]}"


class _Locator(caching._CacheLocator):
    """Puts every kernel's files into `cache_folder`."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._line = function.__code__.co_firstlineno

    def get_cache_path(self) -> str:
        return os.fspath(cache_folder())

    def get_source_stamp(self) -> str:
        return cache_folder().name

    def get_disambiguator(self) -> str:
        return str(self._line)

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _Locator:
        return cls(py_func)


class _Impl(caching.CompileResultCacheImpl):
    _locator_classes = [_Locator]  # noqa: RUF012 (a list in the base class)


class _KernelCache(caching.FunctionCache):
    """A cache that can fail without the kernel failing: then it's compiled again."""

    _impl_class = _Impl

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # a truncated or foreign file raises whatever unpickling it comes upon
            with suppress(OSError):  # of a folder that may not be read or written
                for file in cache_folder().glob(f"{self._impl.filename_base}*"):
                    file.unlink(missing_ok=True)
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except Exception:  # a disk that is full or read-only, or a damaged index
            self._enabled = False


def _kept(dispatcher: Any) -> Any:
    dispatcher._cache = _KernelCache(dispatcher.py_func)
    return dispatcher
