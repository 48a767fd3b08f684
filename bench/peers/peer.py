"""What a library must offer to be measured, and which ones do."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar

import numpy as np

from .problem import Array, Problem, Weights

# Name: the module in `libraries` that wraps it, and the packages it needs. That folder has no __init__.py: asv imports
# every module of the packages it finds, and these only import where their library is installed.
PEERS: dict[str, tuple[str, list[str]]] = {
    "numgru": ("with_numgru", ["numgru"]),
    "PyTorch": ("with_torch", ["torch"]),
    "ONNX Runtime": ("with_onnxruntime", ["onnxruntime", "onnx"]),
    "OpenVINO": ("with_openvino", ["openvino", "onnx"]),
    "JAX": ("with_jax", ["jax", "jaxlib"]),
}


class Peer(ABC):
    """A layer of one library, prepared for a problem and a number of threads."""

    version: ClassVar[str]
    trains: ClassVar[bool] = True
    lacks: ClassVar[frozenset[str]] = frozenset()  # names of options, as in `Shape`
    # Seconds after a call in which idle threads may still spin, seen of GNU OpenMP's at most 0.01.
    spins: ClassVar[float] = 0.02

    @abstractmethod
    def __init__(self, problem: Problem, threads: int) -> None: ...

    def array(self, array: Array) -> Any:
        """What the library computes with; converted once, untimed."""
        return array

    @abstractmethod
    def inference(self, x: Any, h_0: Any) -> tuple[Any, Any]:
        """All states and the last one (of an LSTM, the last h and c), finished when this returns."""

    def training(self, x: Any, dy: Any) -> Sequence[Any]:
        """Forward from a state of zero, and backward: the gradients of the weights, fresh, and of nothing else."""
        raise NotImplementedError

    def gradients(self, result: Sequence[Any]) -> list[Weights]:
        """What `training` returned, as NumPy arrays in numgru's layout; untimed."""
        arrays = list(map(np.asarray, result))
        return [Weights(*arrays[at : at + 4]) for at in range(0, len(arrays), 4)]


def calls_of(peer: Peer, problem: Problem) -> dict[str, Callable[[], Any]]:
    """What is measured, by job."""
    x, h_0, dy = map(peer.array, (problem.x, problem.h_0, problem.dy))
    return {"inference": lambda: peer.inference(x, h_0), "training": lambda: peer.training(x, dy)}


def load(name: str) -> type[Peer]:
    """The class that wraps a library; imports the library."""
    peer: type[Peer] = import_module(f".libraries.{PEERS[name][0]}", __package__).Layer
    return peer


def installed(name: str) -> bool:
    return all(find_spec(package) for package in PEERS[name][1])
