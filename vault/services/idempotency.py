"""Idempotency keys: one effect, one answer. The row is written first; its answer with the effect, sealed.

A worker that died leaves a row whose lease runs out: the retry goes on with the ids drawn for it, so that it finishes
what was begun and doubles nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from keys.errors import HeldError
from vault.config import Settings
from vault.domain.errors import InvalidFieldError
from vault.errors import Kind, VaultError
from vault.services.held_keys import HeldKeys
from vault.stores import answers
from vault.stores.answers import AnswerRow
from vault.stores.unit import Speaking, Step, Store, Unit, run

Answer = tuple[int, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A client's key for one request: SHA-256 of the key, and of method, path and canonical body."""

    key: bytes
    request: bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a request; `finish` stores its answer in the transaction of the effect."""

    ids: bytes
    finish: Callable[[Unit, Answer], None]
    finishing: Callable[[Speaking, Answer], list[Step]] | None = None
    """What `finish` runs, where that can be said before there is a transaction."""


class Idempotent:
    """Runs requests once."""

    def __init__(self, settings: Settings, directory: Store, keys: HeldKeys, now: Callable[[], int]) -> None:
        self._settings, self._directory, self._keys, self._now = settings, directory, keys, now

    def run(
        self, client: str, idempotency: Idempotency | None, ids: bytes, effect: Callable[[Attempt], Answer]
    ) -> Answer:
        """Return the stored answer, or that of `effect`, which is given the ids drawn first for this key.

        Raises:
            VaultError: another body under this key, or still running.
            VaultError, InvalidFieldError, HeldError: `effect` refused, and the key is free again.
        """
        if idempotency is None:
            return effect(Attempt(ids, lambda _unit, _answer: None, lambda _store, _answer: []))
        stored, ids = self._begin(client, idempotency, ids)
        if stored is not None:
            return stored

        def finishing(store: Speaking, answer: Answer) -> list[Step]:
            status, body = answer
            sealed = self._keys.seal_answer(client, idempotency.key, orjson.dumps(body))
            return [answers.finishing(store, client, idempotency.key, status, sealed)]

        def finish(unit: Unit, answer: Answer) -> None:
            run(unit, *finishing(unit, answer))

        try:
            return effect(Attempt(ids, finish, finishing))
        except (VaultError, InvalidFieldError, HeldError) as error:
            if isinstance(error, VaultError) and error.kind is Kind.UNAVAILABLE:
                raise  # what was begun may be carried out yet: the row keeps its ids and waits for its answer
            with self._directory.writing() as unit:
                row = answers.find(unit, client, idempotency.key)
                # Refused without effect: the same key may come back with the fault mended.
                answers.forget(unit, client, idempotency.key)
            if row is None or row.answer is None:
                raise
        # Refused because a first try, cut off by a crash, was carried out just now: this is its answer.
        return self._stored(client, idempotency, row)

    def sealed(self, client: str, idempotency: Idempotency | None, answer: Answer) -> list[Any] | None:
        """Return an answer as a plan carries it, so that whoever finishes the plan after a crash stores it too."""
        if idempotency is None:
            return None
        status, body = answer
        return [client, idempotency.key, status, self._keys.seal_answer(client, idempotency.key, orjson.dumps(body))]

    def _begin(self, client: str, idempotency: Idempotency, ids: bytes) -> tuple[Answer | None, bytes]:
        now = self._now()
        until = now + self._settings.idempotency_running_seconds
        with self._directory.writing() as unit:
            fresh = AnswerRow(idempotency.request, ids, until, None, None)
            if answers.begin(unit, client, idempotency.key, fresh, now):
                return None, ids
            row = answers.find(unit, client, idempotency.key)
            if row is None or row.request != idempotency.request:
                raise VaultError(
                    Kind.IDEMPOTENCY_MISMATCH, "this idempotency key was used with another request; take a new key"
                )
            if row.answer is None:
                if not answers.take_over(unit, client, idempotency.key, until, now):
                    raise VaultError(
                        Kind.IDEMPOTENCY_RUNNING, "the first request with this key is still running; retry later",
                        retry_after_seconds=self._settings.idempotency_running_seconds,
                    )  # fmt: skip
                return None, row.ids
        return self._stored(client, idempotency, row), row.ids

    def _stored(self, client: str, idempotency: Idempotency, row: AnswerRow) -> Answer:
        body = self._keys.open_answer(client, idempotency.key, row.answer or b"")
        return row.status or 200, orjson.loads(body)
