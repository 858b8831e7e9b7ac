"""The paths and queries of `/v1`; ids go to the services as they are, which know one spelling of each."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


Cursor = Annotated[str, StringConstraints(max_length=512, pattern=r"^[A-Za-z0-9_=.-]+$")]


class _Query(_Strict):
    cursor: Cursor | None = None
    limit: int | None = Field(default=None, ge=1, le=1000)


class RegistrationsQuery(_Query):
    """A page of registrations or reviews."""

    state: Literal["in_review", "returned", "approved", "rejected", "withdrawn"] | None = None


class ReceiptsQuery(_Strict):
    """From which entry of the log on receipts are searched."""

    first: int | None = Field(default=None, ge=0, le=2**63 - 1)


Token = Annotated[str, StringConstraints(max_length=512, pattern=r"^[!-~]+$")]


class AccountsQuery(_Query):
    """A page of accounts, or those behind one token, or of one external id."""

    token: Token | None = None
    external_id: Annotated[str, StringConstraints(max_length=128)] | None = None


class SanctionsQuery(_Query):
    """A page of sanctions, or those of one registrant or account."""

    token: Token | None = None
    account: Annotated[str, StringConstraints(max_length=64)] | None = None


class EventsQuery(_Strict):
    """Events after one, and for how many seconds to wait for them."""

    after: Cursor | None = None
    wait: int = Field(default=0, ge=0, le=20)
    limit: int | None = Field(default=None, ge=1, le=1000)


class OperatorQuery(_Strict):
    """One operator, by his token."""

    token: Token


class RegistrationPath(BaseModel):
    """The place of one registration."""

    id: str


class DisclosurePath(BaseModel):
    """The place of one disclosure."""

    id: str


class EvidencePath(RegistrationPath):
    """The place of one piece of evidence."""

    name: str


class AccountPath(BaseModel):
    """The place of one account."""

    id: str


class SanctionPath(BaseModel):
    """The place of one sanction."""

    id: str


class ImportPath(BaseModel):
    """The place of one import."""

    id: str


class ChunkPath(ImportPath):
    """The place of one chunk of an import."""

    number: int = Field(ge=1, le=10**9)


class ImportRowsQuery(_Query):
    """A page of an import's rows."""
