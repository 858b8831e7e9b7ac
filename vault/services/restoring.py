"""What a restored vault still owes: erasures and lifts that came after its backup, before anybody is served."""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Final

from keys.agent.client import AgentClient
from keys.primitives import random_bytes
from keys.tokens import PID_BYTES
from vault.config import Settings
from vault.services.linking import ERASE, Linking
from vault.stores import sanctions, standings
from vault.stores.standings import StandingRow
from vault.stores.unit import Store

_PAGE: Final = 1000
_BY: Final = "restore"
_WHY: Final = "withdrawn"
_LIFT_REASON: Final = "other"
Behind = Callable[[str, bytes, bytes], bytes]
"""Opens (sector, link, pid) to the record's rid."""


Told = Callable[[Iterable[tuple[str, bytes]]], Mapping[bytes, int]]
"""Tells of sanctions, by (client, id), which were lifted, and in which minute."""


class Restoring:
    """Carries out anew what was carried out before."""

    def __init__(
        self, settings: Settings, stores: Mapping[str, Store], agent: AgentClient, now: Callable[[], int]
    ) -> None:
        """Take the stores, the agent's socket `identity`, and the clock."""

        def bind(*_: object) -> bytes:
            raise NotImplementedError  # an erasure's plan is never fitted to accounts that changed meanwhile

        self._directory, self._now = stores["directory"], now
        self._linking = Linking(settings, stores["identity"], self._directory, agent, now, bind)

    def erase(self, rids: Collection[bytes], behind: Behind) -> int:
        """Erase the registrations behind records; return how many there were.

        Raises:
            KeysError, VaultError: one cannot be erased; a retry goes on.
        """
        wanted, after, erased = set(rids), b"", 0
        while wanted:
            with self._directory.reading() as unit:
                rows = standings.page(unit, after, _PAGE)
            if not rows:
                break
            after = rows[-1].pid
            for row in rows:
                if row.link is not None and behind(row.sector, row.link, row.pid) in wanted:
                    erased += self._end(row)
        return erased

    def lift(self, lifted: Told) -> int:
        """Lift the sanctions of which it is told; return how many. Idempotent.

        Why each was lifted, and by whom, nothing says: the log has its minute alone.
        """
        after, count = b"", 0
        while True:
            with self._directory.reading() as unit:
                rows = sanctions.unlifted(unit, after, _PAGE)
            if not rows:
                return count
            after = rows[-1].id
            with self._directory.writing() as unit:
                for sanction, minute in lifted((row.provider, row.id) for row in rows).items():
                    count += sanctions.lift(unit, sanction, minute * 60, _LIFT_REASON, None)

    def _end(self, standing: StandingRow) -> int:
        args = {
            "by": _BY, "reviewer": False, "why": _WHY, "legacy": random_bytes(PID_BYTES),
            "memo": {"elsewhere": self._now(), "answer": None},
        }  # fmt: skip
        ended = self._linking.act("erase", standing, args)
        if ended is None:
            return 0
        self._linking.carry_out(ERASE, ended["intent"], ended["plan"])
        return 1
