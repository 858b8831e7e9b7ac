"""How a client speaks at `/oauth/…`: its Basic credentials (RFC 6749 section 2.3.1) and its form."""

from binascii import a2b_base64
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_plus

from vault.errors import Kind, VaultError
from vault.web.strict import parse_form, read_body

_BASIC: Final = "basic "
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_HEADER_CHARACTERS: Final = 2048


def credentials(environ: Mapping[str, Any]) -> tuple[str, str]:
    """Return client id and secret of the Authorization header.

    Raises:
        VaultError: unauthenticated: not there, not Basic, or not readable; which of them is not told.
    """
    header: str = environ.get("HTTP_AUTHORIZATION", "")
    basic = header[: len(_BASIC)].lower() == _BASIC and len(header) <= _MAX_HEADER_CHARACTERS
    try:
        text = a2b_base64(header[len(_BASIC) :] if basic else "", strict_mode=True).decode()
        client_id, _, secret = text.partition(":")
        client_id, secret = unquote_plus(client_id, errors="strict"), unquote_plus(secret, errors="strict")
    except ValueError:
        client_id = secret = ""
    if not (client_id and secret):
        raise VaultError(Kind.UNAUTHENTICATED, "authenticate with HTTP Basic and valid credentials")
    return client_id, secret


def client_form(
    environ: dict[str, Any], limit_bytes: int, client_id: str, repeatable: frozenset[str] = frozenset()
) -> dict[str, str]:
    """Return the parameters of the form.

    Args:
        environ: the WSGI environ.
        limit_bytes: the largest body.
        client_id: the client of the header, which the form may repeat but not gainsay.
        repeatable: parameters that may stand several times, see `parse_form`.

    Raises:
        VaultError: not a form, or a second way of authentication in it.
    """
    content_type: str = environ.get("CONTENT_TYPE", "")
    if content_type.partition(";")[0].strip().lower() != _FORM:
        raise VaultError(Kind.UNSUPPORTED_MEDIA_TYPE, "send a form (application/x-www-form-urlencoded)")
    form = parse_form(read_body(environ, limit_bytes), repeatable)
    if "client_secret" in form or "client_assertion" in form:
        raise VaultError(Kind.MALFORMED, "use one way of client authentication")
    if form.get("client_id", client_id) != client_id:
        raise VaultError(Kind.MALFORMED, "client_id is not the client of the Authorization header")
    return form
