"""Acts on one person that come at the same moment: each pair has one of the outcomes that an order of the two allows.

`make test` plays a few rounds of each pair, `--full` 2,000 in all; one act comes up to some milliseconds after the
other, so that each place in it is met.
"""

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from tests.http.exchanges import agree, handed, redeem
from tests.people import person
from tests.serving import Client, Server

ROUNDS, ROUNDS_FULL = 20, 500
LATEST_SECONDS = 0.03
Call = Callable[[], httpx.Response]


class Desk:
    """Two providers that exchange, a vault reviewer, and people who are registered at the first by the hundred."""

    def __init__(self, server: Server, rounds: int) -> None:
        self.server, self.rounds = server, rounds
        self.chat, self.blog, self.rita = server.provider("chat"), server.provider("blog"), server.reviewer("rita")
        agree(server, self.chat, self.blog)
        self._first = 0
        self._threads = ThreadPoolExecutor(2)
        self._outcomes = Counter[tuple[int, int]]()

    def registered(self, provider: Client) -> list[dict[str, Any]]:
        """Return a registration in review for each round, of the people whom `again` registers elsewhere."""
        accepts = {"terms": "2026-01", "truthful": True}
        items = [
            {"handle": f"h{number}", "kind": "public", "identity": person(number), "accepts": accepts}
            for number in range(self._first, self._first + self.rounds)
        ]
        made: list[dict[str, Any]] = []
        for at in range(0, len(items), 100):
            answer = provider.post("/v1/registrations/batch", {"items": items[at : at + 100]})
            assert answer.status_code == 200, answer.text
            made += answer.json()["items"]
        assert {one["status"] for one in made} == {202}
        return made

    def handed_over(self) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield an approved registration and its person's hand-off to the other provider, for each round."""
        for made in self.registered(self.chat):
            self.rita.approve(made["id"])
            yield made, handed(self.chat, made["token"], self.blog)

    def other_people(self) -> None:
        """Have the next rounds be about people who are not there yet; access tokens last as long as one race does."""
        for client in (self.chat, self.blog, self.rita):
            client.authorise()
        self._first += self.rounds
        self._outcomes.clear()

    def met_both_orders(self) -> None:
        """Assert that in many rounds each act came first at times: a race that one side always wins shows nothing."""
        print(self.rounds, "rounds:", dict(self._outcomes))  # noqa: T201 - shown with -rP
        assert self.rounds < ROUNDS_FULL or len(self._outcomes) > 1, self._outcomes

    def race(self, first: Call, second: Call) -> tuple[httpx.Response, httpx.Response]:
        """Make two calls at once, one of them a little later; return their answers."""
        barrier, late = threading.Barrier(2), random.uniform(-LATEST_SECONDS, LATEST_SECONDS)  # noqa: S311 - a pause

        def run(call: Call, seconds: float) -> httpx.Response:
            barrier.wait()
            time.sleep(max(seconds, 0))
            return call()

        asked: list[Future[httpx.Response]] = [
            self._threads.submit(run, first, -late), self._threads.submit(run, second, late)
        ]  # fmt: skip
        answers = asked[0].result(), asked[1].result()
        self._outcomes[answers[0].status_code, answers[1].status_code] += 1
        return answers

    def erasing(self, made: dict[str, Any]) -> Call:
        return lambda: self.chat.call("DELETE", f"/v1/registrations/{made['id']}")

    def erased(self, made: dict[str, Any]) -> None:
        """Assert that a registration is over, its token too; one more erasing may be needed where the first lost."""
        answer = self.erasing(made)()
        assert answer.status_code in {204, 409}, answer.text
        assert self.chat.registration(made["id"])["state"] == "withdrawn"
        assert self.chat.introspect(made["token"]) == {"active": False}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, *, full: bool) -> Iterator[Desk]:
    server = Server(tmp_path_factory.mktemp("races") / "home").start()
    desk = Desk(server, ROUNDS_FULL if full else ROUNDS)
    yield desk
    assert server.json("fsck", "--grace-minutes", "0")["clean"]
    assert server.stop() == 0


def _refused(answer: httpx.Response) -> bool:
    return answer.status_code in {404, 409, 503}


@pytest.mark.timeout(1800)
def test_an_opening_beside_an_erasing_comes_before_it_or_opens_nothing(desk: Desk) -> None:
    """Each name that came out has its audit row, and none comes out after the erasing was acknowledged."""
    desk.other_people()
    opened = _openings(desk)
    out = 0
    for made in desk.registered(desk.chat):
        seen, ended = desk.race(partial(desk.rita.reveal_answer, made["id"]), desk.erasing(made))
        assert ended.status_code == 204, ended.text
        assert seen.status_code == 200 or _refused(seen), seen.text
        out += seen.status_code == 200
        assert _refused(desk.rita.reveal_answer(made["id"]))
        desk.erased(made)
    assert opened + out <= _openings(desk)
    desk.met_both_orders()


def _openings(desk: Desk) -> int:
    ((count,),) = desk.server.sql("keys", "SELECT count(*) FROM audit_outbox WHERE type = 'review.opened'")
    return int(count)


@pytest.mark.timeout(1800)
def test_a_redemption_beside_the_erasing_of_a_person_leaves_no_standing_of_him(desk: Desk) -> None:
    desk.other_people()
    for made, handoff in desk.handed_over():
        before = _standings(desk)
        taken, ended = desk.race(partial(redeem, desk.blog, handoff), desk.erasing(made))
        assert ended.status_code == 204, ended.text
        assert taken.status_code in {200, 400, 503}, taken.text
        assert redeem(desk.blog, handoff).status_code == 400, "it is single, and nothing of the erased is handed over"
        if taken.status_code == 200:
            assert desk.blog.introspect(taken.json()["access_token"]) == {"active": False}
        assert _standings(desk) == before, "the person's last registration is over: nothing of him stays at the taker"
        desk.erased(made)
    desk.met_both_orders()


def _standings(desk: Desk) -> int:
    query = "SELECT count(*) FROM standing WHERE provider = ? AND state = 'live' AND inactive_from IS NULL"
    ((count,),) = desk.server.sql("directory", query, desk.blog.id)
    return int(count)


@pytest.mark.timeout(1800)
def test_a_union_beside_an_erasing_leaves_who_stays_whole(desk: Desk) -> None:
    """The person is approved at chat, and approved at blog, which unites, while chat erases him."""
    desk.other_people()
    for made, elsewhere in zip(desk.registered(desk.chat), desk.registered(desk.blog), strict=True):
        desk.rita.approve(made["id"])
        united, ended = desk.race(partial(desk.rita.decide, elsewhere["id"]), desk.erasing(made))
        assert ended.status_code in {204, 409, 503}, ended.text
        assert united.status_code == 200 or _refused(united), united.text
        if united.status_code != 200:
            desk.rita.approve(elsewhere["id"])
        desk.erased(made)
        assert desk.blog.introspect(elsewhere["token"])["scope"] == "read publish"


@pytest.mark.timeout(1800)
def test_two_redemptions_of_one_hand_off_at_once_are_one(desk: Desk) -> None:
    desk.other_people()
    for _, handoff in desk.handed_over():
        redeeming = partial(redeem, desk.blog, handoff)
        answers = desk.race(redeeming, redeeming)
        assert sorted(answer.status_code for answer in answers) == [200, 400], [answer.text for answer in answers]
    desk.met_both_orders()
