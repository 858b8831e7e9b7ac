"""After a compromise every record's fields lie under another key, beside the traffic, and every record opens."""

import signal
import subprocess
import sys
import threading
from contextlib import closing
from typing import Any

import httpx

from keys import record_keys, records
from keys.agent.client import AgentClient
from keys.agent.settings import socket_folder
from keys.engine import open_engine, reading
from keys.errors import OpenError
from keys.fields import HEADER
from keys.keyring import Keyring
from keys.seals import development
from tests.http.test_delinking import served
from tests.http.test_log import await_checkpoint
from tests.http.test_officers import Machines, citizen, machines, server
from tests.http.test_processes import eventually
from tests.people import person
from tests.serving import Client, Server
from vault.stores.people import FIELDS

__all__ = ["machines", "served", "server"]


def deep(server: Server, code: int = 0) -> Any:
    return server.json("keys", "rewrap", "--deep", code=code)


def fields_of(server: Server) -> dict[bytes, dict[str, bytes]]:
    rows = server.sql("identity", f"SELECT rid, {', '.join(FIELDS)} FROM record")  # noqa: S608 - our own names
    return {
        bytes(rid): {
            name: HEADER + bytes(value) for name, value in zip(FIELDS, values, strict=True) if value is not None
        }
        for rid, *values in rows
    }


class Thief:
    """Who read all record keys at a moment."""

    def __init__(self, server: Server, rids: Any) -> None:
        engine = open_engine(server.databases.get("IDVAULT_KEYS_URL", f"sqlite:///{server.home / 'keys.db'}"))
        self.ring = Keyring.under_root(engine, *development.open_seal(server.home / development.FILE_NAME))
        with reading(engine) as connection:
            found = records.load_present(connection, self.ring, rids)
        self.taken = {record.rid: record_keys.unwrap(self.ring, record) for record in found}
        engine.dispose()

    def reads(self, fields: dict[bytes, dict[str, bytes]]) -> int:
        """Return of how many records the fields open under the keys that he took."""
        opened = 0
        for rid, one in self.taken.items():
            try:
                one.open_fields(self.ring.deployment, fields[rid])
                opened += 1
            except OpenError:
                continue
        return opened


def people(chat: Client, rita: Client) -> list[dict[str, Any]]:
    """Return one who is approved, one who is returned, and two in review."""
    made = [chat.registered(person(number), f"user_{number}") for number in range(4)]
    rita.approve(made[0]["id"])
    assert rita.decide(made[1]["id"], "returned", reason="unreadable", fix=["document"]).status_code == httpx.codes.OK
    return made


def test_who_took_all_record_keys_reads_nothing_of_what_lies_there_now(served: Server) -> None:
    chat, rita = served.provider("chat"), served.reviewer("rita")
    made = people(chat, rita)
    before = fields_of(served)
    thief = Thief(served, before)
    assert thief.reads(before) == 4
    assert deep(served) == {"sealed": 4, "left": 0, "altered": 0}
    after = fields_of(served)
    assert thief.reads(after) == 0
    assert all(after[rid][name] != sealed for rid, fields in before.items() for name, sealed in fields.items())
    assert rita.reveal(made[2]["id"], "legal_name")["fields"]["legal_name"] == person(2)["legal_name"]
    body = {"identity": person(1), "accepts": {"terms": "2026-01", "truthful": True}}
    assert chat.call("PUT", f"/v1/registrations/{made[1]['id']}", json=body).is_success
    rita.approve(made[1]["id"])
    assert chat.registered(person(0), "again")["state"] == "in_review"
    assert chat.introspect(made[0]["token"])["active"]
    assert deep(served) == {"sealed": 5, "left": 0, "altered": 0}
    assert [row[0] for row in served.sql("keys", "SELECT number FROM resealed")] == [2] * 5


def test_the_log_says_how_many_and_an_erased_one_leaves_no_line(served: Server) -> None:
    served.stop()
    served.environment |= {"IDVAULT_SEQUENCER": "yes", "IDVAULT_LOG_MILLISECONDS": "100"}
    served.start()
    chat = served.provider("chat")
    made = [chat.registered(person(number), f"user_{number}") for number in range(3)]
    await_checkpoint(served)
    assert deep(served)["sealed"] == 3
    assert eventually(lambda: served.json("log", "verify")["types"].get("keys.resealed") == 1)
    assert chat.call("DELETE", f"/v1/registrations/{made[0]['id']}").status_code == httpx.codes.NO_CONTENT
    assert served.sql("keys", "SELECT count(*) FROM resealed") == [(2,)]


def test_an_altered_record_is_told_and_stays_and_the_others_go_on(served: Server) -> None:
    chat = served.provider("chat")
    for number in range(3):
        chat.registered(person(number), f"user_{number}")
    rid = served.sql("keys", "SELECT rid FROM record_key ORDER BY rid LIMIT 1")[0][0]
    (assurance,) = served.sql("keys", "SELECT assurance FROM record_key WHERE rid = ?", rid)[0]
    served.sql("keys", "UPDATE record_key SET assurance = 'vault' WHERE rid = ?", rid)
    assert deep(served, code=4) == {"sealed": 2, "left": 0, "altered": 1}
    served.sql("keys", "UPDATE record_key SET assurance = ? WHERE rid = ?", assurance, rid)
    (name,) = served.sql("identity", "SELECT legal_name FROM record WHERE rid = ?", rid)[0]
    served.sql("identity", "UPDATE record SET legal_name = ? WHERE rid = ?", bytes(name)[:-1] + b"x", rid)
    assert deep(served, code=4) == {"sealed": 2, "left": 0, "altered": 1}
    served.sql("identity", "UPDATE record SET legal_name = ? WHERE rid = ?", name, rid)
    assert deep(served) == {"sealed": 3, "left": 0, "altered": 0}


def test_beside_traffic_nothing_fails_and_every_record_opens(served: Server) -> None:
    chat, rita = served.provider("chat"), served.reviewer("rita")
    made = [chat.registered(person(number), f"user_{number}") for number in range(40)]
    over, failed = threading.Event(), list[Any]()

    def review() -> None:
        for number, one in enumerate(made):
            answer = rita.reveal_answer(one["id"], "legal_name")
            if (
                answer.status_code != httpx.codes.OK
                or answer.json()["fields"]["legal_name"] != (person(number)["legal_name"])
            ):
                failed.append(answer.text)
        over.set()

    def register() -> None:
        number = 100
        while not over.is_set():
            answer = chat.register(person(number), f"user_{number}")
            if answer.status_code != httpx.codes.ACCEPTED:
                failed.append(answer.text)
            number += 1

    threads = [threading.Thread(target=review), threading.Thread(target=register)]
    for thread in threads:
        thread.start()
    while not over.is_set():
        assert deep(served)["left"] == 0
    for thread in threads:
        thread.join()
    assert failed == []


def resealed(server: Server) -> int:
    return int(server.sql("keys", "SELECT count(*) FROM resealed")[0][0])


SLOWLY = """
import time
import vault.services.deepening as deepening
from vault.cli.main import main

written = deepening.Deepening._written
deepening.Deepening._written = lambda *given: (written(*given), time.sleep(0.5))[0]
deepening._BATCH = 2
main()
"""
"""The command, two records at a time, so slowly that it is killed on its way."""


def test_killed_again_and_again_it_goes_on_and_gives_each_record_one_key(served: Server) -> None:
    chat = served.provider("chat")
    for number in range(60):
        chat.registered(person(number), f"user_{number}")
    before = fields_of(served)
    thief = Thief(served, before)
    with closing(AgentClient(str(socket_folder(served.home) / "officer.sock"))) as officer:
        assert officer.call("deep.begin", {"sure": True}) == {"number": 1, "state": "active", "left": 60}
    for _ in range(3):
        sealed = resealed(served)
        with subprocess.Popen(
            [sys.executable, "-c", SLOWLY, "reseal"], env=served.environment,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        ) as running:  # fmt: skip
            assert eventually(lambda: resealed(served) > sealed, seconds=60)  # noqa: B023 - it is called here alone
            running.send_signal(signal.SIGKILL)
        assert served.json("fsck", "--grace-minutes", "0")["clean"]
    assert served.json("reseal") == {"sealed": 60, "left": 0, "altered": 0}
    assert thief.reads(fields_of(served)) == 0


def test_officers_approve_it_once_for_each_time(machines: Machines) -> None:
    machines.ceremony()
    server = machines.server
    machines.approved(server.json("provider", "add", "chat", "--sector", "chat.example")["request"], "anna", "maria")
    chat = server.provider("chat")
    chat.registered(citizen(1), "anna_1")
    before = fields_of(server)
    asked = deep(server)
    assert asked["state"] == "pending"
    server.run("reseal", code=1)
    assert machines.say("anna", "show", asked["request"])["subject"] == "records"
    machines.approved(asked["request"], "anna", "maria")
    assert deep(server) == {"sealed": 1, "left": 0, "altered": 0}
    assert fields_of(server) != before
    again = deep(server)
    assert (again["state"], again["request"] != asked["request"]) == ("pending", True)
