"""Officers of a really started agent, who speak to it on `message.sock` as a relay would hand their messages over."""

import json
import time
from base64 import b64decode
from dataclasses import dataclass
from typing import Any, Final

from keys.chain import Record
from keys.identity import Statement
from keys.messages import answered, message
from keys.officers import Officer
from keys.quorum import Approval, Kind, Request
from keys.seals.shares import Ceremony, opened
from tests.keys.agents import Agent
from tests.keys.test_chain import PEOPLE

DAY: Final = 86_400


@dataclass
class Seat:
    """One officer."""

    agent: Agent
    officer: Officer
    share: str = ""

    def stated(self) -> Statement:
        given = self.agent.message.call("statement", {})
        return Statement.parse(given["statement"], given["signature"])

    def said(self, do: str, **args: Any) -> tuple[bytes, bytes, Statement]:
        to = self.stated()
        return *message(self.officer, to, do, args), to

    def ask(self, do: str, **args: Any) -> dict[str, Any]:
        raw, digest, to = self.said(do, **args)
        answer = self.agent.message.call("message", {"message": raw})["answer"]
        return answered(answer, self.officer, to.agent, digest)

    def fetched(self, *, waiting: bool = False) -> tuple[Ceremony, bytes]:
        """Fetch one's own share; return the record, and what the first record of the chain will say."""
        found = self.ask("share", waiting=waiting)
        record = Ceremony.parse(b64decode(found["record"]))
        self.share = opened(self.officer, record, b64decode(found["sealed"]))
        return record, b64decode(found["first"])

    def confirm(self) -> int:
        record, first = self.fetched(waiting=True)
        digest = bytes.fromhex(Record(first, ()).digest) if first else record.digest
        approval = Approval.of(digest, self.officer.card, self.officer.signer, int(time.time()) + DAY)
        args = {"ceremony": record.digest.hex(), "share": self.share, "approval": approval.plain()}
        return int(self.ask("confirm", **args)["needed"])

    def unseal(self, *, directory: bool = False) -> int:
        return int(self.ask("unseal", share=self.share, directory=directory)["needed"])

    def request(self, kind: Kind, subject: str = "", **detail: Any) -> Request:
        stated = self.stated()
        return Request.of(
            stated.deployment, stated.generation, kind, subject, detail, self.officer.card, int(time.time()), 3600
        )

    def sign(self, do: str, request: Request) -> dict[str, Any]:
        """Ask for a request, or approve it."""
        approval = Approval.of(request.digest, self.officer.card, self.officer.signer, request.expires).plain()
        whole: Any = json.loads(bytes(request)) if do == "ask" else request.digest.hex()
        return self.ask(do, request=whole, approval=approval)


class Party:
    """The officers of a vault: the first three of `PEOPLE`, two of whom are needed."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.seats = [Seat(agent, officer) for officer in PEOPLE[:5]]

    def begin(self, *, people: int = 3, threshold: int = 2, **more: Any) -> dict[str, Any]:
        cards = [str(one.card) for one in PEOPLE[:people]]
        return self.agent.officer.call("begin", {"cards": cards, "threshold": threshold, **more})

    def made(self) -> "Party":
        self.begin()
        assert [self.seats[0].confirm(), self.seats[1].confirm()] == [1, 0]
        self.agent.await_state("open", "open")
        self.seats[2].fetched()
        return self

    def unseal(self, *who: int) -> None:
        for place in who:
            self.seats[place].unseal()
        self.agent.await_state("open", "open")
