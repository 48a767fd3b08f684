"""The last commits, each measured with its own code, without a network; then asv's pages of their history.

A commit is checked out into a folder of its own for as long as it is measured, and numgru is imported from there. The
benchmarks are those of this folder for all commits, so that the same thing is measured.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from .pages import with_local_libraries

ROOT = Path(__file__).parents[1]
MACHINES = Path.home() / ".asv-machine.json"  # asv's, of all projects
SOME_FAILED = 2  # asv's exit status: an old commit may lack what a benchmark calls


class History:
    """A repository with an asv suite."""

    def __init__(self, root: Path) -> None:
        self.root = root
        settings = json.loads((root / "asv.conf.json").read_text(encoding="utf-8"))
        self.results, self.html = root / settings["results_dir"], root / settings["html_dir"]
        self.libraries = self.results.parent / "libraries"
        self.kernels = self.results.parent / "kernels"

    def last(self, n: int, until: str = "HEAD") -> list[str]:
        """Hashes of the last `n` commits, oldest first; of a merge only the first parent's line, which asv draws."""
        return self._git("rev-list", "--first-parent", f"--max-count={n}", "--reverse", until).split()

    def knows(self, commit: str) -> bool:
        command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{commit}^{{commit}}"]
        return subprocess.run(command, cwd=self.root, check=False, stdout=subprocess.DEVNULL).returncode == 0

    def measured(self, commit: str) -> bool:
        return any(self.results.glob(f"*/{commit[:8]}-*.json"))

    def measure(self, commit: str, *options: str) -> None:
        """Run the suite with the code of this commit, and keep the results under its hash."""
        if not MACHINES.exists():
            self._asv("machine", "--yes")
        with self._checked_out(commit) as folder:
            environment = os.environ | {"ASV_PYTHONPATH": str(folder), "NUMBA_CACHE_DIR": str(self.kernels)}
            status = self._asv(
                "run", "--no-pull", "--python=same", "--set-commit-hash", commit, *options, env=environment
            )
        if status == SOME_FAILED:
            click.echo(f"{commit[:8]}: benchmarks that failed have no result", err=True)
        elif status:
            raise click.ClickException(f"asv run: expected exit status 0, got {status}")

    def publish(self) -> Path:
        """Write the pages; returns the first one."""
        if status := self._asv("publish", "--no-pull"):
            raise click.ClickException(f"asv publish: expected exit status 0, got {status}")
        return self.html / "index.html"

    def _asv(self, *arguments: str, env: dict[str, str] | None = None) -> int:
        return subprocess.run([sys.executable, "-m", "asv", *arguments], cwd=self.root, env=env).returncode

    @contextmanager
    def _checked_out(self, commit: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory() as parent:
            folder = Path(parent) / commit[:8]
            self._git("worktree", "add", "--detach", str(folder), commit)
            try:
                yield folder
            finally:
                self._git("worktree", "remove", "--force", str(folder))

    def _git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self.root, check=True, text=True, stdout=subprocess.PIPE).stdout


@click.command(help=__doc__)
@click.option("-n", "--commits", "count", type=click.IntRange(min=1), default=3, show_default=True)
@click.option("--until", default="HEAD", show_default=True, help="The last of them: a hash, a branch, a tag.")
@click.option("--new", is_flag=True, help="Leave out commits that have results.")
@click.option("--bench", metavar="REGEX", help="Only benchmarks whose names match.")
@click.option("--quick", is_flag=True, help="One sample each: a trial of the suite, not a measurement.")
def main(count: int, until: str, new: bool, bench: str | None, quick: bool) -> None:
    history = History(ROOT)
    if not history.knows(until):
        raise click.BadParameter(f"expected a commit of this repository, got {until!r}", param_hint="--until")
    options = [*(["--bench", bench] if bench else []), *(["--quick"] if quick else [])]
    for commit in history.last(count, until):
        if new and history.measured(commit):
            click.echo(f"{commit[:8]}: left out, has results", err=True)
        else:
            history.measure(commit, *options)
    page = history.publish()
    missing = with_local_libraries(page, history.libraries)
    if missing:
        click.echo(f"The pages load from the network, see bench/README.md: {', '.join(missing)}", err=True)
    click.echo(f"{page}\nTo look at it: asv preview", err=True)


if __name__ == "__main__":
    main()
