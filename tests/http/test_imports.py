"""Imports over HTTP: chunks that stand whole or not at all, refusals by place and rule, undoing, bulk approval."""

import contextlib
import hashlib
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from stdnum.iso7064 import mod_97_10

from tests.http.test_processes import eventually, holders, is_ready
from tests.people import person
from tests.serving import Client, Server
from vault.domain.clock import SystemClock
from vault.services import approving

ACCEPTS = {"terms": "2026-01", "truthful": True}


@pytest.fixture(autouse=True)
def _clean_afterwards(fresh: Server) -> Iterator[None]:
    yield
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def begin(client: Client, name: str = "file", state: str = "in_review", **more: Any) -> dict[str, Any]:
    body = {"state": state, "file": hashlib.sha256(name.encode()).hexdigest(), **more}
    answer = client.post("/v1/imports", body)
    assert answer.status_code in {200, 201}, answer.text
    made: dict[str, Any] = answer.json()
    return made


def put(client: Client, imported: str, number: int, rows: list[Any], first: int = 1) -> Any:
    return client.call("PUT", f"/v1/imports/{imported}/chunks/{number}", json={"first": first, "rows": rows})


def stands(client: Client, imported: str, number: int, rows: list[Any], first: int = 1) -> dict[str, Any]:
    answer = put(client, imported, number, rows, first)
    assert answer.status_code == 200, answer.text
    made: dict[str, Any] = answer.json()
    return made


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "handle": f"many{number}", "kind": "public", "external_id": f"u-{number}", "accepts": ACCEPTS,
        "identity": person(number), **more,
    }  # fmt: skip


def old(number: int, **more: Any) -> dict[str, Any]:
    return {"handle": f"old{number}", "kind": "public", "external_id": f"o-{number}", **more}


def listed(client: Client, path: str, limit: int) -> list[dict[str, Any]]:
    items, cursor = list[dict[str, Any]](), ""
    while True:
        page = client.get(f"{path}?limit={limit}{cursor}").json()
        items += page["items"]
        if "next" not in page:
            return items
        cursor = f"&cursor={page['next']}"


def test_each_row_becomes_a_registration_in_review_or_is_refused_by_place_and_rule(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    imported = begin(chat)["id"]
    wrong = {**person(3), "birth_date": "1999-02-30"}
    for_account = {"account": "acc_", "accepts": ACCEPTS, "identity": person(6)}
    rows: list[Any] = [row(1), row(2, handle="Many1"), row(3, identity=wrong), "text", row(4, extra=1), row(5)]
    rows.append(for_account)
    told = stands(chat, imported, 1, rows, first=11)
    assert told["accepted"] == 2
    assert [one["row"] for one in told["refused"]] == [12, 13, 14, 15, 17]
    pointers = [one["errors"][0]["pointer"] for one in told["refused"]]
    assert pointers == ["/handle", "/identity/birth_date", "", "", "/account"]
    assert "1999-02-30" not in str(told)
    assert told["refused"] == listed(chat, f"/v1/imports/{imported}/refused", 2)
    shown = chat.get(f"/v1/imports/{imported}").json()
    assert (shown["rows"], shown["accepted"], shown["refused"], shown["chunks"]) == (7, 2, 5, [[1, 1]])
    made = listed(chat, f"/v1/imports/{imported}/results", 1)
    assert [(one["row"], one["external_id"], one["state"]) for one in made] == [
        (11, "u-1", "in_review"), (16, "u-5", "in_review"),
    ]  # fmt: skip
    rita.approve(made[0]["id"])
    assert chat.introspect(made[0]["token"]) == {**chat.introspect(made[0]["token"]), "active": True}
    assert chat.registration(made[0]["id"])["token"] == made[0]["token"]
    assert listed(chat, f"/v1/imports/{imported}/results", 7)[0]["state"] == "approved"


def test_r_cn_02_a_legacy_row_reads_and_gains_publish_with_its_verification_under_the_same_token(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    imported = begin(chat, state="legacy")["id"]
    told = stands(chat, imported, 1, [old(1), old(2, identity=person(2)), old(3, handle="OLD1"), old(4)])
    assert [(one["row"], one["errors"][0]["pointer"]) for one in told["refused"]] == [(2, ""), (3, "/handle")]
    first, last = listed(chat, f"/v1/imports/{imported}/results", 100)
    assert (first["row"], first["external_id"], first["state"], last["row"]) == (1, "o-1", "legacy", 4)
    assert chat.introspect(first["token"])["scope"] == "read"
    body = {"account": first["account"], "accepts": ACCEPTS, "identity": person(9)}
    answer = chat.post("/v1/registrations", body)
    assert answer.status_code == 202, answer.text
    rita.approve(answer.json()["id"])
    assert chat.introspect(first["token"])["scope"] == "read publish"


def test_the_same_chunk_again_changes_nothing_and_another_under_its_number_is_refused(fresh: Server) -> None:
    chat = fresh.provider("chat")
    imported = begin(chat)
    assert begin(chat) == imported
    told = stands(chat, imported["id"], 1, [row(1), row(2), row(2)])
    assert stands(chat, imported["id"], 1, [row(1), row(2), row(2)]) == told
    assert put(chat, imported["id"], 1, [row(1), row(3)]).status_code == 422
    assert len(chat.get("/v1/registrations").json()["items"]) == 2
    assert begin(chat, "another file")["id"] != imported["id"]


def test_beginning_an_import_takes_a_key(fresh: Server) -> None:
    chat = fresh.provider("chat")
    body = {"state": "in_review", "file": hashlib.sha256(b"file").hexdigest()}
    key = {"Idempotency-Key": "begin"}
    one, two = (chat.post("/v1/imports", body, headers=key) for _ in range(2))
    assert (one.status_code, one.json()) == (two.status_code, two.json())
    assert one.status_code == 201
    assert begin(chat) == one.json(), "without a key it is gone on with"
    other = chat.post("/v1/imports", {**body, "state": "legacy"}, headers=key)
    assert other.json()["type"].endswith("idempotency-mismatch")


def test_a_rehearsal_names_what_would_be_refused_and_makes_nothing(fresh: Server) -> None:
    chat = fresh.provider("chat")
    for state, rows in (("in_review", [row(1), row(1), "text"]), ("legacy", [old(1), old(1), "text"])):
        imported = begin(chat, state=state, dry_run=True)["id"]
        told = stands(chat, imported, 1, rows)
        assert [one["row"] for one in told["refused"]] == [2, 3]
        assert listed(chat, f"/v1/imports/{imported}/results", 10) == []
        assert not chat.get("/v1/accounts").json()["items"]
    assert not fresh.sql("directory", "select pid from standing")


def test_an_import_is_its_providers_alone(fresh: Server) -> None:
    chat, blog = fresh.provider("chat"), fresh.provider("blog")
    imported = begin(chat)["id"]
    stands(chat, imported, 1, [row(1)])
    for answer in (
        blog.get(f"/v1/imports/{imported}"), put(blog, imported, 2, [row(2)]),
        blog.get(f"/v1/imports/{imported}/results"), blog.get(f"/v1/imports/{imported}/refused"),
        blog.post(f"/v1/imports/{imported}/undo"),
    ):  # fmt: skip
        assert answer.status_code == 404, answer.text
    assert begin(blog)["id"] != imported
    told = stands(blog, begin(blog)["id"], 1, [row(1)])
    assert told == {"accepted": 1, "refused": []}


def test_one_audit_row_stands_for_a_chunk_in_each_outbox(fresh: Server) -> None:
    chat = fresh.provider("chat")
    imported = begin(chat)["id"]
    for number in (1, 2):
        stands(chat, imported, number, [row(10 * number + at) for at in range(5)], first=5 * number)
    for store in ("directory", "keys"):
        found = fresh.sql(store, "select type from audit_outbox where type = 'import.chunk'")
        assert len(found) == 2
    assert not fresh.sql("keys", "select type from audit_outbox where type = 'registration.created'")
    assert not fresh.sql("keys", "select id from intent")


def test_an_undone_import_leaves_no_open_record_and_its_file_may_be_imported_anew(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    for state, rows in (("in_review", [row(1), row(1), row(2), row(3)]), ("legacy", [old(1), old(2)])):
        imported = begin(chat, state=state)["id"]
        stands(chat, imported, 1, rows)
        made = listed(chat, f"/v1/imports/{imported}/results", 10)
        if state == "in_review":
            rita.approve(made[0]["id"])
        answer = chat.post(f"/v1/imports/{imported}/undo")
        assert answer.status_code == 200, answer.text
        assert (answer.json()["undone"], answer.json()["kept"]) == (True, [])
        assert chat.post(f"/v1/imports/{imported}/undo").status_code == 200
        for one in made:
            assert chat.introspect(one["token"]) == {"active": False}
        assert put(chat, imported, 2, rows).status_code == 409
        again = begin(chat, state=state)["id"]
        assert again != imported
        assert stands(chat, again, 1, rows)["accepted"] == len(made)
    assert len(fresh.sql("identity", "select rid from record")) == 3


def test_who_became_part_of_another_person_is_kept_when_an_import_is_undone(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    before = chat.registered(person(1), "before")
    rita.approve(before["id"])
    imported = begin(chat)["id"]
    stands(chat, imported, 1, [row(1), row(2)], first=5)
    made = listed(chat, f"/v1/imports/{imported}/results", 10)
    rita.approve(made[0]["id"])
    answer = chat.post(f"/v1/imports/{imported}/undo").json()
    assert (answer["undone"], answer["kept"]) == (True, [5])
    assert chat.introspect(before["token"])["active"]
    assert chat.introspect(made[1]["token"]) == {"active": False}


def test_whom_a_case_holds_is_kept_when_an_import_is_undone_and_the_others_go(fresh: Server) -> None:
    chat = fresh.provider("chat")
    imported = begin(chat)["id"]
    stands(chat, imported, 1, [row(1), row(2), row(3)])
    held = listed(chat, f"/v1/imports/{imported}/results", 10)[1]
    until = (SystemClock().now() + timedelta(days=9)).date().isoformat()
    order = ("--case", "4 Js 1/26", "--legal-basis", "law", "--authority", "court", "--ordered-by", "judge")
    fresh.json("hold", "put", held["account"], *order, "--until", until)
    answer = chat.post(f"/v1/imports/{imported}/undo").json()
    assert (answer["undone"], answer["kept"]) == (True, [2])
    assert [one["handle"] for one in chat.get("/v1/accounts").json()["items"] if one["state"] != "closed"] == ["many2"]
    assert chat.introspect(held["token"])["active"]


def test_an_import_is_undone_within_its_time_alone(fresh: Server) -> None:
    chat = fresh.provider("chat")
    imported = begin(chat)["id"]
    stands(chat, imported, 1, [row(1)])
    fresh.sql("directory", "update import set created = created - 72 * 3600 - 5")
    assert chat.post(f"/v1/imports/{imported}/undo").status_code == 409
    assert len(chat.get("/v1/accounts").json()["items"]) == 1


def test_a_vault_reviewer_approves_an_import_and_who_matches_somebody_stays_in_the_queue(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    anna = chat.registered(person(1), "before")
    rita.approve(anna["id"])
    imported = begin(chat)["id"]
    # The same name and birth date with another document: a candidate, for human eyes.
    alike = {**person(1), "document": {"type": "passport", "country": "UTO", "number": "OTHER12"}}
    stands(chat, imported, 1, [row(10), row(11, identity=alike), row(12), "text", row(1)])
    made = listed(chat, f"/v1/imports/{imported}/results", 10)
    body = {"decision": "approved", "method": "provider_attested"}
    bound = fresh.reviewer("bea", chat)
    assert chat.post(f"/v1/imports/{imported}/decision", body).status_code == 403
    assert bound.post(f"/v1/imports/{imported}/decision", body).status_code == 403
    told = rita.post(f"/v1/imports/{imported}/decision", body)
    assert told.json() == {"approved": 2, "left": [made[1]["id"], made[3]["id"]]}
    states = [chat.registration(one["id"])["state"] for one in made]
    assert states == ["approved", "in_review", "approved", "in_review"]
    assert chat.introspect(made[0]["token"])["scope"] == "read publish"


def test_the_host_approves_an_import_as_a_whole_where_there_are_no_officers(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    anna = chat.registered(person(1), "before")
    rita.approve(anna["id"])
    imported = begin(chat)["id"]
    approve = ("approve-import", imported, "--method", "provider_attested")
    fresh.run(*approve, code=1)  # there is nothing in it
    stands(chat, imported, 1, [row(10), row(12), "text", row(1)])
    for told in ({"approved": 2, "left": 1}, {"approved": 0, "left": 1}):
        assert fresh.json(*approve) == told
    made = listed(chat, f"/v1/imports/{imported}/results", 10)
    assert [chat.registration(one["id"])["state"] for one in made] == ["approved", "approved", "in_review"]
    assert chat.introspect(made[0]["token"])["assurance"] == "vault"
    for wrong in ("imp_AAAAAAAAAAAAAAAAAAAAAA", "nothing"):
        fresh.run("approve-import", wrong, "--method", "provider_attested", code=1)
    assert fresh.json("fsck", "--grace-minutes", "0")["clean"]


def test_an_import_is_approved_in_groups_with_a_line_an_event_and_a_state_for_each(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    imported = begin(chat)["id"]
    many = 2 * approving.TOGETHER + 3
    for number, first in enumerate(range(1, many + 1, 300), 1):
        places = range(first, min(first + 300, many + 1))
        # Every seventh is of a kind that needs no review of its own; two are the same person.
        rows = [row(at, kind="public" if at % 7 else "personal") for at in places]
        stands(chat, imported, number, [{**one, "identity": person(5)} if at == 205 else one
                                        for at, one in zip(places, rows, strict=True)], first)  # fmt: skip
    made = listed(chat, f"/v1/imports/{imported}/results", 300)
    told = rita.post(f"/v1/imports/{imported}/decision", {"decision": "approved", "method": "provider_attested"})
    assert told.json() == {"approved": many - 1, "left": [made[204]["id"]]}
    registrations = {one["id"]: one["state"] for one in listed(chat, "/v1/registrations", 100)}
    assert Counter(registrations.values()) == {"approved": many - 1, "in_review": 1}
    assert registrations[made[204]["id"]] == "in_review"
    assert Counter(one["state"] for one in listed(chat, "/v1/accounts", 100)) == {"approved": many - 1, "in_review": 1}
    for at in (0, 6, 299, many - 1):
        answer = chat.introspect(made[at]["token"])
        assert (answer["scope"], answer["assurance"]) == ("read publish", "vault")
    assert len(fresh.sql("directory", "select 1 from event where type = 'registration-decided'")) == many - 1
    assert len(fresh.sql("directory", "select 1 from person_tag")) == many - 1
    assert len(fresh.sql("directory", "select 1 from local_tag where kind = 'document_birth'")) == many - 1
    assert len(fresh.sql("identity", "select 1 from fingerprint")) == 2 * (many - 1)


def organisation(number: int, **more: Any) -> dict[str, Any]:
    """Return a row of an organisation, represented by the person of the same number."""
    base = f"5299{number:014}"
    stated = {
        "legal_name": f"Specimen {number}", "country": "DEU",
        "registration": {"scheme": "lei", "number": base + mod_97_10.calc_check_digits(base)},
    }  # fmt: skip
    one = {**row(number), "organization": stated, "representative": person(number), **more}
    del one["identity"]
    return one


def test_an_import_of_organisations_is_approved_in_groups_with_those_who_represent_them(fresh: Server) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    rita.approve(chat.registered(person(7), "before")["id"])
    imported = begin(chat)["id"]
    rows = [organisation(at) if at % 2 else row(at) for at in range(30)]
    # A number that another one has, and a representative that another one has.
    rows += [organisation(40, organization=organisation(3)["organization"]),
             organisation(41, representative=person(5))]  # fmt: skip
    stands(chat, imported, 1, rows)
    made = listed(chat, f"/v1/imports/{imported}/results", 100)
    left = [made[7]["id"], made[30]["id"], made[31]["id"]]
    told = rita.post(f"/v1/imports/{imported}/decision", {"decision": "approved", "method": "provider_attested"})
    assert told.json() == {"approved": 29, "left": left}
    states = {one["id"]: one["state"] for one in listed(chat, "/v1/registrations", 100)}
    assert {reg for reg, state in states.items() if state == "in_review"} == set(left)
    for at in (1, 2, 29):
        answer = chat.introspect(made[at]["token"])
        assert (answer["scope"], answer["assurance"]) == ("read publish", "vault")
    shown = chat.registration(made[1]["id"])
    assert chat.introspect(shown["representative_token"])["assurance"] == "vault"
    assert _leaves(fresh, "registration.decided") == 1 + 29
    assert len(fresh.sql("directory", "select 1 from person_tag")) == 1 + 15 + 2 * 14
    assert len(fresh.sql("directory", "select 1 from event where type = 'registration-decided'")) == 1 + 29
    assert rita.post(f"/v1/imports/{imported}/decision", {"decision": "approved", "method": "provider_attested"}
                     ).json() == {"approved": 0, "left": left}  # fmt: skip


def test_a_call_ends_in_its_time_also_where_each_is_decided_alone_and_none_is_told_of_twice(fresh: Server) -> None:
    """One person represents them all: whoever comes after the first is asked for alone."""
    fresh.stop()
    fresh.environment["IDVAULT_IMPORT_STEP_SECONDS"] = "1"
    fresh.start()
    chat, rita, many = fresh.provider("chat"), fresh.reviewer("rita"), 150
    imported = begin(chat)["id"]
    stands(chat, imported, 1, [organisation(at, representative=person(1)) for at in range(many)])
    made = listed(chat, f"/v1/imports/{imported}/results", 100)
    approved, left, calls, more = 0, list[str](), 0, dict[str, str]()
    while calls == 0 or more:
        begun = time.monotonic()
        told = rita.post(f"/v1/imports/{imported}/decision",
                         {"decision": "approved", "method": "provider_attested", **more}).json()  # fmt: skip
        assert time.monotonic() - begun < 8
        approved, left, calls = approved + told["approved"], left + told["left"], calls + 1
        more = {"cursor": told["next"]} if "next" in told else {}
    assert (approved, left) == (1, [one["id"] for one in made[1:]])
    assert calls > 1


@pytest.mark.costly
@pytest.mark.parametrize("part", ["server", "agent"])
def test_a_killed_approval_of_an_import_goes_on_and_approves_nobody_twice(
    fresh: Server, part: str, drawn: random.Random, *, full: bool
) -> None:
    chat = fresh.provider("chat")
    imported, many = begin(chat)["id"], 600
    for number in (1, 2):
        stands(chat, imported, number, [row(300 * number + at) for at in range(300)], first=300 * number)
    body = {"decision": "approved", "method": "provider_attested"}
    told = 0
    delays = (0.1, 0.25, 0.4)
    for delay in delays if full else drawn.sample(delays, 2):
        rita = fresh.reviewer(f"rita{delay}")
        end = fresh.kill if part == "server" else partial(os.kill, holders(fresh)["names"], signal.SIGKILL)
        killer = threading.Timer(delay, end)
        killer.start()
        with contextlib.suppress(httpx.TransportError):
            answer = rita.post(f"/v1/imports/{imported}/decision", body)
            told += answer.json()["approved"] if answer.status_code == httpx.codes.OK else 0
        killer.join()
        if part == "server":
            fresh.start()
        assert eventually(lambda: is_ready(fresh))
    rita, more = fresh.reviewer("rita"), dict[str, str]()
    while True:  # a slow machine does not end it in one call
        last = rita.post(f"/v1/imports/{imported}/decision", body | more)
        assert (last.status_code, last.json()["left"]) == (200, [])
        told += last.json()["approved"]
        if "next" not in last.json():
            break
        more = {"cursor": last.json()["next"]}
    assert told <= many
    _await_no_intent(fresh)
    assert {one["state"] for one in listed(chat, "/v1/registrations", 200)} == {"approved"}
    assert len(fresh.sql("directory", "select 1 from event where type = 'registration-decided'")) == many
    assert len(fresh.sql("directory", "select 1 from person_tag")) == many
    assert _leaves(fresh, "registration.decided") == many


def _leaves(server: Server, kind: str) -> int:
    """Return how many acts of a kind were written down, in the log or on their way to it."""
    return len(server.sql("keys", f"select 1 from audit_outbox where type = '{kind}'"))  # noqa: S608 - our own constant


@pytest.mark.costly
@pytest.mark.parametrize("state", ["in_review", "legacy"])
def test_a_chunk_whose_server_is_killed_stands_once_after_its_retry(
    fresh: Server, state: str, drawn: random.Random, *, full: bool
) -> None:
    chat = fresh.provider("chat")
    imported = begin(chat, state=state)["id"]
    make = row if state == "in_review" else old
    delays = (0.01, 0.04, 0.08, 0.15) if full else (drawn.uniform(0.01, 0.05), drawn.uniform(0.05, 0.15))
    for number, delay in enumerate(delays, 1):
        rows = [make(1000 * number + at) for at in range(200)]
        killer = threading.Timer(delay, fresh.kill)
        killer.start()
        with contextlib.suppress(httpx.TransportError):
            put(chat, imported, number, rows, first=1000 * number)
        killer.join()
        fresh.start()
        assert _retried(chat, imported, number, rows) == {"accepted": 200, "refused": []}
    made = listed(chat, f"/v1/imports/{imported}/results", 300)
    assert [one["row"] for one in made] == [
        1000 * number + at for number in range(1, len(delays) + 1) for at in range(200)
    ]
    assert fresh.json("fsck", "--grace-minutes", "0")["clean"]
    _await_no_intent(fresh)
    many = 200 * len(delays)
    counts = {"directory.account": many, "identity.record": many if state == "in_review" else 0}
    for place, count in counts.items():
        store, table = place.split(".")
        assert len(fresh.sql(store, f"select 1 from {table}")) == count  # noqa: S608 - constants above


def _retried(client: Client, imported: str, number: int, rows: list[Any]) -> Any:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        answer = put(client, imported, number, rows, first=1000 * number)
        if answer.status_code == 200:
            return answer.json()
        assert answer.status_code in {409, 503}, answer.text
        time.sleep(0.3)
    raise AssertionError(answer.text)


def _await_no_intent(server: Server) -> None:
    """Wait until the service itself has finished what the kill left open: its lease is 20 seconds."""
    end = time.monotonic() + 40
    while server.sql("keys", "select id from intent"):
        assert time.monotonic() < end
        time.sleep(0.5)


def test_refusals_of_several_chunks_are_listed_page_by_page_without_loss(fresh: Server) -> None:
    chat = fresh.provider("chat")
    imported = begin(chat, state="legacy")["id"]
    for number, first in ((1, 1), (2, 4), (3, 8)):
        rows = [{"handle": "", "kind": "public"}] * (3 if number != 2 else 4)
        stands(chat, imported, number, [*rows, old(number)] if number == 2 else rows, first)
    for limit in (1, 2, 3, 4, 5, 20):
        told = [item["row"] for item in listed(chat, f"/v1/imports/{imported}/refused", limit)]
        assert told == [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]
