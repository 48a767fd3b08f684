"""What a cell's equations take of the units that multiply, beside the sums: counted in the code that numgru emits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import from_dtype

from numgru.kernels.tiles import kind_of
from numgru.kernels.vectors import Vec

from ..workload import Shape, layer_of

KIND = kind_of(from_dtype(np.dtype(np.float32)))


def multiplications(shape: Shape, job: str) -> int:
    """Multiplications and multiply-adds, for one register of units, of a step and, in training, of its derivative."""
    forward, backward = _instructions(Shape(1, 1, 1, 1, cell=shape.cell, reset_before=shape.reset_before))
    counts = forward if job == "inference" else forward + backward
    return counts["fmul"] + counts["fma"]


@cache
def _instructions(shape: Shape) -> tuple[Counter[str], Counter[str]]:
    """Of all stages, by LLVM's names: forward, backward."""
    cell = layer_of(shape)._kind.cell
    forward: Counter[str] = Counter()
    backward: Counter[str] = Counter()
    for stage in cell.stages:
        others = cell.states - 1 if stage.makes is None else 0
        forward += _count(stage.step, 0, cell.slots, 1 + others)
        backward += _count(stage.step_backward, 1, cell.slots, 1 + 2 * others)
    return forward, backward


def _count(equations: Callable[..., Any], before: int, slots: int, behind: int) -> Counter[str]:
    """Of equations that take so many registers before and behind those of the slots."""
    function = ir.Function(ir.Module(), ir.FunctionType(ir.VoidType(), []), "cell")
    b = ir.IRBuilder(function.append_basic_block())
    register = Vec(b, KIND, ir.Constant(KIND.vector, ir.Undefined))
    equations(*[register] * before, dict.fromkeys(range(slots), register), *[register] * behind)
    return Counter(map(_name, b.block.instructions))


def _name(instruction: ir.Instruction) -> str:
    """The operation's, or of LLVM's own functions `fma` of `llvm.fma.v16f32`."""
    if isinstance(instruction, ir.CallInstr):
        return str(instruction.callee.name).split(".")[1]
    return str(instruction.opname)
