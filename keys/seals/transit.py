"""The seal of OpenBao's or Vault's transit engine: a key of theirs encrypts the root key, bound to its context.

    POST /v1/MOUNT/encrypt/KEY   {"plaintext", "associated_data"} → {"data": {"ciphertext": "vault:v1:…"}}
    POST /v1/MOUNT/decrypt/KEY   {"ciphertext", "associated_data"} → {"data": {"plaintext"}}

Guarantees: nothing is asked of another address than the one that officers approved (no redirect is followed), and no
answer is read beyond a bound. Each refusal says what to do; none falls back on anything. Source: OpenBao's HTTP API,
"Transit secrets engine".
"""

import base64
import json
import ssl
from collections.abc import Mapping
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote, urlsplit

from keys.errors import SealError, SealUnreachableError
from keys.files import secret_line

MAX_ANSWER_BYTES: Final = 64 * 1024
_SECONDS: Final = 10
_ANSWERS: Final[Mapping[int, str]] = MappingProxyType(
    {
        HTTPStatus.FORBIDDEN: "the token in token_file is not allowed this, or has expired",
        HTTPStatus.NOT_FOUND: "no such mount or key",
    }
)
_LATER: Final[Mapping[int, str]] = MappingProxyType(
    {
        HTTPStatus.TOO_MANY_REQUESTS: "too many requests; try again",
        HTTPStatus.SERVICE_UNAVAILABLE: "the server is sealed itself",
        473: "the server is a standby of another",
    }
)
_TOO_OLD: Final = "too old"
_NO_ANSWER: Final = "transit: what answered is not the transit engine"


def wrap(config: Mapping[str, str], root: bytes, context: bytes, *, create: bool) -> str:
    """Return the wrapped key, under the newest version of the transit key.

    Raises:
        SealError: refused; SealUnreachableError where it may be tried again.
    """
    if create:
        raise SealError("transit: --create is for pkcs11; make the key there")
    found = _asked(config, "encrypt", {"plaintext": _text(root), "associated_data": _text(context)})
    wrapped = found.get("ciphertext")
    if not isinstance(wrapped, str) or not wrapped.startswith("vault:v"):
        raise SealError(_NO_ANSWER)
    return wrapped


def unwrap(config: Mapping[str, str], wrapped: str, context: bytes) -> bytes:
    """Return what was wrapped.

    Raises:
        SealError: refused; it names the key's version where that may not decrypt any more.
    """
    asked = {"ciphertext": wrapped, "associated_data": _text(context)}
    try:
        return base64.b64decode(_asked(config, "decrypt", asked, wrapped)["plaintext"], validate=True)
    except (KeyError, TypeError, ValueError):
        raise SealError(_NO_ANSWER) from None


def _asked(config: Mapping[str, str], verb: str, body: Mapping[str, str], wrapped: str = "") -> dict[str, Any]:
    parts = urlsplit(config["url"])
    headers = {"X-Vault-Token": secret_line(Path(config["token_file"]), "token_file"), "X-Vault-Request": "true",
               "Content-Type": "application/json"}  # fmt: skip
    if "namespace" in config:
        headers["X-Vault-Namespace"] = config["namespace"]
    path = f"/v1/{quote(config['mount'].strip('/'))}/{verb}/{quote(config['key'], safe='')}"
    connection = _connection(parts.scheme == "https", str(parts.hostname), parts.port, config.get("ca_file"))
    try:
        connection.request("POST", path, json.dumps(body), headers)
        answer = connection.getresponse()
        raw = answer.read(MAX_ANSWER_BYTES + 1)
    except ssl.SSLError:
        raise SealError(
            "transit: the server's certificate is not of that name, or of no authority known here"
        ) from None
    except (UnicodeEncodeError, ValueError):
        raise SealError("transit: a setting or the token has characters that no request can have") from None
    except (OSError, HTTPException):
        raise SealUnreachableError("transit: the server does not answer") from None
    finally:
        connection.close()
    if answer.status != HTTPStatus.OK:
        raise _refusal(answer.status, raw, wrapped)
    try:
        found = json.loads(raw)["data"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SealError(_NO_ANSWER) from None
    if not isinstance(found, dict) or len(raw) > MAX_ANSWER_BYTES:
        raise SealError(_NO_ANSWER)
    return found


def _connection(secure: bool, host: str, port: int | None, ca_file: str | None) -> HTTPConnection:  # noqa: FBT001
    if not secure:
        return HTTPConnection(host, port, timeout=_SECONDS)
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except (OSError, ssl.SSLError):
        raise SealError("ca_file: cannot be read, or holds no certificate") from None
    return HTTPSConnection(host, port, timeout=_SECONDS, context=context)


def _refusal(status: int, raw: bytes, wrapped: str) -> SealError:
    if status in _ANSWERS:
        return SealError(f"transit: {_ANSWERS[status]}")
    if status in _LATER:
        return SealUnreachableError(f"transit: {_LATER[status]}")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return SealUnreachableError(f"transit: the server answered {status}")
    version = wrapped.split(":")[1] if wrapped.count(":") > 1 else ""
    if status == HTTPStatus.BAD_REQUEST and _TOO_OLD.encode() in raw[:MAX_ANSWER_BYTES]:
        return SealError(
            f"transit: version {version.removeprefix('v')} of the key may not decrypt any more; lower its "
            "min_decryption_version, or open by shares and say migrate-seal again"
        )
    return SealError(f"transit: the server refused ({status}): what is wrapped is not of this key and place")


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
