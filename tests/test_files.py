"""Files that are whole or not there."""

from __future__ import annotations

import errno
import os
import threading
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from numgru._files import atomic_write, load_arrays, make_folder, remove_temporaries, save_arrays

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and folders of POSIX")


@posix
def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        is_folder = os.path.samestat(os.fstat(descriptor), os.stat(tmp_path))
        calls.append("fsync folder" if is_folder else f"fsync {os.fstat(descriptor).st_size} bytes")
        fsync(descriptor)

    def record_replace(source: Any, target: Any) -> None:
        calls.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    with atomic_write(tmp_path / "file") as file:
        file.write("text")
    assert calls == ["fsync 4 bytes", "replace", "fsync folder"]


@posix
@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        with atomic_write(tmp_path / "file") as file:
            file.write("text")
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o666 & ~mask


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_after_an_interruption_all_is_as_it_was(tmp_path: Path, error: type[BaseException]) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write("new")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def write(path: Path, text: str = "new") -> None:
    with atomic_write(path) as file:
        file.write(text)


def test_a_link_stays_and_leads_to_the_new_content(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link, dangling = tmp_path / "elsewhere" / "target", tmp_path / "link", tmp_path / "dangling"
    target.write_text("old")
    link.symlink_to(target)
    dangling.symlink_to("elsewhere/later")
    write(link)
    write(dangling)
    assert link.is_symlink() and dangling.is_symlink()
    assert target.read_text() == dangling.read_text() == "new"
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["later", "target"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    read: list[str] = []
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
        reader.start()
        write(path)
        reader.join()
    assert read == ["new", "new"] and pipe.is_fifo() and link.is_symlink()


def test_an_error_names_the_file_and_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(tmp_path / "file")
    assert caught.value.filename == str(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "old"
    with pytest.raises(OSError, match="of something else"), atomic_write(tmp_path / "file"):
        raise OSError("of something else")
    with pytest.raises(FileNotFoundError) as caught:
        write(tmp_path / "none" / "file")
    assert caught.value.filename == str(tmp_path / "none" / "file")


def test_temporaries_of_named_files_are_removed(tmp_path: Path) -> None:
    kept = ["model.npz", ".model.npz.backup", ".model.npz.old-copy", ".other.npz.abcd_123", ".modelxnpz.abcd_123"]
    for name in [*kept, ".model.npz.abcd_123"]:
        (tmp_path / name).touch()
    remove_temporaries([tmp_path / "model.npz"])
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_a_folder_that_takes_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(dir: Path) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", f"{dir}/tmp123")

    make_folder(tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a") == ["b"] and not os.listdir(tmp_path / "a" / "b")
    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(PermissionError) as caught:
        make_folder(tmp_path)
    assert caught.value.filename == str(tmp_path)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    save_arrays(path, {"a": np.arange(3)}, {"b": [1, "two"]})
    arrays, metadata = load_arrays(path)
    assert list(arrays) == ["a"] and arrays["a"].tolist() == [0, 1, 2] and metadata == {"b": [1, "two"]}


def test_damaged_compressed_data(tmp_path: Path) -> None:
    path = tmp_path / "arrays.npz"
    np.savez_compressed(path, allow_pickle=False, a=np.arange(1000))
    content = path.read_bytes()
    path.write_bytes(content[:80] + b"\xff" * 10 + content[90:])
    with pytest.raises(ValueError, match="expected a file saved by numgru, got a damaged one") as caught:
        load_arrays(path)
    assert isinstance(caught.value.__cause__, zlib.error)


@pytest.mark.parametrize("entry", ["other.json", "metadata.json", "metadata.json.npy"])
def test_an_archive_of_something_else(tmp_path: Path, entry: str) -> None:
    """Without metadata, with a text instead of an array, with an array that is no JSON."""
    path = tmp_path / "arrays.npz"
    with zipfile.ZipFile(path, "w") as archive, archive.open(entry, "w") as file:
        np.save(file, np.zeros(3, np.uint8)) if entry.endswith(".npy") else file.write(b"{}")
    with pytest.raises(ValueError, match="expected a file saved by numgru, got an archive of something else"):
        load_arrays(path)
