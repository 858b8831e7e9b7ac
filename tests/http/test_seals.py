"""Seals by the command line, against a really served vault: what is said, what opens it, and what it says of itself."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.http.test_officers import Machines, citizen, status
from tests.http.test_processes import eventually, is_ready
from tests.http.test_rotation import keys
from tests.keys.backends import SoftHsm, Transit
from tests.openbao import served as served_bao
from tests.people import person
from tests.serving import NO_TLS, Server

pytestmark = pytest.mark.sampled

WORDS, OTHER_WORDS = "correct horse battery staple", "quite another set of words"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A vault without keys, for officers."""
    served = Server(tmp_path / "home")
    served.for_officers = True
    yield served
    assert served.stop() == 0


def kept_by(server: Server) -> str:
    return str(httpx.get(f"{server.url}/readyz", verify=NO_TLS).json()["kept_by"])


def secret(folder: Path, words: str) -> str:
    path = folder / f"words-{len(words)}"
    path.touch(0o600)
    path.write_text(f"{words}\n")
    return str(path)


def test_one_person_keeps_a_vault_by_a_passphrase(fresh: Server, tmp_path: Path) -> None:
    chat = fresh.provider("chat")
    chat.registered(person(1), "anna_1")
    words, other = secret(tmp_path, WORDS), secret(tmp_path, OTHER_WORDS)
    made = keys(fresh, "migrate-seal", "passphrase", "--passphrase-file", words)
    assert made == {"seal": "passphrase", "state": "in_force"}
    assert keys(fresh, "unseal", "--passphrase-file", words)["names"] == "open"
    assert eventually(lambda: is_ready(fresh))
    assert kept_by(fresh) == "one person alone: who has the passphrase and that file has everything"
    chat.registered(citizen(2), "maria_1")
    assert chat.register(person(3), "specimen").status_code == httpx.codes.UNPROCESSABLE_ENTITY
    keys(fresh, "seal")
    refused = keys(fresh, "unseal", "--passphrase-file", other, code=1)
    assert "passphrase: wrong" in refused
    assert WORDS not in refused
    assert OTHER_WORDS not in refused
    keys(fresh, "unseal", "--passphrase-file", words)
    bao = ("--url", "https://bao.example", "--key", "k", "--token-file", "/none")
    assert "stands beside officers" in keys(fresh, "migrate-seal", "transit", *bao, code=1)
    report = fresh.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]


def test_officers_have_a_vault_opened_by_transit_and_by_a_token_and_it_says_so(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hsm = SoftHsm(tmp_path / "hsm", monkeypatch)
    server.environment["SOFTHSM2_CONF"] = str(tmp_path / "hsm" / "softhsm2.conf")
    server.start(httpx.codes.SERVICE_UNAVAILABLE)
    machines = Machines(server, tmp_path / "machines").ceremony()
    with served_bao(tmp_path) as bao:
        transit = Transit(bao, tmp_path, "vault")
        said = ["transit", *(part for name, value in transit.config().items()
                             for part in (f"--{name.replace('_', '-')}", value))]  # fmt: skip
        asked = keys(server, "migrate-seal", *said)
        assert asked["state"] == "pending"
        shown = machines.say("anna", "show", asked["request"])
        assert shown["request"]["detail"]["config"] == transit.config(), "officers sign all that it is set to"
        machines.approved(asked["request"], "anna", "maria")
        assert keys(server, "migrate-seal", *said) == {"seal": "transit", "state": "in_force"}
        assert kept_by(server) == "any 2 of 3 officers; and without them whoever reaches the key of its transit seal"
        assert machines.say("anna", "status")["control"]["seal"] == "transit"
        server.stop()
        server.start()
        assert status(server)["names"] == "open"
        token = hsm.config()
        said = ["pkcs11", "--module", token["module"], "--token", token["token"], "--key", token["key"], "--pin-file",
                token["pin_file"], "--create"]  # fmt: skip
        machines.approved(keys(server, "migrate-seal", *said)["request"], "anna", "maria")
        keys(server, "migrate-seal", *said)
    server.stop()
    server.start()
    assert status(server)["names"] == "open"
    machines.approved(keys(server, "migrate-seal", "shares")["request"], "maria", "anna")
    keys(server, "migrate-seal", "shares")
    assert kept_by(server) == "any 2 of 3 officers"
