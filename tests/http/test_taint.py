"""Marked personal data through every route and command: it shows nowhere but in answers to those who may see it.

Guarantees for A49 and A52: neither in clear nor in a plain encoding or hash in any file of the vault, its log, or what
other users of the machine can see of its processes. The handle stands in directory.db, in clear; nowhere else.
"""

import base64
import hashlib
import secrets
import string
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving import Client, Server

pytestmark = pytest.mark.sqlite  # the stores are searched as files

LETTERS = string.ascii_lowercase


def _word(characters: int = 14) -> str:
    return "".join(secrets.choice(LETTERS) for _ in range(characters))


def _han(characters: int = 10) -> str:
    return "".join(chr(0x4E00 + secrets.randbelow(0x4000)) for _ in range(characters))


def _digits(count: int) -> str:
    return "".join(secrets.choice(string.digits[1:]) for _ in range(count))


class Marked:
    """A person of markers that occur nowhere else."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.first, self.last, self.han, self.cyrillic = _word(), _word(), _han(), _word()
        self.cyrillic = "".join(chr(0x430 + LETTERS.index(letter)) for letter in self.cyrillic)
        self.phone, self.local, self.number = "+46" + _digits(12), _word(), "X" + _digits(14)
        self.handle, self.external = "h" + _word(), "x" + _word()
        self.born = f"{1900 + secrets.randbelow(90)}-1{secrets.randbelow(3)}-2{secrets.randbelow(9)}"

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "legal_name": f"{self.first.title()} {self.last.upper()}",
            "names": [{"value": self.han, "script": "Hans"}, {"value": self.cyrillic, "script": "Cyrl"}],
            "birth_date": self.born, "phone": self.phone, "email": f"{self.local}@{self.last}.example",
            "document": {"type": "passport", "country": "UTO", "number": self.number, "expires": "2031-04-15"},
        }  # fmt: skip

    def personal(self) -> dict[str, str]:
        """What may stand nowhere. The birth date is too short to be looked for by itself in binary files."""
        found = {"first": self.first, "last": self.last, "han": self.han, "cyrillic": self.cyrillic}
        found |= {"phone": self.phone[3:], "local": self.local, "number": self.number[1:]}
        return {f"{self.where} {name}": value for name, value in found.items()}

    def whole(self) -> list[str]:
        """The values as they were sent: these are what somebody might hash or encode."""
        return [
            self.identity["legal_name"], self.identity["legal_name"].upper(), self.identity["legal_name"].casefold(),
            self.han, self.cyrillic, self.phone, self.identity["email"], self.number, f"{self.number}|{self.born}",
            f"{self.number}{self.born}", f"UTO{self.number}", f"passportUTO{self.number}",
        ]  # fmt: skip


def _base64(data: bytes) -> Iterator[bytes]:
    """Yield the part of each of the three alignments that does not depend on what stands around it."""
    for shift in range(3):
        encoded = base64.b64encode(bytes(shift) + data)
        core = encoded[(0, 2, 3)[shift] : len(encoded) - 4]
        if len(core) >= 8:
            yield core
            yield core.replace(b"+", b"-").replace(b"/", b"_")


def _traces(text: str) -> Iterator[bytes]:
    for spelling in {text, text.upper(), text.lower(), text.title(), text[::-1]}:
        for data in {spelling.encode(), spelling.encode("utf-16-le"), ascii(spelling)[1:-1].encode()}:
            yield data
            yield data.hex().encode()
            yield data.hex().upper().encode()
        yield from _base64(spelling.encode())
    yield from _digests(text)


def _digests(text: str) -> Iterator[bytes]:
    for algorithm in ("md5", "sha1", "sha256"):
        digest = hashlib.new(algorithm, text.encode(), usedforsecurity=False)
        yield digest.digest()
        yield digest.hexdigest().encode()
        yield digest.hexdigest().upper().encode()
        yield base64.b64encode(digest.digest()).rstrip(b"=")
        yield base64.urlsafe_b64encode(digest.digest()).rstrip(b"=")


def _places(server: Server) -> dict[str, bytes]:
    """Return all that others might get to see: files, the log, what /proc shows of each process."""
    found = {str(path.relative_to(server.home)): path.read_bytes() for path in server.home.rglob("*") if path.is_file()}
    found["log"] = server.log.read_bytes()
    for pid in server.processes():
        for name in ("cmdline", "environ", "comm"):
            found[f"/proc {pid} {name}"] = Path(f"/proc/{pid}/{name}").read_bytes()
    return found


def _found(places: dict[str, bytes], markers: dict[str, set[bytes]], allowed: tuple[str, ...] = ()) -> set[str]:
    return {
        f"{name} in {place}"
        for place, content in places.items() if not place.startswith(allowed or ("\0",))
        for name, traces in markers.items() if any(trace in content for trace in traces)
    }  # fmt: skip


class Told:
    """Answers, kept to look in them for what may not be there; refusals for echoes too."""

    def __init__(self) -> None:
        self.refusals: list[httpx.Response] = []
        self.answers: list[httpx.Response] = []

    def __call__(self, answer: httpx.Response, *status: int) -> httpx.Response:
        # A 500 is for the last test: the search goes on, for failures are where values slip out.
        assert answer.status_code in {*status, 500}, (answer.status_code, answer.text)
        self.answers.append(answer)
        if answer.status_code >= 400:
            self.refusals.append(answer)
        return answer


def _refused(told: Told, chat: Client, one: Marked) -> None:
    """Send the markers in everything that is refused: values, member names, paths, queries, headers, whole bodies."""
    identity = one.identity
    bad: list[dict[str, Any]] = [
        {**identity, "phone": "07" + one.phone},
        {**identity, "email": f"{one.local}@@{one.last}"},
        {**identity, "birth_date": f"{one.born}-{one.first}"[:10] + one.last},
        {**identity, one.first: one.last},
        {**identity, "legal_name": f"{one.first}\u202e{one.last}"},
        {**identity, "legal_name": f"{one.first}\u0000{one.last}"},
        {**identity, "names": [{"value": one.han, "script": one.first}]},
        {**identity, "document": {**identity["document"], "country": "XXQ"}},
        {**identity, "document": {"type": "national_id", "country": "SWE", "number": one.number}},
        {
            **identity,
            "document": {"type": "passport", "mrz": [f"P<UTO{one.last}".ljust(44, "<"), one.number.ljust(44)]},
        },
    ]
    for identity_sent in bad:
        told(chat.register(identity_sent, one.handle), 400, 422)
    told(chat.register(identity, f"{one.handle} @/"), 422)
    body = {"handle": one.handle, "kind": one.first, "identity": identity}
    told(chat.post("/v1/registrations", body), 422)
    for content in (f'{{"a":"{one.first}"', f'{{"{one.last}":1,"{one.last}":2}}', f'["{one.han}"]', one.first):
        sent = {"content": content.encode(), "headers": {"Content-Type": "application/json"}}
        told(chat.call("POST", "/v1/registrations", **sent), 400, 422)
    told(chat.call("POST", "/v1/registrations", content=one.first, headers={"Content-Type": f"text/{one.first}"}), 415)
    told(chat.register(identity, one.handle, headers={"Idempotency-Key": f"{one.first} {one.last}"}), 400)
    told(chat.get(f"/v1/registrations/{one.first}"), 404)
    told(chat.get(f"/v1/{one.first}/{one.last}"), 404)
    told(chat.get("/v1/registrations", params={"cursor": one.first}), 400, 422)
    told(chat.get("/v1/registrations", params={one.last: one.number}), 200, 400, 422)
    chat.get("/v1/accounts", params={"token": f"nym_{one.first}"})
    told(chat.call("DELETE", f"/v1/registrations/{one.first}"), 404, 405)
    told(chat.call("PUT", f"/v1/registrations/{one.first}/evidence/{one.last}", content=b"x",
                   headers={"Content-Type": "image/png"}), 404)  # fmt: skip
    for header in (f"Bearer {one.first}", f"Bearer vat_{one.last}", f"Basic {one.first}", one.last):
        told(chat.http.get("/v1/accounts", headers={"Authorization": header}), 401)
    for basic in ((one.first, one.last), (chat.id, one.last)):
        told(chat.http.post("/oauth/token", data={"grant_type": "client_credentials"}, auth=basic), 401)
        told(chat.http.post("/oauth/introspect", data={"token": one.number}, auth=basic), 401)
    form = {"grant_type": one.first, one.last: one.number, "scope": one.first}
    told(chat.http.post("/oauth/token", data=form, auth=(chat.id, chat.secret)), 400)
    form = {"grant_type": "client_credentials", "scope": one.first}
    told(chat.http.post("/oauth/token", data=form, auth=(chat.id, chat.secret)), 400)
    assert chat.introspect(f"nym_{one.first}", account=f"acc_{one.last}") == {"active": False}


def _lived(told: Told, chat: Client, rita: Client, one: Marked, evidence: bytes) -> None:
    """Take a registration through all that may happen to it."""
    key = {"Idempotency-Key": '"' + secrets.token_hex(8) + '"'}
    made = told(chat.register(one.identity, one.handle, external_id=one.external, headers=key), 202).json()
    told(chat.register(one.identity, one.handle, external_id=one.external, headers=key), 202)
    told(chat.register(one.identity, one.handle), 409)
    path = f"/v1/registrations/{made['id']}"
    for kind in ("image/png", "application/pdf"):
        told(chat.call("PUT", f"{path}/evidence/scan", content=evidence, headers={"Content-Type": kind}), 204)
    told(chat.get(path), 200)
    told(chat.get("/v1/registrations"), 200)
    told(chat.get("/v1/accounts", params={"token": made["token"]}), 200)
    told(chat.get(f"/v1/accounts/{made['account']}"), 200)
    told(rita.get("/v1/reviews"), 200)
    told(rita.post("/v1/reviews/next"), 200)
    fields = ["legal_name", "names", "birth_date", "document", "phone", "email"]
    assert rita.reveal(made["id"], *fields)["fields"]["email"] == one.identity["email"]
    told(rita.post(f"/v1/reviews/{made['id']}/reveal", {"purpose": one.first, "fields": [one.last]}), 403, 409, 422)
    told(rita.get(f"/v1/reviews/{made['id']}/evidence/scan"), 200)
    told(rita.decide(made["id"], "rejected", reason=f"{one.first} {one.last}"), 422)
    told(rita.decide(made["id"], "returned", reason="name_differs", fix=["legal_name"]), 200)
    body = {"accepts": {"terms": "2026-01", "truthful": True}, "identity": one.identity}
    told(chat.call("PUT", path, json=body), 202)
    rita.approve(made["id"])
    told(rita.decide(made["id"], "approved"), 404, 409)
    told(chat.call("PUT", f"{path}/evidence/scan", content=evidence, headers={"Content-Type": "image/png"}), 409)
    assert chat.introspect(made["token"], account=made["account"])["active"] is True


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """All routes and commands, once, with marked people; then what can be seen, while it runs and after its end."""
    server = Server(tmp_path_factory.mktemp("taint") / "home", IDVAULT_SEQUENCER="yes", IDVAULT_LOG_MILLISECONDS="200")
    server.forks_agent = False  # what its processes show is what they show in production
    server.start()
    try:
        yield _story(server)
    finally:
        for client in server.clients:
            client.http.close()
        if server.processes():
            server.stop()


def _story(server: Server) -> dict[str, Any]:
    told, good, refused, second = Told(), Marked("good"), Marked("refused"), Marked("other")
    evidence = b"\x89PNG\r\n" + _word(40).encode() * 300
    chat, blog, rita = server.provider("chat"), server.provider("blog"), server.reviewer("rita")
    bound = server.reviewer("bound", blog)
    outputs = []
    for provider, reviewer, one in ((chat, rita, good), (blog, bound, good), (chat, rita, second)):
        _lived(told, provider, reviewer, one, evidence)
    _refused(told, chat, refused)
    _refused(told, blog, good)
    commands = (["fsck", "--grace-minutes", "0"], ["provider", "list"], ["reviewer", "list"], ["keys", "status"],
                ["provider", "show", "chat"], ["db", "upgrade"], ["openapi"], ["report", "transparency", "2026"],
                ["log", "mirror", str(server.home / "mirror")], ["log", "verify", "--json"])  # fmt: skip
    _await_told(server)
    outputs += [server.run(*command) for command in commands]
    places = _places(server)
    tags = {bytes(tag) for (tag,) in server.sql("identity", "SELECT tag FROM fingerprint")}
    secret = {f"{client.id} secret": client.secret for client in server.clients}
    secret |= {f"{client.id} access token": client.token for client in server.clients if client.token}
    code = server.stop()
    places |= {f"after {place}": content for place, content in _places(server).items()}
    return {
        "server": server, "told": told, "people": (good, refused, second), "evidence": evidence, "places": places,
        "secret": secret, "outputs": "".join(outputs), "code": code,
        "tags": tags,
    }  # fmt: skip


def _await_told(server: Server) -> None:
    """Wait until all that was done stands in the log."""
    end = time.monotonic() + 20
    while server.sql("directory", "select 1 from audit_outbox") or server.sql("keys", "select 1 from audit_outbox"):
        assert time.monotonic() < end
        time.sleep(0.1)
    time.sleep(1)  # and is signed


def test_a29_the_log_that_is_searched_holds_what_was_done(story: dict[str, Any]) -> None:
    entries = b"".join(content for place, content in story["places"].items() if place.startswith("mirror/tile/entries"))
    assert entries.count(b'"type":"registration.created"') == 3
    assert entries.count(b'"type":"review.opened"') >= 3
    assert b'"type":"evidence.viewed"' in entries


def test_the_search_itself_finds_what_is_there(story: dict[str, Any]) -> None:
    planted = {"file": b"..." + base64.b64encode(b"a" + story["people"][0].last.encode()) + b"..."}
    markers = {name: set(_traces(value)) for name, value in story["people"][0].personal().items()}
    assert _found(planted, markers) == {"good last in file"}
    assert {place.partition(" ")[0] for place in story["places"]} >= {"log", "/proc", "identity.db", "seal.json"}
    assert any(place.endswith("-wal") for place in story["places"])


def test_a52_no_personal_value_stands_in_any_file_log_or_process(story: dict[str, Any]) -> None:
    for one in story["people"]:
        markers = {name: set(_traces(value)) for name, value in one.personal().items()}
        markers |= {f"{one.where} hash of {at}": set(_digests(value)) for at, value in enumerate(one.whole())}
        assert _found(story["places"], markers) == set()


def test_no_evidence_stands_in_any_file_log_or_process(story: dict[str, Any]) -> None:
    data: bytes = story["evidence"]
    traces = {data[6:60], data[6:60].hex().encode(), base64.b64encode(data[6:60]), *_base64(data[6:46])}
    traces |= {hashlib.new(name, data, usedforsecurity=False).digest() for name in ("md5", "sha1", "sha256")}
    assert _found(story["places"], {"evidence": traces}) == set()


def test_a_handle_stands_in_the_directory_alone(story: dict[str, Any]) -> None:
    for one in story["people"]:
        markers = {"handle": set(_traces(one.handle)), "external id": set(_traces(one.external))}
        assert _found(story["places"], markers, ("directory.db", "after directory.db")) == set()
    good = story["people"][0]
    in_directory = b"".join(content for place, content in story["places"].items() if "directory.db" in place)
    assert good.handle.encode() in in_directory, "it is there in clear, as the design says: else this looks in vain"


def test_a24_a_tag_by_which_people_are_recognised_stands_in_the_identity_store_alone(story: dict[str, Any]) -> None:
    tags: set[bytes] = story["tags"]
    assert len(tags) >= 2
    traces = {spelt for tag in tags for spelt in (tag, tag.hex().encode(), tag.hex().upper().encode(), *_base64(tag))}
    answers = {f"answer {at}": one.content for at, one in enumerate(story["told"].answers)}
    shown = {**story["places"], **answers, "output": story["outputs"].encode()}
    assert _found(shown, {"tag": traces}, ("identity.db", "after identity.db")) == set()
    assert any(tag in content for place, content in shown.items() if "identity.db" in place for tag in tags)


def test_no_client_secret_or_access_token_stands_in_any_file_log_or_process(story: dict[str, Any]) -> None:
    """The directory holds SHA-256 of the whole secret, as 32 bytes; no other form of it anywhere."""
    assert len(story["secret"]) >= 7
    for name, value in story["secret"].items():
        traces = set(_traces(value)) | set(_traces(value[4:]))
        if name.endswith("secret"):
            traces.discard(hashlib.sha256(value.encode()).digest())
        assert _found(story["places"], {name: traces}) == set()


def test_no_refusal_repeats_what_was_sent_or_shows_what_is_inside(story: dict[str, Any]) -> None:
    refusals = story["told"].refusals
    assert len(refusals) > 60
    for answer in refusals:
        shown = {"answer": answer.content, "headers": str(answer.headers).encode()}
        for one in story["people"]:
            # Only what the caller could not know: his own path does not come back either.
            markers = {name: set(_traces(value)) for name, value in one.personal().items()}
            assert _found(shown, markers | {"handle": {one.handle.encode()}}) == set()
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for inside in ("Traceback", "sqlite", "SELECT", "select ", ".py", "/work", "site-packages", "pydantic"):
            assert inside.lower() not in (answer.text + str(answer.headers)).lower()
        assert answer.headers.get("Server", "").isalpha(), "a name at most, never a version"


def test_commands_show_no_personal_value(story: dict[str, Any]) -> None:
    shown = {"output": story["outputs"].encode()}
    for one in story["people"]:
        markers = {name: set(_traces(value)) for name, value in (one.personal() | {"handle": one.handle}).items()}
        assert _found(shown, markers) == set()
    assert not any(value in story["outputs"] for value in story["secret"].values())


def test_what_to_mend_is_of_a_closed_list_and_holds_no_name(server: Server) -> None:
    """What to mend is stored in clear in the directory and shown to the provider: free words would be a leak."""
    chat, rita, one = server.provider("reasons"), server.reviewer("reasons"), Marked("reason")
    made = chat.registered(one.identity, one.handle)
    fix = {"reason": "name_differs", "fix": [f"legal_name.{one.first}"]}
    assert rita.decide(made["id"], "returned", **fix).status_code == 422
    assert one.first not in chat.get(f"/v1/registrations/{made['id']}").text


def test_a_reveal_of_a_field_that_does_not_exist_is_refused_as_such(server: Server) -> None:
    chat, rita = server.provider("fields"), server.reviewer("fields")
    made = chat.registered(Marked("field").identity, "fields")
    answer = rita.post(f"/v1/reviews/{made['id']}/reveal", {"purpose": "review", "fields": ["shoe_size"]})
    assert answer.status_code == 422, answer.text


def test_the_vault_served_and_ended_well(story: dict[str, Any]) -> None:
    assert story["code"] == 0
    assert b"Traceback" not in story["places"]["after log"]
    assert b'"status":500' not in story["places"]["after log"]
