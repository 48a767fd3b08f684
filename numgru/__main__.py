"""The command line: `numgru`, or `python -m numgru`."""

from __future__ import annotations

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line and exit: 0 done, 1 failed, 2 a mistake in what was asked, 130 interrupted."""
    missing = [name for name in ("click", "tqdm", "matplotlib") if find_spec(name) is None]
    if missing:
        sys.exit(f"numgru: the command line needs {', '.join(missing)}: pip install 'numgru[cli]'")
    try:
        from .cli import run

        code = run()
    except KeyboardInterrupt:  # before a command has begun
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
