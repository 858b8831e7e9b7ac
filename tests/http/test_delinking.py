"""A sector's keys are destroyed: its tokens lead to nobody, at once and for good, and nobody elsewhere notices."""

from collections.abc import Iterator

import httpx
import pytest

from tests.http.exchanges import approved, hand_over, handed, redeem, two_providers
from tests.http.test_going import delete
from tests.http.test_officers import Machines, citizen, machines, server
from tests.http.test_processes import eventually
from tests.http.test_rotation import keys
from tests.people import person
from tests.serving import Server

pytestmark = pytest.mark.sampled

__all__ = ["machines", "server"]

CHAT = ("sector", "--sector", "chat.example")


@pytest.fixture
def served(fresh: Server) -> Iterator[Server]:
    yield fresh
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def test_a_destroyed_sectors_tokens_lead_to_nobody_and_no_other_provider_notices(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    token, there = approved(chat, rita), approved(blog, rita, handle="anna_b")
    other = chat.registered(person(1), "other")
    handoff = handed(chat, token, blog)
    assert keys(served, "destroy", *CHAT) == {
        "sector": "chat.example", "state": "active", "versions": {"token": 1, "link": 1}, "agreements": 1,
    }  # fmt: skip
    assert chat.introspect(token)["active"]
    for _ in range(2):
        assert keys(served, "destroy", *CHAT, "--yes")["state"] == "destroyed"
    assert eventually(lambda: chat.introspect(token) == {"active": False})
    assert chat.introspect(other["token"]) == {"active": False}
    refused = chat.register(person(2), "third")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:idvault:problem:conflict")
    assert hand_over(chat, token, blog).json()["error"] == "invalid_request"
    assert redeem(blog, handoff).status_code == httpx.codes.BAD_REQUEST
    assert blog.introspect(there)["active"]
    assert "destroyed" in keys(served, "rotate", "token", "--sector", "chat.example", code=1)
    listed = keys(served, "keys")["keys"]
    assert {key["state"] for key in listed if key["sector"] == "chat.example"} == {"destroyed"}
    assert {row[0] for row in served.sql("keys", "SELECT sealed FROM key WHERE scope = 'chat.example'")} == {b""}
    assert [row[0] for row in served.sql("keys", "SELECT state FROM agreement")] == ["revoked"]


def test_who_was_registered_there_is_matched_retagged_and_erased_elsewhere_as_before(served: Server) -> None:
    chat, blog, rita = two_providers(served)
    approved(chat, rita)
    there = blog.registered(person(0), "first")
    rita.approve(there["id"])
    keys(served, "destroy", *CHAT, "--yes")
    anna = approved(blog, rita, handle="anna_b")  # known to the vault by a record of the destroyed sector
    assert blog.introspect(anna)["active"]
    for purpose in (["fingerprint"], ["link", "--sector", "blog.example"]):
        keys(served, "rotate", *purpose)
    assert served.json("retag")["left"] == 0
    assert blog.introspect(anna)["active"]
    assert delete(blog, there["id"]) == httpx.codes.NO_CONTENT
    assert not blog.introspect(there["token"])["active"]


def test_a_sector_that_is_none_is_not_destroyed(served: Server) -> None:
    assert "no such sector" in keys(served, "destroy", "sector", "--sector", "nobody.example", "--yes", code=1)
    assert "with --sector, and without --version" in keys(served, "destroy", "sector", code=2)
    assert "with --sector, and without --version" in keys(served, "destroy", *CHAT, "--version", "1", code=2)
    assert "'--version'" in keys(served, "destroy", "kek", code=2)


def test_officers_destroy_a_sector_together_and_their_approval_is_of_that_sector_alone(machines: Machines) -> None:
    machines.ceremony()
    server = machines.server
    for name in ("chat", "blog"):
        machines.approved(
            server.json("provider", "add", name, "--sector", f"{name}.example")["request"], "anna", "maria"
        )
    chat, blog = server.provider("chat"), server.provider("blog")
    made = chat.registered(citizen(1), "anna_1")
    asked = machines.say("anna", "request", "destroy-sector", "chat.example", "--yes")
    assert keys(server, "destroy", *CHAT, "--yes") == {"request": asked["id"], "state": "pending"}
    assert chat.introspect(made["token"])["active"]
    machines.approved(asked["id"], "maria")
    other = keys(server, "destroy", "sector", "--sector", "blog.example", "--yes")
    assert other["state"] == "pending"
    assert keys(server, "destroy", *CHAT, "--yes")["state"] == "destroyed"
    assert eventually(lambda: not chat.introspect(made["token"])["active"])
    assert blog.registered(citizen(2), "ben")
    assert keys(server, "destroy", *CHAT, "--yes")["state"] == "destroyed", "said again"
