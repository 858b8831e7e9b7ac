"""The seal of a hardware token: AES-256-GCM by a key that was made in it and never leaves it.

    wrapped = base64 of (nonce(12) ‖ ciphertext ‖ tag(16)), the context as associated data

Guarantees: a key that could be read out of the token is refused, and so are two of one label. A PIN that is wrong is
never tried again by itself: real tokens lock after a few. Source: PKCS #11 v3.1 section 6.13 (AES with GCM).
"""

import base64
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, GCMParams, KeyType, Mechanism, ObjectClass

from keys.errors import SealError, SealUnreachableError
from keys.files import secret_line
from keys.primitives import random_bytes

_NONCE_BYTES: Final = 12
_TAG_BITS: Final = 128
_GONE: Final = (
    pkcs11.exceptions.TokenNotPresent, pkcs11.exceptions.DeviceRemoved, pkcs11.exceptions.DeviceError,
    pkcs11.exceptions.SessionClosed, pkcs11.exceptions.SessionHandleInvalid, pkcs11.exceptions.KeyHandleInvalid,
    pkcs11.exceptions.ObjectHandleInvalid,
)  # fmt: skip
"""What a token answers that is lost amid a call; as a key that was found a moment ago and is no key any more."""


def wrap(config: Mapping[str, str], root: bytes, context: bytes, *, create: bool) -> str:
    """Return the wrapped key; the token's key is made where there is none and `create` is true.

    Raises:
        SealError: the token refused, or its key may not be used.
    """
    nonce = random_bytes(_NONCE_BYTES)
    with _key(config, create=create) as key:
        sealed = key.encrypt(root, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, context, _TAG_BITS))
    return base64.b64encode(nonce + bytes(sealed)).decode()


def unwrap(config: Mapping[str, str], wrapped: str, context: bytes) -> bytes:
    """Return what was wrapped.

    Raises:
        SealError: the token refused, its key may not be used, or what is wrapped was altered.
    """
    try:
        raw = base64.b64decode(wrapped, validate=True)
    except ValueError:
        raise SealError("pkcs11: what is wrapped is not of its form") from None
    with _key(config) as key:
        nonce, sealed = raw[:_NONCE_BYTES], raw[_NONCE_BYTES:]
        return bytes(
            key.decrypt(sealed, mechanism=Mechanism.AES_GCM, mechanism_param=GCMParams(nonce, context, _TAG_BITS))
        )


@contextmanager
def _key(config: Mapping[str, str], *, create: bool = False) -> Iterator[Any]:
    """Yield the token's key in a session that was logged in, and map all that the token may answer."""
    try:
        library = pkcs11.lib(config["module"])
    except (pkcs11.exceptions.PKCS11Error, RuntimeError, OSError):
        raise SealError("pkcs11: the module cannot be loaded") from None
    try:
        token = library.get_token(token_label=config["token"])
        with token.open(rw=create, user_pin=secret_line(Path(config["pin_file"]), "pin_file")) as session:
            key = _found(session, config["key"], create=create)
            if not key[Attribute.SENSITIVE] or key[Attribute.EXTRACTABLE]:
                raise SealError(
                    "pkcs11: the key could be read out of the token; make one that is sensitive and not extractable"
                )
            yield key
    except (pkcs11.exceptions.PinIncorrect, pkcs11.exceptions.PinLenRange, pkcs11.exceptions.PinInvalid):
        raise SealError("pkcs11: the PIN in pin_file is wrong; it is not tried again by itself") from None
    except pkcs11.exceptions.PinLocked:
        raise SealError("pkcs11: the token has locked its PIN") from None
    except pkcs11.exceptions.NoSuchToken:
        raise SealUnreachableError("pkcs11: no such token is there") from None
    except pkcs11.exceptions.MultipleTokensReturned:
        raise SealError("pkcs11: several tokens have this label") from None
    except _GONE:
        raise SealUnreachableError("pkcs11: the token went away") from None
    except pkcs11.exceptions.PKCS11Error as error:
        raise SealError(f"pkcs11: the token answered {type(error).__name__}") from None


def _found(session: Any, label: str, *, create: bool) -> Any:  # noqa: ANN401 - a vendor's session and key
    wanted = {Attribute.CLASS: ObjectClass.SECRET_KEY, Attribute.KEY_TYPE: KeyType.AES, Attribute.LABEL: label}
    keys = list(session.get_objects(wanted))
    if len(keys) > 1:
        raise SealError("pkcs11: several keys have this label; delete or rename the others")
    if keys:
        return keys[0]
    if not create:
        raise SealError("pkcs11: the token has no key of this label; --create makes one")
    made = {Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False, Attribute.ENCRYPT: True, Attribute.DECRYPT: True}
    return session.generate_key(KeyType.AES, 256, label=label, store=True, template=made)
