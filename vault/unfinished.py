"""A restore that was killed: nobody uses what it was filling, or makes a vault beside it, until it is said again."""

import shutil
from pathlib import Path
from typing import Final

from vault.errors import StartError

BUILD: Final = ".restore"
"""Where a whole vault is built; moved away at once when everything of it is in its place."""
PLACED: Final = ".restored"
KEYS_BUILD: Final = ".restore-keys"
"""Where the key store alone is built."""
FILLING: Final = "filling"
"""Says there that what is in the database is a restore's, to be filled again; holds the nonce that marks it."""
NONCE: Final = "nonce"
"""The same in the folder of a whole vault; there from before the first row in a database, to the end."""


def nonce_in(path: Path) -> bytes:
    """Return what marks the databases of a restore that was begun, or nothing where none was."""
    return path.read_bytes() if path.exists() else b""


def check(home: Path) -> None:
    """Check that no restore was cut off; what one left that was at its end goes.

    Raises:
        StartError: one was.
    """
    if (home / BUILD).exists() or (home / KEYS_BUILD / FILLING).exists():
        raise StartError("a restore was cut off here, or runs; nothing of it is used: say idvault restore again")
    shutil.rmtree(home / PLACED, ignore_errors=True)
