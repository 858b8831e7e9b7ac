"""What a registration states, validated and laid out as fields to seal: of a person, or of an organisation."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

import orjson

from keys.fields import FieldValue
from vault.domain import handles, organizations, people
from vault.domain.documents import is_expired
from vault.domain.errors import InvalidFieldError
from vault.domain.people import Field, Identity
from vault.services.access import Client

NATURAL: Final = "natural"
ORGANIZATION: Final = "organization"
MANDATE: Final = "mandate"
_OF_ORGANIZATIONS: Final = frozenset(("form", "registration"))


@dataclass(frozen=True, slots=True)
class Statement:
    """The content of one record; `kind` is that of the record and its standing."""

    kind: str
    fields: Mapping[str, FieldValue]

    def joined_to(self, representative: bytes) -> "Statement":
        """Return an organisation's statement with the mandate of its representative's record."""
        mandate = FieldValue(*organizations.mandate(representative))
        return replace(self, fields={**self.fields, MANDATE: mandate})


@dataclass(frozen=True, slots=True)
class Submission:
    """A registration's content after validation; an organisation has a representative."""

    subject: Statement
    representative: Statement | None
    terms: bytes
    expired_document: bool

    @property
    def statements(self) -> list[Statement]:
        """The records that it makes: the registrant's first."""
        return [self.subject] if self.representative is None else [self.subject, self.representative]

    def names(self) -> list[list[str]]:
        """Return the names of each record's fields, with the mandate that an organisation's will have."""
        names = [sorted(statement.fields) for statement in self.statements]
        return names if self.representative is None else [[*names[0], MANDATE], names[1]]

    def joined(self, rids: list[bytes]) -> list[tuple[bytes, Statement]]:
        """Return (rid, statement) of each record, the organisation's joined to its representative's."""
        subject = self.subject if self.representative is None else self.subject.joined_to(rids[1])
        return list(zip(rids, [subject, *self.statements[1:]], strict=True))


@dataclass(frozen=True, slots=True)
class Wish:
    """A registration that is to be made: with a new account, or for an existing one."""

    submission: Submission
    handle: str
    kind: str
    external_id: str | None
    account: str | None


def wish(client: Client, body: Mapping[str, Any], today: date, *, specimen: bool) -> Wish:
    """Return a registration from its body.

    Raises:
        InvalidFieldError: which member breaks which rule.
    """
    submission = submitted(client, body, today, specimen=specimen)
    if "account" in body:
        return Wish(submission, "", "", None, body["account"])
    handle = handles.parse_handle(body["handle"], "/handle")
    return Wish(submission, handle, body["kind"], body.get("external_id"), None)


def submitted(client: Client, body: Mapping[str, Any], today: date, *, specimen: bool) -> Submission:
    """Return what a body states of a person, or of an organisation and its representative.

    Raises:
        InvalidFieldError: which member breaks which rule.
    """
    terms = _terms(body)
    if "organization" not in body:
        identity, person = _person(client, body, "identity", today, specimen=specimen)
        return Submission(person, None, terms, _expired(client, identity, "/identity", today))
    organization = organizations.parse_organization(body["organization"], "/organization", specimen=specimen)
    subject = Statement(ORGANIZATION, _values(organizations.fields(organization)))
    _required(client, subject, "/organization", _OF_ORGANIZATIONS)
    identity, representative = _person(client, body, "representative", today, specimen=specimen)
    expired = _expired(client, identity, "/representative", today)
    return Submission(subject, representative, terms, expired)


def _person(
    client: Client, body: Mapping[str, Any], member: str, today: date, *, specimen: bool
) -> tuple[Identity, Statement]:
    pointer = f"/{member}"
    if member not in body:
        raise InvalidFieldError(pointer, "required")
    identity = people.parse_identity(body[member], pointer, today=today, specimen=specimen)
    statement = Statement(NATURAL, _values(people.fields(identity)))
    _required(client, statement, pointer, frozenset(_policy(client)) - _OF_ORGANIZATIONS)
    return identity, statement


def _values(fields: Mapping[str, Field]) -> dict[str, FieldValue]:
    return {name: FieldValue(*pair) for name, pair in fields.items()}


def _policy(client: Client) -> list[str]:
    required: list[str] = client.policy.get("required", [])  # type: ignore[assignment]
    return required


def _required(client: Client, statement: Statement, pointer: str, names: frozenset[str]) -> None:
    for name in _policy(client):
        if name in names and name not in statement.fields:
            raise InvalidFieldError(f"{pointer}/{name}", "required by this provider's policy")


def _expired(client: Client, identity: Identity, pointer: str, today: date) -> bool:
    expired = identity.document is not None and is_expired(identity.document, today)
    if expired and client.policy.get("expired_documents", "review") == "refuse":
        raise InvalidFieldError(f"{pointer}/document/expires", "the document has expired")
    return expired


def _terms(body: Mapping[str, Any]) -> bytes:
    accepts = body.get("accepts") or {"terms": body.get("terms_version"), "truthful": True}
    if not accepts.get("terms"):
        raise InvalidFieldError("/accepts/terms", "the version of the terms that the person accepted is required")
    if accepts.get("truthful") is not True:
        raise InvalidFieldError("/accepts/truthful", "the person must vouch for the truth of the statements")
    # What was agreed to, as the hash of its canonical statement, which does not name the person. The other statement
    # has one form: that it was made is said by there being a record.
    return hashlib.sha256(orjson.dumps({"terms": accepts["terms"]})).digest()
