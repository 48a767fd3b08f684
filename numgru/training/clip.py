"""Gradient clipping, in place: all or nothing, safe from overflow, always the same bits."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from .. import _check
from .._types import FloatArray
from . import _gradients as arrays_of
from ._gradients import Found, Gradients, Name, NonFinite, label

# A norm that exceeds its limit by no more is within it: rounding takes it there, and clipping twice would change more.
_ROUNDINGS = 4
_EPS = {kind: float(np.finfo(kind).eps) for kind in "fd"}


@dataclass(frozen=True)
class ClipReport:
    """What a clipping function met and did. Arrays go by name, or by position if they came without names.

    Attributes
    ----------
    norm : float
        Of all gradients together, before clipping, in float64; right also where its square would overflow or
        underflow. The 2-norm, unless `norm_type` says otherwise.
    norms : dict of name to float
        Each array's norm before clipping.
    factors : dict of name to float
        The smallest factor by which any value of the array was multiplied; 1 if none was changed.
    counts : dict of name to int
        How many parts of each array were clipped. A part is what a rule looks at on its own: the whole array, a unit
        or a value.
    parts : int
        Number of parts of all arrays.
    nonfinite : dict of name to int
        How many values were NaN or infinite; only arrays with any.
    skipped : bool
        Whether something wasn't finite and nothing was changed. An optimizer's ``step(report)`` makes no step then.
    in_place : bool
        Whether the gradients themselves were multiplied. If not, ``step(report)`` does it on the way.
    """

    norm: float
    norms: dict[Name, float]
    factors: dict[Name, float]
    counts: dict[Name, int]
    parts: int
    nonfinite: dict[Name, int] = field(default_factory=dict)
    skipped: bool = False
    in_place: bool = True

    @property
    def factor(self) -> float:
        """The smallest factor by which any value was multiplied; 1 if nothing was changed."""
        return min(self.factors.values(), default=1.0)

    @property
    def clipped(self) -> tuple[Name, ...]:
        """The arrays that were clipped."""
        return tuple(name for name, count in self.counts.items() if count)

    @property
    def share(self) -> float:
        """Clipped parts over all parts, 0 to 1."""
        return sum(self.counts.values()) / self.parts if self.parts else 0.0


def clip_grad_norm_(
    gradients: Gradients,
    max_norm: float,
    norm_type: float = 2.0,
    *,
    nonfinite: NonFinite = "raise",
    in_place: bool = True,
) -> ClipReport:
    """Scale all gradients by one factor so that their common norm is at most `max_norm`.

    g <- g max_norm / norm if norm > max_norm (Pascanu et al. 2013, algorithm 1); otherwise nothing changes. The
    direction is kept: only the magnitude changes.

    Parameters
    ----------
    gradients : mapping of str to ndarray, iterable of ndarray, or ndarray; float32 or float64
        A layer's `gradients`, or its `flat_gradients`, or any arrays that don't overlap, of any layout.
    max_norm : float, at least 0
        Infinity measures and changes nothing.
    norm_type : {2, 1, math.inf}
        Root of the sum of squares, sum of magnitudes, or largest magnitude.
    nonfinite : {"raise", "zero", "skip"}
        What to do about a NaN or an infinity: raise an error; set it to zero and clip what there is then; or change
        nothing, so that an optimizer's ``step(report)`` leaves out the step.
    in_place : bool
        If not, the gradients are only measured, and ``step(report)`` multiplies them on its way over memory, with the
        same bits. Values that aren't finite are set to zero all the same, if that's asked for.

    Returns
    -------
    ClipReport
        Its parts are the arrays: all are clipped, or none.

    Raises
    ------
    NonFiniteGradientError
        If a gradient has a NaN or an infinity, unless `nonfinite` says otherwise, or a norm exceeds the largest
        float64. No gradient has been changed.
    ValueError
        If an argument is out of range, there is no array, one is read-only, or two overlap.
    TypeError
        If something isn't a float32 or float64 array, or for a layer or its `parameters` in place of gradients.
    """
    max_norm, order = _limit("max_norm", max_norm), arrays_of.norm_order(norm_type)
    found = arrays_of.find(arrays_of.named(gradients), nonfinite, order, lambda array: arrays_of.measure(array, order))
    slack = max((_slack(array) for array in found.arrays.values()), default=0.0)
    factor = 1.0 if found.skipped else _factor(found.norm, max_norm, slack)
    return _scaled(found, dict.fromkeys(found.arrays, factor), in_place)


def clip_grad_norm_per_array_(
    gradients: Gradients,
    max_norm: float,
    norm_type: float = 2.0,
    *,
    nonfinite: NonFinite = "raise",
    in_place: bool = True,
) -> ClipReport:
    """Scale each array by a factor of its own so that its norm is at most `max_norm`.

    g_k <- g_k max_norm / norm_k if norm_k > max_norm. Each array keeps its direction. All of them together don't:
    those with the larger gradients lose more. A layer's `flat_gradients` are one array; so pass its `gradients`.

    Parameters, what is returned and raised are those of `clip_grad_norm_`; clipped are some of the arrays.
    """
    max_norm, order = _limit("max_norm", max_norm), arrays_of.norm_order(norm_type)
    found = arrays_of.find(arrays_of.named(gradients), nonfinite, order, lambda array: arrays_of.measure(array, order))
    factors = {
        name: 1.0 if found.skipped else _factor(found.norms[name], max_norm, _slack(array))
        for name, array in found.arrays.items()
    }
    return _scaled(found, factors, in_place)


def clip_grad_value_(gradients: Gradients, clip_value: float, *, nonfinite: NonFinite = "raise") -> ClipReport:
    """Move every value of the gradients into -clip_value .. clip_value.

    The direction is not kept: only the values beyond the limit lose magnitude. None changes its sign.

    Parameters
    ----------
    gradients, nonfinite
        As for `clip_grad_norm_`.
    clip_value : float, at least 0

    Returns
    -------
    ClipReport
        Its parts are the values; a factor is the limit over the largest value.

    Raises
    ------
    NonFiniteGradientError, ValueError, TypeError
        As `clip_grad_norm_`.
    """
    clip_value = _limit("clip_value", clip_value)
    limits = {np.dtype(kind): min(clip_value, float(np.finfo(kind).max)) for kind in (np.float32, np.float64)}
    found = arrays_of.find(
        arrays_of.named(gradients), nonfinite, 2, lambda array: arrays_of.measure(array, 2, limits[array.dtype])
    )
    counts, factors = dict.fromkeys(found.arrays, 0), dict.fromkeys(found.arrays, 1.0)
    for name, array in found.arrays.items() if not found.skipped else ():
        counts[name] = int(found.details[name].sum())
        if counts[name]:
            largest, _ = arrays_of.measure(array, arrays_of.norm_order(math.inf))
            factors[name] = clip_value / largest
            arrays_of.clamp(array, limits[array.dtype], found.details[name])
    return _report(found, factors, counts, sum(array.size for array in found.arrays.values()))


def clip_grad_adaptive_(
    gradients: Gradients,
    parameters: Gradients,
    clipping: float = 0.01,
    eps: float = 1e-3,
    *,
    nonfinite: NonFinite = "raise",
) -> ClipReport:
    """Scale each unit's gradient so that its norm is at most `clipping` times that of the unit's weights.

    G_i <- G_i clipping max(||W_i||, eps) / ||G_i|| if ||G_i|| > clipping max(||W_i||, eps), with 2-norms (Brock et
    al. 2021, equation 3). A unit is a vector along the last axis: a row of a weight matrix, all that one gate of one
    hidden unit multiplies; a token's row of an embedding; a whole bias; a layer's and direction's h_0. A layer's
    `flat_gradients` are a single unit; so pass its `gradients`.

    Each unit keeps its direction. All of them together don't.

    Parameters
    ----------
    gradients, nonfinite
        As for `clip_grad_norm_`.
    parameters : like the gradients
        Of the same names, or in the same order, with the same shapes and dtypes; not changed. The paper leaves the
        last layer out; so do dictionaries without its names.
    clipping : float, at least 0
    eps : float, at least 0
        So that weights that begin at zero can grow.

    Returns
    -------
    ClipReport
        Its parts are the units.

    Raises
    ------
    NonFiniteGradientError, ValueError, TypeError
        As `clip_grad_norm_`; also if parameters don't fit the gradients or aren't finite.
    """
    clipping, eps = _limit("clipping", clipping), _check.not_negative("eps", eps)

    def units(array: FloatArray) -> tuple[float, FloatArray]:
        norms = arrays_of.measure_units(array)
        return arrays_of.combined(norms.tolist(), 2), norms

    arrays = arrays_of.named(gradients)
    weights = arrays_of.weights_of(arrays, parameters)
    weight_norms = {name: arrays_of.measure_units(array) for name, array in weights.items()}
    for name, norms in weight_norms.items():
        if not np.isfinite(norms).all():
            raise ValueError(f"{label(name, 'parameters')}: expected finite values, got NaN or infinite ones")
    found = arrays_of.find(arrays, nonfinite, 2, units)
    factors, counts = dict.fromkeys(found.arrays, 1.0), dict.fromkeys(found.arrays, 0)
    for name, array in found.arrays.items() if not found.skipped else ():
        with np.errstate(over="ignore", invalid="ignore"):  # no norm is beyond infinity, or infinity times 0
            limits, norms = clipping * np.maximum(weight_norms[name], eps), found.details[name]
            beyond = norms > limits * (1 + _slack(array))
        if beyond.any():
            unit_factors = np.divide(limits, norms, out=np.ones_like(norms), where=beyond)
            counts[name], factors[name] = int(beyond.sum()), float(unit_factors.min())
            arrays_of.multiply_units(array, unit_factors)
    return _report(found, factors, counts, sum(map(len, weight_norms.values())))


def _scaled(found: Found, factors: dict[Name, float], in_place: bool) -> ClipReport:
    """Multiply every array by its factor, if that's to be done here."""
    counts = {name: int(factor < 1) for name, factor in factors.items()}
    for name, count in counts.items():
        if count and in_place:
            arrays_of.multiply(found.arrays[name], factors[name])
    return _report(found, factors, counts, len(counts), in_place)


def _factor(norm: float, limit: float, slack: float) -> float:
    return limit / norm if norm > limit * (1 + slack) else 1.0


def _slack(array: FloatArray) -> float:
    return _ROUNDINGS * _EPS[array.dtype.char]


def _limit(name: str, value: float) -> float:
    return _check.number(name, value, "a number of at least 0", lambda v: v >= 0)


def _report(
    found: Found, factors: dict[Name, float], counts: dict[Name, int], parts: int, in_place: bool = True
) -> ClipReport:
    return ClipReport(found.norm, found.norms, factors, counts, parts, found.nonfinite, found.skipped, in_place)
