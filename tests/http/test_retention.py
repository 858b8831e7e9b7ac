"""What has run out goes and what has not stays: the rows' times are moved, then the vault waits."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.people import person
from tests.serving import Client, Server
from vault.domain.ids import RegistrationId

DAY = 86_400
ACCEPTS = {"terms": "2026-01", "truthful": True}


def becomes(wanted: object, seen: Callable[[], object], seconds: float = 30) -> None:
    """Wait for the next rounds of housekeeping."""
    end = time.monotonic() + seconds
    while seen() != wanted and time.monotonic() < end:
        time.sleep(0.1)
    assert seen() == wanted


def returned(chat: Client, rita: Client, number: int) -> str:
    """A registration with two pieces of evidence, of which one was faulted."""
    made: str = chat.registered(person(number), f"handle{number}")["id"]
    for name in ("passport", "letter"):
        put = chat.call("PUT", f"/v1/registrations/{made}/evidence/{name}", content=b"\x89PNG",
                        headers={"Content-Type": "image/png"})  # fmt: skip
        assert put.status_code < 300
    assert rita.decide(made, "returned", reason="unreadable", fix=["evidence/letter"]).status_code == 200
    return made


def age(server: Server, store: str, table: str, column: str, days: float, where: str = "1 = 1") -> None:
    then = int(time.time() - days * DAY)
    server.sql(store, f'UPDATE "{table}" SET "{column}" = ? WHERE {where}', then)  # noqa: S608 - our own names


def count(server: Server, store: str, table: str) -> int:
    found: int = server.sql(store, f'SELECT count(*) FROM "{table}"')[0][0]  # noqa: S608 - our own names
    return found


def test_evidence_that_was_not_faulted_goes_fourteen_days_after_the_return(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    late, soon = returned(chat, rita, 1), returned(chat, rita, 2)
    pieces = [("identity", "evidence"), ("keys", "evidence_key")]
    assert [count(fresh, *where) for where in pieces] == [2, 2], "the faulted pieces went at once"
    then = int(time.time())
    for reg, days in ((soon, 13.9), (late, 14.1)):
        decided = (int(then - days * DAY), RegistrationId.parse(reg).raw)
        fresh.sql("directory", "UPDATE review SET decided = ? WHERE reg = ?", *decided)
    becomes([1, 1], lambda: [count(fresh, *where) for where in pieces])
    forgotten = "SELECT reg FROM review WHERE forgotten = 1"
    becomes([(RegistrationId.parse(late).raw,)], lambda: fresh.sql("directory", forgotten))
    # It may still be sent in again, with new evidence; its time starts anew.
    again = chat.call("PUT", f"/v1/registrations/{late}", json={"accepts": ACCEPTS, "identity": person(1)})
    assert again.status_code in {200, 202}, again.text
    assert fresh.sql("directory", "SELECT forgotten FROM review") == [(None,), (None,)]
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def test_a_rejected_record_goes_once_and_is_not_looked_at_again(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    gone, kept = (chat.registered(person(at), f"handle{at}")["id"] for at in (1, 2))
    for made in (gone, kept):
        assert rita.decide(made, "rejected", reason="not_the_holder").status_code == 200
    [(first,), _] = fresh.sql("directory", "SELECT reg FROM review ORDER BY submitted, reg")
    fresh.sql("directory", "UPDATE review SET decided = ? WHERE reg = ?", int(time.time() - 30.1 * DAY), first)
    becomes(1, lambda: count(fresh, "identity", "record"))
    assert fresh.sql("directory", "SELECT forgotten FROM review WHERE reg = ?", first) == [(1,)]
    assert count(fresh, "keys", "record_key") == 1
    assert chat.registration(gone)["state"] == "rejected"


def test_answers_revocations_and_imports_go_when_their_time_has_come(fresh: Server) -> None:
    chat = fresh.provider("chat")
    chat.registered(person(1), "one", headers={"Idempotency-Key": '"k1"'})
    chat.registered(person(2), "two", headers={"Idempotency-Key": '"k2"'})
    body = {"state": "legacy", "file": "0" * 64}
    imported = chat.post("/v1/imports", body).json()["id"]
    rows = {"first": 1, "rows": [{"handle": "old", "kind": "public"}]}
    assert chat.call("PUT", f"/v1/imports/{imported}/chunks/1", json=rows).status_code == 200
    revoked = chat.http.post("/oauth/revoke", data={"token": chat.token}, auth=(chat.id, chat.secret))
    assert revoked.status_code == 200
    chat.authorise()
    tables = ("idempotency", "revoked", "import", "import_chunk")
    [(first, *_), _] = fresh.sql("directory", "SELECT key FROM idempotency ORDER BY created, key")
    fresh.sql("directory", "UPDATE idempotency SET created = ? WHERE key = ?", int(time.time() - 1.1 * DAY), first)
    age(fresh, "directory", "import", "created", 29.9)
    becomes([1, 1, 1, 1], lambda: [count(fresh, "directory", table) for table in tables])
    age(fresh, "directory", "revoked", "until", 0.1)
    age(fresh, "directory", "import", "created", 30.1)
    becomes([1, 0, 0, 0], lambda: [count(fresh, "directory", table) for table in tables])
    assert chat.get(f"/v1/imports/{imported}").status_code == 404
    assert len(chat.get("/v1/accounts").json()["items"]) == 3, "what was imported stays"


def test_a_hand_off_that_nobody_redeems_goes_without_another_exchange(fresh: Server) -> None:
    chat, blog, rita = fresh.provider("chat"), fresh.provider("blog"), fresh.reviewer("rita")
    fresh.json("provider", "allow-exchange", "chat", "blog", "--purpose", "moderation", "--basis", "legal")
    made = chat.registered(person(1), "one")
    rita.approve(made["id"])
    item = {"subject_token": made["token"], "audience": blog.id, "scope": "moderation"}
    for _ in range(2):
        assert "access_token" in chat.post("/v1/tokens/exchange", {"items": [item]}).json()["items"][0]
    [(first,), _] = fresh.sql("keys", "SELECT hash FROM handoff ORDER BY hash")
    fresh.sql("keys", "UPDATE handoff SET expires = 1 WHERE hash = ?", first)
    becomes(1, lambda: count(fresh, "keys", "handoff"))


def test_a_round_takes_a_bounded_number_of_rows_and_the_next_the_rest(tmp_path: Path) -> None:
    served = Server(tmp_path / "home", IDVAULT_HOUSEKEEPING_ROWS="2", IDVAULT_HOUSEKEEPING_SECONDS="1").start()
    chat = served.provider("chat")
    for at in range(5):
        chat.registered(person(at), f"handle{at}", headers={"Idempotency-Key": f'"k{at}"'})
    keys = [key for (key,) in served.sql("directory", "SELECT key FROM idempotency")]
    for at, key in enumerate(keys):
        served.sql("directory", "UPDATE idempotency SET created = ? WHERE key = ?", at, key)
    left: list[Any] = []
    end = time.monotonic() + 30
    while (not left or left[-1]) and time.monotonic() < end:
        left.append(count(served, "directory", "idempotency"))
        time.sleep(0.05)
    assert left[-1] == 0
    assert set(left) & {1, 2, 3, 4}, "not all in one round"
    assert served.stop() == 0
