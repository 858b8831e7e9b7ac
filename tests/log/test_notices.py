"""Whoever has the log sees that a disclosed person was not told in time, and by how much an order deferred it."""

from pathlib import Path
from typing import Final

import pytest

from keys import audit
from keys.engine import writing
from keys.notes import VerifierKey
from tests.log.ledger import MINUTE, Ledger
from vault.log.verify import BadLogError, Verified, verify

DAY: Final = 24 * 60
MONTH: Final = 30 * DAY
ONE, TWO = b"\1" * 32, b"\2" * 32
GRANTED, DEFERRED, NOTIFIED = (f"disclosure.{what}" for what in ("granted", "deferred", "notified"))


class Told(Ledger):
    """A log to which leaves of disclosures are added."""

    def add(self, *said: tuple[str, bytes, int, int]) -> None:
        """Write rows (type, disclosure, minute, notice due) that are drained together, in any order."""
        with writing(self.keys.engine) as connection:
            for kind, digest, minute, due in said:
                row = audit.sealed_row(self.keys.keyring, b"", kind, minute, {})
                address = audit.disclosure_address(bytes(16), digest, due)
                audit.write_all(connection, [row | {"address": address}])
        self.sequencer().once()

    def verified(self, now: int) -> Verified:
        key = VerifierKey("log.example", 1, self.call("log.head", {})["public"])
        return verify(self.reader().read, str(key), now)


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def test_a_notice_that_did_not_come_in_time_is_overdue_and_one_that_came_is_not(told: Told) -> None:
    due = MINUTE + MONTH
    told.add((GRANTED, ONE, MINUTE, due))
    told.add((GRANTED, TWO, MINUTE, due))
    assert told.verified(due).overdue == []
    assert told.verified(due + 1).overdue == [0, 1]
    told.add((NOTIFIED, ONE, due, 0))
    assert told.verified(due + 1).overdue == [1]
    told.close()


def test_what_was_drained_together_stands_in_no_order(told: Told) -> None:
    later = MINUTE + MONTH + 90 * DAY
    rows = [(GRANTED, ONE, MINUTE, MINUTE + MONTH), (DEFERRED, ONE, MINUTE, later), (NOTIFIED, ONE, MINUTE, 0)]
    told.add(*rows)
    assert told.verified(later + 1).overdue == []
    told.add((GRANTED, TWO, MINUTE, MINUTE + MONTH), (DEFERRED, TWO, MINUTE, later))
    assert told.verified(later).overdue == []
    assert len(told.verified(later + 1).overdue) == 1
    told.close()


@pytest.mark.parametrize("said", [
    [(GRANTED, ONE, MINUTE, MINUTE + 90 * DAY + 1)],
    [(GRANTED, ONE, MINUTE, MINUTE + MONTH), (DEFERRED, ONE, MINUTE, MINUTE + MONTH + 90 * DAY + 1)],
    [(GRANTED, ONE, MINUTE, MINUTE + MONTH), (GRANTED, ONE, MINUTE, MINUTE + MONTH)],
])  # fmt: skip
def test_a_notice_deferred_by_more_than_one_order_may_or_granted_twice_is_no_good_log(
    told: Told, said: list[tuple[str, bytes, int, int]]
) -> None:
    for row in said:
        told.add(row)
    with pytest.raises(BadLogError) as caught:
        told.verified(MINUTE)
    assert caught.value.index == len(said) - 1
    told.close()
