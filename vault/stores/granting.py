"""Database roles on PostgreSQL: who owns a store's tables, and what each other role may do to them.

Guarantees: after a grant a role may do what `grants/STORE.sql` says in its own store and nothing else there, has no DDL
and cannot connect to another store's database. Rows in the file are the whole of it: what stood before is revoked.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Final

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from keys.engine import writing
from keys.errors import SetupError

SEQUENCED: Final = frozenset({"directory", "log"})
"""Stores that the sequencer reads the outbox of, or writes; it has a role in each, so that no role sees two stores. The
key store's outbox it is handed by the agent."""

_MAY: Final = "SELECT rolsuper OR rolname = %(owner)s FROM pg_roles WHERE rolname = current_user"
_CREATE_ROLE: Final = """
DO $$ BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') THEN CREATE ROLE {role} LOGIN; END IF;
END $$;
"""
_OWN: Final = """
DO $$ DECLARE statement text; BEGIN
    FOR statement IN
        SELECT format('ALTER DATABASE %I OWNER TO {owner}', datname) FROM pg_database
            WHERE datname = current_database() AND datdba <> '{owner}'::regrole
        UNION ALL
        SELECT format('ALTER TABLE public.%I OWNER TO {owner}', relname) FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relowner <> '{owner}'::regrole
        UNION ALL
        SELECT format('ALTER FUNCTION %s OWNER TO {owner}', oid::regprocedure) FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace AND proowner <> '{owner}'::regrole
        UNION ALL
        SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC, {others}', current_database())
        UNION ALL
        SELECT format('GRANT CONNECT ON DATABASE %I TO {others}', current_database())
    LOOP EXECUTE statement; END LOOP;
END $$;
REVOKE ALL ON SCHEMA public FROM PUBLIC, {others};
GRANT ALL ON SCHEMA public TO {owner};
GRANT USAGE ON SCHEMA public TO {others};
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, {others};
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA public FROM PUBLIC, {others};
"""


def owner(store: str) -> str:
    """Return the role that owns a store's tables, and alone changes them."""
    return f"idvault_{store}_owner"


def others(store: str) -> tuple[str, ...]:
    """Return the roles that use a store: the service's, and the sequencer's where it has one."""
    service = f"idvault_{store}"
    return (service, f"{service}_sequencer") if store in SEQUENCED else (service,)


def script(store: str) -> str:
    """Return the SQL that sets a store's roles; it may be run again, and by psql."""
    named = {"owner": owner(store), "others": ", ".join(others(store))}
    roles = "".join(_CREATE_ROLE.format(role=role) for role in (owner(store), *others(store)))
    return roles + _OWN.format(**named) + "\n" + (files("vault.stores") / "grants" / f"{store}.sql").read_text()


def apply_all(engines: Mapping[str, Engine]) -> None:
    """Set the roles of stores, each in one transaction, so that a service under them sees no moment without.

    Raises:
        SetupError: a store is no PostgreSQL database, is not of this version, or the role connected may not do it.
    """
    for name, engine in engines.items():
        if engine.dialect.name != "postgresql":
            raise SetupError(f"the store {name} is a file; roles and grants are for PostgreSQL")
        try:
            with writing(engine) as connection:
                # What a role has no right to grant is a mere warning to the server, where it has any right at all.
                if not connection.exec_driver_sql(_MAY, {"owner": owner(name)}).scalar_one():
                    raise SetupError(_refused(name))
                # The driver itself: the script is many statements and has no parameters.
                connection.connection.cursor().execute(script(name))
        except (DBAPIError, engine.dialect.loaded_dbapi.Error):
            raise SetupError(_refused(name)) from None


def _refused(store: str) -> str:
    return (
        f"the grants of the store {store} cannot be made: run idvault db upgrade first, and connect as a superuser, "
        f"or, once the roles are there, as {owner(store)}"
    )
