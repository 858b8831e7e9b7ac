"""The Idempotency-Key header (draft-ietf-httpapi-idempotency-key-header-07): quoted as the draft says, or bare."""

import hashlib
import re
from typing import Any, Final

import orjson
from flask import request

from vault.errors import Kind, VaultError
from vault.services.idempotency import Idempotency

HEADER: Final = "HTTP_IDEMPOTENCY_KEY"
"""Where the WSGI environ holds it."""
# A structured-field string without space, or a bare run of visible characters that no list or string is made of.
_KEY: Final = re.compile(r'"(?P<quoted>(?:[!#-\[\]-~]|\\["\\]){1,255})"|(?P<bare>[!#-+\--:<-\[\]-~]{1,255})')
_ESCAPE: Final = re.compile(r"\\(.)")


def parse_key(header: str) -> str:
    """Return the key of a header; quoted and bare spellings of it are the same key.

    Raises:
        VaultError: malformed.
    """
    found = _KEY.fullmatch(header)
    if found is None:
        raise VaultError(Kind.MALFORMED, "Idempotency-Key is a string of 1 to 255 visible ASCII characters")
    quoted = found["quoted"]
    return _ESCAPE.sub(r"\1", quoted) if quoted is not None else found["bare"]


def idempotency_of(members: dict[str, Any]) -> Idempotency | None:
    """Return the key of the current request with its fingerprint, None where it has no key."""
    return keyed(request.headers.get("Idempotency-Key"), request.method, request.path, members)


def keyed(header: str | None, method: str, path: str, members: dict[str, Any]) -> Idempotency | None:
    """Return the key of a request with its fingerprint, None where it has no such header.

    Raises:
        VaultError: the header is malformed.
    """
    if header is None:
        return None
    key = hashlib.sha256(parse_key(header).encode()).digest()
    # Members in one order: the same request however it was written.
    seen = f"{method}\n{path}\n".encode() + orjson.dumps(members, option=orjson.OPT_SORT_KEYS)
    return Idempotency(key, hashlib.sha256(seen).digest())
