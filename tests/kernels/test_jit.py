"""How kernels are compiled, and their cache: what is damaged or can't be written costs time and nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba import prange
from numba.core import caching
from numpy.typing import NDArray

import numgru
from numgru.kernels import _jit, threads
from tests.cases import run_elsewhere

PACKAGE = Path(numgru.__file__).parent
NOBODY = 65534

posix = pytest.mark.skipif(os.name != "posix", reason="permission bits")


def double(x: int) -> int:
    return 2 * x


def share_out(counts: NDArray[np.int64], parts: int) -> None:
    for part in prange(parts):
        counts[part] += 1


def note_form(counts: NDArray[np.int64], parts: int) -> None:
    for part in prange(parts):
        counts[part] = np.int64(0)
    if _jit.in_threads() is None:
        counts[0] = 1


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in the place of the user's."""
    return put_cache(tmp_path / "cache", monkeypatch)


def put_cache(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(_jit, "cache_folder", lambda: folder)
    return folder


def compiled() -> bool:
    """Use a kernel as a new process would, and see whether it came from the compiler; else it came from the cache."""
    kernel = _jit.kernel(double)
    assert kernel(21) == 42
    hits, misses = (sum(counts.values()) for counts in (kernel.stats.cache_hits, kernel.stats.cache_misses))
    assert hits + misses == 1
    return bool(misses)


def files(cache: Path, suffix: str) -> list[Path]:
    return sorted(cache.glob(f"*{suffix}"))


@contextmanager
def permissions(folder: Path, bits: int) -> Iterator[None]:
    """A folder with these permissions, and somebody whom they bind: root is another user for a while."""
    before, root = folder.stat().st_mode, os.geteuid() == 0
    folder.chmod(bits)
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(before)


def test_kept(cache: Path) -> None:
    assert compiled()
    assert (len(files(cache, ".nbi")), len(files(cache, ".nbc"))) == (1, 1)
    assert not compiled()


def test_both_forms_of_a_shared_kernel_are_kept(cache: Path) -> None:
    """Each is found again by its own name: one isn't taken for the other."""
    for from_cache in (False, True):
        kernel = _jit.shared_kernel(share_out)
        for form in kernel:
            counts = np.zeros(5, np.int64)
            form(counts, 5)
            np.testing.assert_array_equal(counts, 1)
            assert bool(form.stats.cache_hits) == from_cache
    assert len(files(cache, ".nbc")) == 2


@pytest.mark.parametrize("order", [1, -1])
def test_a_kernel_knows_whether_it_has_threads(order: int, cache: Path) -> None:
    """In whatever order its two forms are compiled."""
    forms = _jit.shared_kernel(note_form)
    for form in forms[::order]:
        counts = np.zeros(2, np.int64)
        form(counts, 2)
        assert form.stats.cache_misses
        assert counts[0] == (form is forms.serial)


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_truncated_file(cache: Path, suffix: str, share: float) -> None:
    """Compiled again, once: the file is replaced."""
    compiled()
    (file,) = files(cache, suffix)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    assert compiled()
    assert not compiled()


@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
def test_file_of_something_else(cache: Path, suffix: str) -> None:
    compiled()
    files(cache, suffix)[0].write_bytes(b"neither an index nor code")
    assert compiled()
    assert not compiled()


def test_index_without_its_data(cache: Path) -> None:
    compiled()
    files(cache, ".nbc")[0].unlink()
    assert compiled()
    assert not compiled()


def test_damage_of_one_kernel_leaves_the_others(cache: Path) -> None:
    compiled()
    (cache / "other.nbi").write_bytes(b"another kernel's")
    files(cache, ".nbc")[0].write_bytes(b"")
    assert compiled()
    assert (cache / "other.nbi").exists()


def test_cache_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    put_cache(tmp_path / "file" / "cache", monkeypatch)
    assert compiled()
    assert compiled()


@posix
def test_read_only_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in it is used; what isn't is compiled, and not kept."""
    with tempfile.TemporaryDirectory() as name:
        folder = put_cache(Path(name), monkeypatch)
        assert compiled()
        with permissions(folder, 0o555):
            assert not compiled()
        for file in folder.iterdir():
            file.unlink()
        with permissions(folder, 0o555):
            assert compiled()
        assert not list(folder.iterdir())


@posix
def test_damage_in_a_read_only_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """The damaged file can't be removed, so every process compiles."""
    with tempfile.TemporaryDirectory() as name:
        folder = put_cache(Path(name), monkeypatch)
        compiled()
        (data,) = files(folder, ".nbc")
        data.write_bytes(b"")
        with permissions(folder, 0o555):
            assert compiled()
            assert compiled()
        assert data.exists()


@posix
def test_cache_in_a_folder_that_cannot_be_entered(cache: Path) -> None:
    """Such as the home of another user, whose HOME is still set."""
    compiled()
    with permissions(cache.parent, 0):
        assert compiled()
    assert not compiled()


@pytest.mark.parametrize("step", ["_save_index", "_save_data"])
def test_full_disk(cache: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(caching.IndexDataCacheFile, step, full)
        assert compiled()
    assert compiled()
    assert not compiled()


def test_folder_changes_with_each_source_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kernels = Path(shutil.copytree(PACKAGE / "kernels", tmp_path / "kernels"))
    monkeypatch.setattr(_jit, "__file__", str(kernels / "_jit.py"))

    def name() -> str:
        return _jit.cache_folder.__wrapped__().name

    assert name() == _jit.cache_folder().name, "the place of the package must not count"
    names = {name()}
    sources = sorted(kernels.glob("*.py"))
    assert len(sources) > 10
    for number, file in enumerate(sources, 2):
        with file.open("a") as text:
            text.write("# changed\n")
        names.add(name())
        assert len(names) == number, f"{file.name} doesn't count"


def test_nobody_without_a_home_gets_a_folder_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setenv("XDG_CACHE_HOME", "~/.cache")  # what Python makes of the usual one then
    assert _jit.cache_folder.__wrapped__().is_relative_to(os.devnull)


def package_with_a_kernel(folder: Path) -> Path:
    """A copy of the library, with a kernel of one module that calls a piece of another."""
    shutil.copytree(PACKAGE, folder / "numgru", ignore=shutil.ignore_patterns("__pycache__"))
    kernels = folder / "numgru" / "kernels"
    (kernels / "part.py").write_text("from ._jit import piece\n@piece\ndef part(x):\n    return x + 1\n")
    (kernels / "whole.py").write_text(
        "from ._jit import kernel\nfrom .part import part\n@kernel\ndef whole(x):\n    return part(x)\n"
    )
    return kernels


def use_copy(folder: Path, cache: Path) -> list[str]:
    """What its kernel makes of 1, and how often it was compiled; in a new process that finds the copy first."""
    code = (
        f"import sys; sys.path.insert(0, {str(folder)!r})\n"
        "from numgru.kernels.whole import whole\n"
        "print(whole.py_func.__code__.co_filename, whole(1), sum(whole.stats.cache_misses.values()))"
    )
    file, *result = run_elsewhere(code, NUMBA_CACHE_DIR=str(cache), PYTHONDONTWRITEBYTECODE="1").split()
    assert file.startswith(str(folder))
    return result


def test_change_in_a_called_function_is_noticed(tmp_path: Path) -> None:
    """Numba's own cache would not see it: the changed function is in another file than the kernel."""
    part = package_with_a_kernel(tmp_path) / "part.py"
    cache = tmp_path / "cache"
    assert use_copy(tmp_path, cache) == ["2", "1"]
    assert use_copy(tmp_path, cache) == ["2", "0"]
    part.write_text(part.read_text().replace("x + 1", "x + 2"))
    assert use_copy(tmp_path, cache) == ["3", "1"]


def test_nothing_is_written_into_the_package(tmp_path: Path) -> None:
    """So it may be installed where nobody can write; neither is the cache's place writable here."""
    package_with_a_kernel(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "file").write_bytes(b"")
    assert use_copy(tmp_path, tmp_path / "file" / "cache") == ["2", "1"]
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "file"])


def test_a_piece_has_no_code_that_python_could_call():
    for _ in range(2):  # before and after it has been compiled
        with pytest.raises(TypeError):
            threads.share(10, 0, 2, 1)


def test_plain_kernels_are_kept() -> None:
    """They are made in a function: what they take from it must look the same to the cache in every process."""
    code = (
        "import numpy as np, numgru; from numgru.kernels.gru import GRUWeights; "
        "from numgru.kernels.plain import PLAIN; numgru.set_num_threads(1); "
        "numgru.GRU(1, 1)(np.zeros((1, 1, 1), np.float32)); stats = PLAIN[GRUWeights].infer.serial.stats; "
        "print(sum(stats.cache_hits.values()), sum(stats.cache_misses.values()))"
    )
    run_elsewhere(code)
    assert run_elsewhere(code).split() == ["1", "0"]
