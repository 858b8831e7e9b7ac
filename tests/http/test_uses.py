"""A key encryption key that may seal no more refuses with words, and nothing else stands still; rotated, all goes on
(A6)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from keys.cli.main import cli
from tests.http.exchanges import approved, handed, redeem, two_providers
from tests.http.test_registrations_many import batch, item
from tests.http.test_rotation import keys
from tests.people import person
from tests.serving import Client, Server

LIMIT = 1000
USED_UP = {
    "type": "urn:idvault:problem:key-used-up", "title": "The key that seals records may seal no more", "status": 503,
    "detail": "nothing was done; the operator of the vault rotates the key: idvault-keys rotate kek",
}  # fmt: skip


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Server]:
    """A served vault whose key encryption key seals 1,000 times."""
    server = Server(tmp_path / "home", IDVAULT_KEK_USES=str(LIMIT)).start()
    yield server
    report = server.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]
    assert server.stop() == 0


def listed(server: Server) -> list[tuple[int, int, int]]:
    """Return (version, records, uses) of the versions of the key encryption key."""
    found = [key for key in keys(server, "keys")["keys"] if key["purpose"] == "kek"]
    assert {key["limit"] for key in found} == {LIMIT}
    return [(key["version"], key["records"], key["uses"]) for key in found]


def warned(server: Server) -> str:
    """Return what `idvault-keys keys` says on standard error."""
    done = CliRunner().invoke(cli, ["keys", "--home", str(server.home)])
    assert done.exit_code == 0
    return done.stderr


def ratio(watch: Client, version: int) -> float:
    lines = watch.get("/metrics").text.splitlines()
    start = f'idvault_kek_uses_ratio{{version="{version}"}} '
    return float(next(line.removeprefix(start) for line in lines if line.startswith(start)))


@pytest.mark.timeout(180)
def test_a6_a_limit_of_1000_is_refused_with_words_while_the_rest_goes_on_and_rotating_opens_it_again(
    limited: Server,
) -> None:
    chat, blog, rita = two_providers(limited)
    made = limited.json("operator", "add", "watch")
    watch = Client(limited, made["client_id"], made["client_secret"])
    token = approved(chat, rita, person(2001), "anna")
    handoff, waiting = handed(chat, token, blog), chat.registered(person(2002), "ben")
    batch(chat, [item(number) for number in range(890)])
    assert warned(limited) == ""
    batch(chat, [item(number) for number in range(890, 990)])
    assert "kek version 1 used 9" in warned(limited)
    fill = LIMIT - listed(limited)[0][1]
    batch(chat, [item(number) for number in range(1500, 1500 + fill)])
    assert listed(limited) == [(1, LIMIT, LIMIT)]

    refused = chat.register(person(4000), "dora")
    assert (refused.status_code, refused.json()) == (503, USED_UP)
    several = chat.post("/v1/registrations/batch", {"items": [item(2000), item(2001)]})
    assert (several.status_code, several.json()) == (503, USED_UP)
    exchanged: Any = redeem(blog, handoff)
    assert (exchanged.status_code, exchanged.json()) == (
        503, {"error": "temporarily_unavailable", "error_description": USED_UP["detail"]},
    )  # fmt: skip
    put = chat.call("PUT", f"/v1/registrations/{waiting['id']}/evidence/photo", content=b"\x89PNG",
                    headers={"Content-Type": "image/png"})  # fmt: skip
    assert (put.status_code, put.json()) == (503, USED_UP)
    assert chat.introspect(token)["active"]
    assert rita.reveal(waiting["id"])["fields"]["legal_name"]
    rita.approve(waiting["id"])
    assert "kek version 1 used all of its 1000 uses and seals no more: idvault-keys rotate kek" in warned(limited)
    assert ratio(watch, 1) == 1
    assert listed(limited) == [(1, LIMIT, LIMIT)]

    assert keys(limited, "rotate", "kek")["version"] == 2
    assert chat.register(person(4000), "dora").status_code == 202
    assert redeem(blog, handoff).status_code == 200
    assert warned(limited) == ""
    (_, former, _), (_, records, used) = listed(limited)
    assert (former, records) == (LIMIT, 2)
    assert records <= used <= LIMIT // 64
