"""Importing: a provider brings the accounts that it has, a chunk of rows a request.

A chunk is an idempotent request by its number: it stands whole, but for the rows that were refused, or not at all, so
that an import that was cut off goes on where it was. Each chunk is one audit row in each outbox.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from keys.errors import OpenError
from keys.primitives import random_bytes
from vault.config import Settings
from vault.domain import handles
from vault.domain.clock import from_epoch, to_text
from vault.domain.errors import InvalidFieldError
from vault.domain.ids import AccountId, ImportId, RegistrationId
from vault.errors import Kind, VaultError
from vault.services import targets
from vault.services.access import Client
from vault.services.creating import SEED_BYTES, Creating, bound
from vault.services.drafting import Ids, Refused, Results
from vault.services.held_keys import HeldKeys
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.services.registering import Registering
from vault.services.showing import Showing
from vault.stores import answers, batches, imports, reviews, standings
from vault.stores.imports import ChunkRow, ImportRow
from vault.stores.standings import AccountRow, Newcomer, StandingRow
from vault.stores.unit import Store, Unit

LEGACY: Final = "legacy"
IN_REVIEW: Final = "in_review"
_HOUR_SECONDS: Final = 3600
_ID_BYTES: Final = 16
_RESULTS: Final = "imports/results"
_REFUSED: Final = "imports/refused"
_PLACE_BYTES: Final = 8
Item = Mapping[str, Any] | VaultError


class Importing:
    """The work of `/v1/imports`."""

    def __init__(
        self,
        settings: Settings,
        directory: Store,
        keys: HeldKeys,
        registering: Registering,
        creating: Creating,
        idempotent: Idempotent,
        showing: Showing,
        now: Callable[[], int],
    ) -> None:
        self._settings, self._directory, self._keys = settings, directory, keys
        self._registering, self._creating, self._idempotent = registering, creating, idempotent
        self._showing, self._now = showing, now

    def begin(self, client: Client, body: Mapping[str, Any], idempotency: Idempotency | None) -> Answer:
        """Begin an import, or go on with that of the same file; return (201 or 200, import)."""
        state, dry_run = body["state"], bool(body.get("dry_run"))
        decides = hashlib.sha256(orjson.dumps([state, dry_run, body["file"]])).digest()

        def effect(attempt: Attempt) -> Answer:
            row = ImportRow(attempt.ids, client.id, state, int(dry_run), decides, self._now(), None)
            with self._directory.writing() as unit:
                found = imports.begin(unit, row)
                if found.id == row.id:
                    self._audit(unit, client, "import.begun", row.id)
                answer = (201 if found.id == row.id else 200), self._shown(unit, found)
                attempt.finish(unit, answer)
            return answer

        return self._idempotent.run(client.id, idempotency, random_bytes(_ID_BYTES), effect)

    def show(self, client: Client, import_id: str) -> dict[str, Any]:
        """Return an import of this provider: its rows so far, and which chunks stand.

        Raises:
            VaultError: there is none of this id.
        """
        row = self.find(client, import_id)
        with self._directory.reading() as unit:
            return self._shown(unit, row)

    def find(self, client: Client, import_id: str) -> ImportRow:
        """Return the row of an import of this provider, or any to a vault reviewer.

        Raises:
            VaultError: there is none of this id that is this client's to see.
        """
        raw = targets.named(ImportId, import_id, "import").raw
        with self._directory.reading() as unit:
            row = imports.find(unit, raw)
        vault_reviewer = client.role == "reviewer" and client.provider is None
        if row is None or not (row.provider == client.id or vault_reviewer):
            raise _none()
        return row

    def _shown(self, unit: Unit, row: ImportRow) -> dict[str, Any]:
        sizes = imports.sizes(unit, row.id)
        rows, refused = sum(size[1] for size in sizes), sum(size[2] for size in sizes)
        answer: dict[str, Any] = {
            "id": str(ImportId(row.id)),
            "state": row.state,
            "dry_run": bool(row.dry_run),
            "created": to_text(from_epoch(row.created)),
            "undo_until": to_text(from_epoch(self.undo_until(row))),
            "rows": rows,
            "accepted": rows - refused,
            "refused": refused,
            "chunks": list(_ranges(size[0] for size in sizes)),
        }
        if row.undone is not None:
            answer["undone"] = all(size[3] for size in sizes)
        return answer

    def undo_until(self, row: ImportRow) -> int:
        """Return until when an import may be undone, in seconds since 1970."""
        return row.created + self._settings.import_undo_hours * _HOUR_SECONDS

    def put_chunk(
        self, client: Client, import_id: str, number: int, first: int, items: Sequence[Item]
    ) -> dict[str, Any]:
        """Import a chunk of rows; return {accepted, refused: [{row, errors}]}. The same chunk again changes nothing.

        Args:
            client: the provider.
            import_id: the import.
            number: the chunk's number.
            first: the number of its first row.
            items: the rows' bodies, or what is wrong with their form.

        Raises:
            VaultError: no such import, it was undone, another chunk stands under this number, or it is being imported.
            KeysError: the agent refused.
        """
        row = self.find(client, import_id)
        if row.undone is not None:
            raise VaultError(Kind.CONFLICT, "this import was undone; begin another")
        items = [_no_account(item) for item in items]
        request = _digest(first, items)
        stood, seed = self._begin_chunk(row, number, request, first, len(items))
        if stood is not None:
            return _told(stood)
        try:
            return self._imported(client, row, number, first, items, seed)
        except VaultError as error:
            if error.kind is not Kind.UNAVAILABLE:  # else it may stand: the row keeps its ids and waits for the retry
                with self._directory.writing() as unit:
                    imports.forget_chunk(unit, row.id, number)
            raise

    def _begin_chunk(
        self, row: ImportRow, number: int, request: bytes, first: int, rows: int
    ) -> tuple[ChunkRow | None, bytes]:
        now, seed = self._now(), random_bytes(SEED_BYTES)
        until = now + self._settings.idempotency_running_seconds
        with self._directory.writing() as unit:
            if imports.begin_chunk(unit, row.id, ChunkRow(number, request, seed, until, first, rows, None, 0)):
                return None, seed
            found = imports.chunk(unit, row.id, number)
            if found is None or found.request != request:
                raise VaultError(Kind.IDEMPOTENCY_MISMATCH, "another chunk stands under this number")
            if found.refused is not None:
                return found, found.ids
            if not imports.take_over(unit, row.id, number, until, now):
                raise VaultError(
                    Kind.IDEMPOTENCY_RUNNING, "this chunk is being imported; retry later",
                    retry_after_seconds=self._settings.idempotency_running_seconds,
                )  # fmt: skip
        return None, found.ids

    def _imported(
        self, client: Client, row: ImportRow, number: int, first: int, items: Sequence[Item], seed: bytes
    ) -> dict[str, Any]:
        def answering(results: Results) -> Answer:
            return 200, {"refused": list(_refused(first, results))}

        def finish(unit: Unit, answer: Answer) -> None:
            imports.finish_chunk(unit, row.id, number, answer[1]["refused"])
            if not row.dry_run:
                self._audit(unit, client, "import.chunk", row.id + number.to_bytes(_PLACE_BYTES, "big"))

        attempt = Attempt(seed, finish)
        if row.state == LEGACY:
            _, body = self._legacy(client, items, attempt, answering, dry_run=bool(row.dry_run))
        else:
            make = self._creating.rehearse if row.dry_run else self._creating.import_chunk
            _, body = make(client, self._registering.wished(client, items), attempt, answering)
        return _answer(len(items), body["refused"])

    def _legacy(
        self, client: Client, items: Sequence[Item], attempt: Attempt, answering: Callable[[Results], Answer],
        *, dry_run: bool,
    ) -> Answer:  # fmt: skip
        """Make accounts with nobody behind them, of those rows that may have one."""
        now, results = self._now(), list[dict[str, Any] | Refused]({} for _ in items)
        newcomers: dict[int, Newcomer] = {}
        for place, item in enumerate(items):
            try:
                newcomers[place] = _legacy_newcomer(client, item, Ids.of(attempt.ids, place), now)
            except (InvalidFieldError, VaultError) as refusal:
                results[place] = refusal
        rows = [bound(one.account) for one in newcomers.values() if one.account is not None]
        macs = self._keys.bind_accounts(rows) if rows else []
        with self._directory.writing() as unit:
            taken = standings.handles_taken(unit, client.id, [one.handle_key for one in newcomers.values()])
            entered = []
            for (place, one), mac in zip(newcomers.items(), macs, strict=True):
                if one.handle_key in taken:
                    results[place] = VaultError(Kind.HANDLE_TAKEN, handles.TAKEN)
                    continue
                taken.add(one.handle_key)
                entered.append(one.bound(mac))
            if not dry_run:
                standings.add_all(unit, entered)
            answer = answering(results)
            attempt.finish(unit, answer)
        return answer

    def _audit(self, unit: Unit, client: Client, kind: str, detail: bytes) -> None:
        audit_id = random_bytes(_ID_BYTES)
        answers.audit(unit, audit_id, kind, self._now() // 60, client.id, self._keys.seal_audit(audit_id, detail))

    def results(self, client: Client, import_id: str, cursor: str | None, limit: int) -> dict[str, Any]:
        """Return a page of what rows became: {row, account, token, external_id?, id?, state}.

        Raises:
            VaultError: no such import; the cursor is not one of this list.
        """
        row = self.find(client, import_id)
        if row.dry_run:
            return {"items": []}
        number, place = self.after(_RESULTS, client, cursor)
        items: list[dict[str, Any]] = []
        with self._directory.reading() as unit:
            while len(items) < limit and (found := imports.chunks(unit, row.id, number - 1, 1)):
                (chunk,) = found
                refused = {at - chunk.first for at, _ in chunk.refusals}
                places = [at for at in range(place, chunk.rows) if at not in refused][: limit - len(items)]
                items += self._made(unit, client, row, chunk, places)
                number, place = (chunk.number, places[-1] + 1) if places else (chunk.number + 1, 0)
                if place >= chunk.rows:
                    number, place = chunk.number + 1, 0
        return self._page(_RESULTS, client, items, (number, place) if len(items) == limit else None)

    def _made(
        self, unit: Unit, client: Client, row: ImportRow, chunk: ChunkRow, places: Sequence[int]
    ) -> Iterator[dict[str, Any]]:
        ids = {place: Ids.of(chunk.ids, place) for place in places}
        pids = [one.pid for one in ids.values()]
        found, accounts = (
            batches.living(unit, pids),
            batches.accounts_by_id(unit, client.id, [i.account for i in ids.values()]),
        )
        regs = reviews.find_all(unit, [one.reg for one in ids.values()]) if row.state == IN_REVIEW else {}
        for place, one in ids.items():
            standing, account = found.get(one.pid), accounts.get(one.account)
            if standing is None or account is None:
                continue
            shown = {
                "row": chunk.first + place,
                "account": str(AccountId(account.id)),
                "token": self._showing.token(standing),
            }
            if account.external_id is not None:
                shown["external_id"] = account.external_id
            registration = regs.get(one.reg)
            if registration is not None:
                shown["id"] = str(RegistrationId(registration.reg))
            yield shown | {"state": account.state if registration is None else registration.state}

    def refused(self, client: Client, import_id: str, cursor: str | None, limit: int) -> dict[str, Any]:
        """Return a page of the rows that were refused: {row, errors: [{pointer, detail}]}; never a value.

        Raises:
            VaultError: no such import; the cursor is not one of this list.
        """
        row = self.find(client, import_id)
        number, place = self.after(_REFUSED, client, cursor)
        items: list[dict[str, Any]] = []
        with self._directory.reading() as unit:
            while len(items) < limit and (found := imports.chunks(unit, row.id, number - 1, 1, faulty=True)):
                (chunk,) = found
                # A cursor's place counts in its own chunk; that chunk has refusals, so it is the one that is found.
                rest = chunk.refusals[place:]
                taken = rest[: limit - len(items)]
                items += [_faulty(at, errors) for at, errors in taken]
                number, place = (chunk.number, place + len(taken)) if len(taken) < len(rest) else (chunk.number + 1, 0)
        return self._page(_REFUSED, client, items, (number, place) if len(items) == limit else None)

    def after(self, listing: str, client: Client, cursor: str | None) -> tuple[int, int]:
        """Return the (chunk, place) that a cursor stands before; the first without one.

        Raises:
            VaultError: the cursor is not one of this list.
        """
        if cursor is None:
            return 0, 0
        try:
            last = self._keys.directory().decode_cursor(listing, client.id, cursor)
        except OpenError:
            raise VaultError(Kind.MALFORMED, "the cursor is not one of this list") from None
        return int.from_bytes(last[:_PLACE_BYTES], "big"), int.from_bytes(last[_PLACE_BYTES:], "big")

    def _page(
        self, listing: str, client: Client, items: list[dict[str, Any]], after: tuple[int, int] | None
    ) -> dict[str, Any]:
        if after is None:
            return {"items": items}
        return {"items": items, "next": self.cursor(listing, client, after)}

    def cursor(self, listing: str, client: Client, place: tuple[int, int]) -> str:
        """Return the cursor that stands before a (chunk, place)."""
        raw = b"".join(part.to_bytes(_PLACE_BYTES, "big") for part in place)
        return self._keys.directory().encode_cursor(listing, client.id, raw)


def _no_account(item: Item) -> Item:
    if isinstance(item, VaultError) or "account" not in item:
        return item
    return VaultError(Kind.VALIDATION, errors=(("/account", "an import makes accounts; register this one's identity"),))


def _digest(first: int, items: Sequence[Item]) -> bytes:
    """Return what tells one chunk from another."""
    told = [b"" if isinstance(item, VaultError) else orjson.dumps(item) for item in items]
    return hashlib.sha256(b"\n".join([str(first).encode(), *told])).digest()


def _legacy_newcomer(client: Client, item: Item, ids: Ids, now: int) -> Newcomer:
    if isinstance(item, VaultError):
        raise item
    handle = handles.parse_handle(item["handle"], "/handle")
    standing = StandingRow(
        ids.pid, client.id, client.sector or "", None, "none", 0, None, None, None, "live", "natural", now
    )
    account = AccountRow(
        ids.pid, ids.account, client.id, item.get("external_id"), item["kind"], LEGACY, handle, b"", None, None, now
    )
    return Newcomer(standing, account, handles.handle_key(handle))


def _refused(first: int, results: Results) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    for place, result in enumerate(results):
        if isinstance(result, InvalidFieldError):
            yield first + place, [(result.pointer, result.rule)]
        elif isinstance(result, VaultError):
            pointer = "/handle" if result.kind is Kind.HANDLE_TAKEN else ""
            yield first + place, list(result.errors) or [(pointer, result.detail or result.kind.value)]


def _faulty(row: int, errors: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {"row": row, "errors": [{"pointer": pointer, "detail": rule} for pointer, rule in errors]}


def _answer(rows: int, refused: Sequence[tuple[int, Sequence[tuple[str, str]]]]) -> dict[str, Any]:
    return {"accepted": rows - len(refused), "refused": [_faulty(at, errors) for at, errors in refused]}


def _told(chunk: ChunkRow) -> dict[str, Any]:
    return _answer(chunk.rows, chunk.refusals)


def _ranges(numbers: Iterator[int]) -> Iterator[list[int]]:
    """Return the runs of ascending numbers: [first, last]."""
    run: list[int] = []
    for number in numbers:
        if run and number == run[1] + 1:
            run[1] = number
        else:
            if run:
                yield run
            run = [number, number]
    if run:
        yield run


def _none() -> VaultError:
    return VaultError(Kind.NOT_FOUND, "no such import")
