"""What a worker holds of the agent's keys: token codecs, the directory codec, the deployment id.

They live as long as the connection to the holder that gave them: when it is sealed, they are dropped.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, Final

from keys import details
from keys.agent.client import AgentClient
from keys.errors import KeysError, UnavailableError
from keys.frame import Place, Purpose, open_frame, seal
from keys.primitives import Secret, expand_sha256
from keys.statements import seal_statement
from keys.tokens import DirectoryTokens, PairwiseTokens

_FRESH_SECONDS: Final = 5.0
"""How long a sector's keys are used before they are asked for again: a rotated key seals nothing after that."""
_ANSWER_LABEL: Final = b"idvault/v1/answers"


class HeldKeys:
    """The keys of one worker process; filled on first use, under a lock, and replaced whole."""

    def __init__(self, directory: AgentClient, others: Mapping[str, AgentClient]) -> None:
        """Take the directory's socket, whose keys these are, and by name those that are peeked at alone."""
        self._directory, self._others = directory, others
        self._lock = threading.Lock()
        self._hello: tuple[bytes, bool] | None = None
        """The deployment id, and whether the vault has the development seal."""
        self._tokens: dict[str, tuple[float, PairwiseTokens]] = {}
        """With the time from which they are asked for again."""
        self._codec: DirectoryTokens | None = None
        self._secrets: list[Secret] = []
        """Of the directory key, the newest version first."""
        self.touched = False
        """Whether this process was ever given a key. It cannot wipe its memory, so a seal ends it."""

    def peek(self, *sockets: str) -> None:
        """Check that the holders which a route needs are there.

        Raises:
            SealedError, LockdownError: the holder has no keys.
            UnavailableError: the agent is not there.
        """
        for name in sockets:
            client = self._directory if name == "directory" else self._others[name]
            if not client.alive():
                if name == "directory":
                    self._drop()
                try:
                    client.call("hello", {})
                except KeysError:
                    client.close()  # a shut holder's connection must not pass for an open one
                    raise

    def _drop(self) -> None:
        with self._lock:
            self._tokens, self._codec, self._hello = {}, None, None
            for secret in self._secrets:
                secret.close()
            self._secrets = []

    @property
    def deployment(self) -> bytes:
        """The deployment id, 16 bytes."""
        return self._greeted()[0]

    @property
    def development(self) -> bool:
        """Whether the vault has the development seal: specimen documents and short ways are allowed then."""
        return self._greeted()[1]

    def _greeted(self) -> tuple[bytes, bool]:
        if self._hello is None:
            given = self._directory.call("hello", {})
            self._hello = (bytes(given["deployment"]), given["development"] is True)
        return self._hello

    def directory(self) -> DirectoryTokens:
        """Return the codec of access tokens and cursors."""
        if self._codec is None:
            self._fetch_directory()
        codec = self._codec
        if codec is None:
            raise UnavailableError
        return codec

    def _fetch_directory(self) -> None:
        self.touched = True
        keys = self._directory.call("keys.directory", {})["keys"]
        secrets = {int(version): Secret(key) for version, key in keys.items()}
        with self._lock:
            self._codec = DirectoryTokens(secrets)
            self._secrets = [secrets[version] for version in sorted(secrets, reverse=True)]

    def tokens(self, sector: str) -> PairwiseTokens:
        """Return the token codec of a sector."""
        return self.tokens_until(sector)[0]

    def tokens_until(self, sector: str) -> tuple[PairwiseTokens, float]:
        """Return the token codec of a sector, and until when it is used, by the clock that only goes forward."""
        until, held = self._tokens.get(sector, (0.0, None))
        now = monotonic()
        if held is None or now >= until:
            held = PairwiseTokens(sector, self._fetch_sector(sector), partial(self._fetch_sector, sector))
            until = now + _FRESH_SECONDS
            self._tokens[sector] = until, held
        return held, until

    def watch(self) -> Callable[[], bool]:
        """Return what tells, to any thread, whether the holder of these keys that answers now is still there.

        Raises:
            KeysError: it has no keys, or is not there.
        """
        return self._directory.watch()

    def _fetch_sector(self, sector: str) -> dict[int, Secret]:
        self.touched = True
        keys = self._directory.call("keys.sector", {"sector": sector})["keys"]
        return {int(version): Secret(key) for version, key in keys.items()}

    def bind_account(self, account: Mapping[str, object]) -> bytes:
        """Return the account MAC of {provider, handle, pid, account}: the act `account.bind`."""
        return self.bind_accounts([account])[0]

    def bind_accounts(self, accounts: Sequence[Mapping[str, object]]) -> list[bytes]:
        """Return the account MACs of many accounts, in the same order."""
        return [bytes(mac) for mac in self._directory.call("account.bind", {"accounts": list(accounts)})["macs"]]

    def sign_introspection(self, statement: Mapping[str, object]) -> str:
        """Return the signed answer (RFC 9701) of {issuer, audience, now, answer}: the act `sign.introspection`."""
        return str(self._directory.call("sign.introspection", statement)["jwt"])

    def public_keys(self) -> dict[str, Any]:
        """Return the JWK set of the keys that sign: the act `keys.public`."""
        return {"keys": self._directory.call("keys.public", {})["keys"]}

    def seal_statement(self, pid: bytes, statement: bytes, words: bytes) -> bytes:
        """Return the words of one statement about a standing, sealed: the act `statement.seal` gives the key."""
        given = self._directory.call("statement.seal", {"pid": pid, "statement": statement})
        return seal_statement(Secret(given["key"]), self.deployment, statement, words)

    def figures(self) -> dict[str, Any]:
        """Return what the agent says of its budgets, intents and audit rows, in numbers: the act `figures`."""
        return self._directory.call("figures", {})

    def _newest(self) -> Secret:
        self.directory()
        secrets = self._secrets
        if not secrets:
            raise UnavailableError
        return secrets[0]

    def _derived(self, label: bytes) -> Secret:
        return expand_sha256(self._newest(), label)

    def seal_answer(self, client: str, key: bytes, answer: bytes) -> bytes:
        """Return a stored answer, sealed."""
        place = Place(self.deployment, "directory.idempotency", client.encode() + key, "answer")
        return seal(self._derived(_ANSWER_LABEL), Purpose.ANSWER, place, answer)

    def open_answer(self, client: str, key: bytes, sealed: bytes) -> bytes:
        """Return a stored answer.

        Raises:
            OpenError: altered or moved.
        """
        place = Place(self.deployment, "directory.idempotency", client.encode() + key, "answer")
        return open_frame(self._derived(_ANSWER_LABEL), Purpose.ANSWER, place, sealed)

    def seal_audit(self, audit_id: bytes, detail: bytes) -> bytes:
        """Return the sealed detail of a directory audit row."""
        return details.seal_detail(self._newest(), self.deployment, audit_id, detail)

    def audit_ids(self, kind: str, object_id: bytes) -> list[bytes]:
        """Return the ids that the audit row of an act may have which is done once to an object; the newest first."""
        self._newest()
        return [details.audit_id(secret, kind, object_id) for secret in self._secrets]
