"""The vault under load, with people in it."""

import base64
import itertools
import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

from bench.load import BATCH_CONNECTIONS, SLOW_CONNECTIONS, LoadError, Target
from tests import serving
from tests.databases import Cluster
from tests.people import person
from tests.serving import Client, Server
from vault.config import Settings
from vault.services.exchanging import HANDOFF_TYPE, PSEUDONYM_TYPE
from vault.web.oauth.exchange import EXCHANGE_GRANT

PEOPLE: Final = 200
BATCH: Final = 1000
_PURPOSE: Final = "moderation"
_EXCHANGE: Final = {"grant_type": EXCHANGE_GRANT}
_REDEEMED_PER_SECOND: Final = 3000
_BODIES_PER_SECOND: Final = 3000
REGISTERED_TOGETHER: Final = 100
EXCHANGED_TOGETHER: Final = 1000
_REGISTERED_PER_SECOND: Final = 6_000
"""More than can be registered on two cores: what is sent twice is refused."""


class Vault:
    """A served vault with one provider, one approved person, and others in review."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.provider: Client = server.provider("bench")
        self.taker: Client = server.provider("taker")
        server.json("provider", "allow-exchange", "bench", "taker", "--purpose", _PURPOSE, "--basis", "legal",
                    "--per-hour", str(10**9))  # fmt: skip
        self._number = 0
        made = [self.provider.registered(*self._next()) for _ in range(PEOPLE)]
        reviewer = server.reviewer("reviewer")
        for one in made:
            reviewer.approve(one["id"])
        self._tokens = [one["token"] for one in made]
        # The taker knows them all from here on: what is measured is the exchange, not the making of a standing.
        handoffs = self._items(self.provider, self._opening(PEOPLE))
        self._items(self.taker, [{"subject_token": one["access_token"]} for one in handoffs])

    def _next(self) -> tuple[dict[str, object], str]:
        self._number += 1
        return person(self._number), f"handle{self._number}"

    def introspection(self, people: int) -> Target:
        """Return introspections of so many people's tokens, in random order; the first person is approved."""
        tokens = self._tokens[:people]
        random.shuffle(tokens)
        return self._form("/oauth/introspect", self.provider, [f"token={token}" for token in tokens])

    def openings(self) -> Target:
        """Return exchanges that open a hand-off each."""
        forms = [urlencode(_EXCHANGE | item | {"subject_token_type": PSEUDONYM_TYPE}) for item in self._opening(PEOPLE)]
        return self._form("/oauth/token", self.provider, forms)

    def redemptions(self, seconds: int) -> Target:
        """Return exchanges that redeem a hand-off each, opened beforehand and enough for so many seconds."""
        forms = []
        for _ in range(seconds * _REDEEMED_PER_SECOND // BATCH):
            for given in self._items(self.provider, self._opening(BATCH)):
                form = {"subject_token": given["access_token"], "subject_token_type": HANDOFF_TYPE}
                forms.append(urlencode(_EXCHANGE | form))
        return self._form("/oauth/token", self.taker, forms)

    def sanctions(self) -> Target:
        """Return sanctions that replace each other on everyone."""
        body = {"rung": "limit_publish", "until": "2031-01-01T00:00:00Z", "ground": "spam", "facts": "as seen"}
        return self._post("/v1/sanctions", [body | {"token": token} for token in self._tokens])

    def batch(self, act: str) -> Target:
        """Return batches of introspections, translations or openings of hand-offs."""
        if act == "exchange":
            return self._batches("/v1/tokens/exchange", SLOW_CONNECTIONS, {"items": self._opening(EXCHANGED_TOGETHER)})
        return self._batches(f"/v1/tokens/{act}", BATCH_CONNECTIONS, {"tokens": self._some(BATCH)})

    def _some(self, count: int) -> list[str]:
        return list(itertools.islice(itertools.cycle(self._tokens), count))

    def _opening(self, count: int) -> list[dict[str, str]]:
        tokens = self._some(count)
        return [{"subject_token": token, "audience": self.taker.id, "scope": _PURPOSE} for token in tokens]

    @staticmethod
    def _items(client: Client, items: list[dict[str, str]]) -> list[dict[str, Any]]:
        answer = client.post("/v1/tokens/exchange", {"items": items})
        given: list[dict[str, Any]] = answer.json()["items"]
        if any("error" in item for item in given):
            raise LoadError("an exchange was refused")
        return given

    def _form(self, path: str, client: Client, forms: list[str]) -> Target:
        basic = base64.b64encode(f"{client.id}:{client.secret}".encode()).decode()
        headers = {"Authorization": f"Basic {basic}", "Content-Type": "application/x-www-form-urlencoded"}
        return Target(self.server.url + path, "POST", forms, headers)

    def _post(self, path: str, bodies: list[dict[str, Any]]) -> Target:
        headers = {"Authorization": f"Bearer {self.provider.authorise()}", "Content-Type": "application/json"}
        return Target(self.server.url + path, "POST", [json.dumps(body) for body in bodies], headers)

    def _batches(self, path: str, connections: int, *bodies: dict[str, Any]) -> Target:
        return replace(self._post(path, list(bodies)), connections=connections)

    def registrations(self, seconds: int) -> Target:
        """Return registrations of people who were not registered before, enough for so many seconds."""
        return self._post("/v1/registrations", [self._registration() for _ in range(seconds * _BODIES_PER_SECOND)])

    def batches_of_registrations(self, seconds: int) -> Target:
        """Return batches of registrations of such people, each of `REGISTERED_TOGETHER`, enough for so many seconds."""
        batches = seconds * _REGISTERED_PER_SECOND // REGISTERED_TOGETHER
        bodies = [{"items": [self._registration() for _ in range(REGISTERED_TOGETHER)]} for _ in range(batches)]
        return self._batches("/v1/registrations/batch", SLOW_CONNECTIONS, *bodies)

    def _registration(self) -> dict[str, Any]:
        identity, handle = self._next()
        accepts = {"terms": "2026-01", "truthful": True}
        return {"handle": handle, "kind": "public", "accepts": accepts, "identity": identity}


@contextmanager
def cluster_of(folder: Path, database: str) -> Iterator[Cluster | None]:
    """Have a PostgreSQL for the run where that is the database; its stores lie in the folder too."""
    if database == "sqlite":
        yield None
        return
    made = Cluster(folder / "postgresql", durable=True)
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def served_vault(folder: Path, cluster: Cluster | None, *, sequencer: str = "yes") -> Iterator[Vault]:
    """Serve a new vault with people in it, its stores in the cluster or else in SQLite files."""
    settings = Settings()
    serving.cluster = cluster
    server = Server(
        folder / "home", IDVAULT_WORKERS=str(settings.workers), IDVAULT_SEQUENCER=sequencer,
        IDVAULT_DIRECTORY_CHANGES=str(folder / "home" / serving.CHANGES),
    ).start()  # fmt: skip
    try:
        yield Vault(server)
    finally:
        server.stop()
