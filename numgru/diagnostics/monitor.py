"""How large gradients are while a model is trained, and what clipping does about it.

Shapes: N steps seen, K arrays.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _check
from .._types import BoolArray, Float64Array
from ..training import ClipReport, Step
from . import plots

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class GradientMonitor:
    """Keeps what clipping reports, step by step; it costs 16 bytes an array and step.

    Give it to `fit` as `on_step`, or call it with the report of each step.

    Examples
    --------
    >>> import numpy as np, numgru
    >>> from numgru.diagnostics import GradientMonitor
    >>> monitor = GradientMonitor()
    >>> for size in (3.0, 4.0, 50.0):
    ...     monitor(numgru.clip_grad_norm_({"weight": np.full(1, size)}, 10.0))
    >>> monitor.norm.tolist(), monitor.clipped.tolist(), monitor.suggested_threshold(50)
    ([3.0, 4.0, 50.0], [False, False, True], 4.0)
    """

    def __init__(self) -> None:
        self._names: list[Any] = []
        self._rows = array("d")  # (N, 2 + 2 K): norm, skipped, norms, factors

    def __call__(self, seen: Step | ClipReport) -> None:
        """Keep a step's report. A step of `fit` without gradients, as its loss isn't finite, is left out.

        Raises
        ------
        TypeError
            If it's something else.
        ValueError
            If its arrays are others than those of the reports before it.
        """
        report = seen.report if isinstance(seen, Step) else seen
        if report is None:
            return
        if not isinstance(report, ClipReport):
            raise TypeError(f"seen: expected a ClipReport or a Step, got {type(seen).__name__}")
        names = list(report.norms)
        if self._rows and names != self._names:
            raise ValueError(f"seen: expected a report of {self._names}, as before, got one of {names}")
        self._names = names
        self._rows.extend((report.norm, report.skipped, *report.norms.values(), *report.factors.values()))

    def __len__(self) -> int:
        """Number of steps seen."""
        return len(self._rows) // (2 + 2 * len(self._names))

    def _columns(self, first: int, count: int) -> Float64Array:
        return np.array(self._rows).reshape(-1, 2 + 2 * len(self._names))[:, first : first + count]

    def _by_name(self, first: int) -> dict[Any, Float64Array]:
        columns = self._columns(first, len(self._names)).T.copy()
        return dict(zip(self._names, columns, strict=True))

    @property
    def norm(self) -> Float64Array:
        """Of all gradients together, before clipping, shape (N,); not finite where the gradients weren't."""
        return self._columns(0, 1)[:, 0].copy()

    @property
    def norms(self) -> dict[Any, Float64Array]:
        """Each array's norm before clipping, by name, shape (N,)."""
        return self._by_name(2)

    @property
    def factors(self) -> dict[Any, Float64Array]:
        """The smallest factor by which any value of an array was multiplied, by name, shape (N,); 1 if not clipped."""
        return self._by_name(2 + len(self._names))

    @property
    def clipped(self) -> BoolArray:
        """Whether any array was clipped, shape (N,)."""
        smallest: Float64Array = self._columns(2 + len(self._names), len(self._names)).min(axis=1, initial=1.0)
        return smallest < 1

    @property
    def skipped(self) -> BoolArray:
        """Whether the step was left out, as its gradients weren't finite, shape (N,)."""
        return self._columns(1, 1)[:, 0].astype(bool)

    @property
    def clipped_share(self) -> float:
        """Share of the steps with anything clipped, 0 to 1."""
        return float(self.clipped.mean()) if len(self) else 0.0

    def suggested_threshold(self, percentile: float = 90.0, name: Any = None) -> float:
        """A limit for the norm, from the norms seen: the one that this percentage of them is below.

        Pascanu et al. (2013, section 3.2) look at the average norm over many updates; limits from half to ten times
        the average did in their experiments. An average is carried away by the very explosions that are to be clipped,
        a percentile is not. Seetharaman et al. (2020, "AutoClip") limit the norm to a percentile of all those before,
        and found the 10th to work well, which clips nearly every step. The default leaves most steps as they are.

        Parameters
        ----------
        percentile : float, 0 to 100
        name : optional
            Of one array, for `clip_grad_norm_per_array_`; by default, all gradients together.

        Returns
        -------
        float
            For norms of the order that was measured.

        Raises
        ------
        ValueError
            If no finite norm was seen, or an argument is out of range.
        """
        _check.number("percentile", percentile, "a number from 0 to 100", lambda p: 0 <= p <= 100)
        if name is not None:
            _check.one_of("name", name, self._names)
        norms = self.norm if name is None else self.norms[name]
        norms = norms[np.isfinite(norms)]
        if not norms.size:
            raise ValueError(f"suggested_threshold: expected finite norms seen before, got none in {len(self)} steps")
        return float(np.percentile(norms, percentile))

    def plot(self, threshold: float | None = None) -> Figure:
        """Norms over the steps with their distribution, and the share of clipped steps.

        Parameters
        ----------
        threshold : float, optional
            Drawn as a line; by default `suggested_threshold`.

        Returns
        -------
        matplotlib.figure.Figure
            For `numgru.diagnostics.plots.save_figure`.

        Raises
        ------
        ImportError
            If matplotlib isn't installed.
        ValueError, TypeError
            If no finite norm was seen, or `threshold` isn't a finite number above 0.
        """
        limit = self.suggested_threshold()
        label = f"90 % of the steps are below {limit:.3g}"
        if threshold is not None:
            limit = _check.positive("threshold", threshold)
            label = f"threshold {limit:.3g}"
        return plots.gradient_figure(self.norm, self.norms, self.clipped, self.skipped, (limit, label))
