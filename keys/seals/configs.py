"""What each kind of seal is set to: a closed list of names, so that officers sign all of what will be used.

    shares                                                        the officers' shares alone
    passphrase  {}                                                one person
    pkcs11      {module, token, key, pin_file}                    a key in a hardware token, by labels
    transit     {url, mount, key, token_file [, ca_file, namespace]}     OpenBao's or Vault's transit engine
    aws-kms     {key_id, region [, endpoint]}

None of it is a secret: PINs and tokens lie in files of the agent's user.
"""

import hashlib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import rfc8785

from keys.errors import SealError

DEVELOPMENT: Final = "development"
SHARES: Final = "shares"
PASSPHRASE: Final = "passphrase"  # noqa: S105 - a kind of seal
PKCS11: Final = "pkcs11"
TRANSIT: Final = "transit"
AWS_KMS: Final = "aws-kms"
AUTOMATIC: Final = frozenset({PKCS11, TRANSIT, AWS_KMS})
"""They open without anybody, and so stand beside officers' shares alone."""
KINDS: Final = frozenset({SHARES, PASSPHRASE, *AUTOMATIC})
_NEEDED: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {
        SHARES: frozenset(),
        PASSPHRASE: frozenset(),
        PKCS11: frozenset({"module", "token", "key", "pin_file"}),
        TRANSIT: frozenset({"url", "mount", "key", "token_file"}),
        AWS_KMS: frozenset({"key_id", "region"}),
    }
)
_MORE: Final[Mapping[str, frozenset[str]]] = MappingProxyType(
    {TRANSIT: frozenset({"ca_file", "namespace"}), AWS_KMS: frozenset({"endpoint"})}
)
_PATHS: Final = frozenset({"module", "pin_file", "token_file", "ca_file"})
_ADDRESSES: Final = frozenset({"url", "endpoint"})
_MAX_CHARS: Final = 1024


def check_config(kind: str, config: Mapping[str, Any]) -> None:
    """Check that a kind of seal is set to all it needs, and to nothing else.

    Raises:
        SealError: no such kind, or it names the member and the rule.
    """
    if kind not in KINDS:
        raise SealError(f"seal: one of {', '.join(sorted(KINDS))}")
    needed, known = _NEEDED[kind], _NEEDED[kind] | _MORE.get(kind, frozenset())
    for name in sorted(needed - config.keys()):
        raise SealError(f"{name}: needed for {kind}")
    for name in sorted(config.keys() - known):
        raise SealError(f"{name}: not for {kind}")
    for name, value in config.items():
        if not isinstance(value, str) or not 0 < len(value) <= _MAX_CHARS or not value.isprintable():
            raise SealError(f"{name}: a text of 1 to {_MAX_CHARS} printable characters")
        if name in _PATHS and not PurePosixPath(value).is_absolute():
            raise SealError(f"{name}: an absolute path, since the agent reads it")
        if name in _ADDRESSES:
            _check_address(name, value)


def _check_address(name: str, value: str) -> None:
    try:
        parts = urlsplit(value)
        host = parts.hostname or ""
        own = host == "localhost" or ((host[:1].isdigit() or ":" in host) and ip_address(host).is_loopback)
        good = bool(host) and parts.port != 0 and not (parts.path.strip("/") or parts.query or parts.fragment)
        good &= parts.username is None
    except ValueError:
        good = own = False
    if not good or parts.scheme not in {"https", "http"}:
        raise SealError(f"{name}: an address such as https://bao.example:8200")
    if parts.scheme == "http" and not own:
        raise SealError(f"{name}: https, but for a server on this machine")


def described(kind: str, config: Mapping[str, Any]) -> str:
    """Return SHA-256, in hexadecimal digits, of a kind and what it is set to: what officers approve."""
    return hashlib.sha256(rfc8785.dumps({"seal": kind, "config": dict(config)})).hexdigest()
