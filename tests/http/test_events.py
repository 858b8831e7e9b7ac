"""A provider is told of its own as it happens: in order, once, and of nothing that a GET would not show it."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from tests.http.test_processes import eventually
from tests.http.test_retention import becomes, count
from tests.people import person
from tests.serving import Client, Server

SOON_SECONDS = 3.0
WORKING, LISTENING = 2, 4


def told(client: Client, after: str | None = None, **more: Any) -> dict[str, Any]:
    query = more if after is None else {"after": after, **more}
    answer = client.get("/v1/events", params=query)
    assert answer.status_code == httpx.codes.OK, answer.text
    found: dict[str, Any] = answer.json()
    return found


def another(client: Client) -> Client:
    """The same client, over a connection of its own that outlives the server."""
    made = Client(client.server, client.id, client.secret)
    client.server.clients.remove(made)
    made.token = client.token or client.authorise()
    return made


def await_resting(server: Server, number: int) -> None:
    """Wait until the vault itself says how many rest, which each of its workers tells once a second."""
    made = server.json("operator", "add", "watch")
    watch, said = Client(server, made["client_id"], made["client_secret"]), f"requests_listening {number}.0\n"
    assert eventually(lambda: said in watch.get("/metrics").text, 15)


def test_a_decision_is_told_to_the_provider_of_the_registration_alone_and_by_its_id_alone(server: Server) -> None:
    chat, blog, rita = server.provider("e-chat"), server.provider("e-blog"), server.reviewer("e-rita")
    here = [chat.registered(person(40 + number), f"here{number}") for number in range(3)]
    there = blog.registered(person(40), "there")
    assert told(chat)["items"] == [], "that it was handed in is no news to who did it"
    decisions: list[tuple[str, dict[str, Any]]] = [
        ("approved", {}), ("returned", {"reason": "unreadable", "fix": ["legal_name"]}),
        ("rejected", {"reason": "not_the_holder"}),
    ]  # fmt: skip
    for made, (decision, more) in zip(here, decisions, strict=True):
        rita.reveal(made["id"])
        assert rita.decide(made["id"], decision, **more).status_code == httpx.codes.OK
    found = told(chat)
    assert [one["registration"] for one in found["items"]] == [made["id"] for made in here]
    for one in found["items"]:
        assert set(one) == {"id", "type", "at", "registration"}
        assert one["type"] == "registration-decided"
        assert one["id"].startswith("evt_")
        assert one["at"].endswith(":00Z"), "no finer than a minute"
    assert len({one["id"] for one in found["items"]}) == len(here)
    assert told(chat, found["next"])["items"] == []
    assert told(blog)["items"] == []
    rita.reveal(there["id"])
    shown = rita.reveal(there["id"])["candidates"]
    verdicts = [{"id": one["id"], "verdict": "same_person"} for one in shown]
    rita.approve(there["id"], **({"candidates": verdicts} if verdicts else {}))
    assert [one["registration"] for one in told(blog)["items"]] == [there["id"]]
    assert told(chat, found["next"])["items"] == [], "who is found to be the same elsewhere is nobody's news"


def test_a_match_is_no_news_whatever_becomes_of_it(fresh: Server) -> None:
    chat, blog = fresh.provider("chat"), fresh.provider("blog")
    bound, rita = fresh.reviewer("bea", chat), fresh.reviewer("rita")
    known = blog.registered(person(1), "there")
    rita.reveal(known["id"])
    rita.approve(known["id"])
    made = chat.registered(person(1), "here")
    bound.reveal(made["id"])
    bound.approve(made["id"])
    before = [told(client)["items"] for client in (chat, blog)]
    assert [len(items) for items in before] == [1, 1]
    match = rita.post("/v1/reviews/next").json()
    assert match["kind"] == "match"
    shown = rita.reveal(match["id"])["candidates"]
    rita.approve(match["id"], candidates=[{"id": one["id"], "verdict": "same_person"} for one in shown])
    becomes(0, lambda: count(fresh, "keys", "intent"))
    assert [told(client)["items"] for client in (chat, blog)] == before


def test_pages_follow_each_other_and_a_cursor_is_good_for_one_feed_of_one_client(server: Server) -> None:
    chat, blog, rita = server.provider("p-chat"), server.provider("p-blog"), server.reviewer("p-rita")
    regs = [chat.registered(person(60 + number), f"page{number}")["id"] for number in range(5)]
    for reg in regs:
        assert rita.decide(reg, "rejected", reason="not_the_holder").status_code == httpx.codes.OK
    seen, cursor = list[str](), None
    while page := told(chat, cursor, limit=2)["items"]:
        assert len(page) <= 2
        seen += [one["registration"] for one in page]
        cursor = told(chat, cursor, limit=2)["next"]
    assert seen == regs
    assert cursor is not None
    for client, path, name in (
        (blog, "/v1/events", "after"),
        (chat, "/v1/sanctions", "cursor"),
        (chat, "/v1/accounts", "cursor"),
    ):
        refused = client.get(path, params={name: cursor})
        assert (refused.status_code, refused.json()["type"]) == (400, "urn:idvault:problem:malformed")
    lists = chat.get("/v1/registrations", params={"limit": 1}).json()["next"]
    for bad in (lists, cursor[:-1], "cur_x"):
        assert chat.get("/v1/events", params={"after": bad}).status_code == httpx.codes.BAD_REQUEST
    for wait in ("21", "-1", "1.5", "soon"):
        assert chat.get("/v1/events", params={"wait": wait}).status_code == httpx.codes.UNPROCESSABLE_ENTITY


def test_who_waits_is_told_as_soon_as_it_happens_and_else_after_his_time(server: Server) -> None:
    chat, rita = server.provider("w-chat"), server.reviewer("w-rita")
    reg = chat.registered(person(70), "waiting")["id"]
    started = time.monotonic()
    assert told(chat, wait=1)["items"] == []
    assert 0.9 < time.monotonic() - started < SOON_SECONDS
    listener = another(chat)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(told, listener, wait=20)
        assert not eventually(waiting.done, 0.5)
        started = time.monotonic()
        assert rita.decide(reg, "rejected", reason="not_the_holder").status_code == httpx.codes.OK
        assert [one["registration"] for one in waiting.result()["items"]] == [reg]
        assert time.monotonic() - started < SOON_SECONDS
    listener.http.close()


def test_those_who_listen_keep_nobody_from_work_and_one_too_many_is_answered_at_once(tmp_path: Path) -> None:
    served = Server(
        tmp_path / "home", IDVAULT_WORKERS="1", IDVAULT_BLOCKING_THREADS=str(WORKING),
        IDVAULT_LISTENING_REQUESTS=str(LISTENING), IDVAULT_WAITING_REQUESTS="4",
    ).start()  # fmt: skip
    chat = served.provider("chat")
    listeners, first = [another(chat) for _ in range(LISTENING)], told(chat)["next"]
    with ThreadPoolExecutor(LISTENING) as pool:
        waiting = [pool.submit(told, one, first, wait=20) for one in listeners]
        await_resting(served, LISTENING)
        for number in range(2 * WORKING + 1):
            started = time.monotonic()
            chat.registered(person(number), f"busy{number}")
            assert time.monotonic() - started < SOON_SECONDS
        started = time.monotonic()
        assert told(chat, first, wait=20)["items"] == []
        assert time.monotonic() - started < SOON_SECONDS, "nobody rests whom there is no room for"
        assert not any(one.done() for one in waiting)
        # Told to end, the server answers those who rest, and does not wait their time out.
        started = time.monotonic()
        assert served.stop() == 0
        assert time.monotonic() - started < 15, "it would have waited 20 seconds"
        assert [one.result()["items"] for one in waiting] == [[]] * LISTENING
    for one in listeners:
        one.http.close()


def test_who_waits_while_the_vault_is_sealed_is_told_nothing(fresh: Server) -> None:
    chat = fresh.provider("chat")
    chat.authorise()
    outcome, listening = list[object](), another(chat)

    def listen() -> None:
        try:
            outcome.append(listening.get("/v1/events", params={"wait": 20}).status_code)
        except httpx.TransportError as error:
            outcome.append(type(error))
        listening.http.close()

    listener = threading.Thread(target=listen)
    listener.start()
    await_resting(fresh, 1)
    started = time.monotonic()
    fresh.run("keys", "seal")
    listener.join(15)
    assert time.monotonic() - started < 8
    assert outcome
    assert outcome[0] != httpx.codes.OK


def test_an_event_is_kept_for_thirty_days_and_the_next_one_comes_after_the_cursor_of_one_that_went(
    fresh: Server,
) -> None:
    chat, rita = fresh.provider("chat"), fresh.reviewer("rita")
    going, staying, coming = (chat.registered(person(number), f"kept{number}")["id"] for number in range(3))
    for reg in (going, staying):
        assert rita.decide(reg, "rejected", reason="not_the_holder").status_code == httpx.codes.OK

    def age(days: float, place: int) -> None:
        numbers = sorted(number for (number,) in fresh.sql("directory", "SELECT number FROM event"))
        then = int((time.time() - days * 86_400) * 1000)
        fresh.sql("directory", "UPDATE event SET number = ? WHERE number = ?", then, numbers[place])

    age(29.9, 1)
    age(29.95, 1)
    first = told(chat, limit=1)
    assert [one["registration"] for one in first["items"]] == [going]
    age(30.1, 0)
    becomes(1, lambda: count(fresh, "directory", "event"))
    assert [one["registration"] for one in told(chat, first["next"])["items"]] == [staying]
    assert rita.decide(coming, "rejected", reason="not_the_holder").status_code == httpx.codes.OK
    assert [one["registration"] for one in told(chat, first["next"])["items"]] == [staying, coming]
