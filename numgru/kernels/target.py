"""What the processor's vector unit looks like: how wide, how many registers, fused multiply-add or not.

LLVM is asked what it would emit, so no table of processor names is kept, but for one thing that it doesn't say. And
Numba's own settings (`NUMBA_CPU_NAME`, `NUMBA_CPU_FEATURES`) are followed.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
from numba.core.codegen import get_host_cpu_features


@dataclass(frozen=True)
class Target:
    """A vector unit, and the tile that fills its registers.

    Attributes
    ----------
    name : str
        "avx512", "avx2", "neon" or "generic".
    vector_bytes : int
        Bytes of one register.
    rows : int
        Batch rows of the tile: with three vectors a row it takes all registers but those that the
        weights and the broadcast need.
    fma : bool
        Whether a multiply-add is rounded once. Without it the bits differ from all other targets.
    halves : bool
        Whether registers go through units of half their size, which makes no difference to a multiply-add.
    """

    name: str
    vector_bytes: int
    rows: int
    fma: bool
    halves: bool = False

    def lanes(self, dtype: Any) -> int:
        """Numbers of `dtype` (float32 or float64) in one register."""
        return self.vector_bytes * 8 // int(getattr(dtype, "bitwidth", 0) or dtype.itemsize * 8)


AVX512 = Target("avx512", 64, 8, True)
AVX2 = Target("avx2", 32, 4, True)
NEON = Target("neon", 16, 8, True)
GENERIC = Target("generic", 16, 4, False)

_OF_HALVES = {"znver4"}

_PROBE = """
target triple = "{triple}"
define void @probe(ptr %p) {{
  %x = load <16 x float>, ptr %p
  %y = call <16 x float> @llvm.fma.v16f32(<16 x float> %x, <16 x float> %x, <16 x float> %x)
  store <16 x float> %y, ptr %p
  ret void
}}
declare <16 x float> @llvm.fma.v16f32(<16 x float>, <16 x float>, <16 x float>)
"""


def detect(triple: str, cpu: str, features: str) -> Target:
    """The vector unit for which LLVM compiles."""
    machine = llvm.Target.from_triple(triple).create_target_machine(cpu=cpu, features=features)
    assembly = machine.emit_assembly(llvm.parse_assembly(_PROBE.format(triple=triple)))
    if "fmla" in assembly:
        return NEON
    if "vfmadd" in assembly:
        return replace(AVX512, halves=cpu in _OF_HALVES) if "zmm" in assembly else AVX2
    return GENERIC


def _host() -> Target:
    config = numba.config
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    cpu = config.CPU_NAME or llvm.get_host_cpu_name()
    features = config.CPU_FEATURES if config.CPU_FEATURES is not None else get_host_cpu_features()
    return detect(llvm.get_process_triple(), cpu, features)


TARGET = _host()


def _l1_bytes() -> int:
    """The first-level data cache's size, as Linux tells it; or else a usual one."""
    try:
        return int(Path("/sys/devices/system/cpu/cpu0/cache/index0/size").read_text().removesuffix("K\n")) * 1024
    except (OSError, ValueError):
        return 32 * 1024


L1_REGISTERS = _l1_bytes() // TARGET.vector_bytes


def cpu_name() -> str:
    """The processor as LLVM names it, with the machine's architecture."""
    return f"{numba.config.CPU_NAME or llvm.get_host_cpu_name()} ({platform.machine()})"
