"""Refused attempts: one leaf a client, kind and minute, with how many there were; nothing of who is not known (A33)."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from keys.errors import BudgetError, OpenError, RefusedError
from keys.leaves import read
from keys.primitives import random_bytes
from tests.log.ledger import MINUTE, CutError, Ledger, enrol
from tests.people import person
from tests.serving import NO_TLS, Server
from vault.errors import Kind, VaultError
from vault.services.refusing import EACH, Refused, Refusing
from vault.stores import refusals
from vault.web.oauth.errors import OAuthError
from vault.web.telling import refused_of


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    made = Ledger(tmp_path)
    enrol(made)
    yield made
    made.close()


def told(ledger: Ledger) -> list[tuple[str, int, int]]:
    """Return (kind, minute, count) of each leaf of a refused attempt."""
    said = [read(entry) for entry in ledger.entries()]
    return sorted((one["kind"], one["minute"], one["count"]) for one in said if one["type"] == "attempt.refused")


def test_attempts_of_a_minute_become_one_leaf_once_the_minute_is_over(ledger: Ledger) -> None:
    refusing = Refusing(ledger.directory, lambda: ledger.now)
    for _ in range(3):
        refusing.tell("cli_a", Refused.SCOPE)
    refusing.tell("cli_a", Refused.BUDGET, 7)
    refusing.tell("cli_nobody", Refused.CREDENTIALS)
    sequencer = ledger.sequencer()
    ledger.now += 60
    sequencer.once()
    assert told(ledger) == []
    refusing.tell("cli_a", Refused.SCOPE)
    ledger.now += 60
    assert sequencer.once() == 2
    assert told(ledger) == [("budget", MINUTE, 7), ("scope", MINUTE, 3)]
    ledger.now += 60
    assert (sequencer.once(), sequencer.once()) == (1, 0)
    assert told(ledger)[-1] == ("scope", MINUTE + 1, 1)


def test_a_flood_of_names_that_nobody_has_is_neither_remembered_nor_takes_the_stores_lock(ledger: Ledger) -> None:
    """Whoever has no secret chooses what he calls himself."""
    refusing = Refusing(ledger.directory, lambda: ledger.now)
    with ledger.directory.writing():  # it has the lock
        for number in range(50):
            refusing.tell(f"cli_{number}", Refused.CREDENTIALS)
        refusing.tell("x" * 2000, Refused.CREDENTIALS)
        refusing.tell("cli_a\0", Refused.CREDENTIALS)
    assert not refusing._seen
    refusing.tell("cli_a", Refused.CREDENTIALS)
    assert refusing._seen


def test_a_flood_is_one_row_written_by_the_hundred(ledger: Ledger) -> None:
    refusing = Refusing(ledger.directory, lambda: ledger.now)
    written = [refusing._due("cli_a", Refused.CREDENTIALS, MINUTE, 1) for _ in range(3 * EACH + 20)]
    assert [count for count in written if count] == [1] * EACH + [EACH] * 2
    refusing.tell("cli_a", Refused.CREDENTIALS, 2 * EACH)
    with ledger.directory.reading() as unit:
        [row] = refusals.waiting(unit, MINUTE + 1, 10)
    assert row.count == 2 * EACH


def test_each_attempt_is_told_once_wherever_the_sequencer_is_cut_off(ledger: Ledger) -> None:
    expected = []
    for cut in range(1, 60):
        minute = MINUTE + cut
        with ledger.directory.writing() as unit:
            assert refusals.add(unit, "cli_a", "scope", minute, random_bytes(16), cut)
        expected.append(("scope", minute, cut))
        ledger.now = (minute + 2) * 60
        ledger.steps, ledger.cut_at = 0, cut
        try:
            ledger.sequencer().once()
        except CutError:
            ledger.cut_at = -1
            ledger.sequencer().once()
            assert told(ledger) == expected
        else:
            break
    assert cut > 8
    assert told(ledger) == expected


@pytest.mark.parametrize(
    ("error", "kind"),
    [(VaultError(Kind.FORBIDDEN, "x"), "scope"), (VaultError(Kind.UNAUTHENTICATED, "x"), "credentials"),
     (VaultError(Kind.TOO_MANY_REQUESTS, "x"), "budget"), (BudgetError(), "budget"), (RefusedError(), "evidence"),
     (OAuthError("invalid_target", "x", Refused.AGREEMENT), "agreement"), (OAuthError("invalid_target", "x"), None),
     (OAuthError("invalid_scope", "x", Refused.SCOPE), "scope"), (OAuthError("invalid_request", "x"), None),
     (OpenError(), None), *((VaultError(kind, "x"), None) for kind in
                            (Kind.NOT_FOUND, Kind.CONFLICT, Kind.VALIDATION, Kind.LOCKDOWN, Kind.UNAVAILABLE))],
)  # fmt: skip
def test_what_is_told_is_a_closed_list_and_says_nothing_of_who_is_known(error: Exception, kind: str | None) -> None:
    """A token that opens nothing, an object of another, a case that is decided: none of these is told."""
    assert refused_of(error) == kind


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("refused") / "home").start()
    yield server
    server.stop()


def counted(server: Server) -> dict[tuple[str, str], int]:
    rows = server.sql("directory", "select client, kind, sum(count) from refusal group by client, kind")
    return {(client, kind): int(count) for client, kind, count in rows}


def test_a33_what_several_workers_refuse_at_once_is_counted_exactly_and_by_client(served: Server) -> None:
    chat, blog, rita = served.provider("chat"), served.provider("blog"), served.reviewer("rita")
    token = chat.registered(person(1), "anna")["token"]

    def attempt(number: int) -> httpx.Response:
        with httpx.Client(base_url=served.url, verify=NO_TLS) as http:
            match number % 7:
                case 5:
                    form = {"grant_type": "client_credentials", "scope": "metrics"}
                    return http.post("/oauth/token", auth=(blog.id, blog.secret), data=form)
                case 0:
                    return http.post("/oauth/token", auth=(chat.id, "wrong"), data={"grant_type": "client_credentials"})
                case 1:
                    return http.post("/oauth/introspect", auth=(blog.id, "wrong"), data={"token": token})
                case 2:
                    return http.post("/oauth/introspect", auth=("cli_nobody", "wrong"), data={"token": token})
                case 3:
                    return rita.get("/v1/accounts")
                case 4:
                    return exchanged()
                case _:
                    return http.get("/v1/accounts", headers={"Authorization": "Bearer vat_forged"})

    def exchanged() -> httpx.Response:
        form: dict[str, Any] = {
            "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange", "subject_token": token,
            "subject_token_type": "urn:idvault:token-type:pseudonym", "audience": "cli_nobody", "scope": "safety",
        }  # fmt: skip
        return httpx.post(f"{served.url}/oauth/token", auth=(chat.id, chat.secret), data=form, verify=NO_TLS)

    before = counted(served)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(attempt, range(70)))
    assert {answer.status_code for answer in answers} == {400, 401, 403}
    new = {key: count - before.get(key, 0) for key, count in counted(served).items()}
    assert new == {
        (chat.id, "credentials"): 10, (blog.id, "credentials"): 10, (rita.id, "scope"): 10, (chat.id, "agreement"): 10,
        (blog.id, "scope"): 10,
    }  # fmt: skip


def test_a_refusal_stands_where_its_row_cannot_be_written(served: Server) -> None:
    chat = served.provider("stands")
    served.sql("directory", "alter table refusal rename to refusal_away")
    try:
        answer = httpx.post(
            f"{served.url}/oauth/introspect", auth=(chat.id, "wrong"), data={"token": "x"}, verify=NO_TLS
        )
    finally:
        served.sql("directory", "alter table refusal_away rename to refusal")
    assert answer.status_code == httpx.codes.UNAUTHORIZED
