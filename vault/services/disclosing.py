"""Disclosures, as a provider asks for them: of an account of its own, for officers to approve."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from keys.errors import BudgetError, ConflictError, EndedError, MissingError, QuorumError
from keys.orders import DEFERRED_DAYS, NOTICE_DAYS
from keys.primitives import random_bytes
from vault.domain.clock import from_epoch, to_text
from vault.domain.errors import DomainError, InvalidFieldError
from vault.domain.ids import AccountId, DisclosureId
from vault.errors import Kind, VaultError
from vault.services import targets
from vault.services.access import Client
from vault.services.idempotency import Answer, Attempt, Idempotency, Idempotent
from vault.services.linking import Linking
from vault.stores.standings import StandingRow
from vault.stores.unit import Store

STATES: Final = {"proposed": "pending", "pending": "pending", "approved": "approved", "done": "disclosed",
                 "withdrawn": "withdrawn", "expired": "void", "void": "void", "altered": "void"}  # fmt: skip
"""How far officers are with a request, as whoever asked for a disclosure is told."""
_ID_BYTES: Final = 16
_SHOWN: Final = ("case", "legal_basis", "authority", "ordered_by", "retrieved_by", "fields")


class Disclosing:
    """The flow of section 6.6 of the design."""

    def __init__(self, directory: Store, linking: Linking, idempotent: Idempotent, now: Callable[[], int]) -> None:
        self._directory, self._linking, self._idempotent, self._now = directory, linking, idempotent, now

    def ask(self, client: Client, body: Mapping[str, Any], idempotency: Idempotency | None) -> Answer:
        """Ask the officers for a disclosure; return (202, disclosure).

        Raises:
            InvalidFieldError: which member breaks which rule.
            VaultError: no such account, nobody registered behind it, no officers, or the case names another account.
        """
        order = _order(body)

        def effect(attempt: Attempt) -> Answer:
            subject = str(DisclosureId(attempt.ids))
            standing, account = self._named(client, body["account"])
            args = {"id": subject, "client": client.id, "account": account, "order": order}
            answer = 202, self._shown(subject, self._acted("disclose.ask", standing, args))
            with self._directory.writing() as unit:
                attempt.finish(unit, answer)
            return answer

        return self._idempotent.run(client.id, idempotency, random_bytes(_ID_BYTES), effect)

    def show(self, client: Client, subject: str) -> dict[str, Any]:
        """Return how far a disclosure is that this client asked for.

        Raises:
            VaultError: it asked for none of this id.
        """
        return self._shown(subject, self._asked(client, subject))

    def package(self, client: Client, subject: str) -> bytes:
        """Return the package of an approved disclosure, in JSON: made by the first call, the same ever after.

        Raises:
            VaultError: none of this id, not approved by enough officers yet, or its time is over.
        """
        account = str(AccountId(bytes.fromhex(self._asked(client, subject)["order"]["account"])))
        standing, raw = self._named(client, account)
        made = self._acted("disclose", standing, {"id": subject, "client": client.id, "account": raw})
        return bytes(made["package"])

    def _asked(self, client: Client, subject: str) -> dict[str, Any]:
        try:
            DisclosureId.parse(subject)
            return dict(self._linking.agent.call("disclose.show", {"id": subject, "client": client.id}))
        except (DomainError, MissingError):
            raise VaultError(Kind.NOT_FOUND, "no such disclosure") from None
        except ConflictError as error:
            raise VaultError(Kind.CONFLICT, str(error)) from None

    def _named(self, client: Client, account: str) -> tuple[StandingRow, bytes]:
        with self._directory.reading() as unit:
            target = targets.by_account(unit, client, account)
        if target.account is None or target.account.state == "closed" or target.standing.link is None:
            raise VaultError(Kind.CONFLICT, "nobody is registered behind this account")
        return target.standing, target.account.id

    def _acted(self, verb: str, standing: StandingRow, args: dict[str, Any]) -> dict[str, Any]:
        try:
            acted = self._linking.act(verb, standing, args)
        except QuorumError as error:
            raise InvalidFieldError(f"/{str(error).partition(':')[0]}", str(error).partition(": ")[2]) from None
        except BudgetError as error:
            raise VaultError(Kind.TOO_MANY_REQUESTS, str(error)) from None
        except (ConflictError, EndedError) as error:
            raise VaultError(Kind.CONFLICT, str(error)) from None
        except MissingError:  # it ended meanwhile
            raise VaultError(Kind.NOT_FOUND, "no such disclosure, or nobody behind its account any more") from None
        if acted is None:
            raise VaultError(Kind.CONFLICT, "nobody is registered behind this account")
        return acted

    def _shown(self, subject: str, told: Mapping[str, Any]) -> dict[str, Any]:
        """Return a disclosure from an allow-list of members."""
        order = told["order"]
        shown: dict[str, Any] = {
            "id": subject, "state": STATES.get(told["state"], "void"), "request": told["request"],
            "needed": told["needed"], "missing": told["missing"],
            "account": str(AccountId(bytes.fromhex(order["account"]))),
            **{name: order[name] for name in _SHOWN},
        }  # fmt: skip
        if "made" not in told:
            if told["expires"]:
                shown["expires"] = to_text(from_epoch(told["expires"]))
            return shown
        notice: dict[str, Any] = {"due": _minute(told["notice_due"]), "state": "due"}
        if told["notified"] is not None:
            notice |= {"state": "given", "given": _minute(told["notified"])}
        return shown | {"disclosed": _minute(told["made"]), "package": told["package"], "notice": notice}


def _order(body: Mapping[str, Any]) -> dict[str, Any]:
    order = {name: body[name] for name in (*_SHOWN, "recipient")}
    order["fields"] = sorted(set(order["fields"]))
    if "defer" not in body:
        return order | {"notice_days": NOTICE_DAYS}
    defer = body["defer"]
    if not 0 < defer["days"] <= DEFERRED_DAYS:
        raise InvalidFieldError("/defer/days", f"1 to {DEFERRED_DAYS}")
    return order | {"notice_days": defer["days"], "defer": {name: defer[name] for name in ("ordered_by", "law")}}


def _minute(minute: int) -> str:
    return to_text(from_epoch(minute * 60))
