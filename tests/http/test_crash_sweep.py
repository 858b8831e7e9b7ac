"""Kill -9 at every write (I1, I8, I10): each act is counted first, then cut off on the Nth write that it really makes.

SQLite writes with pwrite64, and strace kills the process that enters its Nth one. The act is repeated until it has its
answer, and must then have had one effect. `make test-full` takes every write of every act; the default one of each kind
of process, drawn from a seed that a failure names, and the first where that one is not made again.
"""

import random
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.http.crashing import (
    RETRY_SECONDS,
    STRACE,
    again,
    assert_whole,
    await_traced,
    is_whole,
    items,
    key,
    roughly_ended,
)
from tests.http.exchanges import execute, hand_over, redeem, two_providers
from tests.http.test_processes import eventually, holders, workers
from tests.keys.killing import end_tracer
from tests.people import person
from tests.serving import BIN, Client, Server

pytestmark = pytest.mark.sqlite  # strace counts the writes of SQLite

Sent = Callable[[], httpx.Response]
DECISION = {"decision": "approved", "method": "document_checked"}
SANCTION = {"rung": "limit_publish", "until": "2031-01-01T00:00:00Z", "ground": "spam", "facts": "as seen",
            "by": "mod-1"}  # fmt: skip

POINTS_A_LIFE = 3
"""A server whose workers are killed again and again within seconds gives up, as it should."""


class World:
    """Two providers and a vault reviewer; each act has a person of its own, by number."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.chat, self.blog, self.rita = two_providers(server)

    def registration(self, number: int, provider: Client | None = None, handle: str = "h") -> dict[str, Any]:
        return (provider or self.chat).registered(person(number), f"{handle}{number}")

    def approved(self, number: int, provider: Client | None = None, handle: str = "h") -> dict[str, Any]:
        made = self.registration(number, provider, handle)
        self.rita.approve(made["id"])
        return made

    def until(self, send: Sent, wanted: int) -> httpx.Response:
        """Repeat a request until it has its answer: what it does is one thing however often it is sent."""
        end = time.monotonic() + RETRY_SECONDS
        seen: list[str] = []
        while time.monotonic() < end:
            try:
                answer = send()
            except httpx.TransportError as error:
                seen.append(type(error).__name__)
                time.sleep(0.05)
                continue
            if answer.status_code == wanted:
                return answer
            told = answer.json()
            kind = told.get("type", told.get("error", "")).rpartition(":")[2]  # an OAuth route has the other form
            assert answer.status_code == 503 or kind == "idempotency-running", answer.text
            seen.append(kind)
            time.sleep(0.05)
        raise AssertionError(f"no answer after {RETRY_SECONDS} s: {dict(Counter(seen))}, at last {seen[-3:]}")


class Act:
    """One act on one person: what it needs, the act itself with its retries, and that it had one effect."""

    def __init__(self, world: World, number: int) -> None:
        self.world, self.number = world, number
        self.chat, self.blog, self.rita = world.chat, world.blog, world.rita
        self.key = key()
        self.prepare()

    def prepare(self) -> None:
        self.made = self.world.approved(self.number)

    def act(self) -> None:
        raise NotImplementedError

    def check(self) -> None:
        raise NotImplementedError

    def standings(self, provider: Client) -> int:
        query = "SELECT count(*) FROM standing WHERE provider = ? AND state = 'live'"
        ((count,),) = execute(self.world.server, "directory", query, provider.id)
        return int(count)


class Register(Act):
    def prepare(self) -> None:
        self.before = self.standings(self.chat)
        self.body = {"handle": f"h{self.number}", "kind": "public", "identity": person(self.number),
                     "accepts": {"terms": "2026-01", "truthful": True}}  # fmt: skip

    def act(self) -> None:
        self.made = again(self.chat, "/v1/registrations", self.body, self.key, 202).json()

    def check(self) -> None:
        assert again(self.chat, "/v1/registrations", self.body, self.key, 202).json() == self.made
        assert self.chat.registration(self.made["id"])["state"] == "in_review"
        assert self.standings(self.chat) == self.before + 1


class Batch(Act):
    def prepare(self) -> None:
        self.before = self.standings(self.chat)
        accepts = {"terms": "2026-01", "truthful": True}
        self.body = {"items": [
            {"handle": f"b{self.number}x{at}", "kind": "public", "identity": person(self.number * 10 + at),
             "accepts": accepts}
            for at in range(3)
        ]}  # fmt: skip

    def act(self) -> None:
        self.made = again(self.chat, "/v1/registrations/batch", self.body, self.key, 200).json()

    def check(self) -> None:
        assert [one["status"] for one in self.made["items"]] == [202] * 3
        assert all(self.chat.registration(one["id"])["state"] == "in_review" for one in self.made["items"])
        assert self.standings(self.chat) == self.before + 3


class Decide(Act):
    def prepare(self) -> None:
        self.made = self.world.registration(self.number)

    def act(self) -> None:
        again(self.rita, f"/v1/reviews/{self.made['id']}/decision", DECISION, self.key, 200)

    def check(self) -> None:
        assert self.chat.registration(self.made["id"])["state"] == "approved"
        assert self.chat.introspect(self.made["token"])["scope"] == "read publish"


class Unite(Decide):
    """The person is at the other provider, and at this one already."""

    def prepare(self) -> None:
        self.elsewhere = self.world.approved(self.number, self.blog)
        self.older = self.world.approved(self.number, handle="older")
        self.made = self.world.registration(self.number)

    def check(self) -> None:
        after = self.chat.registration(self.made["id"])
        assert {after["token"], after["supersedes"]} == {self.made["token"], self.older["token"]}
        assert self.chat.introspect(after["token"])["scope"] == "read publish"
        assert self.chat.introspect(after["supersedes"]) == {"active": False}
        assert self.blog.introspect(self.elsewhere["token"])["scope"] == "read publish"


class Exchange(Act):
    """A person whom the taker does not know: he gets one standing there, however often it is tried."""

    def act(self) -> None:
        # A hand-off is single: if it was consumed by a try that was cut off, another is handed over.
        end = time.monotonic() + RETRY_SECONDS
        answer: httpx.Response | None = None
        while answer is None or answer.status_code != 200:
            assert time.monotonic() < end, answer and answer.text
            given = self.world.until(lambda: hand_over(self.chat, self.made["token"], self.blog), 200)
            try:
                answer = redeem(self.blog, given.json()["access_token"])
            except httpx.TransportError:
                time.sleep(0.05)
                continue
            assert answer.status_code in {200, 400, 503}, answer.text
        self.token = answer.json()["access_token"]

    def prepare(self) -> None:
        super().prepare()
        self.before = self.standings(self.blog)

    def check(self) -> None:
        assert self.blog.introspect(self.token)["scope"] == ""
        given = hand_over(self.chat, self.made["token"], self.blog).json()["access_token"]
        assert redeem(self.blog, given).json()["access_token"] == self.token
        assert self.standings(self.blog) == self.before + 1


class Impose(Act):
    def act(self) -> None:
        again(self.chat, "/v1/sanctions", {**SANCTION, "token": self.made["token"]}, self.key, 201)

    def check(self) -> None:
        assert self.chat.introspect(self.made["token"])["scope"] == "read"
        shown = self.chat.get("/v1/sanctions", params={"token": self.made["token"]}).json()["items"]
        assert [one["rung"] for one in shown] == ["limit_publish"]


class Lift(Impose):
    def prepare(self) -> None:
        super().prepare()
        answer = self.chat.post("/v1/sanctions", {**SANCTION, "token": self.made["token"]})
        self.sanction = answer.json()["id"]

    def act(self) -> None:
        again(self.chat, f"/v1/sanctions/{self.sanction}/lift", {"reason": "appeal"}, self.key, 200)

    def check(self) -> None:
        assert self.chat.introspect(self.made["token"])["scope"] == "read publish"


class Erase(Act):
    """A banned person's registration ends: the ban stays, the open account keeps reading."""

    def prepare(self) -> None:
        super().prepare()
        self.chat.post("/v1/sanctions", {**SANCTION, "token": self.made["token"]})

    def act(self) -> None:
        path = f"/v1/registrations/{self.made['id']}"
        self.world.until(lambda: self.chat.call("DELETE", path), 204)

    def check(self) -> None:
        assert self.chat.registration(self.made["id"])["state"] == "withdrawn"
        assert self.chat.introspect(self.made["token"]) == {"active": False}
        fresh = self.chat.get(f"/v1/accounts/{self.made['account']}").json()
        assert (fresh["state"], self.chat.introspect(fresh["token"])["scope"]) == ("legacy", "read")
        back = self.world.registration(self.number, handle="back")
        answer = self.world.until(lambda: self.rita.reveal_answer(back["id"]), 200)
        assert answer.json()["returner"] is True


class EraseByKey(Erase):
    """The same under an idempotency key, whose answer is kept after the ending: who dies between is answered alike."""

    def prepare(self) -> None:
        super().prepare()
        self.key = key()

    def act(self) -> None:
        path = f"/v1/registrations/{self.made['id']}"
        self.world.until(lambda: self.chat.call("DELETE", path, headers=self.key), 204)


class Split(Act):
    def prepare(self) -> None:
        self.elsewhere = self.world.approved(self.number, self.blog)
        super().prepare()

    def act(self) -> None:
        again(self.rita, f"/v1/reviews/{self.made['id']}/split", {"reason": "wrong_verdict"}, self.key, 200)

    def check(self) -> None:
        for provider, made in ((self.chat, self.made), (self.blog, self.elsewhere)):
            assert provider.introspect(made["token"])["scope"] == "read publish"
        answer = self.rita.post(f"/v1/reviews/{self.made['id']}/split", {"reason": "wrong_verdict"})
        assert answer.status_code == 409, "alone by now"


class Close(Act):
    def act(self) -> None:
        self.world.until(lambda: self.chat.call("DELETE", f"/v1/accounts/{self.made['account']}"), 204)

    def check(self) -> None:
        assert self.chat.get(f"/v1/accounts/{self.made['account']}").json()["state"] == "closed"
        assert self.chat.introspect(self.made["token"]) == {"active": False}


class Rotate(Act):
    """Each try that came through rotates once more: the last token is the good one."""

    def act(self) -> None:
        form, auth = {"token": self.made["token"]}, (self.chat.id, self.chat.secret)
        self.world.until(lambda: self.chat.http.post("/oauth/revoke", data=form, auth=auth), 200)

    def check(self) -> None:
        assert self.chat.introspect(self.made["token"]) == {"active": False}
        (found,) = self.chat.post("/v1/tokens/translate", {"tokens": [self.made["token"]]}).json()["items"]
        assert self.chat.introspect(found["token"])["scope"] == "read publish"


ACTS = (Register, Batch, Decide, Unite, Exchange, Impose, Lift, Erase, EraseByKey, Split, Close, Rotate)


def processes(server: Server) -> dict[str, list[int]]:
    held = holders(server)
    return {"workers": workers(server), "names": [held["names"]], "standing": [held["standing"]]}


@contextmanager
def traced(pids: list[int], output: Path, *more: str) -> Iterator[None]:
    command = [STRACE, "-f", "-qq", "-o", str(output), "-e", "trace=pwrite64", *more]
    command += [argument for pid in pids for argument in ("-p", str(pid))]
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        await_traced(pids)
        yield
    finally:
        end_tracer(tracer, 1)


def anew(server: Server) -> None:
    """End the server and start it again."""
    assert server.process is not None
    server.process.terminate()
    assert server.process.wait(20) == 0
    server.start()


def writes(server: Server, act: Act, output: Path) -> dict[str, int]:
    """Return how many writes an act makes at most in one thread, by the kind of process; strace counts by thread."""
    kinds = {pid: kind for kind, pids in processes(server).items() for pid in pids}
    owner = {int(task.name): kind for pid, kind in kinds.items() for task in Path(f"/proc/{pid}/task").iterdir()}
    with traced(list(kinds), output):
        act.act()
        owner |= {int(task.name): kind for pid, kind in kinds.items() for task in Path(f"/proc/{pid}/task").iterdir()}
    act.check()
    counted = Counter(int(line.split()[0]) for line in output.read_text().splitlines() if "pwrite64(" in line)
    most: Counter[str] = Counter()
    for task, count in counted.items():
        if task in owner:
            most[owner[task]] = max(most[owner[task]], count)
    return dict(most)


@pytest.mark.costly
@pytest.mark.parametrize("kind_of_act", ACTS)
@pytest.mark.timeout(3600)
def test_an_act_that_is_cut_off_on_any_write_has_one_effect(
    tmp_path: Path, kind_of_act: type[Act], drawn: random.Random, *, full: bool
) -> None:
    with roughly_ended(tmp_path) as server:
        world = World(server)
        counted = writes(server, kind_of_act(world, 1), tmp_path / "trace")
        assert counted, "an act writes"
        number, hit = 1, Counter[str]()
        for kind, most in counted.items():
            for nth in range(1, most + 1) if full else (drawn.randint(1, most), 1):
                if hit[kind] and not full:
                    break  # the first is always made; the others not always
                number += 1
                act = kind_of_act(world, number)
                victims = processes(server)[kind]
                with traced(victims, tmp_path / "trace", "-e", f"inject=pwrite64:signal=KILL:when={nth}"):
                    act.act()
                    hit[kind] += any(not Path(f"/proc/{pid}").exists() for pid in victims)
                assert eventually(lambda: is_whole(server), 20)
                act.check()
                if number % POINTS_A_LIFE == 0:
                    anew(server)
        assert set(hit) == set(counted)
        assert all(hit.values()), f"the injection must really hit: {dict(hit)} of {counted}"
        accounts = [account["id"] for account in items(world.chat, "/v1/accounts")]
        assert len(accounts) == len(set(accounts))
        assert_whole(server)
        assert server.stop() == 0


class Due:
    """A rejected registration and a returned one with evidence, which are soon so old that both are forgotten."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.before = self._kept()
        rejected, returned = (world.registration(2 * number + at, handle="due")["id"] for at in (0, 1))
        path = f"/v1/registrations/{returned}/evidence/passport"
        put = world.chat.call("PUT", path, content=b"\x89PNG", headers={"Content-Type": "image/png"})
        assert put.is_success, put.text
        for made, decision, more in (
            (rejected, "rejected", {"reason": "not_the_holder"}),
            (returned, "returned", {"reason": "unreadable", "fix": ["names"]}),
        ):
            answer = world.rita.decide(made, decision, **more)
            assert answer.status_code == 200, answer.text
        assert self._kept() == [count + more for count, more in zip(self.before, (2, 2, 1, 1), strict=True)]

    def _kept(self) -> list[int]:
        tables = (("identity", "record"), ("keys", "record_key"), ("identity", "evidence"), ("keys", "evidence_key"))
        return [execute(self.world.server, store, f"SELECT count(*) FROM {table}")[0][0] for store, table in tables]  # noqa: S608 - our own names

    def act(self) -> None:
        """Let its time come, and wait for the rounds of housekeeping."""
        left = "decided IS NOT NULL AND forgotten IS NULL"
        execute(self.world.server, "directory", f"UPDATE review SET decided = 1 WHERE {left}")  # noqa: S608 - our own
        due = f"SELECT count(*) FROM review WHERE {left}"  # noqa: S608 - our own
        assert eventually(lambda: execute(self.world.server, "directory", due) == [(0,)], RETRY_SECONDS)

    def check(self) -> None:
        records, keys, evidence, evidence_keys = self.before
        assert eventually(lambda: self._kept() == [records + 1, keys + 1, evidence, evidence_keys]), "the other stays"


def housekeepings(server: Server) -> list[int]:
    mine = server.processes()
    return [pid for pid in mine if Path(f"/proc/{pid}/comm").read_text() == "housekeeping\n"]


@pytest.mark.timeout(3600)
def test_housekeeping_that_is_cut_off_on_any_write_is_finished_in_a_later_round(
    tmp_path: Path, drawn: random.Random, *, full: bool
) -> None:
    with roughly_ended(tmp_path, IDVAULT_HOUSEKEEPING_SECONDS="1") as server:
        world, number = World(server), 1
        due, output = Due(world, number), tmp_path / "trace"
        with traced(housekeepings(server), output):
            due.act()
        due.check()
        most = output.read_text().count("pwrite64(")
        assert most > 1, "housekeeping writes"
        for nth in range(1, most + 1) if full else {drawn.randint(1, most)}:
            number += 1
            due, victims = Due(world, number), housekeepings(server)
            with traced(victims, output, "-e", f"inject=pwrite64:signal=KILL:when={nth}"):
                due.act()
            assert not Path(f"/proc/{victims[0]}").exists(), f"the injection must really hit write {nth} of {most}"
            due.check()
        assert_whole(server)
        assert server.stop() == 0


def test_two_housekeepings_at_once_forget_each_record_once(tmp_path: Path) -> None:
    with roughly_ended(tmp_path, IDVAULT_HOUSEKEEPING_SECONDS="1") as server:
        world = World(server)
        second = subprocess.Popen([BIN / "idvault", "housekeeping"], env=server.environment, stderr=subprocess.DEVNULL)
        try:
            due = [Due(world, number) for number in range(1, 6)]
            tells = server.home / "metrics" / f"{second.pid}.json"
            assert eventually(tells.exists, RETRY_SECONDS), "it is at work"
            due[0].act()
        finally:
            second.terminate()
            assert second.wait(20) == 0
        erased = execute(server, "keys", "SELECT count(*) FROM audit_outbox WHERE type = 'registration.erased'")
        assert erased == [(len(due),)], "one line for each, whoever did it"
        assert_whole(server)
        assert server.stop() == 0
