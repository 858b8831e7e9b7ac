"""The vault equals its model: random acts over HTTP, and after each of them every token means what the model says."""

import itertools
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from tests.model.vault import RUNGS, Model, Registration, Sanction, Standing
from tests.people import person
from tests.serving import Client, Server
from vault.domain.clock import from_epoch, to_text

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
TYPE = "urn:idvault:token-type:"
STEPS = 100
EXAMPLES, LEAST_STEPS = 6, 500
"""On each database; with --full twenty times as many."""
PEOPLE = 3
TOLD_SECONDS = 20
_numbers = itertools.count(1_000, PEOPLE)


class VaultMachine(RuleBasedStateMachine):
    """Two providers, a vault reviewer and a few people; each example has people of its own."""

    server: ClassVar[Server]
    providers: ClassVar[list[Client]]
    reviewer: ClassVar[Client]
    steps: ClassVar[int] = 0
    acts: ClassVar[Counter[str]] = Counter()
    """How often each act was done that the log tells of, by the type of its leaf."""

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.first = next(_numbers)
        self.handles = itertools.count()
        self.brief = False

    def _registrations(self, *states: str) -> list[Registration]:
        return [one for one in self.model.registrations if one.state in states]

    def _pick(self, data: st.DataObject, among: list[Any]) -> Any:
        # What is drawn must not hang on the clock, nor on which of two equally old the vault made the other's heir.
        return among[data.draw(st.integers(0, 999)) % len(among)]

    def _provider(self, standing: Standing) -> Client:
        return self.providers[standing.provider]

    def _shown(self, one: Registration) -> dict[str, Any]:
        return self._provider(one.standing).registration(one.id)

    @rule(provider=st.integers(0, 1), who=st.integers(0, PEOPLE - 1))
    def register(self, provider: int, who: int) -> None:
        handle = f"h{self.first}x{next(self.handles)}"
        made = self.providers[provider].registered(person(self.first + who), handle)
        self.acts.update(("registration.created", "account.bound"))
        self.model.register(provider, who, made["token"], made["id"], made["account"])

    @precondition(lambda self: self._registrations("in_review"))
    @rule(data=st.data())
    def approve(self, data: st.DataObject) -> None:
        one = self._pick(data, self._registrations("in_review"))
        while (answer := self.reviewer.decide(one.id)).status_code == httpx.codes.CONFLICT:
            assert answer.json()["type"].endswith("candidates-changed")
            # What runs against him is shown before he is approved, unless it ended just now.
            assert self.reviewer.reveal(one.id)["sanctions"] or self.brief
            self.acts["review.opened"] += 1
        assert answer.status_code == httpx.codes.OK
        self.acts["review.decided"] += 1
        for several in self.model.approve(one, time.time()):
            active = [s for s in several if self._lives(s, several)]
            assert len(active) == 1, "one of those that became one lives on"
            for alias in several:
                if alias is not active[0]:
                    self.model.merge(alias, active[0])
        self._shows_whose_it_is(one)

    def _shows_whose_it_is(self, one: Registration) -> None:
        after = self._shown(one)
        assert after["token"] == one.standing.living.token
        assert after.get("supersedes") == (None if one.standing.became is None else one.standing.token)

    def _lives(self, standing: Standing, several: list[Standing]) -> bool:
        """The living one is what each of their tokens translates to."""
        answer = self._provider(standing).post("/v1/tokens/translate", {"tokens": [several[0].token]})
        return bool(answer.json()["items"][0]["token"] == standing.token)

    @precondition(lambda self: self._registrations("in_review"))
    @rule(data=st.data())
    def reject(self, data: st.DataObject) -> None:
        one = self._pick(data, self._registrations("in_review"))
        assert self.reviewer.decide(one.id, "rejected", reason="not_the_holder").status_code == httpx.codes.OK
        self.acts["review.decided"] += 1
        one.state = "rejected"
        one.standing.accounts[one.account] = "legacy"

    def _living(self) -> list[Standing]:
        return [s for s in self.model.standings if not s.gone and s.became is None]

    @precondition(lambda self: self._living())
    @rule(data=st.data(), rung=st.integers(1, 4), brief=st.booleans())
    def sanction(self, data: st.DataObject, rung: int, *, brief: bool) -> None:
        standing = self._pick(data, self._living())
        until = int(time.time()) + (3 if brief else 86_400)
        name = "ban_until" if rung == 4 else "until"
        body = {"token": standing.token, "rung": RUNGS[rung], name: to_text(from_epoch(until)), "ground": "spam",
                "facts": "as seen", "by": "mod-1"}  # fmt: skip
        made = self._provider(standing).post("/v1/sanctions", body)
        assert made.status_code == httpx.codes.CREATED, made.text
        self.acts["sanction.set"] += 1
        self.brief = self.brief or brief
        standing.sanctions.append(Sanction(made.json()["id"], rung, until, standing, brief))

    def _liftable(self) -> list[tuple[Standing, Sanction]]:
        return [(s, one) for s in self._living() for one in s.sanctions if one.id and not one.brief and not one.lifted]

    @precondition(lambda self: self._liftable())
    @rule(data=st.data(), reason=st.sampled_from(["appeal", "mistake", "other"]))
    def lift(self, data: st.DataObject, reason: str) -> None:
        standing, one = self._pick(data, self._liftable())
        answer = self._provider(standing).post(f"/v1/sanctions/{one.id}/lift", {"reason": reason})
        assert answer.status_code == httpx.codes.OK, answer.text
        self.acts["sanction.lifted"] += 1
        one.lifted = True

    @precondition(lambda self: self.brief)
    @rule()
    def expire(self) -> None:
        self.brief = False
        now = time.time()
        ends = [one.until for s in self._living() for one in s.sanctions if one.until and now < one.until < now + 4]
        if ends:
            time.sleep(max(ends) - now + 0.05)

    @precondition(lambda self: self._registrations("approved", "in_review", "rejected"))
    @rule(data=st.data())
    def exchange(self, data: st.DataObject) -> None:
        one = self._pick(data, self._registrations("approved", "in_review", "rejected"))
        standing = one.standing.living
        if standing.is_near(time.time()):
            return  # whether it counts is a matter of milliseconds
        giver, taker = self._provider(standing), self.providers[1 - standing.provider]
        form = {"grant_type": EXCHANGE, "subject_token": standing.token, "subject_token_type": TYPE + "pseudonym",
                "audience": taker.id, "scope": "safety"}  # fmt: skip
        given = giver.http.post("/oauth/token", data=form, auth=(giver.id, giver.secret))
        if not standing.approved or standing.meaning(time.time()) is None:
            assert (given.status_code, given.json()["error"]) == (400, "invalid_request")
            return
        assert given.status_code == httpx.codes.OK, given.text
        form = {"grant_type": EXCHANGE, "subject_token": given.json()["access_token"],
                "subject_token_type": TYPE + "handoff"}  # fmt: skip
        taken = taker.http.post("/oauth/token", data=form, auth=(taker.id, taker.secret))
        assert taken.status_code == httpx.codes.OK, taken.text
        token = taken.json()["access_token"]
        self.acts.update(("exchange.opened", "exchange.redeemed"))
        assert token == self.model.exchange(standing, 1 - standing.provider, token).token

    @precondition(lambda self: self._registrations("approved", "in_review", "rejected"))
    @rule(data=st.data())
    def rotate(self, data: st.DataObject) -> None:
        one = self._pick(data, self._registrations("approved", "in_review", "rejected"))
        standing = one.standing.living
        provider = self._provider(standing)
        form = {"token": standing.token}
        answer = provider.http.post("/oauth/revoke", data=form, auth=(provider.id, provider.secret))
        assert answer.status_code == httpx.codes.OK
        self.acts["token.rotated"] += 1
        standing.former_tokens.append(standing.token)
        standing.token = self._shown(one)["token"]
        assert standing.token not in standing.former_tokens

    @precondition(lambda self: self._registrations("approved", "in_review", "rejected"))
    @rule(data=st.data())
    def erase(self, data: st.DataObject) -> None:
        one = self._pick(data, self._registrations("approved", "in_review", "rejected"))
        provider = self._provider(one.standing)
        assert provider.call("DELETE", f"/v1/registrations/{one.id}").status_code == httpx.codes.NO_CONTENT
        self.acts["registration.erased"] += 1
        account = provider.get(f"/v1/accounts/{one.account}").json()
        assert account["state"] == "legacy"
        self.model.erase(one.standing.living, account["token"], time.time())
        assert self._shown(one)["state"] == "withdrawn"

    @precondition(lambda self: self._registrations("approved"))
    @rule(data=st.data())
    def split(self, data: st.DataObject) -> None:
        one = self._pick(data, self._registrations("approved"))
        answer = self.reviewer.post(f"/v1/reviews/{one.id}/split", {"reason": "wrong_verdict"})
        parted = self.model.split(one.standing)
        self.acts["person.split"] += parted
        assert answer.status_code == (httpx.codes.OK if parted else httpx.codes.CONFLICT), answer.text
        for other in self._registrations("approved"):
            if other.standing.is_part_of(one.standing):
                self._shows_whose_it_is(other)

    @invariant()
    def every_token_means_what_the_model_says(self) -> None:
        type(self).steps += 1
        for number, provider in enumerate(self.providers):
            mine = [s for s in self.model.standings if s.provider == number]
            wanted: dict[str, str | None] = {former: None for s in mine for former in s.former_tokens}
            now = time.time()
            wanted |= {s.token: s.meaning(now) for s in mine}
            near = {s.token for s in mine if s.is_near(now)}
            if not wanted:
                continue
            answer = provider.post("/v1/tokens/introspect", {"tokens": list(wanted)})
            assert answer.status_code == httpx.codes.OK, answer.text
            found = dict(zip(wanted, answer.json()["items"], strict=True))
            meant = {token: item["scope"] if item["active"] else None for token, item in found.items()}
            assert {t: m for t, m in meant.items() if t not in near} == {
                t: w for t, w in wanted.items() if t not in near
            }


@pytest.mark.timeout(7200)
def test_the_vault_and_its_log_equal_the_model(tmp_path: Path, *, full: bool) -> None:
    """Each act is one leaf, whatever was decided: the log tells as many of each type as were done."""
    server = Server(tmp_path / "home", IDVAULT_SEQUENCER="yes").start()
    VaultMachine.server = server
    VaultMachine.providers = [server.provider("chat"), server.provider("blog")]
    VaultMachine.reviewer = server.reviewer("rita")
    for one, other in (("chat", "blog"), ("blog", "chat")):
        server.json("provider", "allow-exchange", one, other, "--purpose", "safety", "--basis", "legal")
    VaultMachine.steps = 0
    VaultMachine.acts = Counter({"provider.enrolled": 2, "reviewer.enrolled": 1, "exchange.allowed": 2})
    examples = EXAMPLES * (20 if full else 1)
    # A shorter example takes minutes to find: it is for the long run.
    phases = list(Phase) if full else [Phase.explicit, Phase.generate]
    run_state_machine_as_test(
        VaultMachine,
        settings=settings(
            max_examples=examples, stateful_step_count=STEPS, deadline=None, derandomize=not full, print_blob=False,
            suppress_health_check=list(HealthCheck), phases=phases,
        ),
    )  # fmt: skip
    assert VaultMachine.steps >= LEAST_STEPS
    report = server.json("fsck", "--grace-minutes", "0")
    assert report["clean"], report["findings"]
    end = time.monotonic() + TOLD_SECONDS
    while (told := server.json("log", "verify"))["size"] < VaultMachine.acts.total():
        assert time.monotonic() < end, told
        time.sleep(0.2)
    assert told["types"] == {act: count for act, count in VaultMachine.acts.items() if count}
    report = server.json("fsck", "--grace-minutes", "0")
    assert (report["findings"], report["waiting"]) == ([], 0)
    # Each record that was not erased has at least the line by which it came to be; those of erased ones nobody reads.
    assert report["checked"]["lines"] >= report["checked"]["keys.record_key"] > 0
    assert server.stop() == 0
