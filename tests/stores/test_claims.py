"""A database that a restore fills is its own by a mark, from before the first row, and nobody else's."""

from collections.abc import Iterator, Mapping

import pytest
from sqlalchemy import Engine

from keys.errors import SetupError
from tests import serving
from vault.config import STORES
from vault.stores import claims, schema

pytestmark = pytest.mark.postgresql

OURS, THEIRS = b"o" * 16, b"t" * 16
ANOTHER = "does not hold what the restore left"


@pytest.fixture
def engines() -> Iterator[Mapping[str, Engine]]:
    assert serving.cluster is not None
    urls = serving.cluster.vault()
    with schema.opened({store: urls[f"IDVAULT_{store.upper()}_URL"] for store in STORES}, 5) as opened:
        yield opened


def refused(engines: Mapping[str, Engine], nonce: bytes, *, filled: bool = False) -> str:
    with pytest.raises(SetupError) as raised:
        claims.check(engines, nonce, filled=filled)
    return str(raised.value)


def test_empty_databases_are_anybodys_who_begins_and_nobodys_who_had_filled_them(
    engines: Mapping[str, Engine],
) -> None:
    for nonce in (b"", OURS):
        claims.check(engines, nonce)
    assert ANOTHER in refused(engines, OURS, filled=True)


def test_marked_databases_are_theirs_alone_who_marked_them_also_when_they_are_emptied_and_filled_again(
    engines: Mapping[str, Engine],
) -> None:
    for _ in range(2):
        claims.claim(engines, OURS)
        claims.check(engines, OURS, filled=True)
        assert ANOTHER in refused(engines, THEIRS)
        assert "not empty" in refused(engines, b"")
        for name, engine in engines.items():
            schema.emptied(engine, name)
    schema.check_all(engines)
    with pytest.raises(SetupError, match=ANOTHER):
        claims.claim(engines, THEIRS)
    claims.check(engines, OURS, filled=True)


def test_one_database_of_a_vault_that_was_made_since_is_enough_for_a_refusal(engines: Mapping[str, Engine]) -> None:
    schema.upgrade_all({"log": engines["log"]})
    assert "the store log" in refused(engines, OURS)


def test_the_marks_of_two_stores_are_not_equal(engines: Mapping[str, Engine]) -> None:
    claims.claim(engines, OURS)
    query = "SELECT obj_description('alembic_version'::regclass)"
    found = set()
    for engine in engines.values():
        with engine.connect() as connection:
            found.add(connection.exec_driver_sql(query).scalar_one())
    assert len(found) == len(STORES)
