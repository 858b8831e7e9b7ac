"""The only service that sees both identity and directory: evidence for the agent, its plans, and what was left open.

It never maps a standing to a record by itself: the agent names the records that an act needs, and only within the act.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from keys.agent.client import AgentClient
from keys.errors import BusyError, ConflictError, MissingError, ProtocolError, RefusedError
from vault.config import Settings
from vault.domain.scopes import Rung, running
from vault.errors import Kind, VaultError
from vault.stores import answers, batches, people, plans, rebinding, standings, tags
from vault.stores.rebinding import Bind
from vault.stores.standings import AccountRow, StandingRow
from vault.stores.unit import Store, Unit

FSCK_BATCH: Final = 500
AT_ONCE: Final = 100
"""Acts that are finished in one go."""
ERASE: Final = "erase"
IMPORT: Final = "import"
REVIEW: Final = "review"
APPROVE: Final = "approve"
SPLIT: Final = "split"
_TRIES: Final = 40
_REFUSALS: Final = 4
_WAIT_SECONDS: Final = 0.05
_DAY_SECONDS: Final = 86_400
_T = TypeVar("_T")
Finish = Callable[[Unit], None]
SealedRecord = tuple[bytes, Mapping[str, bytes], bytes]
"""(rid, fields, hash of the terms)"""


class Linking:
    """Carries acts over the stores in their order, and finishes or undoes what a crash left."""

    def __init__(
        self,
        settings: Settings,
        identity: Store,
        directory: Store,
        agent: AgentClient,
        now: Callable[[], int],
        bind: Bind,
    ) -> None:
        self._settings, self._identity, self._directory, self._bind = settings, identity, directory, bind
        self.agent, self._now = agent, now

    def evidence(self, row: StandingRow) -> dict[str, Any]:
        """Return what the agent checks a standing by; an alias shows the tags and accounts of what it became."""
        return self.evidence_of([row])[0]

    def evidence_of(self, rows: Sequence[StandingRow]) -> list[dict[str, Any]]:
        """Return the evidence of many standings: a statement a table, not one a standing."""
        pids = {row.pid for row in rows}
        with self._directory.reading() as unit:
            living = batches.living(unit, pids)
            tags = batches.tags(unit, {row.pid for row in living.values()})
            accounts, aliases = batches.accounts(unit, pids), batches.aliases(unit, pids)
        now = self._now()
        shown = []
        for row in rows:
            lives = living.get(row.pid, row)
            own = lives.pid == row.pid
            owned = [account for account in accounts.get(row.pid, []) if account.state != "closed"]
            shown.append({
                "sector": row.sector,
                "pid": row.pid,
                "link": row.link or b"",
                "created": row.created,
                "tags": tags.get(lives.pid, []),
                "accounts": [_account(account) for account in owned],
                "counted": Counter(account.kind for account in owned if account.state == "approved"),
                "aliases": [{"pid": alias.pid, "link": alias.link or b""} for alias in aliases.get(row.pid, [])],
                "sanctions": _sanctions(lives, now) if own else [],
                "superseded": not own,
            })  # fmt: skip
        return shown

    def full_evidence(self, row: StandingRow) -> dict[str, Any]:
        """Return what the agent checks a standing and its local tags by, for fsck."""
        with self._directory.reading() as unit:
            found = tags.tags_by_pid(unit, [row.pid])
        return {**self.evidence(row), "local_tags": found.get(row.pid, [])}

    def add_records(self, rows: Iterable[SealedRecord]) -> None:
        """Insert records, sealed by the caller, in one transaction."""
        people.add_all(self._identity, [people.NewRecord(*row) for row in rows], self._now() // _DAY_SECONDS)

    def replace_record(self, rid: bytes, fields: Mapping[str, bytes], terms: bytes) -> None:
        """Write a resubmission's fields over the old ones, and the hash of its terms. Idempotent."""
        with self._identity.writing() as unit:
            people.replace_fields(unit, rid, fields, terms, self._now() // _DAY_SECONDS)

    def replace_sealed(self, items: Iterable[tuple[bytes, Mapping[str, bytes], Mapping[str, bytes]]]) -> None:
        """Write fields that were sealed anew (rid, as they were, as they are) where they still are as they were."""
        with self._identity.writing() as unit:
            people.replace_sealed(unit, items)

    def give_up_record(self, rid: bytes) -> None:
        """Remove a record that no directory row reached: it never existed. Idempotent."""
        self.give_up_records([rid])

    def give_up_records(self, rids: Sequence[bytes]) -> None:
        """Remove records that no directory row reached: they never existed. Idempotent."""
        if rids:
            with self._identity.writing() as unit:
                people.remove_all(unit, rids)
            self.agent.call("create.undo", {"rids": list(rids)})

    def drop_evidence(self, pid: bytes) -> None:
        """Destroy the evidence of a returned registration: its keys first. Idempotent.

        Raises:
            MissingError: no such standing, or no record behind it.
            ConflictError: it is not `returned`; RefusedError: its rows do not agree.
        """
        with self._directory.reading() as unit:
            row = standings.find(unit, pid)
        if row is None or row.link is None:
            raise MissingError("no record behind this standing")
        rid = self.agent.call("evidence.drop", {"standing": self.evidence(row)})["rid"]
        with self._identity.writing() as unit:
            people.remove_pieces(unit, [rid], None)

    def put_piece(self, rid: bytes, name: str, content_type: str, sealed: bytes) -> None:
        """Write a sealed piece of evidence over one of the same name."""
        with self._identity.writing() as unit:
            people.put_piece(unit, rid, name, people.Piece(content_type, sealed), self._now() // _DAY_SECONDS)

    def piece(self, rid: bytes, name: str) -> people.Piece | None:
        """Return a sealed piece of evidence."""
        with self._identity.reading() as unit:
            return people.piece(unit, rid, name)

    def piece_names(self, rid: bytes) -> list[str]:
        """Return the names of a record's pieces."""
        with self._identity.reading() as unit:
            return people.piece_names(unit, rid)

    def records(self) -> Iterator[list[tuple[bytes, dict[str, bytes]]]]:
        """Return all records in batches, for fsck."""
        after = b""
        while rows := self._page(people.page, after):
            after = rows[-1][0]
            yield rows

    def pieces(self) -> Iterator[tuple[bytes, str, bytes]]:
        """Return all pieces of evidence, one at a time, for fsck."""
        with self._identity.reading() as unit:
            named = people.all_piece_names(unit)
        for rid, name in named:
            piece = self.piece(rid, name)
            if piece is not None:
                yield rid, name, piece.sealed

    def forget_fingerprints(self, version: int) -> None:
        """Delete the fingerprints of a version of their key that is not asked any more."""
        with self._identity.writing() as unit:
            people.forget_version(unit, version)

    def fingerprints(self) -> Iterator[list[tuple[bytes, bytes]]]:
        """Return all fingerprints in batches, for fsck."""
        after = b""
        while rows := self._page(people.fingerprints_page, after):
            after = rows[-1][0]
            yield rows

    def _page(self, page: Callable[[Unit, bytes, int], list[tuple[bytes, _T]]], after: bytes) -> list[tuple[bytes, _T]]:
        with self._identity.reading() as unit:
            return page(unit, after, FSCK_BATCH)

    def answers(self, what: str, args: Mapping[str, Any]) -> object:
        """Serve what an act asks for: sealed records, local tags, fingerprints, person tags."""
        values = list(args["values"])
        if what == "records":
            with self._identity.reading() as unit:
                found = people.sealed_fields(unit, values)
            # Whom an exchange brought has no row (ADR 9); the agent knows from its own whether there should be one.
            return [{"rid": rid, "fields": found.get(rid, {})} for rid in values]
        if what == "fingerprints":
            with self._identity.reading() as unit:
                return [{"tag": tag, "sealed": sealed} for tag, sealed in people.fingerprints(unit, values)]
        if what in {"local", "tags"}:
            find = standings.by_local_tags if what == "local" else standings.by_tags
            with self._directory.reading() as unit:
                tagged = find(unit, values)
                living = batches.living(unit, {pid for _, pid in tagged})
            rows = [(tag, living[pid]) for tag, pid in tagged if pid in living]
            shown = self.evidence_of([row for _, row in rows if row.link])
            known = [
                {"tag": tag, "standing": evidence}
                for (tag, _), evidence in zip(((t, r) for t, r in rows if r.link), shown, strict=True)
            ]
            return known + [{"tag": tag, "ban": ban} for tag, row in rows if (ban := self._ban(row))]
        raise ProtocolError(f"the agent asked for {what}, which there is not")

    def _ban(self, row: StandingRow | None) -> dict[str, Any] | None:
        """Return what a ban tag leads to: an erased registrant's running sanctions above `warn`, and nothing else."""
        if row is None or row.link or running(row.ladder, self._now()).rung <= Rung.warn:
            return None
        return {"pid": row.pid, "sanctions": _sanctions(row, self._now())}

    def act(self, verb: str, row: StandingRow, args: Mapping[str, Any]) -> dict[str, Any] | None:
        """Call an act on a living standing; finish first what is open on the same person. None if nobody stands there.

        Raises:
            ConflictError: the record is not in the state that the act needs.
            VaultError: other acts on the same person do not end.
        """
        for tried in range(_TRIES):
            with self._directory.reading() as unit:
                living = standings.living(unit, row.pid)
            if living is None or living.link is None:
                return None
            try:
                return self.agent.call(verb, {**args, "standing": self.evidence(living)}, self.answers)
            except (BusyError, RefusedError, MissingError) as error:
                # Between two stores of another act the rows do not agree yet: finish it, then they must.
                if not self.finish_due() and not isinstance(error, BusyError) and tried >= _REFUSALS:
                    raise
                time.sleep(_WAIT_SECONDS)
        raise VaultError(Kind.CONFLICT, "another act on the same person is under way; try again", retry_after_seconds=1)

    def carry_out(self, kind: str, intent: bytes, plan: Mapping[str, Any], finish: Finish | None = None) -> None:
        """Write a plan in the order of its kind, and close its intent. Idempotent; a store that has it is left alone.

        A decision and a split become visible in the directory, the second of the two stores; an erasure in the first.
        """
        steps: list[Callable[[], None]] = [
            lambda: self._identity_part(intent, plan),
            lambda: self._directory_part(kind, intent, plan, finish),
        ]
        for step in reversed(steps) if kind == ERASE else steps:
            step()
        self.agent.call("erase.done" if kind == ERASE else "unite", {"intent": intent})

    def _identity_part(self, intent: bytes, plan: Mapping[str, Any]) -> None:
        with self._identity.writing() as unit:
            if not people.enter(unit, intent, self._now() // _DAY_SECONDS):
                return
            people.write_fingerprints(unit, plan["fingerprints"])
            evidence = plan.get("evidence", ())
            if ended := [rid for rid, names in evidence if names is None]:
                people.remove_pieces(unit, ended, None)
            for rid, names in evidence:
                if names is not None:
                    people.remove_pieces(unit, [rid], names)
            if "records" in plan:
                people.remove_all(unit, plan["records"])

    def _directory_part(self, kind: str, intent: bytes, plan: Mapping[str, Any], finish: Finish | None) -> None:
        with self._directory.writing() as unit:
            if plans.enter(unit, intent, self._now() // _DAY_SECONDS):
                plans.BY_KIND[kind](unit, rebinding.fitted(unit, plan, self._bind), self._now())
                answer = plan["decision"].get("answer")
                if answer is not None:
                    client, key, status, sealed = answer
                    answers.finish(unit, client, key, status, sealed)
            if finish is not None:
                finish(unit)

    def forget_plans(self, most: int) -> None:
        """Forget which plans the stores have, once nobody can have one in hand; about so many a store at most."""
        day = self._now() // _DAY_SECONDS
        with self._identity.writing() as unit:
            people.forget_plans(unit, day, most)
        with self._directory.writing() as unit:
            plans.forget(unit, day, most)

    def finish_due(self) -> int:
        """Carry out the planned intents that are due; return how many."""
        due = self.agent.call("intents", {"limit": AT_ONCE})["due"]
        for intent in due:
            if intent["kind"] == IMPORT:
                self._finish_import(intent["intent"], intent["plan"])
            elif "fresh" in intent["plan"]:
                self._finish_exchange(intent["intent"], intent["plan"])
            else:
                self.carry_out(intent["kind"], intent["intent"], intent["plan"])
        return len(due)

    def _finish_exchange(self, intent: bytes, plan: Mapping[str, Any]) -> None:
        """Finish or undo the standings of an exchange that was cut off; its hand-offs stay as they are."""
        for rid, pid, *_ in plan["fresh"]:
            self._finish_creation(rid, pid)
        self.agent.call("unite", {"intent": intent})

    def _finish_import(self, intent: bytes, plan: Mapping[str, Any]) -> None:
        """Finish a chunk that was cut off: what stands in the directory stays, the rest never was."""
        pids = [pid for _, pid in plan["fresh"] if pid]
        with self._directory.writing() as unit:
            found = batches.find(unit, pids)
            for pid in pids:
                if pid not in found:
                    standings.add_void(unit, pid)  # a late writer fails
        self.imported(intent, list(found.values()))

    def imported(self, intent: bytes, rows: Iterable[StandingRow]) -> None:
        """Tell the agent which records of a chunk stand in the directory; delete the others' fields. Idempotent."""
        claims = [{"pid": row.pid, "link": row.link} for row in rows if row.link is not None]
        gone = self.agent.call("import.done", {"intent": intent, "standings": claims})["gone"]
        if gone:
            with self._identity.writing() as unit:
                people.remove_all(unit, gone)
            self.agent.call("import.close", {"intent": intent})

    def finish_creations(self, older_minutes: int) -> int:
        """Finish or undo registrations that were left between two stores; return how many."""
        args = {"older_minutes": older_minutes, "limit": AT_ONCE}
        found = self.agent.call("create.open", args)["open"]
        for creation in found:
            self._finish_creation(creation["rid"], creation["pid"])
        return len(found)

    def _finish_creation(self, rid: bytes, pid: bytes) -> None:
        with self._directory.writing() as unit:
            # A void standing keeps a late writer from finishing what is being removed. One that stands already, of an
            # existing account, cannot be made void: its late writer asks the agent under this same lock.
            standings.add_void(unit, pid)
            row = standings.find(unit, pid)
            if row is not None and row.link is None and row.state != standings.VOID:
                self.give_up_record(rid)
                return
        if row is None or not self._is_of(rid, row):
            self.give_up_record(rid)

    def _is_of(self, rid: bytes, row: StandingRow) -> bool:
        """Finish the record if the standing that stands there is its own; another try's record is not."""
        if row.link is None:
            return False
        try:
            self.created(row, rid)
        except (RefusedError, ConflictError):
            return False
        return True

    def created(self, row: StandingRow, rid: bytes | None = None) -> None:
        """Tell the agent that a registration stands in the directory. Idempotent."""
        known = {} if rid is None else {"rid": rid}
        self.agent.call("create.done", {"items": [{**_claim(row), **known}]})

    def all_created(self, rows: Sequence[StandingRow]) -> None:
        """Tell the agent that registrations stand in the directory. Idempotent."""
        if rows:
            self.agent.call("create.done", {"items": [_claim(row) for row in rows]})


def _claim(row: StandingRow) -> dict[str, Any]:
    return {"sector": row.sector, "pid": row.pid, "link": row.link}


def _account(row: AccountRow) -> dict[str, Any]:
    return {"id": row.id, "provider": row.provider, "handle": row.handle, "mac": row.mac}


def _sanctions(row: StandingRow, now: int) -> list[dict[str, Any]]:
    runs = running(row.ladder, now)
    return [] if runs.rung is Rung.free else [runs.shown()]
