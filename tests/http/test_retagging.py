"""The key of tags rotates under a vault that is used: who is known stays known, who is banned stays banned, nobody is
asked again, and in the end nothing is under the former version but what a ban keeps of the erased (A71)."""

import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.http.exchanges import token_at, two_providers
from tests.http.test_going import delete
from tests.http.test_rotation import keys
from tests.people import person
from tests.serving import BIN, Client, Server


@pytest.fixture
def served(fresh: Server) -> Iterator[Server]:
    yield fresh
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def ban(client: Client, token: str) -> None:
    body = {"token": token, "rung": "close", "ban_until": "2031-01-01T00:00:00Z", "ground": "threats",
            "facts": "as seen", "by": "mod-1"}  # fmt: skip
    assert client.post("/v1/sanctions", body).status_code == 201


def approved(client: Client, reviewer: Client, number: int, handle: str) -> dict[str, Any]:
    made = client.registered(person(number), handle)
    reviewer.approve(made["id"])
    return client.registration(made["id"])


def meets_his_ban(client: Client, reviewer: Client, number: int, handle: str) -> None:
    """Check that somebody who registers again is found to be who was banned."""
    back = client.registered(person(number), handle)
    shown = reviewer.reveal(back["id"])
    assert shown["returner"] is True, handle
    assert shown["sanctions"][0]["rung"] == "close"
    assert reviewer.decide(back["id"], shown=shown["shown"]).status_code == 200
    assert client.introspect(back["token"])["active"] is False


def versions(server: Server) -> tuple[set[int], set[int]]:
    """Return the versions of local tags and of fingerprints that stand."""
    local = {bytes(row[0])[0] for row in server.sql("directory", "SELECT tag FROM local_tag")}
    return local, {bytes(row[0])[0] for row in server.sql("identity", "SELECT tag FROM fingerprint")}


def persons(server: Server) -> int:
    return int(server.sql("keys", "SELECT count(*) FROM person")[0][0])


def rotate(server: Server) -> None:
    assert keys(server, "rotate", "fingerprint", "--from", "1")["version"] == 2


def states(server: Server) -> dict[int, str]:
    return {key["version"]: key["state"] for key in keys(server, "keys")["keys"] if key["purpose"] == "fingerprint"}


def test_a71_who_is_banned_is_recognised_before_amid_and_after_all_tags_are_made_anew(served: Server) -> None:
    chat, bank, rita = served.provider("chat"), served.provider("bank"), served.reviewer("rita")
    banned = [approved(chat, rita, number, f"first{number}") for number in range(3)]
    for one in banned:
        ban(chat, one["token"])
    known = approved(chat, rita, 10, "known")
    rotate(served)
    assert states(served) == {1: "active", 2: "active"}
    meets_his_ban(chat, rita, 0, "before")
    # Somebody known elsewhere is united with himself while two versions overlap.
    people = persons(served)
    here = approved(bank, rita, 10, "elsewhere")
    assert persons(served) == people, "he is one person, though his fingerprint is of the former version"
    fresh = approved(chat, rita, 11, "fresh")
    assert versions(served) == ({1, 2}, {1, 2})
    found = served.json("retag")
    assert (found["left"], found["version"], found["ban_tags_of_former_versions"]) == (0, 2, 0)
    assert states(served) == {1: "deactivated", 2: "active"}
    assert versions(served) == ({2}, {2})
    meets_his_ban(chat, rita, 1, "after")
    people = persons(served)
    approved(bank, rita, 11, "fresh_too")
    assert persons(served) == people
    assert served.json("retag") == {**found, "retagged": 0}
    refused = keys(served, "destroy", "fingerprint", "--version", "1", "--yes", code=1)
    assert "--lose-bans" in refused
    keys(served, "destroy", "fingerprint", "--version", "1", "--yes", "--lose-bans")
    meets_his_ban(chat, rita, 2, "destroyed")
    for client, one in ((chat, known), (bank, here), (chat, fresh)):
        assert client.introspect(one["token"])["scope"] == "read publish"


def test_a_ban_of_somebody_who_was_erased_is_met_under_the_former_version_until_it_is_destroyed(served: Server) -> None:
    chat, rita = served.provider("chat"), served.reviewer("rita")
    for number in range(3):
        one = approved(chat, rita, number, f"first{number}")
        ban(chat, one["token"])
        assert delete(chat, one["id"]) == 204
    rotate(served)
    meets_his_ban(chat, rita, 0, "amid")
    found = served.json("retag")
    assert (found["left"], found["ban_tags_of_former_versions"] > 0) == (0, True)
    meets_his_ban(chat, rita, 1, "after")
    keys(served, "destroy", "fingerprint", "--version", "1", "--yes", "--lose-bans")
    served.json("retag")
    assert versions(served)[0] == {2}, "what nobody asks for any more is nowhere"
    back = chat.registered(person(2), "lost")
    assert rita.reveal(back["id"])["returner"] is False


def test_a71_registrations_amid_the_work_and_kills_of_it_lose_nobody(served: Server, drawn: random.Random) -> None:
    chat, rita = served.provider("chat"), served.reviewer("rita")
    for number in range(12):
        ban(chat, approved(chat, rita, number, f"first{number}")["token"])
    rotate(served)
    over, wrong = threading.Event(), list[str]()

    def returning() -> None:
        for number in range(6):
            try:
                meets_his_ban(chat, rita, number, f"back{number}")
            except AssertionError as error:
                wrong.append(str(error))
        over.set()

    thread = threading.Thread(target=returning)
    thread.start()
    while not over.is_set():
        with subprocess.Popen(
            [BIN / "idvault", "retag", "--json"], env=served.environment, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as running:  # fmt: skip
            time.sleep(drawn.uniform(0.5, 1.5))
            running.send_signal(signal.SIGKILL)
    thread.join(60)
    assert not wrong
    assert eventually_done(lambda: served.json("retag", code=0))["left"] == 0
    for number in range(6, 12):
        meets_his_ban(chat, rita, number, f"back{number}")
    assert versions(served) == ({2}, {2})


def eventually_done(run: Callable[[], Any]) -> Any:
    """Run until no act of before the rotation is open any more."""
    end = time.monotonic() + 20
    while True:
        try:
            return run()
        except AssertionError:
            assert time.monotonic() < end
            time.sleep(0.5)


def test_a_rotation_of_the_key_of_tags_is_not_marked_compromised_and_not_destroyed_amid(served: Server) -> None:
    assert "asked and written" in keys(served, "rotate", "fingerprint", "--compromised", code=1)
    rotate(served)
    assert "retag first" in keys(served, "destroy", "fingerprint", "--version", "1", "--yes", "--lose-bans", code=1)
    assert served.json("retag")["left"] == 0
    assert keys(served, "destroy", "fingerprint", "--version", "1")["state"] == "deactivated"


def link_states(server: Server, sector: str) -> dict[int, str]:
    found = keys(server, "keys")["keys"]
    return {one["version"]: one["state"] for one in found if (one["purpose"], one["sector"]) == ("link", sector)}


def link_versions(server: Server, provider: Client) -> tuple[set[int], set[int]]:
    """Return the versions of links and of person tags at a provider."""
    links = server.sql("directory", "SELECT link FROM standing WHERE link IS NOT NULL AND provider = ?", provider.id)
    tags = server.sql(
        "directory", "SELECT t.tag FROM person_tag t JOIN standing s ON s.pid = t.pid WHERE s.provider = ?", provider.id
    )
    return {bytes(row[0])[-1] for row in links}, {bytes(row[0])[-1] for row in tags}


def rotate_link(server: Server) -> None:
    assert keys(server, "rotate", "link", "--sector", "blog.example", "--from", "1")["version"] == 2


def test_a71_with_two_versions_of_a_providers_link_key_a_person_is_still_one_person_there(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    known = [approved(chat, rita, number, f"first{number}") for number in range(4)]
    before = token_at(chat, known[0]["token"], blog)
    at_blog = approved(blog, rita, 20, "own")
    banned = approved(blog, rita, 21, "banned")
    ban(blog, banned["token"])
    waiting = blog.registered(person(22), "waiting")
    rotate_link(served)
    assert link_states(served, "blog.example") == {1: "active", 2: "active"}
    # Amid: the same token as before, for whoever is known, and one for whoever is new.
    assert token_at(chat, known[0]["token"], blog) == before
    fresh = token_at(chat, known[1]["token"], blog)
    assert token_at(chat, known[1]["token"], blog) == fresh
    meets_his_ban(blog, rita, 21, "back")
    people = persons(served)
    united = blog.registered(person(2), "registers_too")
    rita.approve(united["id"])
    assert persons(served) == people, "he is the one whom the other provider has"
    assert link_versions(served, blog) == ({1, 2}, {1, 2})
    assert link_versions(served, chat) == ({1}, {1}), "another provider's links are another key's"
    found = served.json("retag")
    assert found["left"] == 0
    assert link_states(served, "blog.example") == {1: "deactivated", 2: "active"}
    assert link_versions(served, blog) == ({2}, {2})
    keys(served, "destroy", "link", "--sector", "blog.example", "--version", "1", "--yes")
    assert token_at(chat, known[0]["token"], blog) == before
    assert token_at(chat, known[1]["token"], blog) == fresh
    for one in (at_blog["token"], united["token"], before, fresh):
        assert blog.introspect(one)["active"] is True
    rita.approve(waiting["id"])
    assert blog.introspect(waiting["token"])["scope"] == "read publish"
    assert delete(blog, at_blog["id"]) == 204
    assert served.json("retag")["retagged"] == 0
    assert token_at(chat, known[3]["token"], blog)


def test_a_split_and_an_erasure_amid_two_versions_leave_nothing_behind(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    one, other = approved(chat, rita, 1, "anna"), approved(blog, rita, 1, "anna_too")
    third = approved(blog, rita, 3, "nikos")
    rotate_link(served)
    rotate(served)
    assert delete(blog, third["id"]) == 204
    assert delete(chat, one["id"]) == 204
    assert blog.introspect(other["token"])["active"] is True
    assert served.json("retag")["left"] == 0
    assert link_versions(served, blog) == ({2}, {2})
    assert versions(served) == ({2}, {2})
    back = approved(chat, rita, 1, "again")
    assert token_at(chat, back["token"], blog) == other["token"]
