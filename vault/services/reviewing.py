"""Reviewing: the queue with its lease, reveal as a verb of its own, evidence, decisions.

A bound reviewer sees his provider's cases and local matches; a vault reviewer sees all, and matches across providers.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from keys.errors import BudgetError, BusyError, CandidatesError, CapError, ConflictError, MissingError, RefusedError
from keys.frame import Purpose, open_frame
from keys.primitives import Secret, random_bytes
from vault.config import Settings
from vault.domain import reasons
from vault.domain.clock import from_epoch, to_text
from vault.domain.errors import InvalidFieldError
from vault.domain.ids import RegistrationId
from vault.errors import Kind, VaultError
from vault.services import account_reviews, targets
from vault.services.access import Client
from vault.services.account_reviews import AccountReviews
from vault.services.accounts import CAP_REACHED, cap_of
from vault.services.held_keys import HeldKeys
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.services.linking import REVIEW, Linking
from vault.services.registering import evidence_place
from vault.stores import clients, handles, reviews, standings
from vault.stores.reviews import ReviewRow
from vault.stores.standings import AccountRow, StandingRow
from vault.stores.unit import Store

METHODS: Final = frozenset((
    "document_checked", "registry_match", "eid", "bank_transfer", "letter_code", "in_person", "voucher",
    "provider_attested",
))  # fmt: skip
PURPOSE: Final = "review"
_PERSONAL: Final = ("legal_name", "names", "birth_date", "document", "phone", "email")
REVIEW_FIELDS: Final = frozenset(
    (*_PERSONAL, "form", "registration", *(f"representative/{name}" for name in _PERSONAL))
)  # fmt: skip
"""What the review form lists; the agent holds the same list and opens nothing else."""
_ACCOUNT_STATE: Final = {"approved": "approved", "returned": "returned", "rejected": "legacy"}
_EVIDENCE: Final = "evidence"
_EVIDENCE_FIX: Final = "evidence/"
KINDS: Final = ("personal", "public")
_BUSY_TRIES: Final = 20
_BUSY_SECONDS: Final = 0.05
_REFUSALS: Final = 3


class Reviewing:
    """The flow of section 6.2 of the design."""

    def __init__(
        self,
        settings: Settings,
        directory: Store,
        keys: HeldKeys,
        linking: Linking,
        idempotent: Idempotent,
        now: Callable[[], int],
    ) -> None:
        self._settings, self._directory, self._keys = settings, directory, keys
        self._accounts = AccountReviews(directory, keys, now)
        self._linking, self._idempotent, self._now = linking, idempotent, now

    def next(self, client: Client) -> dict[str, Any] | None:
        """Lease the oldest open case and return it, or None."""
        now = self._now()
        with self._directory.writing() as unit:
            row = reviews.next_open(unit, client.provider, client.id, now)
            if row is None:
                return None
            until = now + self._settings.lease_seconds
            reviews.lease(unit, row.reg, client.id, until, now)
        return summary(row) | {"lease_until": to_text(from_epoch(until))}

    def reveal(self, client: Client, reg: str, purpose: str, fields: list[str]) -> dict[str, Any]:
        """Open the listed fields and the candidates of one case; takes the lease.

        Raises:
            VaultError: not his to see, decided, leased by another, or the purpose does not open these fields.
        """
        if purpose != PURPOSE:
            raise InvalidFieldError("/purpose", "review: reveals have no other purpose yet")
        if not REVIEW_FIELDS.issuperset(fields):
            raise InvalidFieldError("/fields", f"of {', '.join(sorted(REVIEW_FIELDS))}")
        row, standing = self._case(client, reg)
        until = self._lease(client, row)
        case = {"id": reg, "kind": row.kind, "lease_until": to_text(from_epoch(until))}
        if row.kind == account_reviews.KIND:
            return case | self._accounts.reveal(client, row)
        pieces: list[str] = []
        opened = self._with_agent(
            row, standing, "review.open",
            {**self._args(client, row), "purpose": purpose, "fields": list(dict.fromkeys(fields)),
             "needed": self._needs_reveal(row)}, pieces,
        )  # fmt: skip
        with self._directory.writing() as unit:
            reviews.remember_shown(unit, row.reg, opened["seen"])
            account = standings.account_by_id(unit, row.provider, row.account or b"")
            alike = account is not None and account.state != "closed" and handles.looks_alike(unit, account)
        return case | {
            "fields": {name: json.loads(value) for name, value in opened["fields"].items()},
            "evidence": pieces,
            "candidates": opened["candidates"],
            "shown": opened["shown"].hex(),
            "returner": opened["known_here"],
            "sanctions": opened["returner"],
            "expired_document": bool(row.expired_document),
            "look_alike": alike,
        }

    def evidence(self, client: Client, reg: str, name: str) -> tuple[bytes, str]:
        """Return a piece of evidence and its content type: at most three views a review, each with an audit row.

        Raises:
            VaultError: not his to see, decided, leased by another, no such piece, or viewed too often.
        """
        row, standing = self._case(client, reg)
        if row.kind == account_reviews.KIND:
            raise VaultError(Kind.NOT_FOUND, "no such piece of evidence")
        self._lease(client, row)
        needed = self._needs_reveal(row)
        args: dict[str, Any] = {"use": "view", "name": name, "needed": needed, **self._args(client, row)}
        try:
            given = self._with_agent(row, standing, _EVIDENCE, args, [])
        except MissingError:
            raise VaultError(Kind.NOT_FOUND, "no such piece of evidence") from None
        except BudgetError:
            raise VaultError(Kind.TOO_MANY_REQUESTS, "this piece was viewed as often as one review may") from None
        piece = self._linking.piece(given["rid"], name)
        if piece is None:
            raise VaultError(Kind.NOT_FOUND, "no such piece of evidence")
        place = evidence_place(self._keys.deployment, given["rid"], name)
        return open_frame(Secret(given["key"]), Purpose.EVIDENCE, place, piece.sealed), piece.content_type

    def decide_unseen(self, client: Client, reg: str, method: str) -> None:
        """Approve a case that was not revealed, as one of many.

        Raises:
            VaultError: see `decide`; whoever matches somebody, exactly or nearly, is never approved unseen.
        """
        self._decide(client, reg, {"decision": "approved", "method": method}, None, unseen=True)

    def decide(self, client: Client, reg: str, body: Mapping[str, Any], idempotency: Idempotency | None) -> Answer:
        """Decide a case; return (200, {id, state, …}).

        Raises:
            InvalidFieldError: the decision's members do not fit together.
            VaultError: decided, leased by another, never revealed where that is required, or candidates changed.
        """
        return self._decide(client, reg, body, idempotency, unseen=False)

    def _decide(
        self, client: Client, reg: str, body: Mapping[str, Any], idempotency: Idempotency | None, *, unseen: bool
    ) -> Answer:
        decision = _decision(body)

        def effect(attempt: Attempt) -> Answer:
            row, standing = self._case(client, reg)
            if row.kind != "match" and decision["state"] != "approved" and decision["reason"] not in reasons.REFUSALS:
                raise InvalidFieldError("/reason", "a code of a refusal; see the documentation")
            if row.kind == "match" and decision["state"] == "returned":
                raise InvalidFieldError("/decision", "a match is approved or rejected")
            if decision["state"] == "returned" and not decision["fix"] and row.kind != account_reviews.KIND:
                raise InvalidFieldError("/fix", "a returned registration names what to mend")
            now = self._now()
            if row.lease_by not in {None, client.id} and (row.lease_until or 0) > now:
                raise VaultError(Kind.LEASED, "another reviewer holds this case; try again when the lease has ended")
            if not unseen and self._needs_reveal(row) and row.shown is None:
                raise VaultError(Kind.CANDIDATES_CHANGED, "reveal the case before deciding it")
            answer = (
                200,
                {"id": reg, "kind": row.kind, **{k: decision[k] for k in ("state", "method", "reason", "fix")}},
            )
            if row.kind == account_reviews.KIND:
                self._accounts.decide(client, row, decision, attempt, answer)
                return answer
            memo = self._memo(client, row, decision, now)
            memo["answer"] = self._idempotent.sealed(client.id, idempotency, answer)
            args: dict[str, Any] = {
                **self._args(client, row),
                "decision": decision["state"],
                "verdicts": decision["verdicts"],
                "shown": decision["shown"],
                "seen": row.shown,
                "faulted": [f.removeprefix(_EVIDENCE_FIX) for f in decision["fix"] if f.startswith(_EVIDENCE_FIX)],
                "memo": memo,
                "caps": self._caps(row, standing),
                "alone": unseen,
            }
            try:
                decided = self._with_agent(row, standing, "review.decide", args, [])
            except CapError:
                raise VaultError(Kind.CAP_REACHED, CAP_REACHED) from None
            if decided["not_before"] > now:
                self._await_tick(row, decision, client, now, lambda unit: attempt.finish(unit, answer))
            else:
                self._linking.carry_out(REVIEW, decided["intent"], decided["plan"])
            return answer

        return self._idempotent.run(client.id, idempotency, b"", effect)

    def _await_tick(
        self, row: ReviewRow, decision: Mapping[str, Any], client: Client, now: int, finish: Callable[[Any], None]
    ) -> None:
        """A match's outcome takes effect at the common tick; the queue shows it decided at once."""
        with self._directory.writing() as unit:
            reviews.decide(unit, row.reg, row.attempt, {**decision, "reviewer": client.id, "at": now}, None)
            finish(unit)

    def _memo(self, client: Client, row: ReviewRow, decision: Mapping[str, Any], now: int) -> dict[str, Any]:
        """Return what the directory's part of the plan needs: so that anyone can carry it out after a crash."""
        bound_approval = client.provider is not None and decision["state"] == "approved" and row.kind != "match"
        match = None
        if bound_approval:
            match = [
                random_bytes(16), row.provider, row.pid, row.account, "match", 1, "in_review", None, None, None, None,
                None, None, None, 0, None, row.representative, now, None,
            ]  # fmt: skip
        return {
            "reg": row.reg, "attempt": row.attempt, "pid": row.pid, "account": row.account, "provider": row.provider,
            "kind": row.kind, "state": decision["state"], "method": decision["method"], "reason": decision["reason"],
            "fix": decision["fix"], "reviewer": client.id, "at": now, "match": match, "answer": None,
            "account_state": _ACCOUNT_STATE[decision["state"]],
        }  # fmt: skip

    def _policy(self, row: ReviewRow) -> Mapping[str, Any]:
        with self._directory.reading() as unit:
            owner = clients.find(unit, row.provider)
        return owner.policy if owner is not None else {}

    def _needs_reveal(self, row: ReviewRow) -> bool:
        return bool(self._policy(row).get("review_needs_reveal", not self._keys.development))

    def _caps(self, row: ReviewRow, standing: StandingRow) -> list[dict[str, Any]]:
        if row.kind != "identity":
            return []
        with self._directory.reading() as unit:
            owned = standings.accounts_of(unit, standing.pid)
        return caps_of(self._policy(row), row, owned)

    def _case(self, client: Client, reg: str) -> tuple[ReviewRow, StandingRow]:
        raw = targets.named(RegistrationId, reg, "case").raw
        with self._directory.reading() as unit:
            row = reviews.find(unit, raw)
            standing = standings.find(unit, row.pid) if row is not None else None
        hidden = row is not None and client.provider is not None and (
            row.provider != client.provider or row.kind == "match"
        )  # fmt: skip
        if row is None or standing is None or hidden:
            raise VaultError(Kind.NOT_FOUND, "no such case")
        if row.state != "in_review":
            raise VaultError(Kind.DECIDED, "this case is not in review any more")
        return row, standing

    def _lease(self, client: Client, row: ReviewRow) -> int:
        now = self._now()
        until = now + self._settings.lease_seconds
        with self._directory.writing() as unit:
            if not reviews.lease(unit, row.reg, client.id, until, now):
                raise VaultError(Kind.LEASED, "another reviewer holds this case; try again when the lease has ended")
        return until

    def _args(self, client: Client, row: ReviewRow) -> dict[str, Any]:
        kind = "match" if row.kind == "match" else "review"
        return {"kind": kind, "reviewer": client.id}

    def _with_agent(
        self, row: ReviewRow, standing: StandingRow, verb: str, args: dict[str, Any], pieces: list[str]
    ) -> dict[str, Any]:
        """Call an act; finish first what a crash left half-way on the same person."""

        def answers(what: str, asked: Mapping[str, Any]) -> object:
            if what == "records" and not pieces:
                pieces.extend(self._linking.piece_names(asked["values"][0]))
            return self._linking.answers(what, asked)

        for tried in range(_BUSY_TRIES):
            shown = dict(zip(("standing", "representative"), self._shown(row, standing), strict=False))
            try:
                return self._linking.agent.call(verb, {**args, **shown}, answers)
            except CandidatesError:
                raise VaultError(
                    Kind.CANDIDATES_CHANGED,
                    "candidates or sanctions are not those that were shown; reveal the case again",
                ) from None
            except BusyError:
                if not self._linking.finish_due():
                    time.sleep(_BUSY_SECONDS)
            except (RefusedError, MissingError):
                # Between two stores of another act the rows do not agree yet: finish it, then they must.
                self._check_open(row)
                if not self._linking.finish_due() and (verb == _EVIDENCE or tried >= _REFUSALS):
                    raise
                time.sleep(_BUSY_SECONDS)
                self._heal(row, standing)
            except ConflictError:
                self._heal(row, standing)
        raise VaultError(Kind.CONFLICT, "another act on the same person is under way; try again", retry_after_seconds=1)

    def _standings(self, row: ReviewRow, standing: StandingRow) -> list[StandingRow]:
        """Return the standings of a case: the registrant's, and of an organisation its representative's."""
        if row.representative is None:
            return [standing]
        with self._directory.reading() as unit:
            beside = standings.find(unit, row.representative)
        if beside is None or beside.link is None:
            raise VaultError(Kind.DECIDED, "the representative's record is gone; the organisation registers anew")
        return [standing, beside]

    def _shown(self, row: ReviewRow, standing: StandingRow) -> list[dict[str, Any]]:
        return [self._linking.evidence(one) for one in self._standings(row, standing)]

    def _check_open(self, row: ReviewRow) -> None:
        with self._directory.reading() as unit:
            again = reviews.find(unit, row.reg)
        if again is None or again.state != "in_review" or again.attempt != row.attempt:
            raise VaultError(Kind.DECIDED, "this case was decided meanwhile")

    def _heal(self, row: ReviewRow, standing: StandingRow) -> None:
        """The directory says in review, the agent does not: finish what a crash left between the two, or refuse."""
        self._check_open(row)
        if self._linking.finish_due():
            return
        try:
            for one in self._standings(row, standing):
                self._linking.created(one)
                if row.attempt > 1:
                    self._linking.agent.call("revise.done", {"standing": self._linking.evidence(one)})
        except ConflictError:
            raise VaultError(Kind.DECIDED, "this case is not in review any more") from None
        time.sleep(_BUSY_SECONDS)


def caps_of(policy: Mapping[str, Any], row: ReviewRow, owned: Sequence[AccountRow]) -> list[dict[str, Any]]:
    """Return the caps that an approval could pass: for each kind the limit, and how many accounts it adds."""
    limits = {kind: limit for kind in KINDS if (limit := cap_of(policy, kind)) is not None}
    return [
        {"kind": kind, "limit": limit, "adds": sum(_is_added(row, account, kind) for account in owned)}
        for kind, limit in limits.items()
    ]


def _is_added(row: ReviewRow, account: AccountRow, kind: str) -> bool:
    """Tell whether an approval makes this account an approved one: the account itself, and waiting personal ones."""
    waiting = account.state in {"in_review", "legacy"}
    return account.kind == kind and waiting and (account.id == row.account or account.kind == "personal")


def summary(row: ReviewRow) -> dict[str, Any]:
    """Return what the queue shows of a case: ids and state only."""
    shown: dict[str, Any] = {
        "id": str(RegistrationId(row.reg)),
        "kind": row.kind,
        "state": row.state,
        "attempt": row.attempt,
        "submitted": to_text(from_epoch(row.submitted)),
    }
    if row.decided is not None:
        shown |= {"decided": to_text(from_epoch(row.decided)), "reason": row.reason, "method": row.method}
    return shown


def _decision(body: Mapping[str, Any]) -> dict[str, Any]:
    state, reason = body["decision"], body.get("reason")
    method = body.get("method") or (reason if reason in METHODS else None)
    if state == "approved" and reason not in {None, *METHODS}:
        raise InvalidFieldError("/reason", "an approval's reason is how the person was verified")
    if state == "approved" and method is None:
        raise InvalidFieldError("/method", "an approval names how the person was verified")
    fix = list(body.get("fix", []))
    if state != "returned" and fix:
        raise InvalidFieldError("/fix", "only a returned registration is mended")
    if state != "approved" and reason is None:
        raise InvalidFieldError("/reason", "a refusal needs a reason code")
    verdicts = [{"id": c["id"], "verdict": c["verdict"]} for c in body.get("candidates", [])]
    shown = bytes.fromhex(body["shown"]) if body.get("shown") else None
    return {
        "state": state,
        "method": method,
        "reason": reason or method,
        "fix": fix,
        "verdicts": verdicts,
        "shown": shown,
    }
