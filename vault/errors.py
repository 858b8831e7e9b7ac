"""The closed list of ways in which the service refuses; `vault/web/problems.py` says what outsiders see of each."""

from enum import StrEnum
from typing import Final

TOO_BUSY: Final = "the vault has more requests than it can serve now; nothing was done, try again"
"""What whoever is refused by overload is told."""


class Kind(StrEnum):
    """What went wrong; the value ends the problem type's URI."""

    MALFORMED = "malformed"
    VALIDATION = "validation"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    METHOD_NOT_ALLOWED = "method-not-allowed"
    CONFLICT = "conflict"
    HELD = "held"
    HANDLE_TAKEN = "handle-taken"
    CAP_REACHED = "cap-reached"
    CANDIDATES_CHANGED = "candidates-changed"
    LEASED = "leased"
    DECIDED = "decided"
    IDEMPOTENCY_RUNNING = "idempotency-running"
    IDEMPOTENCY_MISMATCH = "idempotency-mismatch"
    LENGTH_REQUIRED = "length-required"
    TOO_LARGE = "too-large"
    UNSUPPORTED_MEDIA_TYPE = "unsupported-media-type"
    CLIENT_LIMIT = "client-limit"
    TOO_MANY_REQUESTS = "too-many-requests"
    SEALED = "sealed"
    LOCKDOWN = "lockdown"
    KEY_USED_UP = "key-used-up"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class VaultError(Exception):
    """A refusal of one kind.

    Attributes:
        kind: what went wrong.
        detail: a constant sentence that says what to do next; never a value.
        errors: (JSON pointer, rule) pairs for `validation`.
        retry_after_seconds: for `sealed`, `unavailable` and the like.
    """

    def __init__(
        self,
        kind: Kind,
        detail: str = "",
        *,
        errors: tuple[tuple[str, str], ...] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(kind.value)
        self.kind, self.detail, self.errors, self.retry_after_seconds = kind, detail, errors, retry_after_seconds


class StartError(Exception):
    """The service cannot start: the message names the setting, store or key and what to do, never a value."""
