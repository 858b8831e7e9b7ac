"""Registering: validated, sealed under the keys that `create` returns, written in order, queued for review.

The same work, bytes and time for a known and an unknown person: nothing here asks who is known.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, Final

from keys.errors import ConflictError
from keys.fields import seal_field
from keys.frame import Place, Purpose, seal
from keys.primitives import Secret, random_bytes
from vault.domain.clock import from_epoch
from vault.domain.errors import InvalidFieldError
from vault.domain.ids import RegistrationId
from vault.errors import Kind, VaultError
from vault.services import targets
from vault.services.access import Client
from vault.services.creating import SEED_BYTES, Creating
from vault.services.drafting import Refused, Results
from vault.services.held_keys import HeldKeys
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.services.linking import Linking
from vault.services.showing import Showing
from vault.services.submissions import Statement, Submission, Wish, submitted, wish
from vault.stores import reviews, standings
from vault.stores.reviews import ReviewRow
from vault.stores.standings import StandingRow
from vault.stores.unit import Store

_RESUBMIT_LEASE_SECONDS: Final = 30
_OPEN_STATES: Final = ("in_review", "returned")
_OK: Final = 200
_ACCEPTED: Final = 202
Shown = Callable[[Exception], dict[str, Any]]
"""How a refused item of a batch is told: {status, type, …}."""


class Registering:
    """The flow of section 6.1 of the design."""

    def __init__(
        self,
        directory: Store,
        keys: HeldKeys,
        linking: Linking,
        idempotent: Idempotent,
        showing: Showing,
        creating: Creating,
        now: Callable[[], int],
    ) -> None:
        self._directory, self._keys, self._linking, self._creating = directory, keys, linking, creating
        self._idempotent, self._showing, self._now = idempotent, showing, now

    def register(self, client: Client, body: dict[str, Any], idempotency: Idempotency | None) -> Answer:
        """Register a person, or an organisation with its representative; return (202, registration).

        Raises:
            InvalidFieldError, VaultError: what is wrong with the body; the handle is taken.
            KeysError: the agent refused.
        """
        one = wish(client, body, self._today(), specimen=self._keys.development)

        def effect(attempt: Attempt) -> Answer:
            return self._creating.create(client, [one], attempt, _only)

        return self._idempotent.run(client.id, idempotency, random_bytes(SEED_BYTES), effect)

    def register_batch(
        self,
        client: Client,
        items: Sequence[dict[str, Any] | VaultError],
        idempotency: Idempotency | None,
        shown: Shown,
    ) -> Answer:
        """Register many at once; return (200, {items}), each registered or refused by itself, in the same order.

        Args:
            client: the provider.
            items: the bodies, or what is wrong with their form.
            idempotency: one key for all of them.
            shown: how a refusal is told.

        Raises:
            VaultError: the whole request cannot be carried out.
            KeysError: the agent refused.
        """

        def answering(results: Results) -> Answer:
            told = [
                {"status": _ACCEPTED, **one} if isinstance(one, dict) else shown(one)
                for one in results
            ]  # fmt: skip
            return _OK, {"items": told}

        def effect(attempt: Attempt) -> Answer:
            wishes = self.wished(client, items)
            return self._creating.create(client, wishes, attempt, answering)

        return self._idempotent.run(client.id, idempotency, random_bytes(SEED_BYTES), effect)

    def _today(self) -> date:
        return from_epoch(self._now()).date()

    def wished(self, client: Client, items: Iterable[Mapping[str, Any] | VaultError]) -> list[Wish | Refused]:
        """Return registrations from their bodies, or what is wrong with each."""
        today, specimen = self._today(), self._keys.development
        return [one if isinstance(one, VaultError) else _wished(client, one, today, specimen) for one in items]

    def get(self, client: Client, reg: str) -> dict[str, Any]:
        """Return a registration of this provider.

        Raises:
            VaultError: there is none of this id.
        """
        return self._showing.registration(client, targets.named(RegistrationId, reg, "registration"))

    def resubmit(self, client: Client, reg: str, body: dict[str, Any], idempotency: Idempotency | None) -> Answer:
        """Resubmit a returned registration with all its statements; return (202, registration).

        Raises:
            InvalidFieldError, VaultError: what is wrong with the body; the registration is not `returned`.
        """
        submission = submitted(client, body, self._today(), specimen=self._keys.development)
        registration = targets.named(RegistrationId, reg, "registration")

        def effect(attempt: Attempt) -> Answer:
            row, found = self._own(client, registration)
            _check_kind(row, submission)
            now = self._now()
            with self._directory.writing() as unit:
                if row.state != "returned" or not reviews.hold(
                    unit, row.reg, client.id, now + _RESUBMIT_LEASE_SECONDS, now
                ):
                    raise VaultError(Kind.CONFLICT, "only a returned registration is resubmitted, one try at a time")
            self._revise(found, submission)
            with self._directory.writing() as unit:
                reviews.resubmit(unit, row.reg, row.attempt, now, expired_document=submission.expired_document)
                if row.account is not None:
                    standings.set_account_state(unit, row.account, client.id, "in_review")
                again = reviews.find(unit, row.reg) or row
                accounts = standings.accounts_of(unit, found[0].pid)
                answer = _ACCEPTED, self._showing.of(client, again, found[0], accounts, *found[1:])
                attempt.finish(unit, answer)
            for standing in found:
                self._linking.agent.call("revise.done", {"standing": self._linking.evidence(standing)})
            return answer

        return self._idempotent.run(client.id, idempotency, b"", effect)

    def _revise(self, found: Sequence[StandingRow], submission: Submission) -> None:
        """Write new revisions of all fields over the old ones."""
        given = [
            self._linking.agent.call("revise", {"standing": self._linking.evidence(standing), "fields": names})
            for standing, names in zip(found, submission.names(), strict=True)
        ]
        joined = submission.joined([keys["rid"] for keys in given])
        for keys, (rid, statement) in zip(given, joined, strict=True):
            self._linking.replace_record(rid, self._sealed(statement, keys), submission.terms)

    def _sealed(self, statement: Statement, given: Mapping[str, Any]) -> dict[str, bytes]:
        return {
            name: seal_field(
                Secret(given["keys"][name]), self._keys.deployment, given["rid"], name, given["revisions"][name], value
            )
            for name, value in statement.fields.items()
        }

    def put_evidence(self, client: Client, reg: str, name: str, content_type: str, data: bytes) -> None:
        """Seal and store a piece of evidence under a key of its own.

        Raises:
            VaultError: no such registration, or it is decided.
        """
        row, (standing, *_) = self._own(client, targets.named(RegistrationId, reg, "registration"))
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

    def own(self, client: Client, reg: str) -> tuple[ReviewRow, StandingRow]:
        """Return a registration of a client's, and the registrant's standing.

        Raises:
            VaultError: it has none such.
        """
        row, (standing, *_) = self._own(client, targets.named(RegistrationId, reg, "registration"))
        return row, standing

    def _own(self, client: Client, registration: RegistrationId) -> tuple[ReviewRow, list[StandingRow]]:
        """Return a registration and its standings: the registrant's, and where there is one the representative's."""
        with self._directory.reading() as unit:
            row = reviews.find(unit, registration.raw)
            pids = () if row is None else (row.pid, row.representative)
            found = [standing for pid in pids if pid is not None and (standing := standings.find(unit, pid))]
        if row is None or not found or row.provider != client.id or row.kind == "match":
            raise VaultError(Kind.NOT_FOUND, "no such registration")
        return row, found


def _wished(client: Client, body: Mapping[str, Any], today: date, specimen: bool) -> Wish | Refused:  # noqa: FBT001 - handed on
    try:
        return wish(client, body, today, specimen=specimen)
    except (InvalidFieldError, VaultError) as refusal:
        return refusal


def _only(results: Results) -> Answer:
    (one,) = results
    if isinstance(one, dict):
        return _ACCEPTED, one
    raise one


def _check_kind(row: ReviewRow, submission: Submission) -> None:
    if (row.representative is None) != (submission.representative is None):
        pointer = "/identity" if row.representative is None else "/organization"
        raise VaultError(Kind.VALIDATION, errors=((pointer, "required: the kind of registrant stays"),))


def evidence_place(deployment: bytes, rid: bytes, name: str) -> Place:
    """Return where a piece of evidence stands."""
    return Place(deployment, "identity.evidence", rid + name.encode(), "piece")
