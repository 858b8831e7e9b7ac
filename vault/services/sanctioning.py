"""Sanctions: set on an account or on a registrant at one provider, in force at the next call, ended by the clock.

The words are sealed under the registrant's statement key; the directory holds codes, rung and times.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from keys.errors import OpenError
from keys.grouping import Group
from keys.primitives import random_bytes
from vault.config import Settings
from vault.domain import sanctions as rules
from vault.domain.clock import from_epoch, to_text
from vault.domain.errors import DomainError, InvalidFieldError
from vault.domain.ids import AccountId, SanctionId
from vault.domain.sanctions import Measure
from vault.domain.scopes import Rung
from vault.errors import Kind, VaultError
from vault.services import targets
from vault.services.access import Client
from vault.services.held_keys import HeldKeys
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.services.showing import Showing
from vault.services.targets import Target
from vault.services.waiting import Patience
from vault.stores import answers, batches, sanctions, standings
from vault.stores.sanctions import SanctionRow
from vault.stores.standings import StandingRow
from vault.stores.unit import Step, Store, Unit, end, run

_ID_BYTES: Final = 16
_GATHER_SECONDS: Final = 0.003
"""How long sanctions wait for those that were answered together before."""
_LIST: Final = "sanctions"
_ONE_TARGET: Final = "exactly one of token and account"


@dataclass(frozen=True, slots=True)
class _Order:
    """A sanction as it was asked for: of whom, by what measure, with the sealed words."""

    client: Client
    body: Mapping[str, Any]
    target: Target
    measure: Measure
    statement: bytes | None
    attempt: Attempt
    now: int


class Sanctioning:
    """The flow of section 6.5 of the design."""

    def __init__(
        self,
        settings: Settings,
        directory: Store,
        keys: HeldKeys,
        idempotent: Idempotent,
        showing: Showing,
        now: Callable[[], int],
    ) -> None:
        self._settings, self._directory, self._keys = settings, directory, keys
        self._idempotent, self._showing, self._now = idempotent, showing, now
        self._patience = Patience.of(settings)
        # What is not told of one alone concerns all of a group: whether the store has it is not known then.
        self._group = Group[_Order, Answer | Exception](self._set_all, (), gather_seconds=_GATHER_SECONDS, lends=True)

    def sanction(self, client: Client, body: Mapping[str, Any], idempotency: Idempotency | None) -> Answer:
        """Set a sanction; return (201, sanction).

        Raises:
            InvalidFieldError: which member breaks which rule.
            VaultError: no such token or account; too many came before this one.
        """

        def effect(attempt: Attempt) -> Answer:
            now = self._now()
            with self._directory.reading() as unit:
                target = self._target(unit, client, body, now)
            if target.account is not None and target.account.state == "closed":
                raise VaultError(Kind.CONFLICT, "this account is closed; the registrant is sanctioned by the token")
            measure = rules.measure(
                body, client.policy, now, person=target.account is None, ban_years_max=self._settings.ban_years_max
            )
            words = _words(body)
            statement = self._keys.seal_statement(target.standing.pid, attempt.ids, words) if words else None
            order = _Order(client, body, target, measure, statement, attempt, now)
            outcome = self._patience.turn(self._group, order)
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        return self._idempotent.run(client.id, idempotency, random_bytes(_ID_BYTES), effect)

    def lift(
        self, client: Client, sanction: str, reason: str, by: str | None, idempotency: Idempotency | None
    ) -> Answer:
        """Lift a sanction at once; return (200, sanction).

        Raises:
            VaultError: no such sanction, or it was lifted before.
        """

        def effect(attempt: Attempt) -> Answer:
            now = self._now()
            with self._directory.writing() as unit:
                row = self._own(unit, client, sanction)
                if not sanctions.lift(unit, row.id, now, reason, by):
                    raise VaultError(Kind.CONFLICT, "this sanction was lifted before")
                run(unit, self._audited(unit, client, "sanction.lifted", row, now))
                answer = 200, self._read(unit, self._own(unit, client, sanction), now)
                attempt.finish(unit, answer)
            return answer

        return self._idempotent.run(client.id, idempotency, b"", effect)

    def sanction_of(self, client: Client, sanction: str) -> dict[str, Any]:
        """Return a sanction of this provider.

        Raises:
            VaultError: there is none of this id.
        """
        with self._directory.reading() as unit:
            return self._read(unit, self._own(unit, client, sanction), self._now())

    def sanctions(self, client: Client, cursor: str | None, limit: int, target: Mapping[str, str]) -> dict[str, Any]:
        """Return a page of this provider's sanctions: all, or those of a registrant or an account.

        Raises:
            VaultError: no such token or account, or the cursor is of another list.
        """
        now = self._now()
        after = self._after(client, cursor)
        with self._directory.reading() as unit:
            found = self._target(unit, client, target, now) if target else None
            rows = sanctions.page(
                unit, client.id, after, limit,
                None if found is None else found.standing.pid, None if found is None else found.account_id,
            )  # fmt: skip
            items = [self._read(unit, row, now) for row in rows]
        if len(rows) < limit:
            return {"items": items}
        return {"items": items, "next": self._keys.directory().encode_cursor(_LIST, client.id, rows[-1].id)}

    def _after(self, client: Client, cursor: str | None) -> bytes:
        try:
            return b"" if cursor is None else self._keys.directory().decode_cursor(_LIST, client.id, cursor)
        except OpenError:
            raise VaultError(Kind.MALFORMED, "the cursor is not one of this list") from None

    def _target(self, unit: Unit, client: Client, body: Mapping[str, Any], now: int) -> Target:
        if ("token" in body) == ("account" in body):
            raise InvalidFieldError("/token", _ONE_TARGET)
        if "account" in body:
            return targets.by_account(unit, client, body["account"])
        return Target(targets.by_token(unit, self._keys, client, body["token"], now))

    def _set_all(self, orders: Sequence[_Order]) -> list[Answer | Exception]:
        """Set the sanctions of several requests in one transaction; one that is refused leaves nothing (ADR 13).

        Raises:
            VaultError: the store cannot be written now, which concerns everyone.
        """
        pids = {order.target.standing.pid for order in orders}
        first = (sanctions.history(self._directory, pids), batches.finding(self._directory, pids))
        with self._directory.begun(*first) as (unit, (read, again)):
            found, standing = sanctions.read(read), batches.found_in(again)
            histories = {pid: found.get(pid, []) for pid in pids}
            outcomes: list[Answer | Exception] = []
            steps: list[Step] = []
            for order in orders:
                try:
                    answer, row = self._set(unit, order, standing, histories)
                except (VaultError, InvalidFieldError) as refusal:
                    outcomes.append(refusal)
                    continue
                outcomes.append(answer)
                steps += sanctions.adding(unit, row, histories[row.pid])
                steps.append(self._audited(unit, order.client, "sanction.set", row, order.now))
                histories[row.pid].append(row)
            end(unit, *steps)
        return outcomes

    def _set(
        self, unit: Unit, order: _Order, again: Mapping[bytes, StandingRow], histories: dict[bytes, list[Any]]
    ) -> tuple[Answer, SanctionRow]:
        """Return the answer and the row of one sanction, by what stands under the write lock.

        Raises:
            InvalidFieldError, VaultError: it is refused.
        """
        client, body, measure, now = order.client, order.body, order.measure, order.now
        living, origin = order.target, order.target.standing
        if living.account is not None or again.get(origin.pid) != origin:
            # It may have become part of another meanwhile. The words stay under the key of its origin.
            living = self._target(unit, client, body, now)
        pid = living.standing.pid
        if pid not in histories:
            histories[pid] = sanctions.read(run(unit, sanctions.history(unit, [pid]))[0]).get(pid, [])
        rules.check_order(
            measure.rung, _of_target(living, histories[pid]), body.get("facts") or body.get("skip_reason")
        )
        row = SanctionRow(
            order.attempt.ids, client.id, pid, living.account_id, int(measure.rung), now, measure.until, measure.degree,
            body["ground"], body.get("by"), body.get("automated", "none"), body.get("source", "own_initiative"),
            order.statement, origin.pid, None, None, None,
        )  # fmt: skip
        answer = 201, self._shown(row, living.standing, now)
        order.attempt.finish(unit, answer)
        return answer, row

    @staticmethod
    def _own(unit: Unit, client: Client, sanction: str) -> SanctionRow:
        try:
            row = sanctions.find(unit, client.id, SanctionId.parse(sanction).raw)
        except DomainError:
            row = None
        if row is None:
            raise VaultError(Kind.NOT_FOUND, "no such sanction")
        return row

    def _audited(self, unit: Unit, client: Client, kind: str, row: SanctionRow, now: int) -> Step:
        audit_id = self._keys.audit_ids(kind, row.id)[0]
        return answers.auditing(unit, audit_id, kind, now // 60, client.id, self._keys.seal_audit(audit_id, row.id))

    def _read(self, unit: Unit, row: SanctionRow, now: int) -> dict[str, Any]:
        """Return what is shown of a sanction that was read."""
        return self._shown(row, None if row.account is not None else standings.living(unit, row.pid), now)

    def _shown(self, row: SanctionRow, standing: StandingRow | None, now: int) -> dict[str, Any]:
        """Return a sanction from an allow-list of members; its words are not sent back."""
        rung = Rung(row.rung)
        answer: dict[str, Any] = {
            "id": str(SanctionId(row.id)),
            "rung": rung.name,
            "state": rules.state_of(row.until, row.lifted, now),
            "starts": to_text(from_epoch(row.starts)),
            "ground": row.ground,
            "automated": row.automated,
            "source": row.source,
            **self._target_shown(row, standing),
        }
        if row.by is not None:
            answer["by"] = row.by
        if row.until is not None:
            answer["ban_until" if rung is Rung.close else "until"] = to_text(from_epoch(row.until))
        if row.degree is not None:
            answer["degree"] = row.degree
        if row.lifted is not None:
            answer |= {"lifted": to_text(from_epoch(row.lifted)), "lift_reason": row.lift_reason}
        return answer

    def _target_shown(self, row: SanctionRow, standing: StandingRow | None) -> dict[str, str]:
        if row.account is not None:
            return {"account": str(AccountId(row.account))}
        return {} if standing is None else {"token": self._showing.token(standing)}


def _of_target(target: Target, history: Iterable[Any]) -> list[tuple[Rung, str | None]]:
    """Return what was set on the same target before: on this account, or on the registrant himself."""
    return [(Rung(row.rung), row.lift_reason) for row in history if row.account == target.account_id]


def _words(body: Mapping[str, Any]) -> bytes:
    """Return the words of a sanction in canonical JSON, nothing where there are none."""
    words = {name: body[name] for name in ("facts", "skip_reason") if name in body}
    return orjson.dumps(words, option=orjson.OPT_SORT_KEYS) if words else b""
