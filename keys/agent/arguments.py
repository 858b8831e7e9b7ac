"""What an act takes from a message: checked for type and size, since a worker may be taken over."""

from collections.abc import Mapping
from typing import Any

from keys.errors import ProtocolError

Args = Mapping[str, Any]


def text(args: Args, name: str, *, max_chars: int = 256) -> str:
    """Return a text argument.

    Raises:
        ProtocolError: missing, of another type, or too long.
    """
    value = args.get(name)
    if not isinstance(value, str) or len(value) > max_chars:
        raise ProtocolError(f"{name}: a text of at most {max_chars} characters")
    return value


def octets(args: Args, name: str, size: int | None = None) -> bytes:
    """Return a bytes argument, of exactly `size` bytes where given.

    Raises:
        ProtocolError: missing, of another type or size.
    """
    value = args.get(name)
    if not isinstance(value, bytes) or (size is not None and len(value) != size):
        raise ProtocolError(f"{name}: bytes of the right length")
    return value


def whole(args: Args, name: str) -> int:
    """Return an integer argument.

    Raises:
        ProtocolError: missing or of another type.
    """
    value = args.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise ProtocolError(f"{name}: an integer")
    return value


def listed(args: Args, name: str, *, most: int = 10_000) -> list[Any]:
    """Return a list argument.

    Raises:
        ProtocolError: missing, of another type, or too long.
    """
    value = args.get(name)
    if not isinstance(value, list) or len(value) > most:
        raise ProtocolError(f"{name}: a list of at most {most}")
    return value


def mapping(value: object, name: str) -> dict[str, Any]:
    """Return a map.

    Raises:
        ProtocolError: of another type, or with keys that are not text.
    """
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ProtocolError(f"{name}: a map")
    return value


def sealed_fields(value: object) -> dict[str, bytes]:
    """Return sealed fields by name.

    Raises:
        ProtocolError: not a map of bytes.
    """
    fields = mapping(value, "fields")
    if not all(isinstance(sealed, bytes) for sealed in fields.values()):
        raise ProtocolError("fields: sealed bytes by field name")
    return fields
