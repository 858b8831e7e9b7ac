"""What introspections read: client and provider, standing and accounts, in one statement for all that wait together."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import ARRAY, FromClause, LargeBinary, Select, Text, and_, bindparam, func, select

from vault.stores.directory import account, client, provider, standing
from vault.stores.unit import Prepared, Store

Asked = tuple[str, bytes]
"""(client, pid)"""
_COLUMNS: Final = (
    client.c.secret_hash, client.c.state.label("client_state"), client.c.scopes, provider.c.policy,
    provider.c.state.label("provider_state"), provider.c.expires, standing.c.pid, standing.c.assurance,
    standing.c.generation, standing.c.ladder, standing.c.inactive_from, standing.c.superseded_by,
    standing.c.state, account.c.id.label("account"), account.c.state.label("account_state"),
    account.c.ladder.label("account_ladder"), client.c.former_hash, client.c.former_until,
)  # fmt: skip


def _joined(first: FromClause, pid: Any, *more: Any) -> Select[Any]:  # noqa: ANN401 - SQL clauses
    return select(*_COLUMNS, *more).select_from(
        first.outerjoin(provider, provider.c.client == client.c.id)
        .outerjoin(standing, and_(standing.c.pid == pid, standing.c.provider == client.c.id))
        .outerjoin(account, account.c.pid == standing.c.pid)
    )


_asked: Final = (
    func.unnest(bindparam("clients", type_=ARRAY(Text)), bindparam("pids", type_=ARRAY(LargeBinary)))
    .table_valued("client", "pid", with_ordinality="number", name="asked")
    .render_derived()
)
ONE: Final = Prepared(_joined(client, bindparam("pid")).where(client.c.id == bindparam("client")))
TOGETHER: Final = Prepared(_joined(_asked.join(client, client.c.id == _asked.c.client), _asked.c.pid, _asked.c.number))
"""The same for many, each row with the number of whom it answers; PostgreSQL alone has it."""


def rows_of(store: Store, asked: Sequence[Asked]) -> list[list[Any]]:
    """Return the rows of each: one for each account, none where there is no such client.

    Raises:
        VaultError: the store cannot be read now.
    """
    if len(asked) == 1 or not store.distant:
        return [store.rows(ONE, client=client_id, pid=pid) for client_id, pid in asked]
    found: list[list[Any]] = [[] for _ in asked]
    clients, pids = zip(*asked, strict=True)
    for row in store.rows(TOGETHER, clients=clients, pids=pids):
        found[row.number - 1].append(row)
    return found
