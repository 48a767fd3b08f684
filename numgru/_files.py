"""Files that are whole or not there: written under a temporary name, synced, renamed; what CSV files hold."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

_METADATA = "metadata.json"
_ZIP = b"PK\x03\x04"  # its first bytes


_TEMPORARY = "[a-z0-9_]{8}"  # what mkstemp adds to a name


@contextmanager
def atomic_write(path: str | os.PathLike[str], mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; it takes that name once its bytes are on the disk.

    After an exception inside the block `path` is what it was and the temporary file is gone. A link stays one: the file
    that it leads to is replaced. What isn't a regular file, as a pipe or a device, is written to as it is.

    Raises
    ------
    OSError
        If it can't be written; the system's errors have `path` as their file name.
    """
    encoding = None if "b" in mode else "utf-8"
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, mode, encoding=encoding) as file:
                yield file
            return
        with _replacing(Path(os.path.realpath(path)), mode, encoding) as file:
            yield file
    except OSError as error:
        if error.errno is not None:
            error.filename = os.fspath(path)  # not the temporary one's name, and of a full disk there is none
        raise


@contextmanager
def _replacing(path: Path, mode: str, encoding: str | None) -> Iterator[IO[Any]]:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, mode, encoding=encoding) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp's 0600 is for secrets
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    if os.name == "posix":  # the new name, too, must survive a power cut
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def csv_text(header: Sequence[str], rows: Iterable[Iterable[object]]) -> str:
    """What a CSV file holds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()


def make_folder(folder: Path) -> None:
    """Make it if it isn't there; an OSError if no file can be written in it."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = os.fspath(folder)
        raise


def remove_temporaries(paths: Iterable[Path]) -> None:
    """Remove what `atomic_write` left beside these files when it was killed."""
    for path in paths:
        name = re.compile(re.escape(f".{path.name}.") + _TEMPORARY)
        for each in path.parent.iterdir():
            if name.fullmatch(each.name):
                each.unlink(missing_ok=True)


def save_arrays(path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, Any]) -> None:
    """Write named arrays and a JSON-able mapping into one .npz file (a zip; `numpy.load` reads it)."""
    text = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    with atomic_write(path, "wb") as file:
        np.savez(file, allow_pickle=False, **{_METADATA: text}, **arrays)


def load_arrays(path: str | os.PathLike[str]) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what `save_arrays` wrote. No pickle is ever loaded.

    Raises
    ------
    OSError
        If there is no such file (FileNotFoundError), or it can't be opened.
    ValueError
        If the file isn't one of ours, or is damaged.
    """
    expected = f"{os.fspath(path)}: expected a file saved by numgru"
    with open(path, "rb") as file:
        if file.read(len(_ZIP)) != _ZIP:  # NumPy would take it for a pickle
            raise ValueError(f"{expected}, got another kind of file")
        file.seek(0)
        try:
            with np.load(file, allow_pickle=False) as entries:
                arrays = {name: entries[name] for name in entries.files}
        except (ValueError, EOFError, OSError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(f"{expected}, got a damaged one ({error})") from error
    try:
        metadata = json.loads(arrays.pop(_METADATA).tobytes())
    except (ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{expected}, got an archive of something else") from error
    return arrays, metadata
