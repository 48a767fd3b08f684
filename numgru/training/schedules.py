"""Learning rates that change once an epoch, with the formulas of `torch.optim.lr_scheduler`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .. import _check
from .optimizers import Optimizer


class Schedule:
    """Sets an optimizer's learning rate: at once for the first epoch, and by `step` after each epoch.

    A schedule starts from the optimizer's `initial_lr`. One that depends on the epoch alone defines `_lr`.

    Attributes
    ----------
    epoch : int
        Number of epochs finished.
    settings : dict of str to (str, int or float)
        The name of the class and what it was made with.
    """

    def __init__(self, optimizer: Optimizer, **settings: float) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer: expected a numgru optimizer, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.epoch = 0
        self.settings: dict[str, Any] = {"name": type(self).__name__, **settings}
        optimizer.lr = self._lr()

    def _lr(self) -> float:
        raise NotImplementedError

    def step(self, loss: float) -> None:
        """End an epoch: set the learning rate of the next one.

        Parameters
        ----------
        loss : float
            The validation loss of the epoch that ends, or its training loss if nothing is validated.
        """
        self.epoch += 1
        self.optimizer.lr = self._lr()

    def state_dict(self) -> dict[str, Any]:
        """`settings`, and all that the next steps depend on; numbers only."""
        return {"settings": dict(self.settings), "epoch": self.epoch}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from `state_dict`; the learning rate itself is part of the optimizer's state.

        Raises
        ------
        ValueError
            If it comes from another schedule or from other settings; nothing has changed then.
        """
        expected = self.state_dict()
        if set(state_dict) != set(expected) or state_dict["settings"] != self.settings:
            raise ValueError(
                f"state_dict: expected the entries {list(expected)} of {self.settings}, "
                f"got {list(state_dict)} of {state_dict.get('settings')}; make the schedule as it was"
            )
        for name in expected.keys() - {"settings"}:
            setattr(self, name, state_dict[name])


class ConstantLR(Schedule):
    """lr = initial_lr factor in the first `total_iters` epochs, then initial_lr.

    Parameters
    ----------
    optimizer : Optimizer
    factor : float, above 0
    total_iters : int, at least 1

    Raises
    ------
    ValueError, TypeError
        For something else than an optimizer, or a number outside its range.
    """

    def __init__(self, optimizer: Optimizer, factor: float = 1 / 3, total_iters: int = 5) -> None:
        self.factor = _check.positive("factor", factor)
        self.total_iters = _check.integer("total_iters", total_iters, 1)
        super().__init__(optimizer, factor=self.factor, total_iters=self.total_iters)

    def _lr(self) -> float:
        return self.optimizer.initial_lr * (self.factor if self.epoch < self.total_iters else 1.0)


class StepLR(Schedule):
    """lr = initial_lr gamma^(epoch // step_size).

    Parameters
    ----------
    optimizer : Optimizer
    step_size : int, at least 1
        Epochs between two changes.
    gamma : float, above 0

    Raises
    ------
    ValueError, TypeError
        For something else than an optimizer, or a number outside its range.
    """

    def __init__(self, optimizer: Optimizer, step_size: int, gamma: float = 0.1) -> None:
        self.step_size = _check.integer("step_size", step_size, 1)
        self.gamma = _check.positive("gamma", gamma)
        super().__init__(optimizer, step_size=self.step_size, gamma=self.gamma)

    def _lr(self) -> float:
        return self.optimizer.initial_lr * self.gamma ** (self.epoch // self.step_size)


class CosineAnnealingLR(Schedule):
    """lr = eta_min + (initial_lr - eta_min) (1 + cos(pi epoch / T_max)) / 2 (Loshchilov and Hutter 2017).

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int, at least 1
        Epochs from the initial rate down to `eta_min`; after them it rises again.
    eta_min : float, at least 0

    Raises
    ------
    ValueError, TypeError
        For something else than an optimizer, or a number outside its range.
    """

    def __init__(self, optimizer: Optimizer, T_max: int, eta_min: float = 0.0) -> None:
        self.T_max = _check.integer("T_max", T_max, 1)
        self.eta_min = _check.not_negative("eta_min", eta_min)
        super().__init__(optimizer, T_max=self.T_max, eta_min=self.eta_min)

    def _lr(self) -> float:
        height = (1 + math.cos(math.pi * self.epoch / self.T_max)) / 2
        return self.eta_min + (self.optimizer.initial_lr - self.eta_min) * height


class ReduceLROnPlateau(Schedule):
    """lr <- max(lr factor, min_lr) after more than `patience` epochs without a better loss.

    Better is below best (1 - threshold): PyTorch's modes "min" and "rel".

    Parameters
    ----------
    optimizer : Optimizer
    factor : float, above 0 and below 1
    patience : int, at least 0
    threshold : float, at least 0 and below 1
    cooldown : int, at least 0
        Epochs after a reduction in which bad ones aren't counted.
    min_lr : float, at least 0
    eps : float, at least 0
        A reduction by no more than this is left out.

    Raises
    ------
    ValueError, TypeError
        For something else than an optimizer, or a number outside its range.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        cooldown: int = 0,
        min_lr: float = 0.0,
        eps: float = 1e-8,
    ) -> None:
        self.factor = _check.number("factor", factor, "a number above 0 and below 1", lambda v: 0 < v < 1)
        self.patience = _check.integer("patience", patience, 0)
        self.threshold = _check.fraction("threshold", threshold)
        self.cooldown = _check.integer("cooldown", cooldown, 0)
        self.min_lr = _check.not_negative("min_lr", min_lr)
        self.eps = _check.not_negative("eps", eps)
        self.best = math.inf
        self.bad_epochs = 0
        self.cooldown_left = 0
        super().__init__(
            optimizer,
            factor=self.factor,
            patience=self.patience,
            threshold=self.threshold,
            cooldown=self.cooldown,
            min_lr=self.min_lr,
            eps=self.eps,
        )

    def _lr(self) -> float:
        return self.optimizer.initial_lr

    def step(self, loss: float) -> None:
        """End an epoch with this loss: reduce the learning rate if patience has run out."""
        self.epoch += 1
        if loss < self.best * (1 - self.threshold):
            self.best, self.bad_epochs = float(loss), 0
        else:
            self.bad_epochs += 1
        if self.cooldown_left:
            self.cooldown_left -= 1
            self.bad_epochs = 0
        if self.bad_epochs > self.patience:
            self.cooldown_left, self.bad_epochs = self.cooldown, 0
            reduced = max(self.optimizer.lr * self.factor, self.min_lr)
            if self.optimizer.lr - reduced > self.eps:
                self.optimizer.lr = reduced

    def state_dict(self) -> dict[str, Any]:
        """`settings`, and all that the next steps depend on; numbers only."""
        own = {"best": self.best, "bad_epochs": self.bad_epochs, "cooldown_left": self.cooldown_left}
        return {**super().state_dict(), **own}
