"""Retention: what has run out goes, a bounded number of rows a round, found through an index.

| what | goes | setting |
|---|---|---|
| stored answers of requests with an idempotency key | after their time | `idempotency_hours` |
| revocations of access tokens | once the token has expired anyway | `access_token_seconds` |
| hand-offs | once they have expired | the agent's own limit |
| legal holds | once they are over | none |
| packages of disclosures | after their time; their persons are told when that is due | the agent's own limit |
| what is kept of disclosures, and officers' requests | at the end of the year after them | none |
| records of rejected registrations | after their time | `rejected_days` |
| evidence of returned registrations that was not faulted | after its time | `evidence_days` |
| sanctions | after their time, from their end or their lifting | `sanction_retention_days` |
| events that providers are told of | after their time | `event_days` |
| what an import's rows became | after its time, from its beginning | `import_results_days` |
| which plans the stores have | two days after they were carried out | none |
| tags that a ban kept of somebody who is gone | once the ban is over | none |
"""

from collections.abc import Callable
from typing import Final

from keys.errors import ConflictError, MissingError, RefusedError
from vault.config import Settings
from vault.domain.scopes import Rung, running
from vault.logs import event
from vault.services.erasing import Erasing
from vault.services.linking import Linking
from vault.stores import answers, events, imports, reviews, sanctions, standings, tags
from vault.stores.reviews import ReviewRow
from vault.stores.unit import Store

_HOUR_SECONDS: Final = 3600
_DAY_SECONDS: Final = 24 * _HOUR_SECONDS
ACTS: Final = 50
"""Acts of the agent of a kind in one round: they take a while, and what a crash left open waits for them."""
_BANS: Final = 500


class Retention:
    """Ends what has run out. Every step is idempotent; what a round leaves is taken by the next."""

    def __init__(
        self, settings: Settings, directory: Store, linking: Linking, erasing: Erasing, now: Callable[[], int]
    ) -> None:
        self._settings, self._directory, self._linking = settings, directory, linking
        self._erasing, self._now, self._next_hour = erasing, now, 0

    def round(self) -> None:
        """End what is due now, up to the bounds.

        Raises:
            KeysError: the agent is sealed or not there.
        """
        now, most, settings = self._now(), self._settings.housekeeping_rows, self._settings
        with self._directory.writing() as unit:
            answers.expire(unit, now - settings.idempotency_hours * _HOUR_SECONDS, now, most)
            sanctions.expire(unit, now - settings.sanction_retention_days * _DAY_SECONDS, most)
            events.expire(unit, now - settings.event_days * _DAY_SECONDS, most)
            imports.expire(unit, now - settings.import_results_days * _DAY_SECONDS, most)
        for act in ("handoff.expire", "hold.expire", "orders.due"):
            self._linking.agent.call(act, {})
        self._erasing.forget_rejected(settings.rejected_days, ACTS)
        self._forget_evidence(now - settings.evidence_days * _DAY_SECONDS)
        if now >= self._next_hour:
            self._forget_bans(now)
            self._linking.forget_plans(most)
            self._next_hour = now + _HOUR_SECONDS

    def _forget_evidence(self, before: int) -> None:
        """Destroy what is left of the evidence of registrations that were returned so long ago."""
        with self._directory.reading() as unit:
            rows = reviews.returned_before(unit, before, ACTS)
        for row in rows:
            try:
                self._linking.drop_evidence(row.pid)
            except (ConflictError, RefusedError, MissingError) as error:
                # Sent in again at this moment, or its rows do not agree: fsck says more.
                event("evidence_kept", cause=error.kind)
                continue
            self._forgotten(row)

    def _forgotten(self, row: ReviewRow) -> None:
        with self._directory.writing() as unit:
            reviews.forget(unit, row.pid)

    def _forget_bans(self, now: int) -> None:
        """Delete the tags that bans kept, of those that are over; a running one is looked at again in an hour."""
        after = b""
        while True:
            with self._directory.writing() as unit:
                rows = standings.kept_bans(unit, after, _BANS)
                for row in rows:
                    if running(row.ladder, now).rung <= Rung.warn:
                        tags.forget_local(unit, row.pid)
            if len(rows) < _BANS:
                return
            after = rows[-1].pid
