"""A progress bar, if one is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


def bar_class(wanted: bool) -> Any:
    """`tqdm.tqdm`, or None if no bar is wanted.

    Raises
    ------
    ImportError
        If tqdm isn't installed.
    """
    if not wanted:
        return None
    try:
        from tqdm import tqdm
    except ImportError:
        raise ImportError("progress: tqdm isn't installed; pip install 'numgru[cli]', or progress=False") from None
    return tqdm


@contextmanager
def epoch_bar(bar: Any, epoch: int, epochs: int, steps: int) -> Iterator[Callable[[float, float, float], None]]:
    """Gives a function to call after each step with mean loss, gradient norm and clipped share."""
    if bar is None:
        yield lambda loss, norm, share: None
        return
    with bar(total=steps, desc=f"epoch {epoch}/{epochs}", unit="step") as shown:

        def advance(loss: float, norm: float, share: float) -> None:
            shown.set_postfix_str(f"loss={loss:.4g}, |g|={norm:.3g}, clipped={share:.0%}", refresh=False)
            shown.update()

        yield advance
