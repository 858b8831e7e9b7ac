"""The development seal: the root key in a file beside the stores. It protects nothing, and says so at every start.

{"seal": "development", "root_id": base64, "root": base64}      mode 0600, created exclusively, never overwritten
"""

import base64
import json
import os
from pathlib import Path
from typing import Final

from keys.errors import SetupError
from keys.files import create_durably
from keys.primitives import KEY_BYTES, Secret, random_bytes

FILE_NAME: Final = "seal.json"
_UNREADABLE: Final = "the seal cannot be read; restore it from a backup"
WARNING: Final = (
    "development seal: the root key lies in a file beside the data; whoever can read the folder can read every name"
)


def create(path: Path) -> tuple[bytes, Secret]:
    """Make a root key and write the seal; return (root id, root key).

    Raises:
        FileExistsError: there is a seal already.
    """
    root_id, root = random_bytes(16), Secret.random(KEY_BYTES)
    content = {
        "seal": "development",
        "root_id": base64.b64encode(root_id).decode(),
        "root": base64.b64encode(root.expose_cleartext()).decode(),
    }
    create_durably(path, json.dumps(content).encode())
    return root_id, root


def open_seal(path: Path) -> tuple[bytes, Secret]:
    """Return (root id, root key).

    Raises:
        SetupError: there is no seal, it is readable for others, or it is not of this form.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            if os.fstat(descriptor).st_mode & 0o077:
                raise SetupError("the seal is readable for others; make it 0600")
            return parse(file.read())
    except FileNotFoundError:
        raise SetupError("there is no seal; restore it from a backup") from None
    except OSError:
        raise SetupError(_UNREADABLE) from None


def parse(raw: bytes) -> tuple[bytes, Secret]:
    """Return (root id, root key) of what stands in the file.

    Raises:
        SetupError: it is not of this form.
    """
    try:
        content = json.loads(raw)
        root_id, root = base64.b64decode(content["root_id"]), base64.b64decode(content["root"])
        if content["seal"] != "development" or len(root_id) != KEY_BYTES // 2 or len(root) != KEY_BYTES:
            raise ValueError  # noqa: TRY301 - one way out for all that is not a seal
    except (ValueError, KeyError, TypeError):
        raise SetupError(_UNREADABLE) from None
    return root_id, Secret(root)
