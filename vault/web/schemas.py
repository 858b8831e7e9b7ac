"""The bodies of `/v1`: names, types and lengths. What the values mean is the domain's to check.

Unknown members are refused; `refusals` says what the sender sees of it.
"""

from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SkipValidation,
    StringConstraints,
    Tag,
    model_validator,
)
from pydantic_core import PydanticCustomError

from vault.domain import reasons

VARIANT: Final = "form:"
"""Marks the variants of a union, so that they can be told from members in an error's place."""
ABSENT: Final[Any] = None
"""The default of a member that may be left out: never sent on, and not a value that may be sent."""


def _drop_null_defaults(schema: dict[str, Any]) -> None:
    for member in schema.get("properties", {}).values():
        if member.get("default", "") is None:
            del member["default"]


class Body(BaseModel):
    """A JSON object with no other members than those listed; a member that is not set is absent, never null."""

    model_config = ConfigDict(
        extra="forbid", strict=True, frozen=True, hide_input_in_errors=True, json_schema_extra=_drop_null_defaults
    )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"

    __str__ = __repr__

    def members(self) -> dict[str, Any]:
        """Return the members that were sent, as plain JSON values."""
        return self.model_dump(exclude_unset=True)


def _misses(*members: str) -> PydanticCustomError:
    return PydanticCustomError("misses", "", {"members": members})


def _text(max_characters: int) -> StringConstraints:
    """Return the rule of a text: not empty, no control characters, at most so long."""
    return StringConstraints(min_length=1, max_length=max_characters, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")


Code = Annotated[str, StringConstraints(max_length=64, pattern=r"^[a-z_]+$")]
FieldName = Annotated[str, StringConstraints(max_length=64, pattern=r"^([a-z]+/)?[a-z_]+$")]
"""A field; of a representative also as representative/field."""
Id = Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
Date = Annotated[str, _text(10)]
Name = Annotated[str, _text(200)]


class WrittenName(Body):
    """A name in one script."""

    value: Name
    script: Annotated[str, StringConstraints(pattern=r"^[A-Z][a-z]{3}$")] = Field(description="ISO 15924 code")


class NumberedDocument(Body):
    """A document by its number."""

    type: Literal["passport", "national_id", "residence_permit"]
    country: Annotated[str, _text(3)] = Field(description="ISO 3166-1 alpha-3 or ICAO 9303 code")
    number: Annotated[str, _text(64)]
    expires: Date = Field(default=ABSENT)


class ReadDocument(Body):
    """A passport by its machine-readable lines."""

    type: Literal["passport"]
    mrz: list[Annotated[str, _text(44)]] = Field(min_length=2, max_length=2)


def _document_form(value: object) -> str:
    return VARIANT + ("mrz" if isinstance(value, dict) and "mrz" in value else "number")


Document = Annotated[
    Annotated[NumberedDocument, Tag(VARIANT + "number")] | Annotated[ReadDocument, Tag(VARIANT + "mrz")],
    Discriminator(_document_form),
]


class Identity(Body):
    """Who a person is."""

    legal_name: Name = Field(default=ABSENT)
    names: list[WrittenName] = Field(default=ABSENT, min_length=1, max_length=8)
    birth_date: Date = Field(default=ABSENT)
    document: Document = Field(default=ABSENT)
    phone: Annotated[str, _text(32)] = Field(default=ABSENT)
    email: Annotated[str, _text(254)] = Field(default=ABSENT)


class OrganizationNumber(Body):
    """A number in a register."""

    scheme: Annotated[str, _text(16)] = Field(description="such as cn.uscc, lei, br.cnpj, eu.vat or de.vat")
    number: Annotated[str, _text(64)]


class Organization(Body):
    """What an organisation is."""

    legal_name: Name
    form: Annotated[str, _text(100)] = Field(default=ABSENT)
    country: Annotated[str, _text(3)] = Field(default=ABSENT, description="ISO 3166-1 alpha-3 code")
    registration: OrganizationNumber = Field(default=ABSENT)


class Accepts(Body):
    """What the person consented to."""

    terms: Annotated[str, _text(64)]
    truthful: bool

    @model_validator(mode="after")
    def _truthful(self) -> "Accepts":
        if not self.truthful:
            raise PydanticCustomError("consent", "", {"members": ("truthful",)})
        return self


class Resubmission(Body):
    """A returned registration, mended."""

    handle: Annotated[str, _text(64)] = Field(default=ABSENT)
    kind: Literal["personal", "public"] = Field(default=ABSENT)
    external_id: Annotated[str, _text(128)] = Field(default=ABSENT)
    account: Id = Field(default=ABSENT)
    accepts: Accepts = Field(default=ABSENT)
    terms_version: Annotated[str, _text(64)] = Field(default=ABSENT)
    identity: Identity = Field(default=ABSENT)
    organization: Organization = Field(default=ABSENT)
    representative: Identity = Field(default=ABSENT)

    def _missing(self) -> list[str]:
        """Return what is missing of a person, or of an organisation with its representative."""
        given = self.model_fields_set
        pair = ("organization", "representative")
        if "identity" in given and given & set(pair):
            raise PydanticCustomError("beside", "", {"members": ("organization",)})
        if given & set(pair):
            return [name for name in pair if name not in given]
        return [] if "identity" in given else ["identity"]

    @model_validator(mode="after")
    def _whole(self) -> "Resubmission":
        if wanted := self._missing():
            raise _misses(*wanted)
        return self


class Registration(Resubmission):
    """A new account with its registrant's identity, or, with `account`, an identity for an existing account."""

    @model_validator(mode="after")
    def _whole(self) -> "Registration":
        given = self.model_fields_set
        if "account" in given and given & {"handle", "kind"}:
            raise PydanticCustomError("instead", "", {"members": ("account",)})
        wanted = [] if "account" in given else [name for name in ("handle", "kind") if name not in given]
        if not given & {"accepts", "terms_version"}:
            wanted.append("accepts")
        wanted += self._missing()
        if wanted:
            raise _misses(*wanted)
        return self


class Batch(Body):
    """Registrations, each registered or refused by itself."""

    # Each is validated by itself, later: one that is not valid does not hinder the others.
    items: list[Annotated[Registration, SkipValidation]] = Field(min_length=1)


class NewImport(Body):
    """What a file's rows become; the digest tells whether the file was begun before."""

    state: Literal["in_review", "legacy"]
    file: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(description="SHA-256 of the file, hex")
    dry_run: bool = Field(default=ABSENT)


class LegacyAccount(Body):
    """An account without an identity, as a row of an import."""

    handle: Annotated[str, _text(64)]
    kind: Literal["personal", "public"]
    external_id: Annotated[str, _text(128)] = Field(default=ABSENT)


class Chunk(Body):
    """A run of rows: LegacyAccount or Registration, as the import's state says."""

    first: int = Field(ge=1, le=10**12, description="the number of the first row in the file")
    # Each is validated by itself, later: one that is not valid does not hinder the others.
    rows: list[Annotated[Registration, SkipValidation]] = Field(min_length=1)


class BulkDecision(Body):
    """A vault reviewer's word for all of an import that nothing speaks against."""

    decision: Literal["approved"]
    method: Literal["provider_attested", "registry_match", "eid"]
    cursor: Annotated[str, StringConstraints(max_length=512, pattern=r"^[A-Za-z0-9_=.-]+$")] = Field(default=ABSENT)


class NewOperator(Body):
    """A registrant of the same provider, by his token."""

    token: Annotated[str, StringConstraints(min_length=1, max_length=512, pattern=r"^[!-~]+$")]


class Reveal(Body):
    """What a reviewer asks to see, and why."""

    purpose: Annotated[str, StringConstraints(max_length=32, pattern=r"^[a-z_]+$")]
    fields: list[FieldName] = Field(min_length=1, max_length=32)


class Verdict(Body):
    """Whether a candidate is the person under review."""

    id: Id
    verdict: Literal["same_person", "other_person"]


_FIX: Final = (
    r"^/?(handle|((identity|representative)[./])?(legal_name|names|birth_date|phone|email|evidence(/[a-z0-9_-]{1,32})?"
    r"|document([./](type|country|number|expires|mrz))?)"
    r"|organization([./](legal_name|form|country|registration([./](scheme|number))?))?|representative)$"
)
"""What a returned registration must mend: a member, or a piece of evidence; never free words."""


Method = Literal[
    "document_checked", "registry_match", "eid", "bank_transfer", "letter_code", "in_person", "voucher",
    "provider_attested",
]  # fmt: skip
"""How a person was verified."""


class Decision(Body):
    """A reviewer's decision."""

    decision: Literal["approved", "returned", "rejected"]
    method: Method = Field(default=ABSENT)
    reason: reasons.Refusal | reasons.Match | Method = Field(default=ABSENT)
    fix: list[Annotated[str, StringConstraints(max_length=64, pattern=_FIX)]] = Field(default=ABSENT, max_length=16)
    candidates: list[Verdict] = Field(default=ABSENT, max_length=64)
    shown: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] = Field(default=ABSENT)


class Split(Body):
    """Why a registration is parted from the person it was united with."""

    reason: reasons.Split


Token = Annotated[str, StringConstraints(max_length=512, pattern=r"^[!-~]+$")]
_MAX_ITEMS: Final = 1000


class TokenBatch(Body):
    """Tokens of the caller."""

    tokens: list[Token] = Field(min_length=1, max_length=_MAX_ITEMS)


class ExchangeItem(Body):
    """A token to hand over to an audience for a purpose, or a hand-off to redeem."""

    subject_token: Token
    subject_token_type: Annotated[str, _text(128)] = Field(default=ABSENT)
    audience: Annotated[str, _text(128)] = Field(default=ABSENT)
    scope: Annotated[str, _text(128)] = Field(default=ABSENT)


class ExchangeBatch(Body):
    """Exchanges, each by itself."""

    items: list[ExchangeItem] = Field(min_length=1, max_length=_MAX_ITEMS)


Handle = Annotated[str, _text(64)]
ExternalId = Annotated[str, _text(128)]
Instant = Annotated[str, _text(20)]
Words = Annotated[
    str, StringConstraints(min_length=1, max_length=5000, pattern=r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$")
]
Staff = Annotated[str, StringConstraints(max_length=64, pattern=r"^[A-Za-z0-9._-]+$")]


class NewAccount(Body):
    """An account without an identity, or, with `token`, a further one of a verified person."""

    handle: Handle
    kind: Literal["personal", "public"]
    external_id: ExternalId = Field(default=ABSENT)
    token: Token = Field(default=ABSENT)


class AccountChange(Body):
    """What is changed of an account."""

    handle: Handle = Field(default=ABSENT)
    external_id: ExternalId = Field(default=ABSENT)


class Reach(Body):
    """How far something went; the numbers are not stored."""

    views: int = Field(default=ABSENT, ge=0, le=10**15)
    reposts: int = Field(default=ABSENT, ge=0, le=10**15)

    @model_validator(mode="after")
    def _some(self) -> "Reach":
        if not self.model_fields_set:
            raise _misses("views")
        return self


class Sanction(Body):
    """A sanction on an account or on the registrant behind a token, by rung, degree or reach."""

    token: Token = Field(default=ABSENT)
    account: Id = Field(default=ABSENT)
    rung: Literal["warn", "limit_publish", "suspend_updates", "close"] = Field(default=ABSENT)
    degree: Literal["minor", "serious", "grave", "extreme"] = Field(default=ABSENT)
    reach: Reach = Field(default=ABSENT)
    until: Instant = Field(default=ABSENT)
    ban_until: Instant = Field(default=ABSENT)
    ground: Code
    facts: Words = Field(default=ABSENT)
    skip_reason: Words = Field(default=ABSENT)
    by: Staff = Field(default=ABSENT)
    automated: Literal["none", "partially", "fully"] = Field(default=ABSENT)
    source: Literal["own_initiative", "report", "trusted_flagger", "authority"] = Field(default=ABSENT)


Order = Annotated[str, _text(500)]


class Deferral(Body):
    """Who ordered that a person is told later, by how many days, and under which law."""

    days: int = Field(ge=1, le=90)
    ordered_by: Order
    law: Order


class Disclosure(Body):
    """Which fields of whom are to be disclosed: to whom, in which case, on what basis and on whose order."""

    account: Id
    case: Annotated[str, _text(128)]
    legal_basis: Order
    authority: Order
    ordered_by: Order
    retrieved_by: Order
    fields: list[Literal["legal_name", "names", "birth_date", "document", "phone", "email", "form", "registration"]] = (
        Field(min_length=1, max_length=8)
    )
    recipient: Annotated[str, _text(2048)]
    defer: Deferral = Field(default=ABSENT)


class Lift(Body):
    """Why a sanction is lifted before its end."""

    reason: Literal["appeal", "mistake", "served", "other"]
    by: Staff = Field(default=ABSENT)
