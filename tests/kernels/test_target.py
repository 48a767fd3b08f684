"""Vector units that this machine may not have: what is detected for them, and what is compiled for them."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from numgru.kernels import target
from numgru.kernels.gru import GRUCell
from numgru.kernels.tiles import sum_rows
from numgru.kernels.vectors import I64, Grid, Kind, Vec

llvm.initialize_all_targets()
llvm.initialize_all_asmprinters()

X86, ARM = "x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"


@pytest.mark.parametrize(
    ("triple", "cpu", "name", "vector_bytes"),
    [
        (X86, "skylake-avx512", "avx512", 64),
        (X86, "znver4", "avx512", 64),
        (X86, "haswell", "avx2", 32),
        (X86, "znver2", "avx2", 32),
        (X86, "x86-64", "generic", 16),
        (X86, "sandybridge", "generic", 16),  # AVX without a fused multiply-add
        (ARM, "generic", "neon", 16),
        (ARM, "neoverse-n1", "neon", 16),
        (ARM, "apple-m1", "neon", 16),
    ],
)
def test_detect(triple: str, cpu: str, name: str, vector_bytes: int) -> None:
    found = target.detect(triple, cpu, "")
    assert (found.name, found.vector_bytes) == (name, vector_bytes)
    assert found.fma == (name != "generic")


def step_tile(found: target.Target) -> str:
    """A step of a GRU without its input, as LLVM's assembly: the sums over k, the gates, the new state."""
    kind = Kind(32, found.vector_bytes // 4, found.fma)
    pointer = ir.PointerType()
    function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), [pointer, pointer, pointer, I64]), "step")
    b = ir.IRBuilder(function.append_basic_block())
    h_at, w_at, out_at, depth = function.args
    h = Grid(b, kind, h_at, I64(0), depth, I64(kind.lanes))
    w = Grid(b, kind, w_at, I64(0), I64(3 * kind.lanes), I64(0))
    out = Grid(b, kind, out_at, I64(0), depth, I64(kind.lanes))
    rows = range(found.rows)
    sums = sum_rows(
        b,
        [w.load(0, 0, g * kind.lanes) for _ in rows for g in range(3)],
        found.rows,
        depth,
        h,
        lambda k: [w.load(k, 0, g * kind.lanes) for g in range(3)],
    )
    r, z, q = (Vec.stack(sums[g::3]) for g in range(3))
    state, _ = GRUCell.step([r, z, q, q], Vec.stack([h.load(m, 0) for m in rows]))
    for m, value in enumerate(state):
        out.store(value, m, 0)
    b.ret_void()
    return str(function.module)


@pytest.mark.parametrize(
    ("triple", "features", "found", "multiply_add"),
    [(ARM, "+neon", target.NEON, "fmla\tv"), (X86, "+avx2,+fma", target.AVX2, "vfmadd")],
)
def test_step_compiles_to_vector_instructions(
    triple: str, features: str, found: target.Target, multiply_add: str
) -> None:
    machine = llvm.Target.from_triple(triple).create_target_machine(features=features, opt=3)
    module = llvm.parse_assembly(step_tile(found))
    module.triple = triple
    assembly = machine.emit_assembly(module)
    assert assembly.count(multiply_add) >= 3 * found.rows
    calls = [line for line in assembly.splitlines() if line.split()[:1] in (["bl"], ["call"], ["callq"])]
    assert not calls
