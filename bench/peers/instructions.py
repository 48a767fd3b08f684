"""What a cell's equations take of the units that multiply, beside the sums: counted in the code that numgru emits."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
from llvmlite import ir
from numba import from_dtype

from numgru.kernels.gru import GRUCell, ResetBeforeCell
from numgru.kernels.lstm import LSTMCell
from numgru.kernels.rnn import TanhCell
from numgru.kernels.tiles import kind_of
from numgru.kernels.vectors import Vec

from ..workload import Shape

KIND = kind_of(from_dtype(np.dtype(np.float32)))
CELLS = {"GRU": GRUCell, "LSTM": LSTMCell, "RNN": TanhCell}


def multiplications(shape: Shape, job: str) -> int:
    """Multiplications and multiply-adds, for one register of units, of a step and, in training, of its derivative."""
    forward, backward = _instructions("ResetBefore" if shape.reset_before else shape.cell)
    counts = forward if job == "inference" else forward + backward
    return counts["fmul"] + counts["fma"]


@cache
def _instructions(cell: str) -> tuple[Counter[str], Counter[str]]:
    """Of all stages, by LLVM's names: forward, backward."""
    kind = ResetBeforeCell if cell == "ResetBefore" else CELLS[cell]
    forward: Counter[str] = Counter()
    backward: Counter[str] = Counter()
    for stage in kind.stages:
        others = kind.states - 1 if stage.makes is None else 0
        b = _builder()
        slots = {slot: _register(b) for slot in range(kind.slots)}
        stage.step(slots, _register(b), *[_register(b)] * others)
        forward += Counter(map(_name, b.block.instructions))
        b = _builder()
        slots = {slot: _register(b) for slot in range(kind.slots)}
        stage.step_backward(_register(b), slots, _register(b), *[_register(b)] * 2 * others)
        backward += Counter(map(_name, b.block.instructions))
    return forward, backward


def _builder() -> ir.IRBuilder:
    function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), []), "cell")
    return ir.IRBuilder(function.append_basic_block())


def _register(b: ir.IRBuilder) -> Vec:
    return Vec(b, KIND, ir.Constant(KIND.vector, ir.Undefined))


def _name(instruction: ir.Instruction) -> str:
    """The operation's, or of LLVM's own functions `fma` of `llvm.fma.v16f32`."""
    if isinstance(instruction, ir.CallInstr):
        return str(instruction.callee.name).split(".")[1]
    return str(instruction.opname)
