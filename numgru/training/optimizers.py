"""Optimizers: one fused pass in place over flat parameters; equations and defaults of `torch.optim`."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np

from .. import _check
from .._types import FloatArray
from ..kernels import optimizers as kernels
from ..kernels import threads
from ..kernels._jit import SharedKernel
from ..layers.base import Layer
from ._gradients import BARE, factors
from .clip import ClipReport

_OPERATIONS = 48  # that take as long as a step of one parameter
Buffers: TypeAlias = Mapping[str, FloatArray]  # by name; what isn't in use is empty


class Optimizer:
    """What the optimizers share: a model, a learning rate, settings and state.

    Attributes
    ----------
    lr : float
        The learning rate of the next step; may be changed at any time.
    initial_lr : float
        The learning rate that the optimizer was made with; schedules start from it.
    steps : int
        Number of steps made.
    settings : dict of str to (str, float or bool)
        The name of the class and what it was made with.
    """

    def __init__(self, model: Layer, lr: float, buffers: tuple[str, ...], **settings: float | bool) -> None:
        if not isinstance(model, Layer):
            raise TypeError(f"model: expected a numgru layer, got {type(model).__name__}")
        self.model = model
        self.lr = lr
        self.initial_lr = self.lr
        self.steps = 0
        self.settings: dict[str, Any] = {"name": type(self).__name__, "lr": self.lr, **settings}
        self._buffers = {name: np.zeros_like(model.flat_parameters) for name in buffers}
        self._unused = np.empty(0, model.dtype)

    @property
    def lr(self) -> float:
        """The learning rate of the next step."""
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = _check.not_negative("lr", value)

    def step(self, clip: ClipReport | None = None) -> None:
        """Change the model's parameters in place, once, by its gradients.

        Parameters
        ----------
        clip : ClipReport, optional
            Of the model's `gradients` or `flat_gradients`, or of some of the `gradients` that were clipped in place. If
            they were only measured (``in_place=False``), they are multiplied on the way: one pass over memory, and the
            same bits as two. If the report says that they were skipped, because they aren't finite, there is no step.

        Raises
        ------
        TypeError, ValueError
            If it isn't a report, or one of arrays by other names than this model's. What the arrays were it doesn't
            know: that of another model of the same names, or of any array that came alone, is taken.
        """
        parts = self._parts(clip)
        if clip is not None and clip.skipped:
            return
        self.steps += 1
        parameters, gradients = self.model.flat_parameters, self.model.flat_gradients
        for part, factor in parts:
            g = gradients[part]
            *before, scale = factors(factor, self.model.dtype)
            for other in before:
                g *= other
            used = {name: buffer[part] for name, buffer in self._buffers.items()}
            self._step(parameters[part], g, scale, defaultdict(lambda: self._unused, used))

    def _parts(self, clip: ClipReport | None) -> list[tuple[slice, float]]:
        """Which parts of the flat gradients are multiplied by what."""
        if clip is None:
            return [(slice(None), 1.0)]
        if not isinstance(clip, ClipReport):
            raise TypeError(f"clip: expected a ClipReport or None, got {type(clip).__name__}")
        shapes = self.model.parameter_shapes
        some = clip.in_place and set(clip.factors) <= set(shapes)  # those are clipped, and the others stay as they are
        if not some and list(clip.factors) not in (list(shapes), [BARE]):
            raise ValueError(
                f"clip: expected a report of the model's gradients, {list(shapes)}, got one of {list(clip.factors)}"
            )
        if clip.in_place or len(set(clip.factors.values())) < 2:
            return [(slice(None), 1.0 if clip.in_place else clip.factor)]
        ends = np.cumsum([math.prod(shape) for shape in shapes.values()]).tolist()
        return [
            (slice(start, end), factor)
            for start, end, factor in zip([0, *ends], ends, clip.factors.values(), strict=False)
        ]

    def _step(self, p: FloatArray, g: FloatArray, scale: Any, buffers: Buffers) -> None:
        """For a part of the parameters and of the buffers, with gradients g times `scale`."""
        raise NotImplementedError

    def _run(self, kernel: SharedKernel, p: FloatArray, *args: Any) -> None:
        chunks = -(-p.size // kernels.CHUNK)
        threads.run(kernel, threads.parts_for(_OPERATIONS * p.size, chunks, kernel), p, *args)

    def _scalars(self, *values: float) -> tuple[Any, ...]:
        return tuple(self.model.dtype.type(value) for value in values)

    def state_dict(self) -> dict[str, Any]:
        """A copy of all that the next steps depend on: `settings`, `lr`, `steps` and each buffer by name."""
        buffers = {name: buffer.copy() for name, buffer in self._buffers.items()}
        return {"settings": dict(self.settings), "lr": self.lr, "steps": self.steps, **buffers}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from `state_dict`, bit for bit; on an error nothing has changed.

        Raises
        ------
        ValueError
            If it comes from another optimizer, from other settings or from a model of another size or dtype.
        """
        expected = self.state_dict()
        if set(state_dict) != set(expected) or state_dict["settings"] != self.settings:
            raise ValueError(
                f"state_dict: expected the entries {list(expected)} of {self.settings}, "
                f"got {list(state_dict)} of {state_dict.get('settings')}; make the optimizer as it was"
            )
        for name, buffer in self._buffers.items():
            given = np.asarray(state_dict[name])
            if given.shape != buffer.shape or given.dtype != buffer.dtype:
                raise ValueError(
                    f"state_dict[{name!r}]: expected shape {buffer.shape} and dtype {buffer.dtype}, "
                    f"got {given.shape} and {given.dtype}; the model must be the one that was trained"
                )
        steps = _check.integer("state_dict['steps']", state_dict["steps"], 0)
        self.lr = state_dict["lr"]
        self.steps = steps
        for name, buffer in self._buffers.items():
            buffer[...] = state_dict[name]


class SGD(Optimizer):
    """Gradient descent, with momentum if wanted.

    Parameters
    ----------
    model : Layer
    lr : float
    momentum : float
        v = momentum v + g, and p -= lr v.
    nesterov : bool
        p -= lr (g + momentum v) instead; needs a momentum.
    weight_decay : float
        Added to the gradient times p (an L2 penalty).

    Raises
    ------
    ValueError, TypeError
        For something else than a layer, or a number outside its range.
    """

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        self.momentum = _check.not_negative("momentum", momentum)
        self.nesterov = _check.flag("nesterov", nesterov)
        self.weight_decay = _check.not_negative("weight_decay", weight_decay)
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov: expected a positive momentum with it, got momentum=0")
        buffers = ("velocity",) if self.momentum else ()
        super().__init__(
            model, lr, buffers, momentum=self.momentum, nesterov=self.nesterov, weight_decay=self.weight_decay
        )

    def _step(self, p: FloatArray, g: FloatArray, scale: Any, buffers: Buffers) -> None:
        scalars = self._scalars(self.lr, self.momentum, self.weight_decay)
        self._run(kernels.sgd, p, g, scale, buffers["velocity"], *scalars, self.nesterov)


class RMSprop(Optimizer):
    """Steps divided by the root of a running mean of squared gradients (Hinton 2012).

    Parameters
    ----------
    model : Layer
    lr : float
    alpha : float
        The part of the running mean that is kept at each step.
    eps : float
        Added to the root.
    weight_decay : float
        Added to the gradient times p (an L2 penalty).
    momentum : float
        Of the divided gradients.

    Raises
    ------
    ValueError, TypeError
        For something else than a layer, or a number outside its range.
    """

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        self.alpha = _check.fraction("alpha", alpha)
        self.eps = _check.not_negative("eps", eps)
        self.weight_decay = _check.not_negative("weight_decay", weight_decay)
        self.momentum = _check.not_negative("momentum", momentum)
        buffers = ("square_avg", "velocity") if self.momentum else ("square_avg",)
        super().__init__(
            model,
            lr,
            buffers,
            alpha=self.alpha,
            eps=self.eps,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
        )

    def _step(self, p: FloatArray, g: FloatArray, scale: Any, buffers: Buffers) -> None:
        scalars = self._scalars(self.lr, self.alpha, 1 - self.alpha, self.eps, self.momentum, self.weight_decay)
        self._run(kernels.rmsprop, p, g, scale, buffers["square_avg"], buffers["velocity"], *scalars)


class Adam(Optimizer):
    """Adaptive moment estimation (Kingma and Ba 2015, algorithm 1).

    Parameters
    ----------
    model : Layer
    lr : float
    betas : tuple of two floats
        The parts of the running means of g and g^2 that are kept at each step.
    eps : float
        Added to the root.
    weight_decay : float
        Added to the gradient times p (an L2 penalty).

    Raises
    ------
    ValueError, TypeError
        For something else than a layer, or a number outside its range.
    """

    _decoupled = False

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        if not isinstance(betas, tuple | list) or len(betas) != 2:
            raise ValueError(f"betas: expected two numbers of at least 0 and below 1, got {betas!r}")
        self.beta1, self.beta2 = _check.fraction("betas[0]", betas[0]), _check.fraction("betas[1]", betas[1])
        self.eps = _check.not_negative("eps", eps)
        self.weight_decay = _check.not_negative("weight_decay", weight_decay)
        super().__init__(
            model,
            lr,
            ("exp_avg", "exp_avg_sq"),
            beta1=self.beta1,
            beta2=self.beta2,
            eps=self.eps,
            weight_decay=self.weight_decay,
        )

    def _step(self, p: FloatArray, g: FloatArray, scale: Any, buffers: Buffers) -> None:
        # a m / (sqrt(s) / c + eps) is (a c) m / (sqrt(s) + c eps): with a division less
        c = math.sqrt(1 - self.beta2**self.steps)
        step_size = c * self.lr / (1 - self.beta1**self.steps)
        l2, keep = (0.0, 1 - self.lr * self.weight_decay) if self._decoupled else (self.weight_decay, 1.0)
        scalars = self._scalars(step_size, 1 - self.beta1, self.beta2, 1 - self.beta2, c * self.eps, l2, keep)
        self._run(kernels.adam, p, g, scale, buffers["exp_avg"], buffers["exp_avg_sq"], *scalars)


class AdamW(Adam):
    """Adam with decoupled weight decay: p is multiplied by 1 - lr weight_decay (Loshchilov and Hutter 2019).

    Parameters are those of `Adam`; `weight_decay` is 0.01 unless given.
    """

    _decoupled = True

    def __init__(
        self,
        model: Layer,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(model, lr, betas, eps, weight_decay)
