import json
import subprocess

import pytest

from bench.history import History
from bench.pages import with_local_libraries

SUITE = """
from numgru import VALUE


def track_value():
    return VALUE
"""
SETTINGS = {
    "version": 1,
    "project": "numgru",
    "repo": ".",
    "branches": ["HEAD"],
    "dvcs": "git",
    "environment_type": "existing",
    "benchmark_dir": "bench",
    "results_dir": ".asv/results",
    "html_dir": ".asv/html",
}


@pytest.fixture
def history(tmp_path):
    """Three commits of a package, whose VALUE counts them."""
    for folder in ("bench", "numgru"):
        (tmp_path / folder).mkdir()
    (tmp_path / "bench" / "__init__.py").touch()
    (tmp_path / "bench" / "bench_value.py").write_text(SUITE)
    (tmp_path / "asv.conf.json").write_text(json.dumps(SETTINGS))
    (tmp_path / ".gitignore").write_text(".asv/\n")
    git(tmp_path, "init", "--quiet")
    for value in (1, 2, 3):
        (tmp_path / "numgru" / "__init__.py").write_text(f"VALUE = {value}\n")
        git(tmp_path, "add", "--all")
        git(tmp_path, "-c", "user.name=A", "-c", "user.email=a@b", "commit", "--quiet", "-m", str(value))
    return History(tmp_path)


def git(folder, *arguments):
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_last_commits_oldest_first(history):
    subjects = [git(history.root, "show", "-s", "--format=%s", commit).strip() for commit in history.last(2)]
    assert subjects == ["2", "3"]
    assert len(history.last(9)) == 3


def test_what_is_a_commit(history):
    assert all(history.knows(commit) for commit in ("HEAD", "HEAD~2", *history.last(1)))
    assert not any(history.knows(commit) for commit in ("HEAD~3", "nosuch", "--all", "HEAD:numgru"))


def test_each_commit_is_measured_with_its_own_code(history, monkeypatch):
    pytest.importorskip("asv")
    monkeypatch.setattr("bench.history.MACHINES", history.root / "machines")
    monkeypatch.setenv("HOME", str(history.root))  # asv keeps the machine's name there
    commits = history.last(2)
    for commit in commits:
        assert not history.measured(commit)
        history.measure(commit)
        assert history.measured(commit)
        (file,) = history.results.glob(f"*/{commit[:8]}-*.json")
        stored = json.loads(file.read_text())
        assert stored["commit_hash"] == commit
        assert stored["results"]["bench_value.track_value"][0] == [2 + commits.index(commit)]
    assert git(history.root, "worktree", "list").count("\n") == 1
    assert "numgru" in json.loads((history.publish().parent / "index.json").read_text())["project"]


def test_pages_load_copies_of_the_same_file_name(tmp_path):
    (tmp_path / "libraries" / "deep").mkdir(parents=True)
    (tmp_path / "libraries" / "deep" / "plot.js").write_text("plot")
    (tmp_path / "libraries" / "query.min.js").write_text("query")
    page = tmp_path / "html" / "index.html"
    page.parent.mkdir()
    page.write_text(
        '<script src="https://a.example/b/plot.min.js" integrity="sha256-x" onerror="f()"></script>'
        '<script src="https://a.example/query-3.3.1.min.js"></script>'
        '<link rel="stylesheet" href="https://a.example/style.css"><script src="own.js"></script>'
    )
    assert with_local_libraries(page, tmp_path / "libraries") == ["style.css"]
    assert page.read_text() == (
        '<script src="plot.min.js" onerror="f()"></script>'
        '<script src="query-3.3.1.min.js"></script>'
        '<link rel="stylesheet" href="https://a.example/style.css"><script src="own.js"></script>'
    )
    assert (page.parent / "plot.min.js").read_text() == "plot"
    assert (page.parent / "query-3.3.1.min.js").read_text() == "query"
