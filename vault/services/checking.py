"""`idvault fsck`: finishes what was left open, has the agent check every row, and verifies the public log.

A row is good if its link, map, tag and MAC agree; the log if it can be recomputed from its first entry.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from keys.agent.client import AgentClient
from vault.domain.ids import AccountId
from vault.log.verify import BadLogError, Head, Verified, continues, verify
from vault.services.counting import Counting
from vault.services.linking import AT_ONCE, FSCK_BATCH, Linking
from vault.services.reading_log import LogReader
from vault.stores import handles, standings
from vault.stores.unit import Store

PARTS: Final = ("standings", "records", "fingerprints", "evidence", "log", "lines")


@dataclass(slots=True)
class Report:
    """What was checked, finished and found; a finding names a row by its id, never a value."""

    checked: dict[str, int] = field(default_factory=dict)
    finished: int = 0
    waiting: int = 0
    findings: list[dict[str, str]] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def as_json(self) -> dict[str, Any]:
        """Return the report for machines."""
        return {
            "clean": self.clean, "checked": self.checked, "finished": self.finished, "waiting": self.waiting,
            "findings": self.findings,
        }  # fmt: skip


class Checking:
    """Checks all stores, in batches, without a join across them."""

    def __init__(
        self, directory: Store, linking: Linking, officer: AgentClient, log: LogReader, now: Callable[[], int]
    ) -> None:
        self._directory, self._linking, self._officer, self._log, self._now = directory, linking, officer, log, now
        self._counting = Counting(directory, log.store, officer)

    def run(self, progress: Callable[[str, int], None], *, grace_minutes: int) -> Report:
        """Finish, check, report; `progress` is told the part and how many rows it has done.

        Raises:
            KeysError: the agent is sealed or not there.
        """
        report = Report()
        for finish in (self._linking.finish_due, lambda: self._linking.finish_creations(grace_minutes)):
            while finished := finish():
                report.finished += finished
                if finished < AT_ONCE:
                    break
        report.waiting = int(self._linking.agent.call("intents", {"limit": 1})["waiting"])
        self._batches(report, progress, "standings", self._standings())
        self._batches(report, progress, "records", self._records())
        self._batches(report, progress, "fingerprints", self._fingerprints())
        self._batches(report, progress, "evidence", self._evidence())
        own = self._officer.call("verify.own", {})["tables"]
        for table, counts in own.items():
            report.checked[f"keys.{table}"] = counts["rows"]
            if counts["bad"]:
                rule = counts.get("why") or f"{counts['bad']} rows are not as written"
                report.findings.append({"row": f"keys.{table}", "rule": rule})
        with self._directory.snapshot() as unit:
            for account in handles.stray(unit):
                where = f"directory.handle of {AccountId(account)}"
                report.findings.append({"row": where, "rule": "not the handle of this account"})
        report.checked["lines"] = 0
        if self._verify_log(report, lambda done: progress("log", done)):
            self._count(report, lambda done: progress("lines", done))
        return report

    def _count(self, report: Report, progress: Callable[[int], None]) -> None:
        counted = self._counting.check(progress)
        report.checked["lines"], report.waiting = counted.lines, report.waiting + counted.unsigned
        report.findings += counted.findings

    def _verify_log(self, report: Report, progress: Callable[[int], None]) -> bool:
        """Recompute the log up to its newest checkpoint, and compare it with what the agent signed last.

        Returns:
            Whether nothing was found.
        """
        report.checked["log"] = 0
        key, last = self._log.signed_last()
        if not last.size:
            return True
        try:
            found = verify(self._log.read, key, self._now() // 60, progress)
            report.checked["log"] = found.head.size
            self._compare(found, last)
            if found.days != self._log.counts(found.head.size):
                report.findings.append({"row": "log.daily", "rule": "not the counts of the leaves"})
                return False
        except BadLogError as error:
            where = "log" if error.index is None else f"log.leaf {error.index}"
            report.findings.append({"row": where, "rule": str(error)})
            return False
        return True

    def _compare(self, found: Verified, last: Head) -> None:
        if found.head.size >= last.size:
            continues(found, last)
        elif (size := self._log.size()) < last.size:  # else a checkpoint was signed that is not published yet
            raise BadLogError("the log lost its end: more entries were signed", size)

    def _batches(
        self,
        report: Report,
        progress: Callable[[str, int], None],
        what: str,
        batches: Iterator[Sequence[tuple[str, dict[str, Any]]]],
    ) -> None:
        report.checked[what] = 0
        for batch in batches:
            args = {"what": what, "rows": [row for _, row in batch]}
            good = self._linking.agent.call("verify", args, self._linking.answers)["good"]
            for (name, _), holds in zip(batch, good, strict=True):
                if not holds:
                    report.findings.append({"row": name, "rule": "link, map, tag, MAC and content do not agree"})
            report.checked[what] += len(batch)
            progress(what, report.checked[what])

    def _standings(self) -> Iterator[list[tuple[str, dict[str, Any]]]]:
        after = b""
        while True:
            with self._directory.reading() as unit:
                rows = standings.page(unit, after, FSCK_BATCH)
            if not rows:
                return
            after = rows[-1].pid
            live = [row for row in rows if row.state == "live"]
            yield [(f"directory.standing {row.pid.hex()}", self._linking.full_evidence(row)) for row in live]

    def _records(self) -> Iterator[list[tuple[str, dict[str, Any]]]]:
        for rows in self._linking.records():
            yield [(f"identity.record {rid.hex()}", {"rid": rid, "fields": fields}) for rid, fields in rows]

    def _evidence(self) -> Iterator[list[tuple[str, dict[str, Any]]]]:
        for rid, name, sealed in self._linking.pieces():
            yield [(f"identity.evidence {rid.hex()} {name}", {"rid": rid, "name": name, "sealed": sealed})]

    def _fingerprints(self) -> Iterator[list[tuple[str, dict[str, Any]]]]:
        for rows in self._linking.fingerprints():
            yield [(f"identity.fingerprint {tag.hex()}", {"tag": tag, "sealed": sealed}) for tag, sealed in rows]
