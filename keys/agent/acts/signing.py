"""The acts `sign.introspection` and `keys.public`, in the holder `standing`: typed statements, never a caller's bytes.

The statement is built here from members that are each checked, so that a worker which was taken over can get an untrue
answer signed, but nothing that passes for an access token, a log's checkpoint or an officer's order (RFC 9701).
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from keys.agent.arguments import Args, mapping, text, whole
from keys.agent.wire import Dialogue
from keys.entries import SIGN_ES256
from keys.errors import ProtocolError
from keys.keyring import Keyring
from keys.primitives import P256Signer

TYPE: Final = "token-introspection+jwt"
ALGORITHM: Final = "ES256"
_TEXTS: Final = ("scope", "client_id", "sub", "token_type", "assurance")
_RESTRICTION: Final = "vault_restriction"
_RESTRICTION_TEXTS: Final = frozenset(("rung", "until", "statement"))


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode()


def _jwk(signer: P256Signer) -> dict[str, str]:
    x, y = signer.public()
    point = {"crv": "P-256", "kty": "EC", "x": _encoded(x), "y": _encoded(y)}
    # RFC 7638: the thumbprint names the key, and is the same for whoever computes it.
    return {**point, "kid": _encoded(hashlib.sha256(_json(point)).digest()), "use": "sig", "alg": ALGORITHM}


def issuer_of(value: str) -> str:
    """Return the issuer of a statement, a URL.

    Raises:
        ProtocolError: it is none.
    """
    parts = urlsplit(value)
    if parts.scheme not in {"http", "https"} or not parts.netloc or parts.query or parts.fragment:
        raise ProtocolError("issuer: an http or https URL without query and fragment")
    return value


def _answer(given: dict[str, Any]) -> dict[str, Any]:
    """Return the answer with the members that an introspection has; an inactive one says nothing else (RFC 7662)."""
    active = given.get("active")
    if not isinstance(active, bool) or set(given) - {"active", _RESTRICTION, *_TEXTS}:
        raise ProtocolError("answer: the members of an introspection")
    if not active:
        return {"active": False}
    answer: dict[str, Any] = {"active": True}
    answer |= {name: text(given, name) for name in _TEXTS if name in given}
    if _RESTRICTION in given:
        restriction = mapping(given[_RESTRICTION], _RESTRICTION)
        if set(restriction) - _RESTRICTION_TEXTS:
            raise ProtocolError("vault_restriction: rung, until and statement")
        answer[_RESTRICTION] = {name: text(restriction, name) for name in restriction}
    return answer


def sign_introspection(keyring: Keyring, args: Args, _: Dialogue) -> dict[str, Any]:
    """Return {jwt}: what this vault says of a token now, signed, so that the caller can show it later.

    Args:
        keyring: of the holder `standing`.
        args: {issuer, audience, now, answer}; `audience` is the client that asks, `now` in seconds since 1970.

    Raises:
        ProtocolError: the statement is not of that form.
    """
    claims = {
        "iss": issuer_of(text(args, "issuer")), "aud": text(args, "audience"), "iat": whole(args, "now"),
        "token_introspection": _answer(mapping(args.get("answer"), "answer")),
    }  # fmt: skip
    return {"jwt": signed(keyring, TYPE, [claims])[0]}


def signed(keyring: Keyring, kind: str, statements: Iterable[Mapping[str, object]]) -> list[str]:
    """Return statements as JWTs (RFC 7519) of one type, which keeps one from passing for another."""
    keyring.refresh(SIGN_ES256)
    signer = P256Signer(keyring.current(SIGN_ES256).secret)
    header = _encoded(_json({"alg": ALGORITHM, "kid": _jwk(signer)["kid"], "typ": kind}))
    made = [f"{header}.{_encoded(_json(claims))}" for claims in statements]
    return [f"{one}.{_encoded(signer.sign(one.encode()))}" for one in made]


def public_keys(keyring: Keyring, _args: Args, _: Dialogue) -> dict[str, Any]:
    """Return the public keys as a JWK set (RFC 7517), every version that may still verify."""
    keyring.refresh(SIGN_ES256)
    return {"keys": [_jwk(P256Signer(secret)) for secret in keyring.secrets(SIGN_ES256).values()]}
