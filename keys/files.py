"""Files that must be there after a power cut, and such that hold a secret."""

import os
from pathlib import Path
from typing import Final

from keys.errors import SetupError

_MAX_SECRET_CHARS: Final = 4096


def replace_durably(path: Path, raw: bytes, mode: int = 0o666) -> None:
    """Replace a file by another: a crash leaves the one or the other, whole. The process's umask narrows the mode.

    Raises:
        OSError: the folder cannot be written.
    """
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    _sync_folder(path)


def create_durably(path: Path, raw: bytes) -> None:
    """Make a file for its owner alone; one that is there, or a symbolic link, is left alone.

    An error leaves nothing, so that a retry is not refused; a crash in the midst of writing may leave a cut file.

    Raises:
        FileExistsError: there is something of this name.
        OSError: the folder cannot be written, or its disk is full.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(raw)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        path.unlink()
        raise
    _sync_folder(path)


def remove_durably(path: Path) -> None:
    """Delete a file, if there is one, so that it is gone after a power cut too.

    Raises:
        OSError: the folder cannot be written.
    """
    path.unlink(missing_ok=True)
    _sync_folder(path)


def secret_line(path: Path, name: str) -> str:
    """Return the first line of a file that is its owner's alone.

    Args:
        path: of the file.
        name: what the file is called in a message.

    Raises:
        SetupError: readable for others, empty, too long, or it cannot be read.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise SetupError(f"{name}: readable for others; make it 0600")
        with path.open() as file:
            line = file.read(_MAX_SECRET_CHARS + 1).partition("\n")[0]
    except (OSError, UnicodeDecodeError):
        raise SetupError(f"{name}: cannot be read") from None
    if not 0 < len(line) <= _MAX_SECRET_CHARS:
        raise SetupError(f"{name}: one line of 1 to {_MAX_SECRET_CHARS} characters")
    return line


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
