"""The count law, for `fsck`: what left the vault has its audit row; rows, leaves and lines of persons are as many.

    rows that an act made        ≤ leaves of its type + rows that wait          a planted client or sanction shows here
    views of evidence            ≤ leaves of its type + rows that wait
    lines of each record         = its leaves in the log                        a lost or altered leaf shows here
    leaves counted by day        = leaves

What grows meanwhile grows on the right side first: so a vault that is at work is found clean too.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from keys.agent.client import AgentClient
from keys.errors import ProofError, RefusedError
from vault.stores import log, queues, tallying
from vault.stores.unit import Store

_AT_ONCE: Final = 1000
_VIEWED: Final = "evidence.viewed"
_WAIT_SECONDS: Final = 0.1
Finding = dict[str, str]


def _finding(row: str, rule: str) -> Finding:
    return {"row": row, "rule": rule}


@dataclass(slots=True)
class Counted:
    """How many lines of records were found in the log, what does not add up, whether the log's end is not signed."""

    lines: int
    findings: list[Finding]
    unsigned: bool = False


@dataclass(frozen=True, slots=True)
class Counting:
    """Compares counts of the directory, of the agent's store and of the log."""

    directory: Store
    log: Store
    officer: AgentClient

    def check(self, progress: Callable[[int], None]) -> Counted:
        """Return what was counted; `progress` is told how many records were looked at.

        Raises:
            KeysError: the agent is sealed or not there.
            VaultError: a store cannot be read now.
        """
        with self.directory.reading() as unit:
            made = tallying.made(unit)
            waiting, _ = queues.outbox(unit)
        answers = _Answers(self.log, progress)
        try:
            told = self.officer.call("verify.lines", {}, answers.answer)
        except RefusedError:
            return Counted(0, [], unsigned=True)
        except ProofError:
            return Counted(0, [_finding("log", "its entries are not those that were signed")])
        with self.log.snapshot() as unit:
            leaves, size = log.totals(unit), log.size(unit)
        findings = [
            _finding(f"log.leaf {kind}", f"{count} were done, {leaves.get(kind, 0)} have a leaf, {waiting} rows wait")
            for kind, count in made.items()
            if count > leaves.get(kind, 0) + waiting
        ]
        if told["views"] > leaves.get(_VIEWED, 0) + told["waiting"]:
            findings.append(_finding(f"log.leaf {_VIEWED}", f"{told['views']} were done and fewer have a leaf"))
        if sum(leaves.values()) != size:
            findings.append(_finding("log.daily", f"counts {sum(leaves.values())} of {size} leaves"))
        if told["missing"]:
            findings.append(_finding("log", f"{told['missing']} lines of records are not in it"))
        findings += [
            _finding(f"identity.record {rid.hex()}", "a line of it is not in the log") for rid in told["where"]
        ]
        return Counted(int(told["lines"]), findings)


class _Answers:
    """What the agent asks for while it counts."""

    def __init__(self, store: Store, progress: Callable[[int], None]) -> None:
        self._store, self._progress, self._needed = store, progress, -1

    def answer(self, what: str, args: Mapping[str, Any]) -> object:
        if what == "progress":
            self._progress(int(args["done"]))
            return None
        with self._store.reading() as unit:
            if what == "entries":
                return log.entries(unit, int(args["first"]), _AT_ONCE)
            if self._needed < 0:
                self._needed = log.size(unit)
        if self._needed > args["size"]:
            time.sleep(_WAIT_SECONDS)
            return False
        return True
