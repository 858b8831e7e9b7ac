"""Ids that are shown outside: a prefix for each kind and 128 random bits, in one canonical spelling."""

import base64
import binascii
import secrets
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from vault.domain.errors import InvalidFieldError

RAW_BYTES: Final = 16
_TEXT_CHARS: Final = 22


@dataclass(frozen=True, slots=True)
class Identifier:
    """An id; `str` gives its text."""

    raw: bytes
    prefix: ClassVar[str]

    @classmethod
    def new(cls) -> Self:
        """Return a fresh id."""
        return cls(secrets.token_bytes(RAW_BYTES))

    @classmethod
    def parse(cls, text: str, pointer: str = "") -> Self:
        """Return the id of a text.

        Raises:
            InvalidFieldError: not the canonical spelling of an id of this kind.
        """
        body = text.removeprefix(cls.prefix)
        try:
            raw = base64.b64decode(body + "==", altchars=b"-_", validate=True) if len(body) == _TEXT_CHARS else b""
        except (binascii.Error, ValueError):
            raw = b""
        found = cls(raw)
        if len(raw) != RAW_BYTES or str(found) != text:
            raise InvalidFieldError(pointer, f"not an id of the form {cls.prefix}…") from None
        return found

    def __str__(self) -> str:
        return self.prefix + base64.urlsafe_b64encode(self.raw).rstrip(b"=").decode()


class RegistrationId(Identifier):
    """A registration."""

    __slots__ = ()
    prefix = "reg_"


class AccountId(Identifier):
    """An account."""

    __slots__ = ()
    prefix = "acc_"


class ReportId(Identifier):
    """A report."""

    __slots__ = ()
    prefix = "rep_"


class ImportId(Identifier):
    """An import."""

    __slots__ = ()
    prefix = "imp_"


class SanctionId(Identifier):
    """A sanction."""

    __slots__ = ()
    prefix = "san_"


class AppealId(Identifier):
    """An appeal."""

    __slots__ = ()
    prefix = "apl_"


class DisclosureId(Identifier):
    """A disclosure."""

    __slots__ = ()
    prefix = "dis_"


class OperatorId(Identifier):
    """An operator of an account."""

    __slots__ = ()
    prefix = "op_"


class EventId(Identifier):
    """An event of a provider's outbox."""

    __slots__ = ()
    prefix = "evt_"


class CandidateId(Identifier):
    """A candidate of a review."""

    __slots__ = ()
    prefix = "cnd_"


class ClientId(Identifier):
    """An OAuth client."""

    __slots__ = ()
    prefix = "cli_"
