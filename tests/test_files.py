import errno
import os
import threading

import pytest

from numgru._files import atomic_write, make_folder, remove_temporaries


def write(path, text="new"):
    with atomic_write(path) as file:
        file.write(text)


def test_a_link_stays_and_leads_to_the_new_content(tmp_path):
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


def test_a_pipe_is_written_to(tmp_path):
    pipe, link, read = tmp_path / "pipe", tmp_path / "link", []
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
        reader.start()
        write(path)
        reader.join()
    assert read == ["new", "new"] and pipe.is_fifo() and link.is_symlink()


def test_an_error_names_the_file_and_leaves_it(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "file").write_text("old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left on device") as caught:
        write(tmp_path / "file")
    assert caught.value.filename == str(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "old"
    with pytest.raises(FileNotFoundError) as caught:
        write(tmp_path / "none" / "file")
    assert caught.value.filename == str(tmp_path / "none" / "file")


def test_temporaries_of_named_files_are_removed(tmp_path):
    kept = ["model.npz", ".model.npz.backup", ".model.npz.old-copy", ".other.npz.abcd_123", ".modelxnpz.abcd_123"]
    for name in [*kept, ".model.npz.abcd_123"]:
        (tmp_path / name).touch()
    remove_temporaries([tmp_path / "model.npz"])
    assert sorted(os.listdir(tmp_path)) == sorted(kept)


def test_a_folder_that_takes_no_file(tmp_path, monkeypatch):
    def refused(dir):
        raise PermissionError(errno.EACCES, "Permission denied", f"{dir}/tmp123")

    make_folder(tmp_path / "a" / "b")
    assert os.listdir(tmp_path / "a") == ["b"] and not os.listdir(tmp_path / "a" / "b")
    monkeypatch.setattr("tempfile.TemporaryFile", refused)
    with pytest.raises(PermissionError) as caught:
        make_folder(tmp_path)
    assert caught.value.filename == str(tmp_path)
