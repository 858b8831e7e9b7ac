"""Files that must be there after a power cut."""

import os
from pathlib import Path


def replace_durably(path: Path, raw: bytes) -> None:
    """Replace a file by another: a crash leaves the one or the other, whole.

    Raises:
        OSError: the folder cannot be written.
    """
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
