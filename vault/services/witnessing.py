"""The log's side of witnesses: asks each of its policy to sign a checkpoint; the log goes on without those that do not.

Nothing is believed of an answer but a signature that holds under the key that the policy names.
"""

import http.client
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from keys.checkpoints import size_of
from keys.errors import NoteError
from keys.notes import Note, Signature
from vault.log.cosignatures import holds
from vault.log.policy import Party, Policy
from vault.log.proving import Tree
from vault.log.witness import Request
from vault.logs import event

TIMEOUT_SECONDS: Final = 5.0
REST_SECONDS: Final = 30.0
"""How long a witness that did not sign is left alone: the log does not wait for it each second."""
_MAX_ANSWER_BYTES: Final = 100_000


@dataclass(slots=True)
class Witnesses:
    """The witnesses of one policy that have a URL, and how many entries each had when it signed last."""

    policy: Policy
    now: Callable[[], float] = time.monotonic
    _sizes: dict[str, int] = field(default_factory=dict)
    _resting: dict[str, float] = field(default_factory=dict)

    def cosign(self, note: Note, tree: Tree) -> list[Signature]:
        """Return the signatures of those that signed, in the policy's order; none is waited for beyond its time."""
        asked = [
            (name, party) for name, party in self.policy.witnesses.items()
            if party.url and self._resting.get(name, 0) <= self.now()
        ]  # fmt: skip
        if not asked:
            return []
        with ThreadPoolExecutor(len(asked)) as threads:
            found = list(threads.map(lambda one: self._ask(one[0], one[1], note, tree), asked))
        return [signature for signatures in found for signature in signatures]

    def _ask(self, name: str, party: Party, note: Note, tree: Tree) -> list[Signature]:
        try:
            status, body = self._send(name, party, note, tree)
            if status == HTTPStatus.CONFLICT:
                # It knows another size, such as that of a checkpoint whose answer was lost: from there, once more.
                self._sizes[name] = min(size_of(body.decode().removesuffix("\n")), tree.size)
                status, body = self._send(name, party, note, tree)
            given = _signatures(party, note, body if status == HTTPStatus.OK else b"")
        except (NoteError, OSError, http.client.HTTPException, ValueError) as error:
            self._resting[name] = self.now() + REST_SECONDS
            event("witness_did_not_sign", error=type(error).__name__)
            return []
        self._sizes[name] = tree.size
        return given

    def _send(self, name: str, party: Party, note: Note, tree: Tree) -> tuple[int, bytes]:
        old = self._sizes.get(name, 0)
        body = bytes(Request(old, tuple(tree.consistency(old)), note))
        parts = urlsplit(party.url)
        secure = parts.scheme == "https"
        connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = connect(parts.netloc, timeout=TIMEOUT_SECONDS)
        try:
            connection.request("POST", f"{parts.path.rstrip('/')}/add-checkpoint", body)
            answer = connection.getresponse()
            return answer.status, answer.read(_MAX_ANSWER_BYTES)
        finally:
            connection.close()


def _signatures(party: Party, note: Note, body: bytes) -> list[Signature]:
    """Return the signatures of an answer that are of the witness' key.

    Raises:
        NoteError: there is none that holds, or one does not.
    """
    lines = body.decode().removesuffix("\n").split("\n")
    given = [signature for signature in map(Signature.parse, lines) if signature.key_id == party.key.id]
    Note(note.text, tuple(given)).signed_by([party.key], holds)
    return given
