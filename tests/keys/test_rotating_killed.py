"""kill -9 at the writes of a rotation, of sealing anew, of a destruction: each is done or not, and said again it is."""

import random
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from keys.errors import ConflictError, UnavailableError
from keys.fields import FieldValue, seal_field
from keys.primitives import Secret, random_bytes
from tests.keys.agents import Agent, until
from tests.keys.killing import Point, at_points, killed_at
from tests.keys.stores import BANK, SHOP

PEOPLE: Final = 5


class Rotate:
    """The next version of a key."""

    purpose, sector = "kek", ""
    people: Sequence[Mapping[str, Any]] = ()
    """As their registrations were answered."""

    def prepare(self, agent: Agent) -> None:
        """There is one version yet."""

    def act(self, agent: Agent) -> None:
        args = {"purpose": self.purpose, "sector": self.sector, "from": 1}
        assert agent.officer.call("keys.rotate", args)["version"] == 2

    def check(self, agent: Agent) -> None:
        self.act(agent)
        assert _states(agent, self.purpose, self.sector) == {1: "deactivated", 2: "active"}


class RotateToken(Rotate):
    """The same for a key of a sector, which lies under the standing key."""

    purpose, sector = "token", SHOP

    def check(self, agent: Agent) -> None:
        super().check(agent)
        assert set(agent.directory.call("keys.sector", {"sector": SHOP})["keys"]) == {1, 2}


class Rewrap(Rotate):
    """All wrapped keys under the newest version, a few a transaction."""

    def prepare(self, agent: Agent) -> None:
        Rotate().act(agent)

    def act(self, agent: Agent) -> None:
        after, left = None, -1
        while after != b"" or left:
            found = agent.officer.call("keys.rewrap", {"after": after or b"", "until": b"", "batch": 2})
            after, left = found["after"], found["left"]

    def check(self, agent: Agent) -> None:
        self.act(agent)


class Destroy(Rewrap):
    """The end of a former version."""

    def prepare(self, agent: Agent) -> None:
        super().prepare(agent)
        Rewrap().act(agent)

    def act(self, agent: Agent) -> None:
        found = agent.officer.call("keys.destroy", {"purpose": "kek", "version": 1, "sure": True})
        assert found["state"] == "destroyed"

    def check(self, agent: Agent) -> None:
        self.act(agent)
        assert _states(agent, "kek", "") == {1: "destroyed", 2: "active"}


class DestroySector(Rotate):
    """The end of a sector: both keys and its agreements, or nothing."""

    def prepare(self, agent: Agent) -> None:
        RotateToken().act(agent)
        agent.officer.call("enrol", {"what": "provider", "sector": BANK, "client": "cli_b", "name": "Bank"})

    def act(self, agent: Agent) -> None:
        found = agent.officer.call("keys.destroy_sector", {"sector": BANK, "sure": True})
        assert found["state"] == "destroyed"

    def check(self, agent: Agent) -> None:
        self.act(agent)
        assert _states(agent, "token", BANK) == _states(agent, "link", BANK) == {1: "destroyed"}
        assert set(agent.directory.call("keys.sector", {"sector": SHOP})["keys"]) == {1, 2}
        assert agent.directory.call("keys.sector", {"sector": BANK})["keys"] == {}


class Deepen(Rotate):
    """All records' fields under other keys: those who are registered here have none but these."""

    def prepare(self, agent: Agent) -> None:
        deployment = agent.identity.call("hello", {})["deployment"]
        self.identity: dict[bytes, dict[str, bytes]] = {}
        for one in self.people:
            key = Secret(one["keys"]["legal_name"])
            sealed = seal_field(key, deployment, one["rid"], "legal_name", 1, FieldValue(b'"Anna"'))
            self.identity[one["rid"]] = {"legal_name": sealed}
        for item in self.people:  # whoever is being registered is left alone
            agent.identity.call("create.done", {"items": [_claim(item)]})
        assert agent.officer.call("deep.begin", {"sure": True})["left"] == PEOPLE

    def _answers(self, _what: str, args: Mapping[str, Any]) -> object:
        return [{"rid": rid, "fields": self.identity[rid]} for rid in args["values"]]

    def act(self, agent: Agent) -> None:
        after, altered = b"", 0
        while True:
            found = agent.identity.call("deep", {"after": after, "limit": 2}, self._answers)
            altered += found["altered"]
            for item in found["items"]:
                assert self.identity[item["rid"]] == item["was"]
                self.identity[item["rid"]] = item["fields"]
            agent.identity.call("deep.done", {"rids": [item["rid"] for item in found["items"]]}, self._answers)
            after = found["last"]
            if not after:
                break
        with suppress(ConflictError):  # it had ended when it was killed
            assert agent.identity.call("deep.end", {"altered": altered})["left"] == 0

    def check(self, agent: Agent) -> None:
        with suppress(ConflictError):
            self.act(agent)
        rows = [{"rid": rid, "fields": fields} for rid, fields in self.identity.items()]
        assert agent.identity.call("verify", {"what": "records", "rows": rows})["good"] == [True] * PEOPLE
        assert agent.officer.call("deep.begin", {})["state"] == "idle"


ACTS: Final[tuple[type[Rotate], ...]] = (Rotate, RotateToken, Rewrap, Destroy, DestroySector, Deepen)


def _states(agent: Agent, purpose: str, sector: str) -> dict[int, str]:
    found = agent.officer.call("keys.list", {})["keys"]
    return {key["version"]: key["state"] for key in found if (key["purpose"], key["sector"]) == (purpose, sector)}


@pytest.mark.costly
@pytest.mark.parametrize("kind", ACTS)
@pytest.mark.timeout(3600)
def test_an_act_on_keys_that_is_killed_at_any_write_is_done_or_not_and_every_record_opens(
    tmp_path: Path, kind: type[Rotate], drawn: random.Random, *, full: bool
) -> None:
    at_points(lambda at: _run(tmp_path / f"at{at.call}{at.nth}", kind, at), drawn, full=full)


def _run(folder: Path, kind: type[Rotate], at: Point) -> Path:
    folder.mkdir()
    agent = Agent(folder / "home").start()
    try:
        agent.officer.call("enrol", {"what": "provider", "sector": SHOP, "client": "cli_s", "name": "Shop"})
        people = [_registered(agent) for _ in range(PEOPLE)]
        what, output, names = kind(), folder / "trace", agent.holder("names")
        what.people = people
        what.prepare(agent)
        with killed_at(names, at, output), suppress(UnavailableError):
            what.act(agent)
        until(lambda: agent.status().get("names") == "open" == agent.status().get("standing"), "both are open again")
        for client in (agent.officer, agent.identity, agent.directory):
            client.close()
        what.check(agent)
        tables = agent.officer.call("verify.own", {})["tables"]
        assert all(table["bad"] == 0 for table in tables.values()), tables
        assert tables["record_key"]["rows"] == PEOPLE
        # Each record opens: what was begun is completed, which takes its commitment key.
        for item in people:
            agent.identity.call("create.done", {"items": [_claim(item)]})
        return output
    finally:
        agent.stop()


def _registered(agent: Agent) -> dict[str, Any]:
    pid = random_bytes(16)
    args = {"sector": SHOP, "items": [{"pid": pid, "fields": ["legal_name"]}]}
    return {"sector": SHOP, "pid": pid, **agent.identity.call("create", args)["items"][0]}


def _claim(made: Mapping[str, Any]) -> dict[str, Any]:
    return {name: made[name] for name in ("sector", "pid", "link")}
