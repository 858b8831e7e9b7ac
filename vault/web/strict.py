"""Reading bodies strictly: what is ambiguous, endless or too deep is refused before anything else sees it.

Pure functions over bytes and a WSGI environ; no framework. What the members mean is left to `schemas`.
"""

import contextlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn
from urllib.parse import parse_qsl

from vault.errors import Kind, VaultError

MAX_DEPTH: Final = 32
"""Nesting of arrays and objects; the deepest body of the interface has five levels."""
MAX_NUMBER_CHARACTERS: Final = 18
"""Digits and sign of an integer, so that every one fits a signed 64-bit integer; longer numbers are refused unread."""
MAX_FORM_FIELDS: Final = 32
_READ_BYTES: Final = 65_536
_READ: Final = "idvault.read"

# Strings as a whole, so that brackets in them do not count; possessive, so that no input takes quadratic time.
_STRING: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_ESCAPED: Final = re.compile(r"[%+]")
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")


def _malformed(detail: str) -> NoReturn:
    raise VaultError(Kind.MALFORMED, detail) from None


def parse_json(data: bytes) -> object:
    """Return the value of a JSON text.

    Raises:
        VaultError: malformed: not UTF-8 or not JSON, a duplicate member, a number that is not finite or too long,
            a lone surrogate, or deeper than MAX_DEPTH.
    """
    _check_depth(data)
    try:
        value: object = json.loads(
            data.decode(),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_float,
            parse_constant=_constant,
        )
        if _SURROGATE.search(data):
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeDecodeError:
        _malformed("the body is not valid UTF-8")
    except UnicodeEncodeError:
        _malformed("a string of the body holds a lone surrogate")
    except ValueError:
        _malformed("the body is not valid JSON")
    return value


def _check_depth(data: bytes) -> None:
    depth = 0
    for bracket in _STRING.sub(b"", data).translate(None, _NO_BRACKETS):
        if bracket in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                _malformed("the body is nested too deeply")
        else:
            depth -= 1


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        _malformed("an object of the body names a member twice")
    return members


def _integer(text: str) -> int:
    if len(text) > MAX_NUMBER_CHARACTERS:
        _malformed("a number of the body is too long")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        _malformed("a number of the body is too large")
    return value


def _constant(_name: str) -> NoReturn:
    _malformed("NaN and Infinity are not JSON")


def declared_length(environ: Mapping[str, Any]) -> int | None:
    """Return the body's length in bytes as the header says it, None where it says nothing."""
    text = environ.get("CONTENT_LENGTH")
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= MAX_NUMBER_CHARACTERS):
        _malformed("Content-Length is not a number")
    return int(text)


def check_framing(environ: Mapping[str, Any], limit_bytes: int, *, chunked: bool = False) -> None:
    """Refuse by the headers alone, before a byte of the body is read.

    Args:
        environ: the WSGI environ.
        limit_bytes: the largest body.
        chunked: whether a body without a length is allowed here.

    Raises:
        VaultError: length required, too large, or compressed.
    """
    if "HTTP_TRANSFER_ENCODING" in environ and not chunked:
        raise VaultError(Kind.LENGTH_REQUIRED, "send the body with a Content-Length")
    if environ.get("HTTP_CONTENT_ENCODING", "identity").strip().lower() != "identity":
        raise VaultError(Kind.MALFORMED, "send the body as it is, without a content coding")
    length = declared_length(environ)
    if length is not None and length > limit_bytes:
        raise VaultError(Kind.TOO_LARGE, "the body is larger than this route allows")


def read_body(environ: dict[str, Any], limit_bytes: int, *, chunked: bool = False) -> bytes:
    """Return the whole body.

    Args:
        environ: the WSGI environ.
        limit_bytes: the largest body; of a chunked one no more than a byte beyond is read.
        chunked: whether a body without a length is allowed here.

    Raises:
        VaultError: length required, too large, or malformed where the body ended early.
    """
    check_framing(environ, limit_bytes, chunked=chunked)
    length = declared_length(environ)
    if length is None and not (chunked and environ.get("wsgi.input_terminated")):
        raise VaultError(Kind.LENGTH_REQUIRED, "send the body with a Content-Length")
    missing = limit_bytes + 1 if length is None else length
    read, parts = environ["wsgi.input"].read, []
    while missing > 0:
        part = read(min(missing, _READ_BYTES))
        if not part:
            break
        parts.append(part)
        missing -= len(part)
    if length is None and missing <= 0:
        raise VaultError(Kind.TOO_LARGE, "the body is larger than this route allows")
    if length is not None and missing > 0:
        _malformed("the body ended early")
    environ[_READ] = True
    return b"".join(parts)


def leave_nothing_unread(environ: Mapping[str, Any]) -> bool:
    """Read off the body of a request that was refused by its head, and return whether the connection can go on.

    A server that answers ahead of the body shuts the connection, and a client that still sends, or that kept the
    connection for its next request, is cut off without a word (RFC 9112 sections 9.3 and 9.6).

    Returns:
        False where a body was left that is longer than one read, or of unknown length: say `Connection: close`.
    """
    if environ.get(_READ) or not ("HTTP_TRANSFER_ENCODING" in environ or environ.get("CONTENT_LENGTH")):
        return True
    with contextlib.suppress(VaultError):
        if "HTTP_TRANSFER_ENCODING" not in environ and (declared_length(environ) or 0) <= _READ_BYTES:
            missing, read = declared_length(environ) or 0, environ["wsgi.input"].read
            while missing > 0 and (part := read(missing)):
                missing -= len(part)
            return missing == 0
    return False


def parse_form(data: bytes, repeatable: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return the parameters of a form; one without a value counts as absent (RFC 6749 section 3.2).

    Args:
        data: the body.
        repeatable: parameters that may stand several times; their values are joined by line feeds.

    Raises:
        VaultError: malformed: not UTF-8, too many parameters, or one of them repeated.
    """
    try:
        text = data.decode()
        if _ESCAPED.search(text) is None and text.count("&") < MAX_FORM_FIELDS:
            # Tokens need no escapes: what the hot path sends is read in a fifth of the time.
            pairs = [(name, value) for name, _, value in (part.partition("=") for part in text.split("&") if part)]
        else:
            pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FORM_FIELDS)
    except ValueError:
        _malformed("the form cannot be read")
    form = dict(pairs)
    if len(form) != len(pairs):
        for name in form:
            values = [value for given, value in pairs if given == name]
            if len(values) > 1 and name not in repeatable:
                _malformed("a parameter of the form is repeated")
            form[name] = "\n".join(values)
    return {name: value for name, value in form.items() if value}
