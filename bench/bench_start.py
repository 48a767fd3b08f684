"""A cold start: imports, and the first results of a fresh process, with the kernels to be compiled or in the cache."""

from __future__ import annotations

from .start import CACHES, STEPS, measure_start


class Start:
    params = (STEPS, CACHES)
    param_names = ("step", "kernels")

    def setup_cache(self) -> dict[str, dict[str, float]]:
        return measure_start(5)

    def track_seconds(self, seconds: dict[str, dict[str, float]], step: str, kernels: str) -> float:
        return seconds[step][kernels]


Start.setup_cache.timeout = 600  # type: ignore[attr-defined]
Start.track_seconds.unit = "seconds"  # type: ignore[attr-defined]
