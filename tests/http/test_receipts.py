"""Receipts: a provider can show anybody, without the vault, that the log tells an act of its own; and no other act."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from keys.leaves import read
from tests.people import person
from tests.serving import Client, Server

pytestmark = pytest.mark.sampled


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("receipts") / "home"
    server = Server(home, IDVAULT_SEQUENCER="yes", IDVAULT_LOG_MILLISECONDS="100").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def made(chat: Client) -> dict[str, Any]:
    return chat.registered(person(1), "anna")


def receipt(client: Client, path: str) -> dict[str, Any]:
    """Return a receipt as soon as the log has the act."""
    end = time.monotonic() + 20
    while (answer := client.get(f"{path}/receipt")).status_code == httpx.codes.CONFLICT:
        assert answer.headers["Retry-After"] == "1"
        assert time.monotonic() < end
        time.sleep(0.05)
    assert answer.status_code == httpx.codes.OK, answer.text
    said: dict[str, Any] = answer.json()
    return said


def key_of(server: Server) -> str:
    return str(server.json("log", "checkpoint")["key"])


def checked(server: Server, said: dict[str, Any], folder: Path, code: int = 0) -> Any:
    file = folder / "receipt.json"
    file.write_text(json.dumps(said))
    return server.run("log", "receipt", str(file), "--key", key_of(server), code=code)


def test_a_receipt_of_an_account_and_of_a_sanction_is_checked_without_the_vault(
    served: Server, chat: Client, made: dict[str, Any], tmp_path: Path
) -> None:
    body = {"token": made["token"], "rung": "warn", "ground": "spam", "facts": "as seen"}
    sanction = chat.post("/v1/sanctions", body).json()["id"]
    for path, act, named in ((f"/v1/accounts/{made['account']}", "account.bound", made["account"]),
                             (f"/v1/sanctions/{sanction}", "sanction.set", sanction)):  # fmt: skip
        said = receipt(chat, path)
        assert (said["act"], said["object"], said["client"]) == (act, named, chat.id)
        leaf = read(said["leaf"].encode())
        assert (leaf["type"], leaf["minute"]) == (act, said["minute"])
        assert f"act     {act}" in checked(served, said, tmp_path)


def test_an_account_that_was_added_later_has_a_receipt_too(served: Server, chat: Client, tmp_path: Path) -> None:
    added = chat.post("/v1/accounts", {"handle": "later", "kind": "personal"}).json()["id"]
    said = receipt(chat, f"/v1/accounts/{added}")
    assert "later" not in json.dumps(said)
    checked(served, said, tmp_path)


def test_a_log_that_was_filled_up_from_a_copy_has_the_same_receipts(served: Server, chat: Client) -> None:
    """A copy does not say which audit row a leaf was: what knew it is deleted here."""
    made = chat.registered(person(10), "jana")
    sanction = chat.post("/v1/sanctions", {"token": made["token"], "rung": "warn", "ground": "spam", "facts": "x"})
    paths = (f"/v1/accounts/{made['account']}", f"/v1/sanctions/{sanction.json()['id']}")
    before = [receipt(chat, path) for path in paths]
    served.sql("log", "delete from drained")
    for path, known in zip(paths, before, strict=True):
        again = receipt(chat, path)
        assert {**again, "proof": ""} == {**known, "proof": ""}, "all but the checkpoint is as it was"
    new = chat.registered(person(11), "karl")
    assert receipt(chat, f"/v1/accounts/{new['account']}")["act"] == "account.bound", "and what comes is told as ever"


def test_a_receipt_that_says_anything_else_is_refused(
    served: Server, chat: Client, made: dict[str, Any], tmp_path: Path
) -> None:
    said = receipt(chat, f"/v1/accounts/{made['account']}")
    other = receipt(chat, f"/v1/accounts/{chat.registered(person(2), 'berta')['account']}")
    index = f"index {int(said['proof'].split('index ')[1].split()[0]) + 1}"
    wrong = [
        {"act": "account.closed"}, {"object": other["object"]}, {"client": "cli_other"}, {"minute": said["minute"] + 1},
        {"opening": other["opening"]}, {"leaf": other["leaf"]}, {"proof": other["proof"]},
        {"proof": said["proof"].replace(said["proof"].split("\n")[1], index)}, {"object": "acc_"}, {"leaf": "{}"},
        {"opening": ""}, {"proof": ""}, {"minute": "x"}, {"more": "x"}, {"leaf": "\ud800"}, {"leaf": 1},
    ]  # fmt: skip
    for change in wrong:
        checked(served, said | change, tmp_path, code=4)
    checked(served, said, tmp_path)


def test_nobody_else_gets_a_receipt(served: Server, chat: Client, made: dict[str, Any]) -> None:
    blog = served.provider("blog")
    for client, path in ((blog, f"/v1/accounts/{made['account']}"), (chat, "/v1/accounts/acc_AAAAAAAAAAAAAAAAAAAAAA"),
                         (chat, "/v1/sanctions/san_AAAAAAAAAAAAAAAAAAAAAA"), (chat, "/v1/sanctions/x")):  # fmt: skip
        assert client.get(f"{path}/receipt").status_code == httpx.codes.NOT_FOUND
    assert served.reviewer("rita").get(f"/v1/accounts/{made['account']}/receipt").status_code == httpx.codes.FORBIDDEN


def test_two_receipts_of_one_client_have_nothing_in_common_but_the_client(chat: Client, made: dict[str, Any]) -> None:
    one = receipt(chat, f"/v1/accounts/{made['account']}")
    other = receipt(chat, f"/v1/accounts/{chat.registered(person(3), 'carla')['account']}")
    assert one["opening"] != other["opening"]
    assert not set(read(one["leaf"].encode())["subjects"]) & set(read(other["leaf"].encode())["subjects"])


def acts_of(client: Client, reg: str, *awaited: str) -> list[dict[str, Any]]:
    """Return the receipts of a registration as soon as the log tells of these acts."""
    end = time.monotonic() + 20
    while True:
        found, first = list[dict[str, Any]](), ""
        while True:
            answer = client.get(f"/v1/registrations/{reg}/receipts{first}")
            assert answer.status_code == httpx.codes.OK, answer.text
            found += answer.json()["receipts"]
            if answer.json()["next"] is None:
                break
            first = f"?first={answer.json()['next']}"
        if {one["act"] for one in found} >= set(awaited):
            return found
        assert time.monotonic() < end
        time.sleep(0.1)


def with_evidence(client: Client, number: int, handle: str) -> dict[str, Any]:
    """Return a registration to which a piece of evidence was added."""
    made = client.registered(person(number), handle)
    piece = f"/v1/registrations/{made['id']}/evidence/front"
    assert client.call("PUT", piece, content=b"png", headers={"Content-Type": "image/png"}).status_code == 204
    return made


def reviewed(reviewer: Client, reg: str) -> None:
    """Reveal a case, look at its evidence, and approve it."""
    shown = reviewer.reveal(reg)["shown"]
    assert reviewer.get(f"/v1/reviews/{reg}/evidence/front").status_code == httpx.codes.OK
    reviewer.approve(reg, shown=shown)


ALL_OF_A_REVIEW = ["evidence.sealed", "evidence.viewed", "registration.created", "review.decided", "review.opened"]


def test_receipts_of_a_registration_are_checked_without_the_vault_and_tell_what_was_done_with_it(
    served: Server, chat: Client, tmp_path: Path
) -> None:
    made = with_evidence(chat, 4, "dora")
    reviewed(served.reviewer("paul", chat), made["id"])
    found = acts_of(chat, made["id"], *ALL_OF_A_REVIEW)
    assert sorted(one["act"] for one in found) == ALL_OF_A_REVIEW
    assert served.reviewer("rosa").id not in json.dumps(found)
    assert {(one["object"], one["client"]) for one in found} == {(made["account"], chat.id)}
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(chat.get("/jwks.json").content)
    file, (one, other, *_) = tmp_path / "receipt.json", sorted(found, key=lambda said: said["act"])

    def check(said: dict[str, Any], code: int = 0, *more: str) -> None:
        file.write_text(json.dumps(said))
        served.run("log", "receipt", str(file), "--key", key_of(served), *(more or ("--jwks", str(jwks))), code=code)

    for said in found:
        check(said)
    wrong = [
        {"act": "registration.revised"}, {"object": "acc_AAAAAAAAAAAAAAAAAAAAAA"}, {"client": "cli_other"},
        {"minute": one["minute"] + 1}, {"statement": other["statement"]}, {"leaf": other["leaf"]},
        {"leaf": other["leaf"], "proof": other["proof"]}, {"statement": one["statement"][:-6] + "AAAAAA"},
        {"statement": ""}, {"statement": "a.b.c"}, {"proof": ""}, {"opening": "AAAA"},
    ]  # fmt: skip
    for change in wrong:
        check(one | change, 4)
    jwks.write_text('{"keys": []}')
    check(one, 4)
    jwks.write_text("[]")
    check(one, 4)


def test_a_provider_is_told_neither_of_a_match_nor_that_a_vault_reviewer_had_to_look(
    served: Server, chat: Client
) -> None:
    vault, bound = served.reviewer("vera"), served.reviewer("bert", chat)
    made, other = with_evidence(chat, 6, "fritz"), with_evidence(chat, 7, "gerda")
    bound.approve(made["id"])
    reviewed(vault, other["id"])
    matches = [one["id"] for one in vault.get("/v1/reviews").json()["items"] if one["kind"] == "match"]
    assert matches
    for reg in matches:
        vault.approve(reg, shown=vault.reveal(reg)["shown"])
    assert acts_of(chat, chat.registered(person(8), "henry")["id"], "registration.created"), "all before is in the log"
    for reg in (made["id"], other["id"]):
        acts = sorted(one["act"] for one in acts_of(chat, reg, "review.decided"))
        assert acts == ["evidence.sealed", "registration.created", "review.decided"]


def test_where_every_case_is_revealed_a_vault_reviewer_s_look_is_told_too(served: Server, tmp_path: Path) -> None:
    file = tmp_path / "careful.toml"
    file.write_text("[policy]\nreview_needs_reveal = true\n")
    careful = served.provider("careful", file=str(file))
    made = with_evidence(careful, 9, "ida")
    reviewed(served.reviewer("viktor"), made["id"])
    found = acts_of(careful, made["id"], *ALL_OF_A_REVIEW)
    assert sorted(one["act"] for one in found) == ALL_OF_A_REVIEW


def test_nobody_else_gets_the_receipts_of_a_registration(served: Server, chat: Client, made: dict[str, Any]) -> None:
    blog = served.provider("blog2")
    for client, reg in ((blog, made["id"]), (chat, "reg_AAAAAAAAAAAAAAAAAAAAAA"), (chat, "x")):
        assert client.get(f"/v1/registrations/{reg}/receipts").status_code == httpx.codes.NOT_FOUND
    assert chat.get(f"/v1/registrations/{made['id']}/receipts?first=-1").status_code == httpx.codes.UNPROCESSABLE_ENTITY
    far = chat.get(f"/v1/registrations/{made['id']}/receipts?first=1000000").json()
    assert far == {"receipts": [], "next": None}


def test_a_registration_that_ended_has_the_receipt_of_its_end_and_of_nothing_before(
    served: Server, chat: Client, tmp_path: Path
) -> None:
    gone, other = chat.registered(person(5), "emma"), chat.registered(person(12), "lena")
    assert acts_of(chat, gone["id"], "registration.created")
    assert chat.call("DELETE", f"/v1/registrations/{gone['id']}").status_code == httpx.codes.NO_CONTENT
    (end,) = acts_of(chat, gone["id"], "registration.erased")
    assert (end["act"], end["object"], end["client"]) == ("registration.erased", gone["account"], chat.id)
    jwks = tmp_path / "jwks.json"
    jwks.write_bytes(chat.get("/jwks.json").content)
    for said, code in ((end, 0), (end | {"object": other["account"]}, 4)):
        (tmp_path / "receipt.json").write_text(json.dumps(said))
        command = ("log", "receipt", str(tmp_path / "receipt.json"), "--key", key_of(served), "--jwks", str(jwks))
        served.run(*command, code=code)
    assert "registration.erased" not in {one["act"] for one in acts_of(chat, other["id"])}
    blog = served.provider("blog3")
    assert blog.get(f"/v1/registrations/{gone['id']}/receipts").status_code == httpx.codes.NOT_FOUND


def test_an_end_that_somebody_else_brought_about_and_one_after_a_rejection_are_told_too(
    served: Server, chat: Client
) -> None:
    vault = served.reviewer("walter")
    ended, refused = chat.registered(person(13), "mona"), chat.registered(person(14), "nora")
    assert vault.call("DELETE", f"/v1/registrations/{ended['id']}").status_code == httpx.codes.NO_CONTENT
    assert acts_of(chat, ended["id"], "registration.erased")
    assert vault.decide(refused["id"], "rejected", reason="unreadable").status_code == httpx.codes.OK
    body = {"account": refused["account"], "accepts": {"terms": "2026-01", "truthful": True}, "identity": person(14)}
    again = chat.post("/v1/registrations", body)
    assert again.status_code == httpx.codes.ACCEPTED, again.text
    found = {one["act"] for one in acts_of(chat, again.json()["id"], "registration.created", "registration.erased")}
    assert found == {"registration.created", "registration.erased"}, "of its account, and nothing of the one before"
