"""Services that answer without stores, so that these tests see the web layer alone."""

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from vault.errors import Kind, VaultError
from vault.services.limiting import Limiting

if TYPE_CHECKING:
    from vault.services.idempotency import Idempotency
    from vault.wiring import Vault

PROVIDER = {"Authorization": "Bearer provider-token"}
REVIEWER = {"Authorization": "Bearer reviewer-token"}
WEAK = {"Authorization": "Bearer weak-token"}
BASIC = {"Authorization": "Basic " + base64.b64encode(b"cli_p:secret").decode()}
REGISTRATION: dict[str, Any] = {
    "handle": "anna_l",
    "kind": "public",
    "accepts": {"terms": "2026-01", "truthful": True},
    "identity": {"legal_name": "ANNA MARIA ERIKSSON"},
}


@dataclass(frozen=True)
class StubClient:
    id: str
    role: str
    scopes: frozenset[str]


CLIENTS = {
    "provider-token": StubClient("cli_p", "provider", frozenset({"register", "introspect"})),
    "sanction-token": StubClient("cli_s", "provider", frozenset({"sanction"})),
    "reviewer-token": StubClient("cli_r", "reviewer", frozenset({"review"})),
    "weak-token": StubClient("cli_w", "provider", frozenset({"metrics"})),
}


@dataclass
class StubSettings:
    role: str = "all"
    max_body_bytes: int = 65_536
    max_evidence_bytes: int = 10 * 1024 * 1024
    max_batch_bytes: int = 4 * 1024 * 1024
    batch_items_max: int = 1000
    issuer_url: str = "https://vault.example"
    security_contact: str = ""
    page_items: int = 50
    page_items_max: int = 200


@dataclass
class StubTokens:
    vault: "StubVault"

    def introspect(self, client: StubClient, tokens: list[str]) -> list[dict[str, Any]]:
        self.vault._note("introspect batch", client.id, tokens)
        return [{"status": 200, "active": False} for _ in tokens]

    def translate(self, client: StubClient, tokens: list[str]) -> list[dict[str, Any]]:
        self.vault._note("translate", client.id, tokens)
        return [{"status": 404, "error": "unknown"} for _ in tokens]

    def revoke(self, client: StubClient, token: str) -> None:
        self.vault._note("revoke", client.id, token)

    def signed(self, client_id: str, answer: dict[str, Any]) -> str:
        self.vault._note("signed", client_id, answer)
        return "a.b.c"


@dataclass
class StubRefusing:
    """Keeps what it is told of refused attempts."""

    told: list[tuple[str, str]] = field(default_factory=list)

    def tell(self, client_id: str, kind: str) -> None:
        self.told.append((client_id, kind))


@dataclass
class StubVault:
    """Every service at once: it records its calls, and raises `fault` where one is set."""

    settings: StubSettings = field(default_factory=StubSettings)
    calls: list[tuple[Any, ...]] = field(default_factory=list)
    fault: Exception | None = None
    peek_fault: Exception | None = None
    states: dict[str, str] = field(default_factory=lambda: {"identity": "ok", "agent": "ok"})
    case: dict[str, Any] | None = None
    outcome: dict[str, Any] = field(default_factory=lambda: {"status": 200, "access_token": "hnd_x"})

    def __post_init__(self) -> None:
        self.limiting = Limiting(1_000_000)
        self.access = self.introspecting = self.registering = self.reviewing = self.listing = self
        self.keys = self.exchanging = self
        self.tokens = StubTokens(self)
        self.refusing = StubRefusing()

    @property
    def vault(self) -> "Vault":
        return cast("Vault", self)

    def _note(self, *call: object) -> None:
        self.calls.append(call)
        if self.fault is not None:
            raise self.fault

    def kept_by(self) -> str:
        return "any 2 of 3 officers"

    def ready(self) -> dict[str, str]:
        return self.states

    def described(self) -> tuple[dict[str, str], str | None]:
        return self.states, self.kept_by()

    def peek(self, *sockets: str) -> None:
        self.calls.append(("peek", *sockets))
        if self.peek_fault is not None:
            raise self.peek_fault

    def authenticate(self, client_id: str, secret: str) -> StubClient:
        if (client_id, secret) != ("cli_p", "secret"):
            raise VaultError(Kind.UNAUTHENTICATED, "the client credentials are not valid")
        return CLIENTS["provider-token"]

    def issue(self, client: StubClient, scopes: frozenset[str] | None) -> tuple[str, int, frozenset[str]]:
        self._note("issue", scopes)
        if scopes is not None and not scopes <= client.scopes:
            raise VaultError(Kind.FORBIDDEN)
        return "token", 600, scopes or client.scopes

    def bearer(self, token: str) -> StubClient:
        if token not in CLIENTS:
            raise VaultError(Kind.UNAUTHENTICATED, "the access token is not valid")
        return CLIENTS[token]

    def introspect(self, client_id: str, secret: str, token: str, account: str | None) -> dict[str, object]:
        self._note("introspect", token, account)
        self.authenticate(client_id, secret)
        return {"active": True, "scope": "read"} if token == "nym_good" else {"active": False}

    def register(
        self, client: StubClient, body: dict[str, Any], key: "Idempotency | None"
    ) -> tuple[int, dict[str, Any]]:
        self._note("register", client.id, body, key)
        return 202, {"id": "reg_1"}

    def get(self, _client: StubClient, reg: str) -> dict[str, Any]:
        self._note("get", reg)
        return {"id": reg}

    def resubmit(
        self, _client: StubClient, reg: str, body: dict[str, Any], key: "Idempotency | None"
    ) -> tuple[int, dict[str, Any]]:
        self._note("resubmit", reg, body, key)
        return 202, {"id": reg}

    def put_evidence(self, _client: StubClient, reg: str, name: str, content_type: str, data: bytes) -> None:
        self._note("put_evidence", reg, name, content_type, len(data))

    def next(self, _client: StubClient) -> dict[str, Any] | None:
        self._note("next")
        return self.case

    def reveal(self, _client: StubClient, reg: str, purpose: str, fields: list[str]) -> dict[str, Any]:
        self._note("reveal", reg, purpose, fields)
        return {"fields": {}}

    def evidence(self, _client: StubClient, reg: str, name: str) -> tuple[bytes, str]:
        self._note("evidence", reg, name)
        return b"%PDF-", "application/pdf"

    def decide(
        self, _client: StubClient, reg: str, body: dict[str, Any], key: "Idempotency | None"
    ) -> tuple[int, dict[str, Any]]:
        self._note("decide", reg, body, key)
        return 200, {"id": reg}

    def registrations(self, _client: StubClient, cursor: str | None, limit: int, state: str | None) -> dict[str, Any]:
        self._note("registrations", cursor, limit, state)
        return {"items": []}

    def reviews(self, _client: StubClient, cursor: str | None, limit: int, state: str | None) -> dict[str, Any]:
        self._note("reviews", cursor, limit, state)
        return {"items": []}

    def public_keys(self) -> dict[str, Any]:
        self._note("public_keys")
        return {"keys": []}

    def exchange(self, client: StubClient, wishes: list[Any]) -> list[dict[str, Any]]:
        self._note("exchange", client.id, wishes)
        return [self.outcome] * len(wishes)

    def batch(self, client: StubClient, wishes: list[Any], key: "Idempotency | None") -> tuple[int, dict[str, Any]]:
        self._note("batch", client.id, wishes, key)
        return 200, {"items": [self.outcome] * len(wishes)}

    def accounts(
        self, _client: StubClient, cursor: str | None, limit: int, token: str | None, external_id: str | None
    ) -> dict[str, Any]:
        self._note("accounts", cursor, limit, token, external_id)
        return {"items": []}

    def account(self, _client: StubClient, acc: str) -> dict[str, Any]:
        self._note("account", acc)
        return {"id": acc}
