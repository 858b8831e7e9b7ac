"""Requirements a vault must meet, by their ids: China's accountability, Austria's and India's reference keys."""

import base64
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.people import ANNA, WEI, person
from tests.serving import Client, Server

STORES = ("identity", "directory", "keys", "log")
IDENTITY_WORDS = re.compile(r"name|birth|document|phone|email|^rid$|^uid$|national|passport|address")
PUBLIC_WORDS = re.compile(r"handle|nick|avatar|post|provider|pid|account|token|sector|external")


def columns(home: Path, store: str) -> set[tuple[str, str]]:
    """Return (table, column) of a store, but of the migrations' own table."""
    with closing(sqlite3.connect(home / f"{store}.db")) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            (table, row[1])
            for table in tables
            if table != "alembic_version"
            for row in connection.execute(f"PRAGMA table_info({table})")
        }


def contents(home: Path, store: str) -> bytes:
    """Return all that lies in a store's files, the write-ahead log too."""
    return b"".join(path.read_bytes() for path in sorted(home.glob(f"{store}.db*")))


def scopes(chat: Client, made: dict[str, str]) -> set[str]:
    """Return every scope that the vault says of a registration, by whatever way a provider may ask."""
    said = [
        chat.introspect(made["token"]).get("scope", ""),
        chat.introspect(made["token"], account=made["account"]).get("scope", ""),
        chat.registration(made["id"])["scope"],
        chat.get(f"/v1/accounts/{made['account']}").json()["scope"],
        *(item["scope"] for item in chat.get("/v1/accounts", params={"token": made["token"]}).json()["items"]),
        *(item["scope"] for item in chat.get("/v1/registrations", params={"limit": 200}).json()["items"]
          if item["id"] == made["id"]),
    ]  # fmt: skip
    return {scope for text in said for scope in str(text).split()}


def test_r_cn_01_nobody_publishes_before_the_identity_is_verified(chat: Client, rita: Client) -> None:
    """In every state but approved no way of asking says `publish`, and asking for it in a form grants nothing."""
    made, rejected = chat.registered(person(90_001), "before"), chat.registered(person(90_002), "never")
    assert "publish" not in str(made)
    assert scopes(chat, made) == {"read"}
    assert chat.introspect(made["token"], scope="read publish")["scope"] == "read"
    form = {"grant_type": "client_credentials", "scope": "publish"}
    answer = chat.http.post("/oauth/token", data=form, auth=(chat.id, chat.secret))
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_scope")
    rita.reveal(made["id"])
    assert scopes(chat, made) == {"read"}
    assert rita.decide(made["id"], "returned", reason="unreadable", fix=["document"]).status_code == 200
    assert scopes(chat, made) == {"read"}
    body = {"accepts": {"terms": "2026-01", "truthful": True}, "identity": person(90_001)}
    assert chat.call("PUT", f"/v1/registrations/{made['id']}", json=body).status_code == 202
    assert scopes(chat, made) == {"read"}
    assert rita.decide(rejected["id"], "rejected", reason="not_the_holder").status_code == 200
    assert "publish" not in scopes(chat, rejected)
    rita.approve(made["id"])
    assert scopes(chat, made) == {"read", "publish"}
    assert "publish" not in scopes(chat, rejected)


def test_r_cn_01_an_approval_without_a_method_or_by_a_provider_is_none(chat: Client, rita: Client) -> None:
    """Only a reviewer's decision that names a method verifies: all others leave `read`."""
    made = chat.registered(person(90_003), "unapproved")
    path = f"/v1/reviews/{made['id']}/decision"
    decision = {"decision": "approved", "method": "document_checked"}
    assert chat.post(path, decision).status_code == 403
    assert rita.post(path, {"decision": "approved"}).status_code == 422
    assert rita.post(path, {**decision, "method": "looked_fine"}).status_code == 422
    assert rita.http.post(path, json=decision).status_code == 401
    assert scopes(chat, made) == {"read"}
    assert chat.registration(made["id"])["state"] == "in_review"


def test_r_cn_03_a_public_account_is_approved_or_returned_with_a_reason_and_only_once(
    chat: Client, rita: Client
) -> None:
    """in_review leads to approved, or with a reason to returned and back; what is decided is not decided again."""
    made = chat.registered(person(90_004), "public")
    assert made["state"] == "in_review"
    for incomplete in ({"reason": "unreadable"}, {"fix": ["document"]}):
        assert rita.decide(made["id"], "returned", **incomplete).status_code == 422
    assert rita.decide(made["id"], "rejected").status_code == 422
    assert rita.decide(made["id"], "submitted").status_code == 422
    body = {"accepts": {"terms": "2026-01", "truthful": True}, "identity": person(90_004)}
    assert chat.call("PUT", f"/v1/registrations/{made['id']}", json=body).status_code == 409
    assert rita.decide(made["id"], "returned", reason="unreadable", fix=["document"]).status_code == 200
    after = chat.registration(made["id"])
    assert (after["state"], after["reason"], after["fix"]) == ("returned", "unreadable", ["document"])
    assert rita.decide(made["id"]).json()["type"].endswith(":decided")
    assert chat.call("PUT", f"/v1/registrations/{made['id']}", json=body).json()["state"] == "in_review"
    rita.approve(made["id"])
    for decision in ("approved", "rejected"):
        again = rita.decide(made["id"], decision, **({"reason": "unreadable"} if decision == "rejected" else {}))
        assert (again.status_code, again.json()["type"]) == (409, "urn:idvault:problem:decided")
    assert chat.call("PUT", f"/v1/registrations/{made['id']}", json=body).status_code == 409
    assert chat.registration(made["id"])["state"] == "approved"


def test_r_cn_05_no_store_has_a_place_for_handles_and_identity_both(served: Server) -> None:
    """No column of the identity store is of accounts, none of the directory is of persons."""
    identity, directory = columns(served.home, "identity"), columns(served.home, "directory")
    assert [column for column in sorted(identity) if PUBLIC_WORDS.search(column[1])] == []
    # Names of services and staff, a hash's address, a mark that says yes or no, and the settings of an enrolment.
    others = {("client", "name"), ("provider", "name"), ("audit_outbox", "address"), ("review", "expired_document")}
    assert [column for column in sorted(directory - others) if IDENTITY_WORDS.search(column[1])] == []
    assert {table for table, _ in identity} & {table for table, _ in directory} == set()


@pytest.mark.sqlite
def test_r_cn_05_and_r_in_01_what_one_store_knows_lies_in_no_other_and_no_number_anywhere(
    served: Server, chat: Client, rita: Client
) -> None:
    """The handle lies in the directory alone; name, date, number and e-mail lie in clear in no file at all."""
    identity = {
        **WEI, "legal_name": "MARKED LEGALNAME", "names": [{"value": "MARKED SECONDNAME", "script": "Latn"}],
        "phone": "+46701740605", "email": "marked.person@example.org",
    }  # fmt: skip
    made = chat.registered(identity, "markedhandle", external_id="markedexternal")
    rita.reveal(made["id"])
    rita.approve(made["id"])
    files = {store: contents(served.home, store) for store in STORES}
    number = WEI["document"]["number"]
    for sealed in ("LEGALNAME", "SECONDNAME", number, "1949-12-31", "701740605", "marked.person", "19491231"):
        raw = sealed.encode()
        forms = {
            raw, raw.lower(), raw.hex().encode(), sealed.encode("utf-16-le"),
            base64.b64encode(raw)[: len(raw) * 4 // 3 // 4 * 4],
        }  # fmt: skip
        assert [store for store, held in files.items() if any(form in held for form in forms)] == [], sealed
    for public in ("markedhandle", "markedexternal"):
        assert [store for store, held in files.items() if public.encode() in held] == ["directory"]
    log = served.log.read_bytes()
    assert not [word for word in (b"LEGALNAME", number.encode(), b"markedhandle", b"marked.person") if word in log]


def test_r_cn_05_no_id_is_in_both_stores(served: Server, chat: Client, rita: Client) -> None:
    """No record id lies in the directory's files, no standing, account or registration id in the identity store's."""
    made = chat.registered(person(90_006), "unlinked")
    rita.approve(made["id"])
    identity, directory = contents(served.home, "identity"), contents(served.home, "directory")
    rids = [rid for (rid,) in served.sql("identity", "SELECT rid FROM record")]
    ids = [pid for (pid,) in served.sql("directory", "SELECT pid FROM standing UNION SELECT id FROM account")]
    ids += [reg for (reg,) in served.sql("directory", "SELECT reg FROM review")]
    assert rids
    assert ids
    assert not [rid for rid in rids if rid in directory]
    assert not [one for one in ids if one in identity]


def test_r_at_02_and_r_in_02_no_token_comes_of_ids_without_the_key(
    served: Server, tmp_path: Path, chat: Client
) -> None:
    """Two vaults with the same rows and ids make other tokens: what the directory holds is not enough for one."""
    made = chat.registered(person(90_007), "keyed")
    account = base64.urlsafe_b64decode(made["account"].removeprefix("acc_") + "==")
    [[pid]] = served.sql("directory", "SELECT pid FROM account WHERE id = ?", account)
    token = made["token"].removeprefix("nym_")
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for form in (pid, pid[:8], pid[8:], pid[::-1]):
        assert form not in raw
    assert not any(raw[:-1] in contents(served.home, store) for store in STORES)
    other = Server(tmp_path / "other").start()
    try:
        twin = other.provider("chat")
        foreign = twin.registered(person(90_007), "keyed")
        # The other vault's standing is given this one's pid: its ids are equal, its keys are not.
        for table in ("standing", "account", "review"):
            other.sql("directory", f"UPDATE {table} SET pid = ?", pid)  # noqa: S608
        again = twin.registration(foreign["id"])
        assert again["token"] not in {made["token"], foreign["token"]}
        assert twin.introspect(again["token"])["active"] is True
        assert twin.introspect(made["token"]) == {"active": False}
        assert chat.introspect(again["token"]) == {"active": False}
    finally:
        other.stop()
    shutil.rmtree(other.home)


@pytest.mark.sqlite
def test_r_in_01_other_stores_hold_reference_keys_alone(served: Server) -> None:
    """Directory and log hold keyed tags and links of one length, equal for no two standings, and no number."""
    tags = [tag for (tag,) in served.sql("directory", "SELECT tag FROM local_tag UNION SELECT tag FROM person_tag")]
    links = [link for (link,) in served.sql("directory", "SELECT link FROM standing WHERE link IS NOT NULL")]
    assert {len(tag) for tag in tags} <= {33}
    assert {len(link) for link in links} <= {33}
    assert len(set(links)) == len(links)
    assert columns(served.home, "log") == {
        ("leaf", "number"), ("leaf", "entry"), ("detail", "number"), ("detail", "sealed"), ("tile", "number"),
        ("tile", "level"), ("tile", "hashes"), ("checkpoint", "size"), ("checkpoint", "note"), ("drained", "id"),
        ("drained", "number"), ("unsettled", "number"), ("unsettled", "ids"), ("daily", "day"), ("daily", "type"),
        ("daily", "leaves"), ("daily", "times"), ("tally", "month"), ("tally", "number"),
    }  # fmt: skip


def test_r_in_04_a_refused_reveal_leaves_a_trace_as_a_granted_one_does(
    served: Server, chat: Client, rita: Client
) -> None:
    """Detokenising is authenticated per caller, and what was opened has an audit row before the answer."""
    made = chat.registered(ANNA, "audited")
    ask = {"purpose": "review", "fields": ["legal_name"]}
    for answer in (
        chat.post(f"/v1/reviews/{made['id']}/reveal", ask),
        rita.http.post(f"/v1/reviews/{made['id']}/reveal", json=ask),
    ):
        assert answer.status_code in {401, 403}
    query = "SELECT count(*) FROM audit_outbox WHERE type = 'review.opened'"
    [[before]] = served.sql("keys", query)
    rita.reveal(made["id"], "legal_name")
    assert served.sql("keys", query) == [(before + 1,)]


def test_r_cn_04_a_reviewer_sees_the_fields_he_asked_for_of_the_forms_list(chat: Client, rita: Client) -> None:
    """Only fields of the review form are opened, only for a review; a field that is not of the form opens nothing."""
    made = chat.registered({**person(90_008), "email": "a@example.org"}, "listed")
    assert set(rita.reveal(made["id"], "birth_date")["fields"]) == {"birth_date"}
    for purpose, fields in (("review", ["handle"]), ("review", ["legal_name", "uid"]), ("curiosity", ["legal_name"])):
        answer = rita.post(f"/v1/reviews/{made['id']}/reveal", {"purpose": purpose, "fields": fields})
        assert answer.status_code in {403, 422}, answer.text
