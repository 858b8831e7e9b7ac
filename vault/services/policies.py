"""What a provider's policy may say: each member with type, default and rule. Unknown members are refused."""

from collections.abc import Callable, Mapping
from datetime import date
from typing import Any, Final

from vault.domain.dates import parse_date
from vault.domain.errors import DomainError
from vault.domain.sanctions import DEFAULT_DAYS, DEFAULT_DEGREES, DEFAULT_REACH_SERIOUS, MAX_YEARS, RUNGS
from vault.errors import Kind, VaultError

_FIELDS: Final = frozenset(("legal_name", "names", "birth_date", "document", "phone", "email"))
_MAX_COUNT: Final = 1_000_000_000
_MAX_DAYS: Final = 365 * MAX_YEARS
POLICY: Final[Mapping[str, tuple[type | tuple[type, ...], object]]] = {
    "required": (list, []),
    "expired_documents": (str, "review"),
    "legacy_scope": (str, "read"),
    "legacy_until": ((str, date), None),
    "review_needs_reveal": (bool, None),
    "degrees": (dict, DEFAULT_DEGREES),
    "reach_serious": (dict, DEFAULT_REACH_SERIOUS),
    "default_days": (dict, DEFAULT_DAYS),
    "caps": (dict, {}),
}
"""What a provider's policy may say, with type and default."""


def checked(policy: Mapping[str, Any]) -> dict[str, Any]:
    """Return a policy as it is stored.

    Raises:
        VaultError: an unknown member, or one that breaks its rule.
    """
    for name, value in policy.items():
        if name not in POLICY or not isinstance(value, POLICY[name][0]):
            raise VaultError(Kind.VALIDATION, f"policy: known members are {', '.join(POLICY)}, each of its type")
    for name, (holds, rule) in _RULES.items():
        if name in policy and not holds(policy[name]):
            raise VaultError(Kind.VALIDATION, f"policy {name}: {rule}")
    stored = dict(policy)
    if isinstance(stored.get("legacy_until"), date):
        stored["legacy_until"] = stored["legacy_until"].isoformat()
    return stored


def _required(value: list[Any]) -> bool:
    return all(isinstance(name, str) and name in _FIELDS for name in value)


def _day(value: object) -> bool:
    # A date and time is a date to Python, and not the day that is meant.
    if type(value) is date:
        return True
    try:
        return isinstance(value, str) and bool(parse_date(value, ""))
    except DomainError:
        return False


def _degrees(value: Mapping[str, Any]) -> bool:
    return set(value) <= set(DEFAULT_DEGREES) and all(rung in RUNGS for rung in value.values())


def _counts(names: Mapping[str, object], least: int, most: int) -> Callable[[Mapping[str, Any]], bool]:
    def holds(value: Mapping[str, Any]) -> bool:
        whole = all(isinstance(count, int) and not isinstance(count, bool) for count in value.values())
        return set(value) <= set(names) and whole and all(least <= count <= most for count in value.values())

    return holds


_KINDS: Final[Mapping[str, object]] = {"personal": None, "public": None}
_RULES: Final[Mapping[str, tuple[Callable[[Any], bool], str]]] = {
    "required": (_required, f"of {', '.join(sorted(_FIELDS))}"),
    "expired_documents": (lambda value: value in {"review", "refuse"}, "review or refuse"),
    "legacy_scope": (lambda value: value in {"", "read"}, "read or nothing; publishing needs a review"),
    "legacy_until": (_day, "a date such as 2031-01-01"),
    "degrees": (_degrees, f"{', '.join(DEFAULT_DEGREES)}, each one of {', '.join(RUNGS)}"),
    "reach_serious": (_counts(DEFAULT_REACH_SERIOUS, 1, _MAX_COUNT), "views and reposts, each at least 1"),
    "default_days": (_counts(DEFAULT_DAYS, 1, _MAX_DAYS), "limit_publish and suspend_updates, in days"),
    "caps": (_counts(_KINDS, 0, _MAX_COUNT), "personal and public, each how many accounts one person may have"),
}
