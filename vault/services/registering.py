"""Registering a person: validated, sealed under the keys that `create` returns, written in order, queued for review.

The same work, bytes and time for a known and an unknown person: nothing here asks who is known.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import orjson

from keys.errors import ConflictError
from keys.fields import FieldValue, seal_field
from keys.frame import Place, Purpose, seal
from keys.primitives import Secret, random_bytes
from vault.domain import handles, people
from vault.domain.clock import from_epoch
from vault.domain.documents import is_expired
from vault.domain.errors import DomainError, InvalidFieldError
from vault.domain.ids import RegistrationId
from vault.domain.people import Identity
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.held_keys import HeldKeys
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.services.linking import Linking
from vault.services.showing import Showing
from vault.stores import answers, reviews, standings
from vault.stores.reviews import ReviewRow
from vault.stores.standings import AccountRow, StandingRow
from vault.stores.unit import Store, Unit

_ID_BYTES: Final = 16
_RESUBMIT_LEASE_SECONDS: Final = 30
_OPEN_STATES: Final = ("in_review", "returned")


@dataclass(frozen=True, slots=True)
class Submission:
    """A registration's content after validation."""

    fields: Mapping[str, FieldValue]
    consents: Mapping[str, bytes]
    expired_document: bool


class Registering:
    """The flow of section 6.1 of the design."""

    def __init__(
        self,
        directory: Store,
        keys: HeldKeys,
        linking: Linking,
        idempotent: Idempotent,
        showing: Showing,
        now: Callable[[], int],
        *,
        development: bool,
    ) -> None:
        self._directory, self._keys, self._linking = directory, keys, linking
        self._idempotent, self._showing, self._now, self._development = idempotent, showing, now, development

    def register(self, client: Client, body: dict[str, Any], idempotency: Idempotency | None) -> Answer:
        """Register a person; return (202, registration).

        Raises:
            InvalidFieldError, VaultError: what is wrong with the body; the handle is taken.
            KeysError: the agent refused.
        """
        submission = self._validated(client, body)
        handle = handles.parse_handle(body["handle"], "/handle")
        kind = body["kind"]
        external_id = body.get("external_id")

        def effect(attempt: Attempt) -> Answer:
            pid, reg, account = (attempt.ids[at : at + _ID_BYTES] for at in range(0, 3 * _ID_BYTES, _ID_BYTES))
            with self._directory.reading() as unit:
                known = standings.find(unit, pid)
                if known is None and standings.handle_taken(unit, client.id, handles.handle_key(handle)):
                    raise VaultError(Kind.HANDLE_TAKEN, "another account of this provider has this handle")
            if known is None:
                known = self._create(client, submission, attempt, (pid, reg, account), handle, kind, external_id)
            self._linking.created(known)
            return 202, self._showing.registration(client, RegistrationId(reg))

        return self._idempotent.run(client.id, idempotency, random_bytes(3 * _ID_BYTES), effect)

    def _create(
        self,
        client: Client,
        submission: Submission,
        attempt: Attempt,
        ids: tuple[bytes, bytes, bytes],
        handle: str,
        kind: str,
        external_id: str | None,
    ) -> StandingRow:
        pid, reg, account_id = ids
        sector, now = client.sector or "", self._now()
        names = sorted(submission.fields)
        created = self._linking.agent.call("create", {"sector": sector, "pid": pid, "fields": names})
        bind = {"provider": client.id, "handle": handle, "pid": pid, "account": account_id}
        mac = self._keys.bind_account(bind)
        rid = created["rid"]
        standing = StandingRow(
            pid, client.id, sector, created["link"], "none", 0, None, None, None, "live", "natural", now
        )
        account = AccountRow(pid, account_id, client.id, external_id, kind, "in_review", handle, mac, None, None, now)
        review = ReviewRow(
            reg, client.id, pid, account_id, "identity", 1, "in_review", None, None, None, None, None, None, None,
            int(submission.expired_document), None, None, now, None,
        )  # fmt: skip
        self._linking.add_record(rid, self._sealed(submission, created), submission.consents)
        try:
            with self._directory.writing() as unit:
                standings.add(unit, standing, account, handles.handle_key(handle))
                reviews.add(unit, review)
                self._audit_bound(unit, client, account)
                attempt.finish(unit, (202, self._showing.of(client, review, standing, [account])))
        except VaultError:
            self._linking.give_up_record(rid)
            raise
        return standing

    def _audit_bound(self, unit: Unit, client: Client, account: AccountRow) -> None:
        audit_id = random_bytes(_ID_BYTES)
        sealed = self._keys.seal_audit(audit_id, account.id)
        answers.audit(unit, audit_id, "account.bound", account.created // 60, client.id, sealed)

    def _sealed(self, submission: Submission, given: Mapping[str, Any]) -> dict[str, bytes]:
        return {
            name: seal_field(
                Secret(given["keys"][name]), self._keys.deployment, given["rid"], name, given["revisions"][name], value
            )
            for name, value in submission.fields.items()
        }

    def get(self, client: Client, reg: str) -> dict[str, Any]:
        """Return a registration of this provider.

        Raises:
            VaultError: there is none of this id.
        """
        return self._showing.registration(client, _registration(reg))

    def resubmit(self, client: Client, reg: str, body: dict[str, Any], idempotency: Idempotency | None) -> Answer:
        """Resubmit a returned registration with its whole identity; return (202, registration).

        Raises:
            InvalidFieldError, VaultError: what is wrong with the body; the registration is not `returned`.
        """
        submission = self._validated(client, body)
        registration = _registration(reg)

        def effect(attempt: Attempt) -> Answer:
            row, standing = self._own(client, registration)
            now = self._now()
            with self._directory.writing() as unit:
                if row.state != "returned" or not reviews.hold(
                    unit, row.reg, client.id, now + _RESUBMIT_LEASE_SECONDS, now
                ):
                    raise VaultError(Kind.CONFLICT, "only a returned registration is resubmitted, one try at a time")
            evidence = {"standing": self._linking.evidence(standing)}
            given = self._linking.agent.call("revise", {**evidence, "fields": sorted(submission.fields)})
            self._linking.replace_record(given["rid"], self._sealed(submission, given), submission.consents)
            with self._directory.writing() as unit:
                reviews.resubmit(unit, row.reg, row.attempt, now, expired_document=submission.expired_document)
                if row.account is not None:
                    standings.set_account_state(unit, row.account, client.id, "in_review")
                again = reviews.find(unit, row.reg) or row
                accounts = standings.accounts_of(unit, standing.pid)
                answer = 202, self._showing.of(client, again, standing, accounts)
                attempt.finish(unit, answer)
            self._linking.agent.call("revise.done", evidence)
            return answer

        return self._idempotent.run(client.id, idempotency, b"", effect)

    def put_evidence(self, client: Client, reg: str, name: str, content_type: str, data: bytes) -> None:
        """Seal and store a piece of evidence under a key of its own.

        Raises:
            VaultError: no such registration, or it is decided.
        """
        row, standing = self._own(client, _registration(reg))
        if row.state not in _OPEN_STATES:
            raise VaultError(Kind.DECIDED, "evidence is taken while a registration is in review or returned")
        args = {"use": "seal", "name": name, "standing": self._linking.evidence(standing)}
        try:
            given = self._linking.agent.call("evidence", args)
        except ConflictError:
            raise VaultError(Kind.DECIDED, "evidence is taken while a registration is in review or returned") from None
        place = evidence_place(self._keys.deployment, given["rid"], name)
        sealed = seal(Secret(given["key"]), Purpose.EVIDENCE, place, data)
        self._linking.put_piece(given["rid"], name, content_type, sealed)

    def _own(self, client: Client, registration: RegistrationId) -> tuple[ReviewRow, StandingRow]:
        with self._directory.reading() as unit:
            row = reviews.find(unit, registration.raw)
            standing = standings.find(unit, row.pid) if row is not None else None
        if row is None or standing is None or row.provider != client.id or row.kind == "match":
            raise VaultError(Kind.NOT_FOUND, "no such registration")
        return row, standing

    def _validated(self, client: Client, body: Mapping[str, Any]) -> Submission:
        today = from_epoch(self._now()).date()
        consents = _consents(body)
        for member in ("organization", "account"):
            if member in body:
                raise InvalidFieldError(f"/{member}", "this version registers a person with a new account")
        if "identity" not in body:
            raise InvalidFieldError("/identity", "required")
        identity = people.parse_identity(body["identity"], "/identity", today=today, specimen=self._development)
        values = {name: FieldValue(*pair) for name, pair in people.fields(identity).items()}
        for name in client.policy.get("required", []):  # type: ignore[attr-defined]
            if name not in values:
                raise InvalidFieldError(f"/identity/{name}", "required by this provider's policy")
        return Submission(values, consents, _expired(client, identity, today))


def _expired(client: Client, identity: Identity, today: date) -> bool:
    expired = identity.document is not None and is_expired(identity.document, today)
    if expired and client.policy.get("expired_documents", "review") == "refuse":
        raise InvalidFieldError("/identity/document/expires", "the document has expired")
    return expired


def _consents(body: Mapping[str, Any]) -> dict[str, bytes]:
    accepts = body.get("accepts") or {"terms": body.get("terms_version"), "truthful": True}
    if not accepts.get("terms"):
        raise InvalidFieldError("/accepts/terms", "the version of the terms that the person accepted is required")
    if accepts.get("truthful") is not True:
        raise InvalidFieldError("/accepts/truthful", "the person must vouch for the truth of the statements")
    # What was agreed to, as the hash of its canonical statement; neither text names the person.
    return {
        kind: hashlib.sha256(orjson.dumps({kind: accepts[kind]}, option=orjson.OPT_SORT_KEYS)).digest()
        for kind in ("terms", "truthful")
    }


def evidence_place(deployment: bytes, rid: bytes, name: str) -> Place:
    """Return where a piece of evidence stands."""
    return Place(deployment, "identity.evidence", rid + name.encode(), "piece")


def _registration(text: str) -> RegistrationId:
    try:
        return RegistrationId.parse(text)
    except DomainError:
        raise VaultError(Kind.NOT_FOUND, "no such registration") from None
