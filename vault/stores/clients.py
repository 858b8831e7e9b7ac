"""Clients and providers of the directory store."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ARRAY, LargeBinary, Text, bindparam, exists, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from vault.errors import Kind, VaultError
from vault.stores.directory import client, provider, revoked
from vault.stores.unit import Prepared, Store, Unit


@dataclass(frozen=True, slots=True)
class ClientRow:
    """A client with what its provider row says (its own, or for a bound reviewer his provider's)."""

    id: str
    name: str
    role: str
    provider: str | None
    scopes: frozenset[str]
    secret_hash: bytes
    enabled: bool
    sector: str | None
    policy: dict[str, Any]
    expires: int | None
    former_hash: bytes | None
    former_until: int | None
    revoked: bool = False


_OWNER = provider.c.client == func.coalesce(client.c.provider, client.c.id)
_COLUMNS = (
    client.c.id, client.c.name, client.c.role, client.c.provider, client.c.scopes, client.c.secret_hash,
    client.c.state, provider.c.sector, provider.c.policy, provider.c.expires,
    provider.c.state.label("provider_state"), client.c.former_hash, client.c.former_until,
)  # fmt: skip
_SELECT = select(*_COLUMNS).select_from(client.outerjoin(provider, _OWNER)).where(client.c.id == bindparam("client"))
_BY_ID = Prepared(_SELECT)
BY_TOKEN = Prepared(_SELECT.add_columns(exists().where(revoked.c.jti == bindparam("jti")).label("revoked")))
_ASKED = (
    func.unnest(bindparam("clients", type_=ARRAY(Text)), bindparam("jtis", type_=ARRAY(LargeBinary)))
    .table_valued("client", "jti", with_ordinality="number", name="asked")
    .render_derived()
)
BY_TOKENS = Prepared(
    select(*_COLUMNS, exists().where(revoked.c.jti == _ASKED.c.jti).label("revoked"), _ASKED.c.number).select_from(
        _ASKED.join(client, client.c.id == _ASKED.c.client).outerjoin(provider, _OWNER)
    )
)
"""The same for many, each row with the number of whom it answers; PostgreSQL alone has it."""


def from_row(row: Any) -> ClientRow:  # noqa: ANN401 - a SQL row
    """Return the client of a joined row."""
    return ClientRow(
        id=row.id, name=row.name, role=row.role, provider=row.provider, scopes=frozenset(row.scopes.split()),
        secret_hash=row.secret_hash, enabled=row.state == "active" and row.provider_state in (None, "active"),
        sector=row.sector, policy=orjson.loads(row.policy) if row.policy else {}, expires=row.expires,
        former_hash=row.former_hash, former_until=row.former_until,
    )  # fmt: skip


def find(unit: Unit, client_id: str) -> ClientRow | None:
    """Return a client by its id."""
    row = unit.execute(_SELECT, {"client": client_id}).one_or_none()
    return None if row is None else from_row(row)


def known(store: Store, client_id: str) -> ClientRow | None:
    """Return a client by its id, in a statement of the hot path."""
    rows = store.rows(_BY_ID, client=client_id)
    return from_row(rows[0]) if rows else None


Bearer = tuple[ClientRow, bool]
"""A client, and whether its access token was revoked."""


def find_bearers(store: Store, asked: Sequence[tuple[str, bytes]]) -> list[Bearer | None]:
    """Return the bearer of each access token, asked for by (client, jti): in one statement of the hot path."""
    if len(asked) == 1 or not store.distant:
        return [_find_bearer(store, client_id, jti) for client_id, jti in asked]
    found: list[Bearer | None] = [None] * len(asked)
    ids, jtis = zip(*asked, strict=True)
    for row in store.rows(BY_TOKENS, clients=ids, jtis=jtis):
        found[row.number - 1] = from_row(row), bool(row.revoked)
    return found


def _find_bearer(store: Store, client_id: str, jti: bytes) -> Bearer | None:
    rows = store.rows(BY_TOKEN, client=client_id, jti=jti)
    return (from_row(rows[0]), bool(rows[0].revoked)) if rows else None


def find_named(unit: Unit, role: str, name: str) -> ClientRow | None:
    """Return a client by role and name, or by role and id."""
    query = select(*_COLUMNS).select_from(client.outerjoin(provider, _OWNER))
    row = unit.execute(
        query.where(client.c.role == role, (client.c.name == name) | (client.c.id == name))
    ).one_or_none()
    return None if row is None else from_row(row)


def listed(unit: Unit, role: str) -> list[ClientRow]:
    """Return all clients of a role, by name."""
    query = select(*_COLUMNS).select_from(client.outerjoin(provider, _OWNER)).where(client.c.role == role)
    return [from_row(row) for row in unit.execute(query.order_by(client.c.name))]


def add(
    unit: Unit, *, client_id: str, name: str, role: str, bound_to: str | None, scopes: str, secret_hash: bytes, now: int
) -> None:
    """Insert a client.

    Raises:
        VaultError: the name is taken in that role.
    """
    try:
        unit.execute(
            insert(client).values(
                id=client_id, name=name, role=role, provider=bound_to, scopes=scopes, secret_hash=secret_hash,
                state="active", created=now,
            )
        )  # fmt: skip
    except IntegrityError:
        raise VaultError(Kind.CONFLICT, f"a {role} of this name exists already") from None


def add_provider(
    unit: Unit, *, client_id: str, name: str, sector: str, policy: dict[str, Any], expires: int | None = None
) -> None:
    """Insert the provider row of a client; it expires at a time in seconds since 1970, or never.

    Raises:
        VaultError: name or sector is taken.
    """
    try:
        unit.execute(
            insert(provider).values(
                client=client_id, name=name, sector=sector, policy=orjson.dumps(policy).decode(), purposes="[]",
                fields="[]", caps="{}", expires=expires, state="active",
            )
        )  # fmt: skip
    except IntegrityError:
        raise VaultError(Kind.CONFLICT, "a provider of this name or sector exists already") from None


def disable(unit: Unit, client_id: str) -> None:
    """Disable a client: its next call is refused."""
    unit.execute(update(client).where(client.c.id == client_id).values(state="disabled"))


def rotate_secret(unit: Unit, client_id: str, secret_hash: bytes, former_until: int) -> None:
    """Write a new secret; the one before it is good until a time, one still older no more."""
    values = {"secret_hash": secret_hash, "former_hash": client.c.secret_hash, "former_until": former_until}
    unit.execute(update(client).where(client.c.id == client_id).values(values))


def drop_former(unit: Unit, client_id: str) -> None:
    """End the former secret at once. Idempotent."""
    unit.execute(update(client).where(client.c.id == client_id).values(former_hash=None, former_until=None))


def set_policy(unit: Unit, client_id: str, policy: dict[str, Any]) -> None:
    """Write another policy of a provider."""
    unit.execute(update(provider).where(provider.c.client == client_id).values(policy=orjson.dumps(policy).decode()))


def set_provider(unit: Unit, client_id: str, state: str, expires: int | None) -> None:
    """Change whether, and until when, a provider's credentials are valid, and those of its reviewers."""
    unit.execute(update(provider).where(provider.c.client == client_id).values(state=state, expires=expires))
