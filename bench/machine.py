"""What this machine is, and what it can do at most: fused multiply-adds and reads a second, beside each benchmark.

A rate says little on its own; its share of the peak, measured in the same process, compares across machines.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache, reduce
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba.extending import intrinsic
from numpy.typing import DTypeLike, NDArray

import numgru
from numgru.kernels.threads import available_cpus

# An FMA takes 4 cycles and two start in each: 8 chains would do, 20 leave slack and fit the 32 registers of
# AVX-512 and NEON. AVX2 has 16: a few of the 20 live in the cache, so 12 there.
_AVX512 = llvm.get_host_cpu_features().get("avx512f", False)
_AVX2 = llvm.get_host_cpu_features().get("avx2", False)
_REGISTER_BYTES = 64 if _AVX512 else 32 if _AVX2 else 16
_CHAINS = 12 if _AVX2 and not _AVX512 else 20
_LARGEST_BUFFER = 256 * 2**20


def about() -> dict[str, Any]:
    """What figures depend on."""
    return {
        "processor": llvm.get_host_cpu_name(),
        "cores": available_cpus(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "numgru": numgru.__version__,
    }


def _chains(scalar: ir.Type, lanes: int, numba_type: Any) -> Any:
    """A Numba function of `count` and a start value: `count` FMAs on each of `_CHAINS` full registers."""
    vector = ir.VectorType(scalar, lanes)

    def constant(value: float) -> ir.Constant:
        return ir.Constant(vector, [value] * lanes)

    def codegen(context: Any, builder: ir.IRBuilder, signature: Any, arguments: Any) -> Any:
        count, start = arguments
        name = f"llvm.fma.v{lanes}f{32 if scalar == ir.FloatType() else 64}"
        fma = builder.module.globals.get(name) or ir.Function(
            builder.module, ir.FunctionType(vector, [vector] * 3), name
        )
        # A start known only at run time, different in each chain: nothing can be folded or shared.
        word = builder.insert_element(constant(0.0), start, ir.IntType(32)(0))
        begin = [builder.fadd(word, constant(float(i))) for i in range(_CHAINS)]
        before, loop = builder.block, builder.append_basic_block("loop")
        after = builder.append_basic_block("after")
        builder.branch(loop)
        builder.position_at_end(loop)
        done = builder.phi(count.type)
        done.add_incoming(count.type(0), before)
        registers = [builder.phi(vector) for _ in begin]
        # 0.5 v + 0.5 goes to 1: no overflow, and no denormal numbers, which are slow.
        after_fma = [builder.call(fma, [register, constant(0.5), constant(0.5)]) for register in registers]
        for register, first, then in zip(registers, begin, after_fma, strict=True):
            register.add_incoming(first, before)
            register.add_incoming(then, loop)
        following = builder.add(done, count.type(1))
        done.add_incoming(following, loop)
        builder.cbranch(builder.icmp_signed("<", following, count), loop, after)
        builder.position_at_end(after)
        total = reduce(builder.fadd, after_fma)
        return builder.extract_element(total, ir.IntType(32)(0))

    @intrinsic
    def chains(typing_context: Any, count: Any, start: Any) -> Any:
        return numba_type(numba.types.int64, numba_type), codegen

    @numba.njit(nogil=True)
    def run(count: int, start: float) -> float:
        return chains(count, start)

    return run


@cache
def _peak_kernel(dtype: np.dtype[Any]) -> tuple[Callable[[int, Any], float], int]:
    scalar = ir.FloatType() if dtype == np.float32 else ir.DoubleType()
    lanes = _REGISTER_BYTES // dtype.itemsize
    run = _chains(scalar, lanes, numba.from_dtype(dtype))
    run(1, dtype.type(0))
    return run, 2 * _CHAINS * lanes


def fma_gflops(dtype: DTypeLike = np.float32, threads: int = 1) -> float:
    """GFLOP/s of fused multiply-adds on this many cores at once; one measurement of some milliseconds."""
    dtype, count = np.dtype(dtype), 1_000_000
    run, flops = _peak_kernel(dtype)

    def rate(_: int) -> float:
        start = time.perf_counter()
        run(count, dtype.type(0))
        return count * flops / (time.perf_counter() - start) / 1e9

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(rate, range(threads)))


def fma_peak(dtype: DTypeLike = np.float32, threads: int = 1, repeats: int = 20) -> float:
    """The most GFLOP/s that this many cores reach with fused multiply-adds on full vector registers."""
    time.sleep(0.05)  # OpenMP's threads spin for a while after a parallel kernel, on the cores to be measured
    return max(fma_gflops(dtype, threads) for _ in range(repeats))


@numba.njit(nogil=True)
def read_words(buffer: NDArray[np.int64], times: int) -> np.int64:
    total = np.int64(0)
    for _ in range(times):
        for i in range(buffer.size):
            total += buffer[i]  # an integer: LLVM may reorder the sum, and so reads whole registers
    return total


def _bytes(size: str) -> int:
    return int(size.rstrip("KM")) * {"K": 2**10, "M": 2**20}.get(size[-1], 1)


@cache
def cache_sizes() -> dict[str, int]:
    """Bytes by level, as of the first processor; usual sizes where the system doesn't tell."""
    sizes = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        if (index / "type").read_text().strip() != "Instruction":
            sizes["L" + (index / "level").read_text().strip()] = _bytes((index / "size").read_text().strip())
    return sizes or {"L1": 32 * 2**10, "L2": 512 * 2**10, "L3": 16 * 2**20}


def levels() -> list[str]:
    return [*cache_sizes(), "memory"]


@cache
def _buffers(level: str, threads: int) -> list[NDArray[np.int64]]:
    """Half a level, or far more than all; a core's own caches whole, what is shared by parts."""
    sizes = cache_sizes()
    size = sizes[level] // 2 if level in sizes else min(8 * max(sizes.values()), _LARGEST_BUFFER)
    words = size // 8 // (1 if level in ("L1", "L2") else threads)
    return [_aligned_ones(words) for _ in range(threads)]


def _aligned_ones(words: int) -> NDArray[np.int64]:
    """From the start of a cache line on: a register's load that straddles two takes twice as long."""
    array = np.ones(words + 8, np.int64)
    start = -array.ctypes.data % 64 // 8
    return array[start : start + words]


def reads(level: str, threads: int) -> float:
    """The most GB/s that this many cores read from a level at once."""
    buffers = _buffers(level, threads)
    times = max(1, 2**28 // buffers[0].nbytes)

    def rate(buffer: NDArray[np.int64]) -> float:
        start = time.perf_counter()
        read_words(buffer, times)
        return times * buffer.nbytes / (time.perf_counter() - start) / 1e9

    read_words(buffers[0], 1)
    with ThreadPoolExecutor(threads) as pool:
        return max(sum(pool.map(rate, buffers)) for _ in range(3))


if __name__ == "__main__":
    for dtype in ("float32", "float64"):
        for threads in (1, 2):
            print(f"{dtype}, {threads} threads: {fma_peak(dtype, threads):.0f} GFLOP/s")
