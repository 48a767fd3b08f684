"""Which clipping `fit` does in every step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from .. import _check
from ..layers.base import Layer
from ._gradients import NONFINITE, NonFinite, norm_order
from .clip import ClipReport, clip_grad_adaptive_, clip_grad_norm_, clip_grad_norm_per_array_, clip_grad_value_


@dataclass(frozen=True)
class Clipping:
    """One of the rules with its limit, or none; called with a model, it measures and clips the gradients.

    Attributes are the arguments of `fit` of the same names.
    """

    clip_norm: float | None
    clip_norm_per_array: float | None
    clip_value: float | None
    clip_adaptive: float | None
    norm_type: float
    nonfinite: NonFinite

    def __post_init__(self) -> None:
        given = {name: value for name, value in self.limits.items() if value is not None}
        for name, value in given.items():
            _check.number(name, value, "a number above 0", lambda v: v > 0)
        if len(given) > 1:
            raise ValueError(f"{', '.join(given)}: expected at most one, got {' and '.join(map(str, given.values()))}")
        norm_order(self.norm_type)
        _check.one_of("nonfinite", self.nonfinite, NONFINITE)

    @property
    def limits(self) -> dict[str, float | None]:
        """Of each rule, by its name."""
        names = ("clip_norm", "clip_norm_per_array", "clip_value", "clip_adaptive")
        return {name: getattr(self, name) for name in names}

    @property
    def settings(self) -> dict[str, Any]:
        """What a checkpoint keeps."""
        limits = {name: value if value is None else float(value) for name, value in self.limits.items()}
        return {**limits, "norm_type": float(self.norm_type), "nonfinite": self.nonfinite}

    def __call__(self, model: Layer) -> ClipReport:
        """Clip as far as the optimizer doesn't do it on its way, given the report."""
        gradients, nonfinite = model.gradients, self.nonfinite
        if self.clip_value is not None:
            return clip_grad_value_(gradients, self.clip_value, nonfinite=nonfinite)
        if self.clip_adaptive is not None:
            return clip_grad_adaptive_(gradients, model.parameters, self.clip_adaptive, nonfinite=nonfinite)
        if self.clip_norm_per_array is not None:
            clip, limit = clip_grad_norm_per_array_, self.clip_norm_per_array
        else:
            clip, limit = clip_grad_norm_, math.inf if self.clip_norm is None else self.clip_norm
        return clip(gradients, limit, self.norm_type, nonfinite=nonfinite, in_place=False)
