"""Carries registrations over the stores, one transaction each: keys, identity, directory (the commit point), keys.

A single registration is a batch of one. Where another took a handle, or an account, meanwhile, that registration alone
is refused, and its record given up.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from keys.errors import BudgetError, ConflictError, KeysError, MissingError, RefusedError
from keys.fields import Sealer
from keys.grouping import Group
from keys.primitives import Secret
from vault.domain.errors import InvalidFieldError
from vault.domain.handles import TAKEN, handle_key
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.drafting import Answering, Draft, Made, Order, Refused
from vault.services.existing import Existing
from vault.services.held_keys import HeldKeys
from vault.services.idempotency import Answer, Attempt
from vault.services.linking import Linking, SealedRecord
from vault.services.receipts import BOUND
from vault.services.showing import Showing
from vault.services.submissions import NATURAL, Wish
from vault.services.waiting import Patience
from vault.stores import answers, reviews, standings
from vault.stores.reviews import ReviewRow
from vault.stores.standings import AccountRow, Newcomer, StandingRow
from vault.stores.unit import Rows, Step, Store, Unit, insert_last

SEED_BYTES: Final = 32
_ID_BYTES: Final = 16
_GATHER_SECONDS: Final = 0.003
"""How long single registrations wait for those who were answered together before: a third of what one takes then."""
_REFUSALS: Final = (VaultError, InvalidFieldError, BudgetError, ConflictError, MissingError, RefusedError)
"""After which nothing of a group stands, and each request is carried out by itself."""
_MEANWHILE: Final = (Kind.HANDLE_TAKEN, Kind.CONFLICT)
"""What is said where a row of the same key stands already."""


class Creating:
    """The way of registrations through the stores (`docs/architecture.md`)."""

    def __init__(
        self,
        directory: Store,
        keys: HeldKeys,
        linking: Linking,
        showing: Showing,
        existing: Existing,
        patience: Patience,
        now: Callable[[], int],
    ) -> None:
        self._directory, self._keys, self._linking, self._showing = directory, keys, linking, showing
        self._existing, self._patience, self._now = existing, patience, now
        self._groups: dict[str, Group[Order, Answer | Exception]] = {}

    def create(
        self, client: Client, wishes: Sequence[Wish | Refused], attempt: Attempt, answering: Answering
    ) -> Answer:
        """Make all registrations that may be made; return the answer, which is stored with them.

        What other threads of this process ask for meanwhile, for the same provider, goes the same way at the same time.

        Args:
            client: the provider.
            wishes: what is to be made, or why it is not, in the order of the request.
            attempt: the seed of its ids.
            answering: makes the answer of each item's registration or refusal; what it raises undoes everything.

        Raises:
            VaultError: it was finished or given up meanwhile; a store cannot be written; too many came before it.
            KeysError: the agent refused.
        """
        order = Order(client, wishes, attempt, answering)
        alone = len(wishes) == 1
        outcome = self._patience.turn(self._together(client), order) if alone else self._carry_out([order])[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def _together(self, client: Client) -> Group[Order, Answer | Exception]:
        """Return the line in which the single registrations of a provider wait."""
        group = Group(self._carry_out, _REFUSALS, gather_seconds=_GATHER_SECONDS, prompt=True, lends=True)
        return self._groups.setdefault(client.id, group)

    def _carry_out(self, orders: Sequence[Order]) -> list[Answer | Exception]:
        """Make the registrations of several requests of one provider, each step once for all; return their outcomes.

        Raises:
            VaultError, KeysError: all of it was refused, and nothing of it stands.
        """
        client = orders[0].client
        drafts = self._drafts(client, orders)
        given = self._drawn("create", client, drafts).get("items", ())
        made = self._made(drafts, given)
        try:
            self._linking.add_records(self._sealed(made))
            entered, outcomes = self._entered(client, made, orders)
        except (VaultError, InvalidFieldError) as error:
            if _may_stand(error):
                return [error for _ in orders]
            self._linking.give_up_records([rid for one in made for rid in one.rids])
            raise
        kept = {id(one) for one in entered}
        self._linking.give_up_records([rid for one in made if id(one) not in kept for rid in one.rids])
        try:
            self._linking.all_created([row for one in entered for row in one.draft.standings])
        except KeysError as error:
            # The directory has them: whoever finishes what was left open finishes these. Nothing is tried again here.
            return [outcome if isinstance(outcome, Exception) else error for outcome in outcomes]
        return outcomes

    def import_chunk(
        self, client: Client, wishes: Sequence[Wish | Refused], attempt: Attempt, answering: Answering
    ) -> Answer:
        """Do what `create` does for a chunk of an import: one intent for all its records, one audit row in each store.

        Raises:
            VaultError: it was finished or given up meanwhile; a store cannot be written.
            KeysError: the agent refused.
        """
        order = Order(client, wishes, attempt, answering)
        drafts = self._drafts(client, [order])
        drawn = self._drawn("import.create", client, drafts)
        made = self._made(drafts, drawn.get("items", ()))
        try:
            self._linking.add_records(self._sealed(made))
            entered, (outcome,) = self._entered(client, made, [order], audited=False)
        except VaultError as error:
            if drawn and not _may_stand(error):
                self._linking.imported(drawn["intent"], [])
            raise
        if drawn:
            self._linking.imported(drawn["intent"], [row for one in entered for row in one.draft.standings])
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def rehearse(
        self, client: Client, wishes: Sequence[Wish | Refused], attempt: Attempt, answering: Answering
    ) -> Answer:
        """Return the answer of a chunk of which nothing is made."""
        order = Order(client, wishes, attempt, answering)
        self._drafts(client, [order])
        answer = answering(order.results)
        with self._directory.writing() as unit:
            attempt.finish(unit, answer)
        return answer

    def _drafts(self, client: Client, orders: Sequence[Order]) -> list[Draft]:
        """Return what can be made as far as is known now; the reasons of the others go into the orders' results."""
        wishes = [one for order in orders for one in order.wishes if isinstance(one, Wish)]
        keys = {one.handle: handle_key(one.handle) for one in wishes if one.account is None}
        known, found = self._directory.read(
            reviews.knowing(self._directory, [one.reg for order in orders for one in order.ids]),
            standings.taking(self._directory, client.id, keys.values()),
        )  # fmt: skip
        if known.rows:
            raise VaultError(Kind.CONFLICT, "this request was carried out meanwhile")
        taken = standings.taken_in(found)
        drafts, now = list[Draft](), self._now()
        for order in orders:
            for place, one in enumerate(order.wishes):
                if isinstance(one, Wish):
                    try:
                        draft = self._draft(order, place, one, now, keys)
                        self._claim(draft, taken)
                    except VaultError as refusal:
                        order.results[place] = refusal
                    else:
                        drafts.append(draft)
        return drafts

    @staticmethod
    def _claim(draft: Draft, taken: set[str]) -> None:
        """Take the handle, or the existing account's standing, within this request."""
        claimed = draft.standing.pid.hex() if draft.key is None else draft.key
        if claimed in taken:
            raise _account_taken() if draft.exists else _handle_taken()
        taken.add(claimed)

    def _draft(self, order: Order, place: int, one: Wish, now: int, keys: Mapping[str, str]) -> Draft:
        key: str | None = None
        client, ids, submission = order.client, order.ids[place], one.submission
        if one.account is not None:
            standing, account = self._existing.legacy(client, one.account)
            account = replace(account, state="in_review")
        else:
            key, standing = keys[one.handle], _standing(ids.pid, client, submission.subject.kind, now)
            account = AccountRow(
                ids.pid, ids.account, client.id, one.external_id, one.kind, "in_review", one.handle, b"", None, None,
                now,
            )  # fmt: skip
        beside = None if submission.representative is None else _standing(ids.representative, client, NATURAL, now)
        review = ReviewRow(
            ids.reg, client.id, standing.pid, account.id, "identity", 1, "in_review", None, None, None, None, None,
            None, None, int(submission.expired_document) or None, None, None if beside is None else beside.pid, now,
            None,
        )  # fmt: skip
        return Draft(order, place, submission, standing, account, review, beside, key)

    def _drawn(self, act: str, client: Client, drafts: Sequence[Draft]) -> Mapping[str, Any]:
        """Have the agent draw records."""
        items = [
            {"pid": row.pid, "fields": names}
            for draft in drafts
            for row, names in zip(draft.standings, draft.submission.names(), strict=True)
        ]
        return self._linking.agent.call(act, {"sector": client.sector, "items": items}) if items else {}

    def _made(self, drafts: Sequence[Draft], items: Iterable[Mapping[str, Any]]) -> list[Made]:
        """Bind the new accounts to their rows."""
        given = iter(items)
        fresh = [draft for draft in drafts if not draft.exists]
        macs = iter(self._keys.bind_accounts([bound(draft.account) for draft in fresh]) if fresh else [])
        return [
            self._linked(draft, [next(given) for _ in draft.standings], b"" if draft.exists else next(macs))
            for draft in drafts
        ]

    @staticmethod
    def _linked(draft: Draft, given: Sequence[Mapping[str, Any]], mac: bytes) -> Made:
        subject = draft.standing.linked(given[0]["link"], draft.submission.subject.kind)
        beside = draft.representative and draft.representative.linked(given[1]["link"], NATURAL)
        account = draft.account if draft.exists else draft.account.bound(mac)
        linked = Draft(draft.order, draft.place, draft.submission, subject, account, draft.review, beside, draft.key)
        return Made(linked, given)

    def _sealed(self, made: Sequence[Made]) -> Iterator[SealedRecord]:
        sealer = Sealer(self._keys.deployment)
        for one in made:
            submission = one.draft.submission
            for given, (rid, statement) in zip(one.given, submission.joined(one.rids), strict=True):
                fields = {
                    name: sealer.seal(Secret(given["keys"][name]), rid, name, given["revisions"][name], value)
                    for name, value in statement.fields.items()
                }
                yield rid, fields, submission.terms

    def _entered(
        self, client: Client, made: Sequence[Made], orders: Sequence[Order], *, audited: bool = True
    ) -> tuple[list[Made], list[Answer | Exception]]:
        """Write the directory's rows with the answers; return what was entered, and what each order is told."""
        finishing = [order.attempt.finishing for order in orders]
        if audited and not any(one.draft.exists for one in made) and None not in finishing:
            try:
                return list(made), self._entered_at_once(client, made, orders)
            except VaultError as error:
                if error.kind not in _MEANWHILE:
                    raise
        # What stands already, or was taken since it was looked up, is looked at under the lock.
        keys = [one.draft.key for one in made if one.draft.key is not None]
        with self._directory.begun(standings.taking(self._directory, client.id, keys)) as (unit, (found,)):
            taken, entered = standings.taken_in(found), []
            for one in made:
                refusal = self._refusal(unit, client, one, taken)
                shown = {} if refusal or not audited else self._shown(one.draft)
                one.draft.order.results[one.draft.place] = refusal or shown
                if refusal is None:
                    entered.append(one)
            drafts = [one.draft for one in entered]
            outcomes = [_finished(unit, order) for order in orders]
            with standings.refused():
                insert_last(unit, *self._rows(drafts), self._audited(client, drafts if audited else []))
        return entered, outcomes

    def _entered_at_once(
        self, client: Client, made: Sequence[Made], orders: Sequence[Order]
    ) -> list[Answer | Exception]:
        """Write new accounts in one round trip, as nobody took their handles; return what each order is told.

        Raises:
            VaultError: a handle or a standing is taken, and nothing of it stands; the directory cannot be written now.
        """
        drafts, steps = [one.draft for one in made], list[Step]()
        for draft in drafts:
            draft.order.results[draft.place] = self._shown(draft)
        outcomes = [_told(order) for order in orders]
        for order, outcome in zip(orders, outcomes, strict=True):
            if not isinstance(outcome, Exception) and order.attempt.finishing is not None:
                steps += order.attempt.finishing(self._directory, outcome)
        with standings.refused():
            self._directory.insert(*self._rows(drafts), self._audited(client, drafts), steps=steps)
        return outcomes

    def _refusal(self, unit: Unit, client: Client, one: Made, taken: set[str]) -> VaultError | None:
        """Return why a draft cannot be entered after all; an existing standing gets its record here."""
        draft = one.draft
        if not draft.exists:
            return _handle_taken() if draft.key in taken else None
        try:
            self._linking.agent.call("create.check", {"rids": one.rids})
        except (ConflictError, MissingError):
            return _account_taken()
        if not standings.give_record(unit, draft.standing.pid, draft.standing.link or b"", draft.standing.kind):
            return _account_taken()
        standings.set_account_state(unit, draft.account.id, client.id, "in_review")
        return None

    @staticmethod
    def _rows(drafts: Sequence[Draft]) -> list[Rows]:
        newcomers = [Newcomer(one.standing, one.account, one.key) for one in drafts if one.key is not None]
        newcomers += [Newcomer(draft.representative) for draft in drafts if draft.representative is not None]
        return [*standings.adding(newcomers), reviews.adding([draft.review for draft in drafts])]

    def _audited(self, client: Client, drafts: Sequence[Draft]) -> Rows:
        return answers.adding([self._audit_bound(client, draft.account) for draft in drafts if not draft.exists])

    def _audit_bound(self, client: Client, account: AccountRow) -> dict[str, Any]:
        audit_id = self._keys.audit_ids(BOUND, account.id)[0]
        return {
            "id": audit_id, "type": BOUND, "minute": account.created // 60, "address": client.id.encode(),
            "detail": self._keys.seal_audit(audit_id, account.id),
        }  # fmt: skip

    def _shown(self, draft: Draft) -> dict[str, Any]:
        return self._showing.of(draft.order.client, draft.review, draft.standing, [draft.account], draft.representative)


def _may_stand(error: Exception) -> bool:
    """Whether the directory may hold the rows after all: what became of a commit is not known when a store is gone.

    Then nothing is given up; whoever finishes what was left open looks at what stands.
    """
    return isinstance(error, VaultError) and error.kind is Kind.UNAVAILABLE


def _finished(unit: Unit, order: Order) -> Answer | Exception:
    """Store what an order is told, and return it."""
    outcome = _told(order)
    if not isinstance(outcome, Exception):
        order.attempt.finish(unit, outcome)
    return outcome


def _told(order: Order) -> Answer | Exception:
    """Return what an order is told; one whose only item is refused has no rows, and its refusal for an outcome."""
    try:
        return order.answering(order.results)
    except (VaultError, InvalidFieldError) as refusal:
        return refusal


def _standing(pid: bytes, client: Client, kind: str, now: int) -> StandingRow:
    return StandingRow(pid, client.id, client.sector or "", None, "none", 0, None, None, None, "live", kind, now)


def bound(account: AccountRow) -> dict[str, Any]:
    """Return what the MAC of an account binds together."""
    return {"provider": account.provider, "handle": account.handle, "pid": account.pid, "account": account.id}


def _handle_taken() -> VaultError:
    return VaultError(Kind.HANDLE_TAKEN, TAKEN)


def _account_taken() -> VaultError:
    return VaultError(Kind.CONFLICT, "another registration for this account was quicker; read the account again")
