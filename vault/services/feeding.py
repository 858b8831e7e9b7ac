"""A provider's feed of events: what became of its own, in order, by an opaque cursor; nothing of anybody by name."""

from typing import Any, Final

from keys.errors import OpenError
from vault.domain.clock import from_epoch, to_text
from vault.domain.ids import EventId, RegistrationId
from vault.errors import Kind, VaultError
from vault.services.access import Client
from vault.services.held_keys import HeldKeys
from vault.stores import events
from vault.stores.unit import Store

_FEED: Final = "events"
_NUMBER_BYTES: Final = 8


class Feeding:
    """Reads the outboxes of providers."""

    def __init__(self, directory: Store, keys: HeldKeys) -> None:
        self._directory, self._keys = directory, keys

    def after(self, client: Client, cursor: str | None, limit: int) -> dict[str, Any]:
        """Return {items, next}: a provider's events after a cursor, or the oldest that are kept, and where they end.

        Raises:
            VaultError: the cursor is not one of this feed.
        """
        codec = self._keys.directory()
        try:
            raw = b"" if cursor is None else codec.decode_cursor(_FEED, client.id, cursor)
        except OpenError:
            raise VaultError(Kind.MALFORMED, "after: the cursor is not one of this feed") from None
        after = int.from_bytes(raw, "big")
        with self._directory.reading() as unit:
            rows = events.page(unit, client.id, after, limit)
        last = rows[-1].number if rows else after
        return {
            "items": [_shown(row) for row in rows],
            "next": codec.encode_cursor(_FEED, client.id, last.to_bytes(_NUMBER_BYTES, "big")),
        }


def _shown(row: Any) -> dict[str, Any]:  # noqa: ANN401 - a row of the store
    about = {} if row.about is None else {"registration": str(RegistrationId(row.about))}
    at = to_text(from_epoch(events.minute_of(row.number) * 60))
    return {"id": str(EventId(row.id)), "type": row.type, "at": at, **about}
