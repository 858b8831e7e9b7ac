"""SIGTERM under load: what was acknowledged is there, and nothing was done for a caller who was not told of it."""

import itertools
import random
import threading
import time
from collections import Counter

import httpx
import pytest

from tests.forking import Serving
from tests.people import person
from tests.serving import NO_TLS, Client, Server

pytestmark = pytest.mark.sampled

SENDERS = 24
STOP_SECONDS = 8.0
"""What a stop takes at most without requests; who misses the signal is killed after ten."""
BEFORE_ANY_ANSWER = ("Server disconnected without sending a response.", "[Errno 104] Connection reset by peer")
"""A connection that the server took just before it stopped, and closed with its request unread."""
_people = itertools.count(1)


class Sender(threading.Thread):
    """Registers one person after another until the server takes no more connections."""

    def __init__(self, client: Client, *, keeps_its_connection: bool) -> None:
        super().__init__(daemon=True)
        self.client, self.keeps_its_connection = client, keeps_its_connection
        self.acknowledged, self.outcomes, self.last = dict[str, str](), Counter[str](), 0.0

    def run(self) -> None:
        while True:
            number = next(_people)
            try:
                answer = self.client.register(person(number), f"h{number}")
            except httpx.ConnectError:
                return
            except httpx.TransportError as error:
                self.outcomes["unread" if str(error) in BEFORE_ANY_ANSWER else f"{type(error).__name__}: {error}"] += 1
                continue
            self.outcomes[str(answer.status_code)] += 1
            if answer.status_code == httpx.codes.ACCEPTED:
                self.acknowledged[f"h{number}"], self.last = answer.json()["id"], time.monotonic()
            if not self.keeps_its_connection:
                self.client.http.close()
                self.client.http = httpx.Client(base_url=self.client.server.url, timeout=30, verify=NO_TLS)


def test_a_stop_under_load_loses_nothing_that_was_acknowledged_and_hides_nothing_that_was_done(fresh: Server) -> None:
    chat = fresh.provider("chat")
    chat.authorise()
    senders = []
    for number in range(SENDERS):
        client = Client(fresh, chat.id, chat.secret)
        client.token = chat.token
        senders.append(Sender(client, keeps_its_connection=number % 2 == 0))
    for sender in senders:
        sender.start()
    time.sleep(1.5)
    stopped = time.monotonic()
    assert fresh.stop_under_load() == 0
    for sender in senders:
        sender.join(20)
        assert not sender.is_alive(), "a request has neither an answer nor a refused connection"
    outcomes = sum((sender.outcomes for sender in senders), Counter[str]())
    assert set(outcomes) <= {"202", "503", "unread"}, outcomes
    assert max(sender.last for sender in senders) > stopped, "requests were under way when it was told to stop"
    acknowledged = {handle: reg for sender in senders for handle, reg in sender.acknowledged.items()}
    assert len(acknowledged) > SENDERS
    assert fresh.sql("directory", "select count(*) from account") == [(len(acknowledged),)]
    fresh.start()
    for reg in acknowledged.values():
        assert chat.registration(reg)["state"] == "in_review"


@pytest.mark.parametrize("seconds", [0.0, 0.05, 0.1, 0.2, 0.4, 0.8])
def test_a_stop_while_workers_are_started_anew_takes_no_longer_than_others(fresh: Server, seconds: float) -> None:
    """A seal ends the workers; who is told to end while he is being started must not miss it."""
    fresh.run("keys", "seal")
    time.sleep(seconds)
    begun = time.monotonic()
    assert fresh.stop() == 0
    assert time.monotonic() - begun < STOP_SECONDS


def test_a_stop_while_it_is_being_started_takes_no_longer_than_others(fresh: Server, drawn: random.Random) -> None:
    for _ in range(6):
        fresh.stop()
        fresh.process = Serving(fresh.environment, fresh.log, forks=fresh.forks_agent)
        fresh.sessions.add(fresh.process.pid)
        time.sleep(drawn.uniform(0.2, 2))
        begun = time.monotonic()
        fresh.stop()  # before it has a handler of its own it ends by the signal
        assert time.monotonic() - begun < STOP_SECONDS
