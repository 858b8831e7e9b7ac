"""From account state and rung to scope: what a registrant may do at a provider.

verified and free, or warned: read publish · limit_publish: read · suspend_updates: active, empty · close: inactive.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final


class Rung(IntEnum):
    """The ladder, in its order; the number is what the directory stores."""

    free = 0
    warn = 1
    limit_publish = 2
    suspend_updates = 3
    close = 4


READ: Final = "read"
PUBLISH: Final = "publish"
_ORDER: Final = (READ, PUBLISH)


@dataclass(frozen=True, slots=True)
class AccountScope:
    """Whether an account is active, and what it may do."""

    active: bool
    scopes: frozenset[str]

    @property
    def text(self) -> str:
        """The scopes as OAuth spells them."""
        return " ".join(scope for scope in _ORDER if scope in self.scopes)


_INACTIVE: Final = AccountScope(active=False, scopes=frozenset())
_EMPTY: Final = AccountScope(active=True, scopes=frozenset())
_CEILING: Final = {
    Rung.free: frozenset((READ, PUBLISH)),
    Rung.warn: frozenset((READ, PUBLISH)),
    Rung.limit_publish: frozenset((READ,)),
    Rung.suspend_updates: frozenset[str](),
}


def running(rung: Rung, until: int | None, now: int) -> Rung:
    """Return the rung that is in force at `now`; `until` and `now` in seconds since 1970."""
    return rung if until is None or until > now else Rung.free


def stricter(one: Rung, other: Rung) -> Rung:
    """Return the stricter of two rungs."""
    return max(one, other)


def scope_of(state: str, rung: Rung, legacy_scope: str) -> AccountScope:
    """Return the scope of one account.

    Args:
        state: legacy, in_review, approved, returned or closed.
        rung: the stricter of the account's and the standing's running rung.
        legacy_scope: what the provider's policy gives accounts that are not approved; never publish.
    """
    if state == "closed" or rung is Rung.close:
        return _INACTIVE
    granted = frozenset((READ, PUBLISH)) if state == "approved" else frozenset(legacy_scope.split()) - {PUBLISH}
    return AccountScope(active=True, scopes=granted & _CEILING[rung])


def intersect(accounts: Iterable[AccountScope], *, alone: bool, rung: Rung) -> AccountScope:
    """Return the scope over accounts: the intersection over those not closed.

    Args:
        accounts: each account's scope.
        alone: one account was asked for: its scope is the answer.
        rung: the standing's running rung, for a registrant without any account.
    """
    every = list(accounts)
    if not every:
        return _INACTIVE if rung is Rung.close or alone else _EMPTY
    active = [account for account in every if account.active]
    if not active:
        return _INACTIVE
    return AccountScope(active=True, scopes=frozenset.intersection(*(account.scopes for account in active)))
