"""What the agent checks standings by in an exchange: from the rows of one joined read, not a statement a table.

A standing with an alias, or one that became another's, is left to `Linking`, which follows them as far as they lead.
"""

from collections.abc import Iterable
from typing import Any

from vault.stores.standings import StandingRow


class Shown:
    """A standing with its accounts and person tags: its joined rows are their product."""

    __slots__ = ("rows",)

    def __init__(self, rows: list[Any]) -> None:
        self.rows = rows

    @property
    def row(self) -> StandingRow:
        """The standing itself."""
        return StandingRow(*self.rows[0][: len(StandingRow.__slots__)])

    @property
    def alone(self) -> bool:
        """Whether it has no alias and is nobody's."""
        return self.rows[0].superseded_by is None and self.rows[0].alias is None

    def evidence(self) -> dict[str, Any]:
        """Return what the agent checks it by."""
        first = self.rows[0]
        accounts = {row.account: row for row in self.rows if row.account is not None and row.account_state != "closed"}
        return {
            "sector": first.sector,
            "pid": first.pid,
            "link": first.link or b"",
            "tags": list({row.tag for row in self.rows if row.tag is not None}),
            "accounts": [
                {"id": row.account, "provider": row.owner, "handle": row.handle, "mac": row.mac}
                for row in accounts.values()
            ],
            "aliases": [],
            "sanctions": [],
        }


def gathered(rows: Iterable[Any]) -> dict[bytes, Shown]:
    """Return standings by pid from their joined rows."""
    found: dict[bytes, Shown] = {}
    for row in rows:
        known = found.get(row.pid)
        if known is None:
            found[row.pid] = Shown([row])
        else:
            known.rows.append(row)
    return found
