"""Orders: in whose name, on what basis and in which case a record is disclosed or held; officers sign every word of it.

    order = {"client", "account", "handle", "link", "case", "legal_basis", "authority", "ordered_by"} and
            of a disclosure {"retrieved_by", "fields", "recipient", "notice_days"}, and may be {"defer": {"ordered_by",
            "law"}}; of a hold {"until"}

Guarantees: what is read back is one account of one registrant, named fields, one case and an end: no list, no pattern,
no second subject. A notice is due within 30 days, or later by at most 90 where an order defers it, and says whose.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from keys.errors import OfficerError, OpenError, QuorumError
from keys.officers import Card
from keys.primitives import seal_to
from keys.quorum import Kind

FIELDS: Final = ("legal_name", "names", "birth_date", "document", "phone", "email", "form", "registration")
"""What an order may name: the fields of a record, never who represents an organisation."""
NOTICE_DAYS: Final = 30
"""Within which a person is told that his identity was disclosed (R-KR-10)."""
DEFERRED_DAYS: Final = 90
"""By which one order defers the notice, at most."""
HOLD_DAYS: Final = 366
"""For which one order keeps a record, at most."""
DAY_SECONDS: Final = 86_400
_WORDS: Final = 500
_IDS: Final = ("client", "account", "handle", "link")
_SAID: Final = ("case", "legal_basis", "authority", "ordered_by")
_DISCLOSED: Final = ("retrieved_by", "fields", "recipient", "notice_days")


@dataclass(frozen=True, slots=True)
class Deferral:
    """Who ordered that a person is told later, and under which law."""

    ordered_by: str
    law: str

    def plain(self) -> dict[str, str]:
        """Return it as plain values, for JSON."""
        return {"ordered_by": self.ordered_by, "law": self.law}


@dataclass(frozen=True, slots=True)
class Disclosure:
    """What an order says of a disclosure."""

    said: Mapping[str, Any]
    fields: tuple[str, ...]
    recipient: Card
    notice_days: int
    defer: Deferral | None

    @classmethod
    def of(cls, detail: Mapping[str, Any]) -> "Disclosure":
        """Return the order of a request's detail.

        Raises:
            QuorumError: which member breaks which rule.
        """
        said = _said(detail, (*_DISCLOSED, "defer"))
        fields = said.get("fields")
        if not isinstance(fields, list) or not fields or sorted(set(fields)) != fields or set(fields) - set(FIELDS):
            raise QuorumError(f"fields: each once, by its name, of {', '.join(FIELDS)}")
        defer = None if "defer" not in said else deferral(said["defer"])
        most = NOTICE_DAYS if defer is None else DEFERRED_DAYS
        days = said.get("notice_days")
        if type(days) is not int or not 0 <= days <= most:
            raise QuorumError(f"notice_days: at most {NOTICE_DAYS}, or {DEFERRED_DAYS} where an order defers it")
        _text(said, "retrieved_by")
        return cls(said, tuple(fields), _recipient(said.get("recipient")), days, defer)


@dataclass(frozen=True, slots=True)
class Hold:
    """What an order says of a hold; `until` in seconds since 1970."""

    said: Mapping[str, Any]
    until: int

    @classmethod
    def of(cls, detail: Mapping[str, Any], now: int) -> "Hold":
        """Return the order of a request's detail.

        Raises:
            QuorumError: which member breaks which rule.
        """
        said = _said(detail, ("until",))
        until = said.get("until")
        if type(until) is not int or not now < until <= now + HOLD_DAYS * DAY_SECONDS:
            raise QuorumError(f"until: a time to come, within {HOLD_DAYS} days")
        return cls(said, until)


def check(kind: Kind, detail: Mapping[str, Any], now: int) -> None:
    """Check the order that a request is, before anybody signs it.

    Raises:
        QuorumError: which member breaks which rule.
    """
    if kind is Kind.DISCLOSE:
        Disclosure.of(detail)
    if kind in {Kind.HOLD, Kind.LIFT_HOLD}:
        Hold.of(detail, now)


def case_of(said: Mapping[str, Any]) -> str:
    """Return the one spelling by which cases are told apart."""
    return " ".join(unicodedata.normalize("NFKC", str(said["case"])).casefold().split())


def deferral(said: object) -> Deferral:
    """Return who ordered that a notice waits.

    Raises:
        QuorumError: which member breaks which rule.
    """
    if not isinstance(said, dict) or said.keys() != {"ordered_by", "law"}:
        raise QuorumError("defer: who ordered it, and under which law")
    return Deferral(_text(said, "ordered_by"), _text(said, "law"))


def _said(detail: Mapping[str, Any], more: tuple[str, ...]) -> dict[str, Any]:
    said = {name: value for name, value in detail.items() if name not in {"proposal", "made"}}
    if said.keys() - {*_IDS, *_SAID, *more}:
        raise QuorumError("order: it has a member that no order has")
    for name in (*_IDS, *_SAID):
        _text(said, name)
    if any(character in said["case"] for character in "*?%,;\n"):
        raise QuorumError("case: one case by its number, no list and no pattern")
    return said


def _text(said: Mapping[str, Any], name: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not value.strip() or len(value) > _WORDS:
        raise QuorumError(f"{name}: words, at most {_WORDS} characters")
    if any(unicodedata.category(one) in {"Cc", "Cf", "Cs"} for one in value):
        raise QuorumError(f"{name}: characters that are shown")
    return value


def _recipient(text: object) -> Card:
    """Return the card of whom the fields are sealed to, if anything can be sealed to it at all."""
    try:
        card = Card.parse(text if isinstance(text, str) else "")
        seal_to(card.receives, b"", b"")
    except (OfficerError, OpenError):
        raise QuorumError("recipient: the card that idvault-keys officer new printed to the recipient") from None
    return card
