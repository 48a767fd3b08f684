"""Vector units that this machine may not have: what is detected for them, and what is compiled for them."""

from __future__ import annotations

import llvmlite.binding as llvm
import pytest
from llvmlite import ir

from numgru.kernels import target
from numgru.kernels.cell import Cell, Weights
from numgru.kernels.gru import GRUCell, ResetBeforeCell
from numgru.kernels.lstm import LSTMCell
from numgru.kernels.rnn import ReluCell, TanhCell
from numgru.kernels.sequences import Fields, Options, Sequences
from numgru.kernels.step_tile import emit_step
from numgru.kernels.vectors import I64, Kind

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
    assert found.halves == (cpu == "znver4")


def step_tile(found: target.Target, cell: type[Cell]) -> str:
    """The engine's own tile of a time step, gates kept: LLVM's code before it's made for a processor."""
    kind = Kind(32, found.vector_bytes // 4, found.fma)
    arrays = {"x", "h_0", "c_0", "y", "c", "gates", "sums", *Weights._fields}
    names = [*Sequences._fields, *Weights._fields, "t", "i", "j"]
    arguments = [ir.PointerType() if name in arrays else I64 for name in names]
    function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), arguments), "step")
    b = ir.IRBuilder(function.append_basic_block())
    members = dict(zip(names, function.args, strict=True))
    t, i, j = (members.pop(name) for name in "tij")
    without_options = dict.fromkeys(Options._fields) | {"continued": I64(0)}
    fields = Fields(**(without_options | members | {"b": b, "kind": kind}))
    for stage in range(len(cell.stages)):
        emit_step(cell, stage, fields, fields, t, i, j, I64(found.rows), 0, found.rows, 1)
    b.ret_void()
    return str(function.module)


@pytest.mark.parametrize(
    ("triple", "features", "found", "multiply_add"),
    [(ARM, "+neon", target.NEON, "fmla\tv"), (X86, "+avx2,+fma", target.AVX2, "vfmadd")],
)
@pytest.mark.parametrize("cell", [GRUCell, ResetBeforeCell, TanhCell, ReluCell, LSTMCell])
def test_step_compiles_to_vector_instructions(
    triple: str, features: str, found: target.Target, multiply_add: str, cell: type[Cell]
) -> None:
    machine = llvm.Target.from_triple(triple).create_target_machine(features=features, opt=3)
    module = llvm.parse_assembly(step_tile(found, cell))
    module.triple = triple
    assembly = machine.emit_assembly(module)
    assert assembly.count(multiply_add) >= len(cell.input_slots) * found.rows
    calls = [line for line in assembly.splitlines() if line.split()[:1] in (["bl"], ["call"], ["callq"])]
    assert not calls
