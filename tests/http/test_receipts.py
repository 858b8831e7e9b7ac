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


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home = tmp_path_factory.mktemp("receipts") / "home"
    server = Server(home, IDVAULT_SEQUENCER="yes", IDVAULT_LOG_MILLISECONDS="100").start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def chat(served: Server) -> Client:
    return served.provider("chat")


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
        {"opening": ""}, {"proof": ""}, {"minute": "x"}, {"more": "x"},
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
