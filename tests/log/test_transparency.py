"""The transparency report: told once a month whatever cuts in, and the same bytes for the vault and for a stranger."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import rfc8785
from sqlalchemy import insert

from keys.leaves import read
from keys.notes import VerifierKey
from tests.log.ledger import MINUTE, CutError, Ledger
from vault.domain.transparency import Period, report
from vault.log import sources
from vault.log.sources import reader
from vault.log.verify import BadLogError, verify
from vault.services.reporting import Reporting
from vault.stores import directory

DAY = 86_400
START = MINUTE * 60
"""The first second of 2026."""
JANUARY = Period.parse("2026-01")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    yield made
    made.close()


def sanction(number: int, **values: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "id": number.to_bytes(16, "big"), "provider": "cli_a", "pid": bytes(16), "account": None, "rung": 1,
        "starts": START + number, "until": None, "degree": None, "ground": "spam", "by": None, "automated": "none",
        "source": "report", "statement": None, "origin": bytes(16), "lifted": None, "lift_reason": None,
        "lifted_by": None,
    }  # fmt: skip
    return row | values


def review(number: int, **values: object) -> dict[str, Any]:
    row: dict[str, Any] = {
        "reg": number.to_bytes(16, "big"), "provider": "cli_a", "pid": bytes(16), "account": None, "kind": "identity",
        "attempt": 1, "state": "approved", "expired_document": 0, "submitted": START, "decided": START + 60 * number,
    }  # fmt: skip
    return row | values


def january(ledger: Ledger) -> None:
    """Have a month of sanctions and reviews, some of them of other months."""
    rows = [sanction(n) for n in range(12)]
    rows += [sanction(100 + n, rung=4, ground="fraud", automated="fully") for n in range(6)]
    rows += [sanction(200 + n, rung=2, lifted=START + DAY, lift_reason="mistake") for n in range(3)]
    rows += [sanction(300 + n, starts=START - 1 - n) for n in range(9)]
    rows += [sanction(400 + n, starts=START + 31 * DAY + n) for n in range(9)]
    reviews = [review(n) for n in range(1, 8)] + [review(50, state="rejected"), review(60, kind="match")]
    reviews += [review(70 + n, decided=START + 31 * DAY) for n in range(9)] + [review(90, state="in_review", decided=0)]
    with ledger.directory.writing() as unit:
        unit.execute(insert(directory.sanction), rows)
        unit.execute(insert(directory.review), reviews)


def tallies(ledger: Ledger) -> list[dict[str, Any]]:
    return [said["tally"] for said in map(read, ledger.entries()) if said["type"] == "report.tallied"]


def test_a_month_is_tallied_once_it_is_over_with_small_cells_hidden(ledger: Ledger) -> None:
    january(ledger)
    ledger.act(10)
    ledger.now = START + 31 * DAY + 599
    sequencer = ledger.sequencer()
    assert sequencer.once() == 20
    assert tallies(ledger) == []
    ledger.now += 1
    assert (sequencer.once(), sequencer.once(), ledger.sequencer().once()) == (1, 0, 0)
    [tally] = tallies(ledger)
    assert tally["month"] == "2026-01"
    assert tally["sanctions"] == {
        "total": 21, "by_rung": {"close": None, "limit_publish": None, "warn": 12},
        "by_ground": {"fraud": 6, "spam": 15}, "by_automated": {"fully": 6, "none": 15}, "by_source": {"report": 21},
    }  # fmt: skip
    assert tally["reversals"] == {"total": None, "by_reason": {"mistake": None}}
    assert tally["reviews"]["by_outcome"] == {"approved": None, "rejected": None}
    assert tally["reviews"]["median_minutes_to_publish"] == 4


def test_months_that_passed_while_nothing_ran_are_tallied_each(ledger: Ledger) -> None:
    ledger.act(1)
    ledger.sequencer().once()
    ledger.now = START + 100 * DAY
    ledger.sequencer().once()
    assert sorted(tally["month"] for tally in tallies(ledger)) == ["2026-01", "2026-02", "2026-03"]


def test_a_tally_is_one_leaf_wherever_the_sequencer_is_cut_off(ledger: Ledger) -> None:
    january(ledger)
    ledger.act(3)
    ledger.sequencer().once()
    for cut in range(1, 60):
        ledger.act(1)
        ledger.now = START + (31 * cut + 5) * DAY
        before = len(tallies(ledger))
        ledger.steps, ledger.cut_at = 0, cut
        try:
            ledger.sequencer().once()
            break
        except CutError:
            pass
        ledger.cut_at = -1
        ledger.sequencer().once()
        assert len(tallies(ledger)) > before or cut > 1
        found = [tally["month"] for tally in tallies(ledger)]
        assert len(found) == len(set(found))
    else:
        pytest.fail("the sequencer takes more steps than were cut")
    assert cut > 8, "fewer steps were cut than there are"


def test_the_report_of_the_vault_is_byte_for_byte_what_a_stranger_recomputes(ledger: Ledger, tmp_path: Path) -> None:
    january(ledger)
    ledger.act(300)
    sequencer = ledger.sequencer()
    sequencer.once()
    ledger.now = START + 40 * DAY
    sequencer.once()
    ledger.act(40)
    sequencer._drain()  # these stand in the store and are not signed
    own = [Reporting(ledger.log).transparency(Period.parse(name)) for name in ("2026-01", "2026", "2026-01-01")]
    assert own[0]["acts"] == {"registration.created": 300, "sanction.set": 300}
    assert (own[0]["closed"], own[1]["closed"], own[0]["checkpoint"]["size"]) == (True, False, 601)
    assert own[0] == Reporting(ledger.log).transparency(JANUARY)
    mirror = tmp_path / "mirror"
    sources.mirror(ledger.reader().read, mirror)
    key = str(VerifierKey("log.example", 1, ledger.call("log.head", {})["public"]))
    found = verify(reader(str(mirror)), key, MINUTE)
    for one in own:
        made = report(Period.parse(one["period"]), found.head.origin, found.head.size, found.head.root, found.days,
                      found.tallies, max(found.tallies))  # fmt: skip
        assert rfc8785.dumps(made) == rfc8785.dumps(one)
    shown = printed(mirror, key, "--json")
    assert shown == rfc8785.dumps(own[0]) + b"\n"
    assert b"Sanctions by ground" in printed(mirror, key, "--plots", str(tmp_path / "plots"))
    drawn = sorted((tmp_path / "plots").iterdir())
    assert {"2026-01-acts.svg", "2026-01-sanctions-by-rung.svg"} <= {path.name for path in drawn}
    first = [path.read_bytes() for path in drawn]
    printed(mirror, key, "--plots", str(tmp_path / "plots"))
    assert first == [path.read_bytes() for path in drawn], "twice the same bytes"
    assert all(ET.fromstring(raw).tag == "{http://www.w3.org/2000/svg}svg" for raw in first)  # noqa: S314 - our own


def printed(mirror: Path, key: str, *options: str) -> bytes:
    command = [sys.executable, "-m", "vault.cli.main", "report", "transparency", "2026-01"]
    return subprocess.run(
        [*command, "--from", str(mirror), "--key", key, *options], check=True, capture_output=True
    ).stdout  # fmt: skip


def test_a_report_names_nobody_and_no_cell_is_small(ledger: Ledger) -> None:
    january(ledger)
    ledger.act(7)
    sequencer = ledger.sequencer()
    sequencer.once()
    ledger.now = START + 40 * DAY
    sequencer.once()
    made = json.dumps(Reporting(ledger.log).transparency(JANUARY))
    assert "cli_a" not in made
    counts = [value for month in json.loads(made)["months"] for part in ("sanctions", "reversals", "reviews")
              for cells in month[part].values() if isinstance(cells, dict) for value in cells.values()]  # fmt: skip
    assert counts
    assert all(count is None or count == 0 or count >= 5 for count in counts)


def test_a_month_that_is_tallied_twice_is_named_by_the_verifier(ledger: Ledger, tmp_path: Path) -> None:
    ledger.act(1)
    sequencer = ledger.sequencer()
    sequencer.once()
    ledger.now = START + 40 * DAY
    sequencer.once()
    ledger.sql("delete from tally")
    sequencer._month = ""
    ledger.sql("update drained set id = x'00' where id = ?", b"report.tallied 2026-01")
    sequencer.once()
    sources.mirror(ledger.reader().read, tmp_path / "mirror")
    key = str(VerifierKey("log.example", 1, ledger.call("log.head", {})["public"]))
    with pytest.raises(BadLogError, match="tally already"):
        verify(reader(str(tmp_path / "mirror")), key, MINUTE)


def test_a_tally_that_says_more_than_the_log_has_is_named_by_the_verifier(ledger: Ledger, tmp_path: Path) -> None:
    january(ledger)
    ledger.act(20)  # and 21 sanctions stand in the directory, one of them without its audit row
    sequencer = ledger.sequencer()
    sequencer.once()
    ledger.now = START + 40 * DAY
    sequencer.once()
    sources.mirror(ledger.reader().read, tmp_path / "mirror")
    key = str(VerifierKey("log.example", 1, ledger.call("log.head", {})["public"]))
    with pytest.raises(BadLogError, match=r"entry 40: .*more sanctions"):
        verify(reader(str(tmp_path / "mirror")), key, MINUTE)
