"""One person however written, two never one (A25), numbers of several countries, and registering in parallel (A35)."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from tests.people import ANNA, WEI, person
from tests.serving import Client, Server


class Desk:
    """A provider and a vault reviewer of one served vault."""

    def __init__(self, server: Server) -> None:
        self.server, self.chat, self.rita = server, server.provider("desk"), server.reviewer("desk")
        self._count = 0

    def registered(self, identity: dict[str, Any]) -> dict[str, Any]:
        self._count += 1
        return self.chat.registered(identity, f"desk{self._count}")

    def approved(self, identity: dict[str, Any]) -> dict[str, Any]:
        made = self.registered(identity)
        self.rita.approve(made["id"])
        return self.chat.registration(made["id"])


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    server = Server(tmp_path_factory.mktemp("desk") / "home").start()
    yield Desk(server)
    report = server.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]
    assert server.stop() == 0


def wide(text: str) -> str:
    """Return a text in full-width forms (U+FF01 to U+FF5E)."""
    return "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in text)


def spaced(text: str) -> str:
    return " ".join(text[at : at + 3] for at in range(0, len(text), 3))


SPELLINGS: dict[str, Callable[[str], str]] = {
    "spaces": spaced,
    "full width": wide,
    "lower case": str.lower,
    "ideographic spaces": lambda text: "\u3000" + text + "\u3000",
    "zero width space": lambda text: text[:4] + "\u200b" + text[4:],
    "zero width joiner": lambda text: text[:4] + "\u200d\u200c" + text[4:],
    "word joiner": lambda text: text[:4] + "\u2060\ufeff" + text[4:],
    "soft hyphen": lambda text: text[:4] + "\u00ad" + text[4:],
    "hyphens": lambda text: text[:6] + "-" + text[6:],
    "mathematical digits": lambda text: "".join(chr(0x1D7CE + int(c)) if c.isdigit() else c for c in text),
    "circled letter": lambda text: text.replace("X", "\u24cd"),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a25_one_number_however_written_is_one_person(desk: Desk, spelling: str) -> None:
    """A Chinese number with check letter X, written in another way, becomes the standing that its holder has."""
    one = desk.approved(WEI)
    number = SPELLINGS[spelling](WEI["document"]["number"])
    again = desk.registered({**WEI, "document": {**WEI["document"], "number": number}})
    shown = desk.rita.reveal(again["id"])
    assert (shown["returner"], shown["candidates"]) == (True, [])
    assert shown["fields"]["document"]["number"] == WEI["document"]["number"]
    desk.rita.approve(again["id"])
    after = desk.chat.registration(again["id"])
    assert (after["token"], after["supersedes"]) == (one["token"], again["token"])


@pytest.mark.parametrize(
    "name",
    ["Renée  O\u2019Neil", "RENÉE O'NEIL", "rene\u0301e oneil", "\uff32\uff25\uff2e\uff25\u0301\uff25 O'Neil",
     "O'NEIL, Renée", "Renée\u200d O\u200bNeil"],
)  # fmt: skip
def test_a25_one_name_however_written_is_a_look_alike(desk: Desk, name: str) -> None:
    """Case, forms, joiners, apostrophes and order make no other name: with equal birth dates a reviewer is asked."""
    for at, said in enumerate(("Renée O'Neil", name)):
        document = {"type": "passport", "country": "UTO", "number": f"R{at}{abs(hash(name)) % 10**7:07d}"}
        made = desk.registered({"legal_name": said, "birth_date": "1966-06-06", "document": document})
        shown = desk.rita.reveal(made["id"])
        if at or shown["candidates"]:
            assert {candidate["kind"] for candidate in shown["candidates"]} == {"look_alike"}
        verdicts = [{"id": candidate["id"], "verdict": "other_person"} for candidate in shown["candidates"]]
        desk.rita.approve(made["id"], **({"candidates": verdicts, "shown": shown["shown"]} if verdicts else {}))
        assert "supersedes" not in desk.chat.registration(made["id"])


@pytest.mark.parametrize("mark", ["\u200e", "\u200f", "\u061c", "\u202a", "\u202e", "\u2066", "\u2069"])
def test_a25_a_direction_control_in_a_name_is_refused(desk: Desk, mark: str) -> None:
    """A name with a direction control reads as another: it is answered 422 at its place."""
    identity = person(80_001)
    for at in (0, 4, len(identity["legal_name"])):
        name = identity["legal_name"][:at] + mark + identity["legal_name"][at:]
        for sent, pointer in (
            ({**identity, "legal_name": name}, "/identity/legal_name"),
            ({**identity, "names": [{"value": name, "script": "Latn"}]}, "/identity/names/0/value"),
        ):
            answer = desk.chat.register(sent, "directed")
            assert answer.status_code == 422
            assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


def test_a25_two_people_never_become_one_by_themselves(desk: Desk) -> None:
    """Another number, type, country or birth date is never united without a reviewer's verdict."""
    base = {**person(80_010), "birth_date": "1981-03-04"}
    document = base["document"]
    one = desk.approved(base)
    others = [
        {**base, "legal_name": "SOMEONE ELSE", "document": {**document, "number": document["number"][:-1] + "9"}},
        {**base, "legal_name": "SOMEONE ELSER", "document": {**document, "number": document["number"][::-1]}},
        {**base, "legal_name": "ANOTHER STILL", "document": {**document, "country": "SWE"}},
        {**base, "legal_name": "ANOTHER TYPE", "document": {**document, "type": "residence_permit"}},
        {**base, "legal_name": "ZERO FOR O", "document": {**document, "number": document["number"].replace("0", "O")}},
    ]
    tokens = {one["token"]}
    for identity in others:
        made = desk.registered(identity)
        shown = desk.rita.reveal(made["id"])
        assert (shown["returner"], shown["candidates"]) == (False, []), identity["legal_name"]
        desk.rita.approve(made["id"])
        tokens.add(desk.chat.registration(made["id"])["token"])
    other_birth = desk.registered({**base, "birth_date": "1981-04-03"})
    [candidate] = desk.rita.reveal(other_birth["id"])["candidates"]
    assert candidate["kind"] == "same_document"
    assert desk.rita.decide(other_birth["id"]).json()["type"].endswith("candidates-changed")
    same_name = desk.registered({**base, "document": {**document, "number": "Q7654321"}})
    [candidate] = desk.rita.reveal(same_name["id"])["candidates"]
    assert candidate["kind"] == "look_alike"
    assert len(tokens) == 6


NUMBERS: dict[str, tuple[str, str, str, str | None, str]] = {
    "Spanish": ("national_id", "ESP", "12345678Z", None, "12345678A"),
    "Spanish of foreigners": ("residence_permit", "ESP", "X1234567L", None, "X1234567M"),
    "Korean": ("national_id", "KOR", "971013-9019902", "1897-10-13", "971013-9019903"),
    "Polish": ("national_id", "POL", "44051401359", "1944-05-14", "44051401358"),
    "Brazilian": ("national_id", "BRA", "529.982.247-25", None, "529.982.247-26"),
    "Chinese": ("national_id", "CHN", "11010519491231002X", "1949-12-31", "110105194912310021"),
}


@pytest.mark.parametrize("whose", NUMBERS)
def test_numbers_are_checked_by_their_countrys_rule_and_give_the_birth_date_they_hold(desk: Desk, whose: str) -> None:
    """A valid number is accepted, its birth date is filled in; a wrong check character or birth date is refused."""
    kind, country, number, birth, wrong = NUMBERS[whose]
    document = {"type": kind, "country": country, "number": number}
    stated = {} if birth else {"birth_date": "1970-01-02"}
    made = desk.registered({"legal_name": f"SPECIMEN {whose}", "document": document, **stated})
    fields = desk.rita.reveal(made["id"])["fields"]
    assert fields["birth_date"] == (birth or "1970-01-02")
    assert fields["document"]["number"] == "".join(char for char in number if char.isalnum())
    answer = desk.chat.register({"legal_name": "A B", "document": {**document, "number": wrong}, **stated}, "wrong")
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/identity/document/number"]
    if birth:
        answer = desk.chat.register({"legal_name": "A B", "document": document, "birth_date": "1970-01-02"}, "wrong")
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/identity/birth_date"]


def _each(calls: list[Callable[[], httpx.Response]]) -> list[httpx.Response]:
    with ThreadPoolExecutor(len(calls)) as threads:
        return [future.result() for future in [threads.submit(call) for call in calls]]


def test_a35_registrations_and_approvals_at_once_make_one_person(fresh: Server, *, full: bool) -> None:
    """20 registrations, or 50, at 5 providers, approved by 3 reviewers at once: one standing each, no token lost."""
    many = 50 if full else 20
    providers = [fresh.provider(f"p{number}") for number in range(5)]
    reviewers = [fresh.reviewer(f"r{number}") for number in range(3)]
    for client in (*providers, *reviewers):
        client.authorise()

    def registering(number: int) -> Callable[[], httpx.Response]:
        return lambda: providers[number % 5].register(ANNA, f"anna{number}")

    answers = _each([registering(number) for number in range(many)])
    assert Counter(answer.status_code for answer in answers) == {202: many}
    made = [(providers[number % 5], answer.json()) for number, answer in enumerate(answers)]

    def approving(number: int, reg: str) -> Callable[[], httpx.Response]:
        return lambda: _approved(reviewers[number % 3], reg)

    decided = _each([approving(number, case["id"]) for number, (_, case) in enumerate(made)])
    assert Counter(answer.status_code for answer in decided) == {200: many}
    assert fresh.json("fsck", "--grace-minutes", "0")["clean"]

    living: dict[str, set[str]] = {provider.id: set() for provider in providers}
    for provider, case in made:
        after = provider.registration(case["id"])
        assert after["state"] == "approved"
        living[provider.id].add(after["token"])
        if after["token"] == case["token"]:
            assert "supersedes" not in after
        else:
            assert after["supersedes"] == case["token"]
            assert provider.introspect(case["token"]) == {"active": False}
        introspected = provider.introspect(after["token"], account=case["account"])
        assert introspected["scope"] == "read publish"
    assert {len(tokens) for tokens in living.values()} == {1}
    assert len(set.union(*living.values())) == 5
    query = "SELECT provider, count(*) FROM standing WHERE state = 'live' AND superseded_by IS NULL GROUP BY provider"
    assert dict(fresh.sql("directory", query)) == {provider.id: 1 for provider in providers}
    assert fresh.sql("directory", "SELECT count(*) FROM person_tag") == [(5,)]
    for table, count in (("person", 1), ("intent", 0), ("intent_lock", 0)):
        assert fresh.sql("keys", f"SELECT count(*) FROM {table}") == [(count,)]  # noqa: S608


def _approved(reviewer: Client, reg: str) -> httpx.Response:
    """Approve as a client would: again when another act is under way, or the queue is full; nothing was done then."""
    for _ in range(60):
        answer = reviewer.decide(reg)
        if answer.status_code == 503:
            time.sleep(float(answer.headers["Retry-After"]))
        elif answer.status_code != 409 or not answer.json()["type"].endswith(":conflict"):
            break
    return answer
