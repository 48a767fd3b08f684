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
def run_bar(bar: Any, epochs: int, steps: int, done: int) -> Iterator[Callable[[float, float, float], None]]:
    """One bar for a run of `epochs` epochs of `steps` steps, of which `done` epochs lie behind it.

    Gives a function to call after each step with mean loss, gradient norm and clipped share.
    """
    if bar is None:
        yield lambda loss, norm, share: None
        return
    with bar(total=epochs * steps, initial=done * steps, unit="step") as shown:

        def advance(loss: float, norm: float, share: float) -> None:
            shown.set_description(f"epoch {shown.n // steps + 1}/{epochs}", refresh=False)
            shown.set_postfix_str(f"loss={loss:.4g}, |g|={norm:.3g}, clipped={share:.0%}", refresh=False)
            shown.update()

        yield advance
