"""A name leaves the vault by due process alone: a case, M officers, named fields, one recipient, a notice, the log."""

import json
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
from click.testing import CliRunner

from keys import disclosures, officers
from keys.cli.main import cli
from keys.errors import OfficerError
from tests.forking import in_fork
from tests.http.test_going import delete
from tests.http.test_officers import CHEAP, PASSPHRASE, Machines, citizen, machines
from tests.http.test_processes import eventually
from tests.people import person
from tests.serving import NO_TLS, Client, Server
from vault.domain.clock import SystemClock

pytestmark = pytest.mark.sampled

__all__ = ["machines"]

ORDER: Final[dict[str, Any]] = {
    "case": "4 Js 17/26", "legal_basis": "section 100j StPO", "authority": "Public prosecutor, Bonn",
    "ordered_by": "Judge at the local court", "retrieved_by": "Registry, room 12",
    "fields": ["legal_name", "birth_date"],
}  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A vault for officers, with its log."""
    served = Server(tmp_path / "home")
    served.for_officers = True
    served.environment |= {"IDVAULT_SEQUENCER": "yes", "IDVAULT_LOG_MILLISECONDS": "100"}
    served.start(httpx.codes.SERVICE_UNAVAILABLE)
    yield served
    assert served.stop() == 0


class Court:
    """The recipient: a key file of his own, and nothing of the vault."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "court.officer"
        self.card = str(officers.create(self.file, "Local court Bonn", PASSPHRASE, CHEAP))
        self.passphrase = folder / "passphrase"
        self.folder = folder

    def opens(self, package: bytes, code: int = 0) -> Any:
        path = self.folder / "package.json"
        path.write_bytes(package)
        said = ["open-package", str(path), "--as", str(self.file), "--passphrase-file", str(self.passphrase), "--json"]
        done = CliRunner().invoke(cli, said)
        assert done.exit_code == code, done.stderr
        return json.loads(done.stdout) if code == 0 else done.stderr


@pytest.fixture
def court(machines: Machines) -> Court:
    return Court(machines.folder)


@pytest.fixture
def chat(machines: Machines) -> Client:
    machines.ceremony()
    return enrolled(machines, "chat")


def enrolled(machines: Machines, name: str) -> Client:
    asked = machines.server.json("provider", "add", name, "--sector", f"{name}.example")
    machines.approved(asked["request"], "anna", "maria")
    return machines.server.provider(name)


def asked(chat: Client, account: str, court: Court, code: int = 202, **more: Any) -> dict[str, Any]:
    answer = chat.post("/v1/disclosures", {**ORDER, "account": account, "recipient": court.card, **more})
    assert answer.status_code == code, answer.text
    made: dict[str, Any] = answer.json()
    return made


def package(chat: Client, disclosure: str) -> httpx.Response:
    return chat.get(f"/v1/disclosures/{disclosure}/package")


def test_named_fields_reach_one_recipient_once_enough_officers_signed_exactly_that(
    machines: Machines, chat: Client, court: Court
) -> None:
    made = chat.registered(citizen(1), "anna_1")
    order = asked(chat, made["account"], court)
    assert (order["state"], order["needed"], order["fields"]) == ("pending", 2, ["birth_date", "legal_name"])
    assert package(chat, order["id"]).json()["type"] == "urn:idvault:problem:conflict"
    shown = machines.say("anna", "show", order["request"])
    assert (shown["kind"], shown["subject"]) == ("disclose", order["id"])
    detail = shown["request"]["detail"]
    assert (detail["handle"], detail["case"], detail["fields"]) == ("anna_1", ORDER["case"], order["fields"])
    machines.approved(order["request"], "anna")
    assert package(chat, order["id"]).status_code == httpx.codes.CONFLICT, "one officer alone"
    machines.approved(order["request"], "maria")
    assert chat.get(f"/v1/disclosures/{order['id']}").json()["state"] == "approved"

    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(package(chat, order["id"]))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1, "A60: one disclosure, however often it is fetched"
    opened = court.opens(answers[0].content)
    known = citizen(1)
    assert opened["fields"] == {"birth_date": known["birth_date"], "legal_name": known["legal_name"]}
    assert (opened["state"], opened["assurance"]) == ("in_review", "none")
    assert opened["request"]["detail"]["case"] == ORDER["case"]

    found = chat.get(f"/v1/disclosures/{order['id']}").json()
    assert (found["state"], found["notice"]["state"]) == ("disclosed", "due")
    due = datetime.fromisoformat(found["notice"]["due"])
    assert timedelta(days=29) < due - SystemClock().now() < timedelta(days=31)
    assert eventually(lambda: verified(machines.server)["types"].get("disclosure.granted") == 1)
    assert verified(machines.server)["overdue"] == []
    assert machines.server.json("fsck", "--grace-minutes", "0")["clean"]


def verified(server: Server) -> dict[str, Any]:
    assert eventually(lambda: httpx.get(f"{server.url}/log/checkpoint", verify=NO_TLS).status_code == httpx.codes.OK)
    found: dict[str, Any] = server.json("log", "verify")
    return found


def test_a_package_opens_for_its_recipient_alone_and_only_as_it_was_signed(
    machines: Machines, chat: Client, court: Court
) -> None:
    made = chat.registered(citizen(1), "anna_1")
    order = asked(chat, made["account"], court)
    machines.approved(order["request"], "anna", "maria")
    raw = package(chat, order["id"]).content
    for secret in (citizen(1)["legal_name"], citizen(1)["birth_date"]):
        assert secret.encode() not in raw
    anna = officers.open_file(machines.file("anna"), PASSPHRASE)
    with pytest.raises(OfficerError, match="another's key"):
        disclosures.open_package(raw, anna)
    another = raw.replace(b"4 Js 17/26", b"4 Js 18/26")
    for altered in (another, raw.replace(b'"v": 1', b'"v": 2'), b"[]", b"{", raw[:-9]):
        assert "package:" in court.opens(altered, code=1)
    assert court.opens(raw)["id"] == order["id"]


def test_a58_and_a61_one_case_is_about_one_account_with_named_fields_and_nothing_wider(
    machines: Machines, chat: Client, court: Court
) -> None:
    one, two = (chat.registered(citizen(number), f"user_{number}") for number in (1, 2))
    wrong: tuple[dict[str, Any], ...] = (
        {"fields": []}, {"fields": ["*"]}, {"fields": ["legal_name", "evidence"]}, {"case": "4 Js 17/26, 4 Js 18/26"},
        {"case": "*"}, {"case": " "}, {"recipient": "nobody"}, {"account": [one["account"], two["account"]]},
        {"defer": {"days": 91, "ordered_by": "a", "law": "b"}}, {"defer": {"days": 60, "law": "b"}},
        *({name: ""} for name in ("case", "legal_basis", "authority", "ordered_by", "retrieved_by")),
    )  # fmt: skip
    for more in wrong:
        answer = chat.post("/v1/disclosures", {**ORDER, "account": one["account"], "recipient": court.card, **more})
        assert answer.status_code == httpx.codes.UNPROCESSABLE_ENTITY, more
        assert "4 Js" not in answer.text
    for days in (0, 91):
        defer = {"days": days, "ordered_by": "a", "law": "b"}
        answer = chat.post("/v1/disclosures", {**ORDER, "account": one["account"], "recipient": court.card,
                                               "defer": defer})  # fmt: skip
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/defer/days"]
    for missing in (*ORDER, "recipient"):
        body = {**ORDER, "account": one["account"], "recipient": court.card}
        del body[missing]
        assert chat.post("/v1/disclosures", body).status_code == httpx.codes.UNPROCESSABLE_ENTITY, missing

    first = asked(chat, one["account"], court)
    machines.approved(first["request"], "anna")
    assert "one case is about one" in asked(chat, two["account"], court, 409, case="4 JS  17/26")["detail"]
    narrower = asked(chat, one["account"], court, fields=["legal_name"])
    machines.approved(first["request"], "maria")
    assert package(chat, narrower["id"]).status_code == httpx.codes.CONFLICT, "approvals are of one request"
    assert package(chat, first["id"]).status_code == httpx.codes.OK


def test_an_order_is_its_askers_and_of_an_account_with_somebody_behind_it(
    machines: Machines, chat: Client, court: Court
) -> None:
    blog = enrolled(machines, "blog")
    made = chat.registered(citizen(1), "anna_1")
    order = asked(chat, made["account"], court)
    machines.approved(order["request"], "anna", "maria")
    for path in (f"/v1/disclosures/{order['id']}", f"/v1/disclosures/{order['id']}/package"):
        unknown = blog.get(path.replace(order["id"], "dis_AAAAAAAAAAAAAAAAAAAAAA"))
        assert (blog.get(path).status_code, blog.get(path).json()) == (404, unknown.json())
    asked(blog, made["account"], court, 404)
    legacy = chat.post("/v1/accounts", {"handle": "old", "kind": "personal"}).json()
    assert "nobody is registered" in asked(chat, legacy["id"], court, 409)["detail"]
    left = chat.registered(citizen(2), "berta_1")
    assert chat.call("DELETE", f"/v1/accounts/{left['account']}").status_code == httpx.codes.NO_CONTENT
    assert "nobody is registered" in asked(chat, left["account"], court, 409)["detail"]
    refused = in_fork(["hold", "list", left["account"]], machines.server.environment)
    assert (refused.returncode, "nobody is registered" in refused.stderr) == (1, True)
    assert delete(chat, made["id"]) == httpx.codes.NO_CONTENT
    gone = package(chat, order["id"])
    assert gone.status_code == httpx.codes.CONFLICT, "approved, and nobody is there any more"


def test_a_notice_is_told_when_it_is_due_and_deferred_by_officers_alone(
    machines: Machines, chat: Client, court: Court
) -> None:
    server = machines.server
    made = chat.registered(citizen(1), "anna_1")
    order = asked(chat, made["account"], court, defer={"days": 60, "ordered_by": "Judge", "law": "section 101 StPO"})
    machines.approved(order["request"], "anna", "maria")
    assert package(chat, order["id"]).status_code == httpx.codes.OK
    due = datetime.fromisoformat(chat.get(f"/v1/disclosures/{order['id']}").json()["notice"]["due"])
    later = ["--set", "days=90", "--set", "ordered_by=Judge", "--set", "law=section 101 StPO", "--yes"]
    for wrong in (["--set", "days=91"], ["--set", "days=0"], ["--set", "law="], ["--set", "more=1"]):
        refused = machines.say("anna", "request", "defer-notice", order["id"], *later, *wrong, code=1)
        assert wrong[1].partition("=")[0] in refused or "defer" in refused
    assert "no disclosure" in machines.say("anna", "request", "defer-notice", "dis_none", *later, code=1)
    deferral = machines.say("anna", "request", "defer-notice", order["id"], *later)
    assert datetime.fromisoformat(chat.get(f"/v1/disclosures/{order['id']}").json()["notice"]["due"]) == due
    machines.approved(deferral["id"], "maria")
    notice = chat.get(f"/v1/disclosures/{order['id']}").json()["notice"]
    assert datetime.fromisoformat(notice["due"]) == due + timedelta(days=90)
    assert eventually(lambda: verified(server)["types"].get("disclosure.deferred") == 1)


def test_who_leaves_closes_the_notice_and_takes_the_package_along(
    machines: Machines, chat: Client, court: Court
) -> None:
    server = machines.server
    made = chat.registered(citizen(1), "anna_1")
    order = asked(chat, made["account"], court)
    machines.approved(order["request"], "anna", "maria")
    assert package(chat, order["id"]).status_code == httpx.codes.OK
    assert delete(chat, made["id"]) == httpx.codes.NO_CONTENT
    assert package(chat, order["id"]).status_code == httpx.codes.CONFLICT
    found = chat.get(f"/v1/disclosures/{order['id']}").json()
    assert (found["state"], found["package"], found["notice"]["state"]) == ("disclosed", False, "given")
    assert eventually(lambda: verified(server)["types"].get("disclosure.notified") == 1)
    assert server.json("fsck", "--grace-minutes", "0")["clean"]


HOLD: Final = ["--case", "4 Js 17/26", "--legal-basis", "section 94 StPO", "--authority", "Public prosecutor, Bonn",
               "--ordered-by", "Judge"]  # fmt: skip


def test_a63_what_a_case_needs_is_not_erased_until_officers_lift_the_hold(machines: Machines, chat: Client) -> None:
    server = machines.server
    made = chat.registered(citizen(1), "anna_1")
    until = (SystemClock().now() + timedelta(days=30)).date().isoformat()
    put = ("hold", "put", made["account"], *HOLD, "--until", until)
    pending = server.json(*put)
    assert pending["state"] == "pending"
    machines.approved(pending["request"], "anna", "maria")
    for _ in range(2):
        assert server.json(*put)["held"] is True
    assert [one["case"] for one in server.json("hold", "list", made["account"])["holds"]] == ["4 js 17/26"]
    refused = chat.call("DELETE", f"/v1/registrations/{made['id']}")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:idvault:problem:held")
    assert chat.introspect(made["token"])["active"]
    lift = ("hold", "lift", made["account"], *HOLD)
    machines.approved(server.json(*lift)["request"], "anna", "maria")
    assert server.json(*lift)["held"] is False
    assert server.json("hold", "list", made["account"])["holds"] == []
    assert delete(chat, made["id"]) == httpx.codes.NO_CONTENT
    assert server.sql("directory", "SELECT kind, count FROM refusal") == [("hold", 1)]
    types = {"hold.set", "hold.lifted", "registration.erased"}
    assert eventually(lambda: types <= verified(server)["types"].keys())
    assert server.json("fsck", "--grace-minutes", "0")["clean"]


def test_a_vault_without_officers_discloses_nothing(fresh: Server, tmp_path: Path) -> None:
    chat = fresh.provider("chat")
    made = chat.registered(person(1), "anna_1")
    card = str(officers.create(tmp_path / "court.officer", "Court", PASSPHRASE, CHEAP))
    answer = chat.post("/v1/disclosures", {**ORDER, "account": made["account"], "recipient": card})
    assert (answer.status_code, "no officers" in answer.text) == (409, True)
    assert fresh.sql("keys", "SELECT count(*) FROM request") == [(0,)], "nothing is proposed to nobody"
