"""Where a log is read from: a folder that mirrors it, an export in one file, or a URL that serves it.

export = a tar archive (POSIX.1-2001, pax) of the mirror's files, checkpoint first
"""

import http.client
import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from keys.checkpoints import Checkpoint
from keys.errors import NoteError
from keys.notes import Note
from vault.log import tiles
from vault.log.tiles import Tile

Read = Callable[[str], bytes]
CHECKPOINT: Final = "checkpoint"
MAX_FILE_BYTES: Final = 32 * 1024 * 1024
"""A full bundle of the longest entries has 16 MiB."""
_TIMEOUT_SECONDS: Final = 30


class SourceError(Exception):
    """A log cannot be read from there; the message says what was tried."""


def reader(where: str) -> Read:
    """Return what reads a log's files: from a folder, an export, or a URL that begins with http.

    Raises:
        SourceError: it is none of the three.
    """
    if where.startswith(("http://", "https://")):
        return _served(where)
    path = Path(where)
    if path.is_dir():
        return lambda name: (path / name).read_bytes()
    if path.is_file():
        return _exported(path)
    raise SourceError("no folder, export or URL of a log")


def _served(url: str) -> Read:
    parts = urlsplit(url)
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = connect(parts.netloc, timeout=_TIMEOUT_SECONDS)

    def read(name: str) -> bytes:
        try:
            connection.request("GET", f"{parts.path.rstrip('/')}/{name}")
            answer = connection.getresponse()
            body = answer.read(MAX_FILE_BYTES + 1)
        except (OSError, http.client.HTTPException):
            connection.close()
            raise SourceError("the log does not answer") from None
        if answer.status == http.HTTPStatus.NOT_FOUND:
            raise FileNotFoundError(name)
        if answer.status != http.HTTPStatus.OK or len(body) > MAX_FILE_BYTES:
            raise SourceError("the log does not answer as a log does")
        return body

    return read


def _exported(path: Path) -> Read:
    try:
        with tarfile.open(path, "r:") as archive:
            places = {one.name: (one.offset_data, one.size) for one in archive if one.isfile()}
    except (tarfile.TarError, OSError):
        raise SourceError("the file is no export of a log") from None

    def read(name: str) -> bytes:
        if name not in places:
            raise FileNotFoundError(name)
        place, size = places[name]
        with path.open("rb") as file:
            file.seek(place)
            return file.read(min(size, MAX_FILE_BYTES))

    return read


def files_of(size: int) -> Iterator[Tile]:
    """Return all tiles and bundles of a tree of a size."""
    yield from tiles.of_size(size)
    yield from tiles.of_level(None, size)


def size_at(read: Read) -> tuple[int, bytes]:
    """Return (size, note) of the checkpoint that a log serves.

    Raises:
        SourceError: it serves none.
    """
    try:
        note = read(CHECKPOINT)
        return Checkpoint.parse(Note.parse(note).text).size, note
    except (FileNotFoundError, NoteError):
        raise SourceError("there is no checkpoint of a log") from None


def mirror(read: Read, folder: Path) -> tuple[int, int]:
    """Bring a folder up to what a log serves; return (size, files fetched). What is there already is left alone.

    The checkpoint is written last, each file by renaming: whoever reads the folder meanwhile sees a whole log.

    Raises:
        SourceError: the log serves no checkpoint, or not all that it says.
    """
    size, note = size_at(read)
    fetched = 0
    for tile in files_of(size):
        path = folder / tile.path
        if path.exists():
            continue
        try:
            raw = read(tile.path)
        except FileNotFoundError:
            raise SourceError(f"the log lacks {tile.path}") from None
        path.parent.mkdir(parents=True, exist_ok=True)
        _put(path, raw)
        fetched += 1
    folder.mkdir(parents=True, exist_ok=True)
    _put(folder / CHECKPOINT, note)
    return size, fetched


def _put(path: Path, raw: bytes) -> None:
    new = path.with_name(path.name + ".new")
    new.write_bytes(raw)
    new.replace(path)


def export(read: Read, path: Path) -> int:
    """Write a log into one new file; return its size.

    Raises:
        SourceError: the log serves no checkpoint, or not all that it says; or the file exists.
    """
    size, note = size_at(read)
    try:
        with path.open("xb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            _add(archive, CHECKPOINT, note)
            for tile in files_of(size):
                _add(archive, tile.path, read(tile.path))
    except FileExistsError:
        raise SourceError("the file is there already") from None
    except FileNotFoundError:
        path.unlink(missing_ok=True)
        raise SourceError("the log lacks some of its tiles") from None
    return size


def _add(archive: tarfile.TarFile, name: str, raw: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(raw)
    archive.addfile(member, io.BytesIO(raw))
