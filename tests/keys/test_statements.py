"""Statement keys: a key of one statement opens that one alone, and with the standing's key all words are gone."""

import pytest
from sqlalchemy import delete, insert, select

from keys import statements, store
from keys.agent.acts import stating, verifying
from keys.engine import reading, writing
from keys.entries import STANDING_KEK
from keys.errors import MissingError, OpenError, ProtocolError
from keys.frame import Purpose, open_frame
from keys.keyring import Keyring
from keys.primitives import Secret, random_bytes
from tests.keys.stores import KeyStore, dialogue

WORDS = b'{"facts":"posted the same advertisement forty times"}'


def _standing(of: KeyStore) -> Keyring:
    return Keyring.under_standing(of.engine, of.keyring.current(STANDING_KEK))


def _key(of: KeyStore, pid: bytes, statement: bytes) -> Secret:
    with dialogue() as talk:
        return Secret(stating.seal(of.engine, _standing(of), {"pid": pid, "statement": statement}, talk)["key"])


def _sealed(of: KeyStore, pid: bytes, statement: bytes) -> bytes:
    return statements.seal_statement(_key(of, pid, statement), of.keyring.deployment, statement, WORDS)


def _open(of: KeyStore, pid: bytes, statement: bytes, sealed: bytes) -> bytes:
    with reading(of.engine) as connection:
        return statements.open_statement(connection, of.keyring, pid, statement, sealed)


def test_words_come_back_as_they_were_sealed(store: KeyStore) -> None:
    pid, statement = random_bytes(16), random_bytes(16)
    sealed = _sealed(store, pid, statement)
    assert WORDS not in sealed
    assert _open(store, pid, statement, sealed) == WORDS
    assert len(_sealed(store, pid, statement)) == len(sealed)


def test_the_standing_keeps_one_key_that_each_statements_is_derived_from(store: KeyStore) -> None:
    pid, one, other = random_bytes(16), random_bytes(16), random_bytes(16)
    keys = [_key(store, pid, statement) for statement in (one, other, one)]
    assert keys[0] == keys[2] != keys[1]
    [row] = store.rows("statement_key")
    assert pid not in row.address
    assert _key(store, random_bytes(16), one) != keys[0]
    assert len(store.rows("statement_key")) == 2


def test_the_key_of_one_statement_opens_no_other(store: KeyStore) -> None:
    pid, one, other = random_bytes(16), random_bytes(16), random_bytes(16)
    sealed = _sealed(store, pid, other)
    place = statements.place_of(store.keyring.deployment, other)
    for key in (_key(store, pid, one), _key(store, random_bytes(16), other)):
        with pytest.raises(OpenError):
            open_frame(key, Purpose.STATEMENT, place, sealed)


def test_words_that_were_altered_moved_or_are_about_another_do_not_open(store: KeyStore) -> None:
    pid, statement, stranger = random_bytes(16), random_bytes(16), random_bytes(16)
    sealed = _sealed(store, pid, statement)
    _key(store, stranger, statement)
    with pytest.raises(OpenError):
        _open(store, pid, random_bytes(16), sealed)
    with pytest.raises(OpenError):
        _open(store, stranger, statement, sealed)
    with pytest.raises(OpenError):
        _open(store, pid, statement, sealed[:-1] + bytes((sealed[-1] ^ 1,)))
    with pytest.raises(MissingError):
        _open(store, random_bytes(16), statement, sealed)


def test_with_the_key_all_words_about_a_standing_are_gone(store: KeyStore) -> None:
    pid, other, statement = random_bytes(16), random_bytes(16), random_bytes(16)
    sealed, kept = _sealed(store, pid, statement), _sealed(store, other, statement)
    for _ in range(2):
        with writing(store.engine) as connection:
            statements.destroy(connection, store.keyring, [pid, random_bytes(16)])
    with pytest.raises(MissingError):
        _open(store, pid, statement, sealed)
    assert _open(store, other, statement, kept) == WORDS


def test_a_key_that_was_moved_to_another_standing_is_refused_and_found(store: KeyStore) -> None:
    one, other, statement = random_bytes(16), random_bytes(16), random_bytes(16)
    _key(store, one, statement)
    _key(store, other, statement)

    def own() -> dict[str, int]:
        with dialogue() as talk:
            found: dict[str, int] = verifying.verify_own(store.names(), {}, talk)["tables"]["statement_key"]
            return found

    assert own() == {"rows": 2, "bad": 0}
    table = store_table = store.rows("statement_key")
    with writing(store.engine) as connection:
        connection.execute(delete(_TABLE))
        for row, address in zip(table, reversed([row.address for row in store_table]), strict=True):
            connection.execute(insert(_TABLE).values(address=address, wrapped=row.wrapped))
    assert own() == {"rows": 2, "bad": 2}
    with pytest.raises(OpenError):
        _key(store, one, statement)


@pytest.mark.parametrize("args", [{}, {"pid": b"x", "statement": bytes(16)}, {"pid": bytes(16), "statement": "x"}])
def test_an_act_of_another_form_is_refused(store: KeyStore, args: dict[str, object]) -> None:
    with dialogue() as talk, pytest.raises(ProtocolError):
        stating.seal(store.engine, _standing(store), args, talk)
    with reading(store.engine) as connection:
        assert connection.execute(select(_TABLE)).all() == []


_TABLE = store.statement_key
