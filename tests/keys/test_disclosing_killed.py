"""kill -9 at the writes of a disclosure: there is a package with its row, its approvals used, or nothing (A60)."""

import random
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from keys import disclosures, store
from keys.engine import open_engine, reading
from keys.fields import FieldValue, seal_field
from keys.primitives import Secret, random_bytes
from keys.quorum import Kind
from tests.fresh import store_url
from tests.keys.killing import at_points
from tests.keys.party import Party
from tests.keys.stores import SHOP
from tests.keys.test_acts_disclosing import COURT, ORDER
from tests.keys.test_officers_served import Init, run_killed


def _approved(party: Party, asked: str) -> None:
    shown = party.seats[0].ask("show", request=asked)["request"]
    request = party.seats[0].request(Kind(shown["kind"]), shown["subject"], **shown["detail"], proposal=asked)
    party.seats[0].sign("ask", request)
    party.seats[1].sign("approve", request)


class Disclose(Init):
    """Give out the package of an approved disclosure."""

    def prepare(self, party: Party) -> None:
        agent = party.made().agent
        enrol = {"what": "provider", "sector": SHOP, "client": "cli_s", "name": "Shop"}
        _approved(party, agent.officer.call("enrol", enrol)["pending"])
        agent.officer.call("enrol", enrol)
        pid, account = random_bytes(16), random_bytes(16)
        items = {"sector": SHOP, "items": [{"pid": pid, "fields": ["legal_name"]}]}
        made = agent.identity.call("create", items)["items"][0]
        item = {"sector": SHOP, "pid": pid, "link": made["link"]}
        agent.identity.call("create.done", {"items": [item]})
        row = {"id": account, "provider": "cli_s", "handle": "anna"}
        bound = {"accounts": [row | {"pid": pid, "account": account}]}
        row["mac"] = agent.directory.call("account.bind", bound)["macs"][0]
        standing = item | {"tags": [], "created": 0, "accounts": [row], "aliases": [], "sanctions": []}
        self.args = {"id": "dis_1", "client": "cli_s", "account": account, "standing": standing}
        self.rid, deployment = made["rid"], party.seats[0].stated().deployment
        value, key = FieldValue(b'"Anna"'), Secret(made["keys"]["legal_name"])
        self.sealed = {"legal_name": seal_field(key, deployment, self.rid, "legal_name", 1, value)}
        _approved(party, agent.identity.call("disclose.ask", self.args | {"order": ORDER})["request"])

    def act(self, party: Party) -> None:
        self._package(party)

    def _package(self, party: Party) -> bytes:
        def answers(_what: str, _args: Any) -> object:
            return [{"rid": self.rid, "fields": self.sealed}]

        return bytes(party.agent.identity.call("disclose", self.args, answers)["package"])

    def check(self, party: Party) -> None:
        if party.seats[0].stated().names != "open":
            party.unseal(0, 2)
        party.agent.identity.close()
        package = self._package(party)
        assert package == self._package(party)
        assert disclosures.open_package(package, COURT)["fields"] == {"legal_name": "Anna"}
        engine = open_engine(store_url(party.agent.home, "keys"))
        query = select(func.count()).where(store.audit_outbox.c.type == "disclosure.granted")
        with reading(engine) as connection:
            assert connection.execute(query).scalar_one() == 1
        engine.dispose()
        assert party.seats[2].ask("look")["record"] == 2


@pytest.mark.timeout(3600)
def test_a60_a_disclosure_that_is_killed_at_any_write_took_place_once_or_not_at_all(
    tmp_path: Path, drawn: random.Random, *, full: bool
) -> None:
    at_points(lambda at: run_killed(tmp_path / f"at{at.call}{at.nth}", Disclose, at), drawn, full=full)
