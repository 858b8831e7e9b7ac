"""Lists with opaque, authenticated cursors: ids and states, never a name."""

from collections.abc import Callable, Sequence
from typing import Any, Final

from keys.errors import OpenError
from vault.config import Settings
from vault.errors import Kind, VaultError
from vault.services import targets
from vault.services.access import Client
from vault.services.erasing import WITHDRAWN
from vault.services.held_keys import HeldKeys
from vault.services.reviewing import summary
from vault.services.showing import Showing
from vault.stores import batches, handles, reviews, standings
from vault.stores.reviews import START, Place, ReviewRow
from vault.stores.unit import Store

_TIME_BYTES: Final = 8
_ACCOUNTS: Final = "accounts by time"


def _named(listing: str, state: str | None) -> str:
    """Return what a cursor is good for: the order of a list depends on its filter."""
    return listing if state is None else f"{listing}/{state}"


def _place(time: int, row_id: bytes) -> bytes:
    return time.to_bytes(_TIME_BYTES, "big") + row_id


def _end(rows: Sequence[ReviewRow], limit: int) -> bytes | None:
    """Return where a full page ends."""
    return _place(rows[-1].submitted, rows[-1].reg) if len(rows) == limit else None


class Listing:
    """The lists of providers and reviewers."""

    def __init__(
        self, settings: Settings, directory: Store, keys: HeldKeys, showing: Showing, now: Callable[[], int]
    ) -> None:
        self._settings, self._directory, self._keys = settings, directory, keys
        self._showing, self._now = showing, now

    def registrations(self, client: Client, cursor: str | None, limit: int, state: str | None) -> dict[str, Any]:
        """Return a page of this provider's registrations."""
        listing, limit = _named("registrations", state), self._limit(limit)
        with self._directory.reading() as unit:
            rows = reviews.page(unit, client.id, state, self._placed(listing, client, cursor), limit)
            living = batches.living(unit, {pid for row in rows for pid in (row.pid, row.representative) if pid})
            accounts = batches.accounts(unit, {standing.pid for standing in living.values()})
            aliases = batches.find(unit, {row.supersedes for row in rows if row.supersedes is not None})
        items = [
            self._showing.of(
                client, row, own, accounts.get(own.pid, []),
                living.get(row.representative or b""), aliases.get(row.supersedes or b""),
            )
            for row in rows
            if (own := living.get(row.pid)) is not None
        ]  # fmt: skip
        return self._page(listing, client, items, _end(rows, limit))

    def reviews(self, client: Client, cursor: str | None, limit: int, state: str | None) -> dict[str, Any]:
        """Return a page of the cases that this reviewer may see."""
        listing, limit = _named("reviews", state), self._limit(limit)
        with self._directory.reading() as unit:
            rows = reviews.queue(unit, client.provider, state, self._placed(listing, client, cursor), limit)
        return self._page(listing, client, [summary(row) for row in rows], _end(rows, limit))

    def accounts(
        self, client: Client, cursor: str | None, limit: int, token: str | None, external_id: str | None = None
    ) -> dict[str, Any]:
        """Return a page of this provider's accounts, or those behind one of its tokens, or of one external id.

        Of a token that is over because its registration was withdrawn its owner is told so, and why it has no accounts.
        """
        after, limit = self._placed(_ACCOUNTS, client, cursor), self._limit(limit)
        try:
            pid = None if token is None else self._keys.tokens(client.sector or "").decode(token).pid
        except OpenError:
            return {"items": []}
        over = False
        with self._directory.reading() as unit:
            if pid is not None and (living := standings.living(unit, pid)) is not None:
                pid = living.pid  # a superseded token shows what it has become
                over = living.provider == client.id and targets.has_ended(living, self._now())
            rows = standings.accounts_page(unit, client.id, after, limit, pid, external_id)
            found = batches.find(unit, {row.pid for row in rows})
        items = [self._showing.account(client, row, found[row.pid]) for row in rows if row.pid in found]
        page = self._page(
            _ACCOUNTS, client, items, _place(rows[-1].created, rows[-1].id) if len(rows) == limit else None
        )
        return page | {"state": WITHDRAWN} if over else page

    def account(self, client: Client, account: str) -> dict[str, Any]:
        """Return an account of this provider.

        Raises:
            VaultError: there is none of this id.
        """
        with self._directory.reading() as unit:
            standing, row = targets.own_account(unit, client, account)
            alike = row.state != "closed" and handles.looks_alike(unit, row)
        answer = self._showing.account(client, row, standing)
        return answer | {"look_alike": True} if alike else answer

    def _limit(self, limit: int) -> int:
        return max(1, min(limit, self._settings.page_items_max))

    def _after(self, listing: str, client: Client, cursor: str | None) -> bytes:
        if cursor is None:
            return b""
        try:
            return self._keys.directory().decode_cursor(listing, client.id, cursor)
        except OpenError:
            raise VaultError(Kind.MALFORMED, "the cursor is not one of this list") from None

    def _placed(self, listing: str, client: Client, cursor: str | None) -> Place:
        raw = self._after(listing, client, cursor)
        return (int.from_bytes(raw[:_TIME_BYTES], "big"), raw[_TIME_BYTES:]) if raw else START

    def _page(self, listing: str, client: Client, items: list[dict[str, Any]], last: bytes | None) -> dict[str, Any]:
        if last is None:
            return {"items": items}
        return {"items": items, "next": self._keys.directory().encode_cursor(listing, client.id, last)}
