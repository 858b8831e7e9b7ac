"""Introspections that are answered from memory: whatever another process does, the next one knows of it."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import pytest

from tests import serving
from tests.forking import in_fork
from tests.http.crashing import is_whole
from tests.http.test_processes import eventually
from tests.people import person
from tests.serving import NO_TLS, Client, Server

ASKED = 24
"""Enough, each on a connection of its own, that every worker is asked."""
READERS = 4
SECONDS = 6.0
"""A little more than what a worker remembers is kept at most (`keys` are asked for again after five)."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("remembered") / "home")
    # On PostgreSQL it is named, where SQLite's is.
    made.environment["IDVAULT_DIRECTORY_CHANGES"] = str(made.home / serving.CHANGES)
    yield made.start()
    assert made.stop() == 0


def _asked(client: Client, token: str, secret: str = "", **more: str) -> httpx.Response:
    with httpx.Client(base_url=client.server.url, verify=NO_TLS) as fresh:
        return fresh.post("/oauth/introspect", data={"token": token, **more}, auth=(client.id, secret or client.secret))


def _all(client: Client, token: str, secret: str = "", **more: str) -> list[httpx.Response]:
    """Ask every worker several times, so that each remembers what it may."""
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda _: _asked(client, token, secret, **more), range(ASKED)))


def _bodies(client: Client, token: str, **more: str) -> set[bytes]:
    answers = _all(client, token, **more)
    assert {answer.status_code for answer in answers} == {200}
    return {answer.content for answer in answers}


def _remembered(watcher: Client) -> float:
    page = watcher.get("/metrics").text.splitlines()
    line = next(one for one in page if one.startswith("idvault_introspections_remembered_total "))
    return float(line.rpartition(" ")[2])


def test_answers_are_remembered_and_are_byte_for_byte_what_was_read(served: Server, chat: Client) -> None:
    made = served.json("operator", "add", "remembered")
    watcher = Client(served, made["client_id"], made["client_secret"])
    one = chat.registered(person(81_000), "remembered")
    first, before = _asked(chat, one["token"]), _remembered(watcher)
    assert _bodies(chat, one["token"]) == {first.content}
    end = time.monotonic() + 10
    while _remembered(watcher) < before + ASKED / 2:  # each worker reads once, and tells its counts once a second
        assert time.monotonic() < end
        assert _bodies(chat, one["token"]) == {first.content}


def test_a_sanction_and_its_lifting_are_in_force_at_the_next_call_in_every_worker(chat: Client) -> None:
    one = chat.registered(person(81_001), "sanctioned")
    body = {"token": one["token"], "rung": "suspend_updates", "until": "2031-01-01T00:00:00Z", "ground": "spam",
            "facts": "x", "by": "mod-1"}  # fmt: skip
    for _ in range(3):
        free = _bodies(chat, one["token"])
        assert b'"scope":"read"' in free.pop()
        set_ = chat.post("/v1/sanctions", body)
        assert set_.status_code == 201, set_.text
        bodies = _bodies(chat, one["token"])
        assert len(bodies) == 1
        assert b'"scope":""' in bodies.pop()
        lifted = chat.post(f"/v1/sanctions/{set_.json()['id']}/lift", {"reason": "mistake", "by": "mod-1"})
        assert lifted.is_success, lifted.text


def test_a_decision_a_new_account_and_an_erasure_are_known_at_the_next_call(chat: Client, rita: Client) -> None:
    one = chat.registered(person(81_002), "decided")
    assert all(b"publish" not in body for body in _bodies(chat, one["token"]))
    rita.approve(one["id"])
    assert all(b"read publish" in body for body in _bodies(chat, one["token"]))
    made = chat.post("/v1/accounts", {"token": one["token"], "handle": "decided2", "kind": "public"})
    assert made.is_success, made.text
    assert all(b"publish" not in body for body in _bodies(chat, one["token"])), "of all accounts together"
    assert chat.call("DELETE", f"/v1/registrations/{one['id']}").is_success
    assert _bodies(chat, one["token"]) == {b'{"active":false}'}


def test_what_a_command_does_to_a_provider_is_known_at_the_next_call(served: Server) -> None:
    blog = served.provider("remembered-blog")
    one, former = blog.registered(person(81_003), "blogger"), blog.secret
    assert {answer.status_code for answer in _all(blog, one["token"])} == {200}
    served.json("provider", "suspend", "remembered-blog")
    assert {answer.status_code for answer in _all(blog, one["token"])} == {401}
    served.json("provider", "renew", "remembered-blog")
    assert {answer.status_code for answer in _all(blog, one["token"])} == {200}
    blog.secret = served.json("provider", "rotate-secret", "remembered-blog")["client_secret"]
    for secret in (former, blog.secret):
        assert {answer.status_code for answer in _all(blog, one["token"], secret)} == {200}
    blog.token = ""
    assert blog.call("DELETE", "/v1/provider/secrets").is_success
    assert {answer.status_code for answer in _all(blog, one["token"], former)} == {401}
    assert {answer.status_code for answer in _all(blog, one["token"], "wrong")} == {401}
    assert {answer.status_code for answer in _all(blog, one["token"])} == {200}


def test_an_access_token_that_is_revoked_is_none_at_the_next_call_in_any_worker(served: Server) -> None:
    """Nor is that of a provider that is suspended; the other's stays good, and answers as before."""
    early, other = served.provider("remembered-early"), served.provider("remembered-other")

    def asked(token: str) -> int:
        with httpx.Client(base_url=served.url, verify=NO_TLS) as fresh:
            return fresh.get("/v1/events", headers={"Authorization": f"Bearer {token}"}).status_code

    def statuses(token: str) -> set[int]:
        with ThreadPoolExecutor(4) as pool:
            return set(pool.map(asked, [token] * ASKED))

    for _ in range(3):
        early.token = ""
        first, second = early.authorise(), other.authorise()
        assert statuses(first) | statuses(second) == {200}
        auth = (early.id, early.secret)
        assert early.http.post("/oauth/revoke", data={"token": first}, auth=auth).is_success
        assert statuses(first) == {401}
        assert statuses(second) == {200}
    early.token = ""
    last = early.authorise()
    assert statuses(last) == {200}
    served.json("provider", "suspend", "remembered-early")
    assert statuses(last) == {401}
    served.json("provider", "renew", "remembered-early")
    assert statuses(last) == {200}


def test_who_is_no_client_any_more_gets_no_token_at_the_next_call_in_any_worker(served: Server) -> None:
    brief = served.provider("remembered-brief")
    former = brief.secret

    def asked(secret: str) -> int:
        with httpx.Client(base_url=served.url, verify=NO_TLS) as fresh:
            form = {"grant_type": "client_credentials"}
            return fresh.post("/oauth/token", data=form, auth=(brief.id, secret)).status_code

    def statuses(secret: str) -> set[int]:
        with ThreadPoolExecutor(4) as pool:
            return set(pool.map(asked, [secret] * ASKED))

    for _ in range(3):
        assert statuses(former) == {200}
        served.json("provider", "suspend", "remembered-brief")
        assert statuses(former) == {401}
        served.json("provider", "renew", "remembered-brief")
    brief.secret = served.json("provider", "rotate-secret", "remembered-brief")["client_secret"]
    assert statuses(former) | statuses(brief.secret) == {200}
    assert brief.call("DELETE", "/v1/provider/secrets").is_success
    assert statuses(former) | statuses("wrong") == {401}
    assert statuses(brief.secret) == {200}
    # Past the service: what is remembered is given for five seconds more, and no longer.
    served.sql_untold("directory", "UPDATE client SET state = 'disabled' WHERE id = ?", brief.id)
    assert 200 in statuses(brief.secret)
    time.sleep(SECONDS)
    assert statuses(brief.secret) == {401}


def test_what_was_set_before_a_call_was_made_is_what_that_call_is_told(chat: Client) -> None:
    one = chat.registered(person(81_004), "raced")
    changes: list[tuple[float, float, str]] = [(0.0, 0.0, "read")]
    """When it was begun, when it was acknowledged, and what is told from then on."""
    seen: list[tuple[float, float, str]] = []
    """When it was asked, when it was told, and what."""
    written = threading.Event()

    def changed(told: str, call: Callable[[], httpx.Response]) -> dict[str, Any]:
        begun, before = time.monotonic(), len(seen)
        answer = call()
        changes.append((begun, time.monotonic(), told))
        while len(seen) < before + 3 * READERS:  # some are asked after it, by each
            time.sleep(0.005)
        result: dict[str, Any] = answer.json()
        return result

    def read(_: int) -> None:
        with httpx.Client(base_url=chat.server.url, verify=NO_TLS) as own:
            while not written.is_set():
                asked = time.monotonic()
                answer = own.post("/oauth/introspect", data={"token": one["token"]}, auth=(chat.id, chat.secret))
                seen.append((asked, time.monotonic(), answer.json()["scope"]))

    body = {"token": one["token"], "rung": "suspend_updates", "until": "2031-01-01T00:00:00Z", "ground": "spam",
            "facts": "x", "by": "mod-1"}  # fmt: skip
    lift = {"reason": "mistake", "by": "mod-1"}
    with ThreadPoolExecutor(READERS) as pool:
        reading = [pool.submit(read, number) for number in range(READERS)]
        try:
            for _ in range(10):
                made = changed("", lambda: chat.post("/v1/sanctions", body))
                changed("read", partial(chat.post, f"/v1/sanctions/{made['id']}/lift", lift))
        finally:
            written.set()
        for done in reading:
            done.result()
    for asked, told, scope in seen:
        *_, current = (text for _, acknowledged, text in changes if acknowledged <= asked)
        under_way = {text for begun, acknowledged, text in changes if begun <= told and acknowledged > asked}
        assert scope in {current, *under_way}


def _heals(served: Server, name: str, number: int) -> None:
    """Check that all know within seconds what a command did, and from then on at the next call."""
    shop, other = served.provider(f"{name}-shop"), served.provider(f"{name}-other")
    one, two = shop.registered(person(number), name), other.registered(person(number + 1), name)
    for client, made in ((shop, one), (other, two)):
        assert {answer.status_code for answer in _all(client, made["token"])} == {200}
    served.json("provider", "suspend", f"{name}-other")
    time.sleep(SECONDS)
    assert {answer.status_code for answer in _all(other, two["token"])} == {401}
    body = {"token": one["token"], "rung": "suspend_updates", "until": "2031-01-01T00:00:00Z", "ground": "spam",
            "facts": "x", "by": "mod-1"}  # fmt: skip
    for _ in range(3):
        assert b'"scope":"read"' in _bodies(shop, one["token"]).pop()
        set_ = shop.post("/v1/sanctions", body)
        assert set_.status_code == 201, set_.text
        assert {b'"scope":""' in body for body in _bodies(shop, one["token"])} == {True}
        assert shop.post(f"/v1/sanctions/{set_.json()['id']}/lift", {"reason": "mistake", "by": "mod-1"}).is_success
    assert b'"scope":"read"' in _bodies(shop, one["token"]).pop()
    served.json("provider", "suspend", f"{name}-shop")
    assert {answer.status_code for answer in _all(shop, one["token"])} == {401}


@pytest.mark.sqlite  # on PostgreSQL it is named, or there is none
def test_a_file_of_changes_that_is_removed_while_serving_is_made_anew_and_all_go_over_to_it(fresh: Server) -> None:
    chat = fresh.provider("remembered-removed")
    one = chat.registered(person(81_100), "removed")
    assert {answer.status_code for answer in _all(chat, one["token"])} == {200}
    (fresh.home / serving.CHANGES).unlink()
    _heals(fresh, "removed", 81_101)


@pytest.mark.sqlite  # on PostgreSQL it is named, or there is none
def test_a_file_of_changes_that_is_emptied_while_serving_ends_whoever_reads_it_and_all_is_told_again(
    fresh: Server,
) -> None:
    chat = fresh.provider("remembered-emptied")
    one = chat.registered(person(81_200), "emptied")
    assert {answer.status_code for answer in _all(chat, one["token"])} == {200}
    os.truncate(fresh.home / serving.CHANGES, 0)
    for _ in range(8):  # some meet a worker that ends
        with suppress(httpx.TransportError):
            _asked(chat, one["token"])
    assert eventually(lambda: is_whole(fresh), 20)
    _heals(fresh, "emptied", 81_201)


def test_where_the_file_of_changes_cannot_be_had_nothing_is_written_nothing_is_stale_and_all_goes_on_afterwards(
    fresh: Server,
) -> None:
    """It is replaced by a folder: writes are refused as where the store is away, and done when they are said again."""
    fresh.stop()
    fresh.environment["IDVAULT_DIRECTORY_CHANGES"] = str(fresh.home / serving.CHANGES)
    fresh.start()
    chat, rita = fresh.provider("remembered-gone"), fresh.reviewer("rita")
    one, waits, goes = (chat.registered(person(81_300 + n), f"gone{n}") for n in range(3))
    body = {"token": one["token"], "rung": "suspend_updates", "until": "2031-01-01T00:00:00Z", "ground": "spam",
            "facts": "x", "by": "mod-1"}  # fmt: skip
    rita.reveal(waits["id"])
    assert b'"scope":"read"' in _bodies(chat, one["token"]).pop()
    (fresh.home / serving.CHANGES).unlink()
    (fresh.home / serving.CHANGES).mkdir()
    for _ in range(2):
        refused = [
            chat.post("/v1/sanctions", body), chat.register(person(81_303), "later", headers={"Idempotency-Key": "k1"}),
            rita.decide(waits["id"]), chat.call("DELETE", f"/v1/registrations/{goes['id']}"),
        ]  # fmt: skip
        assert [answer.status_code for answer in refused] == [503] * 4, [answer.text for answer in refused]
        assert all(answer.headers["Retry-After"] == "1" for answer in refused)
        assert b'"scope":"read"' in _bodies(chat, one["token"]).pop(), "what is not told is not done"
    fresh.run("provider", "suspend", "remembered-gone", code=1)
    assert chat.registration(one["id"])["state"] == "in_review"
    (fresh.home / serving.CHANGES).rmdir()
    assert chat.post("/v1/sanctions", body).status_code == 201
    assert {b'"scope":""' in told for told in _bodies(chat, one["token"])} == {True}
    later = chat.register(person(81_303), "later", headers={"Idempotency-Key": "k1"})
    assert later.status_code == 202, later.text
    # What had begun in the key store is finished by whoever comes first: a retry, or housekeeping.
    assert rita.decide(waits["id"]).status_code in {200, 409}
    assert eventually(lambda: chat.registration(waits["id"])["state"] == "approved", 20)
    assert {b"publish" in told for told in _bodies(chat, waits["token"])} == {True}
    assert chat.call("DELETE", f"/v1/registrations/{goes['id']}").status_code in {204, 404}
    assert _bodies(chat, goes["token"]) == {b'{"active":false}'}
    assert fresh.json("fsck", "--grace-minutes", "0")["clean"]


@pytest.mark.postgresql  # beside a SQLite directory the file is found, whatever is set
def test_whoever_would_write_without_telling_those_who_remember_is_refused(served: Server, chat: Client) -> None:
    one = chat.registered(person(81_400), "untold")
    assert len(_bodies(chat, one["token"])) == 1
    said = ("provider", "add", "untold", "--sector", "untold.example")
    for other in ("", str(served.home / "another.changes")):
        untold = in_fork(said, served.environment | {"IDVAULT_DIRECTORY_CHANGES": other})
        assert untold.returncode == 1
        assert "directory_changes: another process" in untold.stderr
    served.run(*said)
    untold = in_fork(("provider", "suspend", "untold"), served.environment | {"IDVAULT_DIRECTORY_CHANGES": ""})
    assert untold.returncode == 1
    assert len(_bodies(chat, one["token"])) == 1


@pytest.mark.postgresql
def test_whoever_would_remember_beside_those_who_do_not_tell_is_refused(fresh: Server) -> None:
    fresh.provider("before")
    named = fresh.environment | {"IDVAULT_DIRECTORY_CHANGES": str(fresh.home / serving.CHANGES)}
    refused = in_fork(("provider", "suspend", "before"), named)
    assert refused.returncode == 1
    assert "directory_changes: another process" in refused.stderr
    fresh.stop()
    done = in_fork(("provider", "suspend", "before"), named, forks=True)
    assert done.returncode == 0, done.stderr


def test_a_sealed_vault_answers_nothing_from_memory(fresh: Server) -> None:
    chat = fresh.provider("remembered-sealed")
    one = chat.registered(person(81_005), "sealed")
    assert {answer.status_code for answer in _all(chat, one["token"])} == {200}
    fresh.run("keys", "seal")
    statuses = set()
    for _ in range(ASKED):
        try:
            statuses.add(_asked(chat, one["token"]).status_code)
        except httpx.TransportError:  # a worker that had keys has just ended
            continue
    assert statuses <= {503}
