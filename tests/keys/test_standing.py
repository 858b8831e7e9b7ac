"""The evidence of a standing: link, map, tags and accounts agree, or no act begins (attacks A1, A70)."""

from typing import Any

import pytest
from sqlalchemy import insert

from keys import store as tables
from keys.agent.names import Reviewer, check_standing, open_record, reviewer_of
from keys.engine import reading, writing
from keys.errors import KeysError, MissingError, ProtocolError, RefusedError
from keys.records import Assurance, uid_of
from keys.rows import row_mac
from tests.keys.stores import BANK, SHOP, KeyStore, Registration, put_in, registered


def _check(store: KeyStore, evidence: object) -> Any:
    with reading(store.engine) as connection:
        return check_standing(store.names(), connection, evidence)


def _approved(store: KeyStore, made: Registration) -> dict[str, Any]:
    put_in(store, made.rid, assurance=Assurance.PROVIDER)
    uid = _check_uid(store, made)
    return made.evidence(store, tags=[store.keyring.links(SHOP).tag(uid)])


def _check_uid(store: KeyStore, made: Registration) -> bytes:
    row = next(row for row in store.rows("record_key") if row.rid == made.rid)
    return uid_of(store.keyring, row)


def test_a_standing_whose_parts_agree_is_taken(store: KeyStore) -> None:
    made = registered(store)
    standing = _check(store, made.evidence(store))
    assert (standing.sector, standing.pid, standing.rids) == (SHOP, made.pid, (made.rid,))
    assert standing.accounts == ((bytes(16), "prov", "anna"),)
    approved = _check(store, _approved(store, made))
    assert approved.uid == standing.uid


def test_a70_links_tags_pids_and_handles_that_were_swapped_are_refused(store: KeyStore) -> None:
    one, other = registered(store), registered(store)
    good = one.evidence(store)
    account = good["accounts"][0]
    foreign = other.evidence(store)["accounts"][0]
    for change in (
        {"link": other.link}, {"pid": other.pid}, {"sector": BANK}, {"link": b"x"}, {"tags": [b"planted"]},
        {"accounts": [{**account, "handle": "bob"}]}, {"accounts": [{**account, "provider": "evil"}]},
        {"accounts": [{**account, "id": bytes(15) + b"\x01"}]}, {"accounts": [foreign]},
        {"accounts": [{**account, "mac": bytes(32)}]}, {"superseded": True},
        {"aliases": [{"pid": other.pid, "link": other.link}]},
    ):  # fmt: skip
        with pytest.raises(RefusedError, match=r"^the key agent refused the act$"):
            _check(store, {**good, **change})


def test_an_approved_standing_needs_its_own_tag_among_its_tags(store: KeyStore) -> None:
    one, other = registered(store), registered(store)
    good, foreign = _approved(store, one), _approved(store, other)
    assert _check(store, {**good, "tags": good["tags"] + foreign["tags"]}).rids == (one.rid,)
    for tags in ([], foreign["tags"], [good["tags"][0][:-1] + b"\x02"]):
        with pytest.raises(RefusedError):
            _check(store, {**good, "tags": tags})


def test_an_alias_counts_only_if_its_persons_tag_moved_here(store: KeyStore) -> None:
    one, other = registered(store), registered(store)
    good, foreign = _approved(store, one), _approved(store, other)
    alias = {"pid": other.pid, "link": other.link}
    with pytest.raises(RefusedError):
        _check(store, {**good, "aliases": [alias]})
    standing = _check(store, {**good, "tags": good["tags"] + foreign["tags"], "aliases": [alias]})
    assert standing.rids == (one.rid, other.rid)


@pytest.mark.parametrize(
    "change",
    [
        {"sector": 7}, {"pid": b"short"}, {"link": "text"}, {"tags": None}, {"accounts": {}}, {"aliases": None},
        {"sanctions": ["x"]}, {"accounts": ["x"]}, {"aliases": [7]}, {"sector": "x" * 257},
    ],
)  # fmt: skip
def test_evidence_of_another_form_is_refused_as_such(store: KeyStore, change: dict[str, object]) -> None:
    with pytest.raises(ProtocolError):
        _check(store, {**registered(store).evidence(store), **change})


def test_evidence_that_is_no_map_is_refused(store: KeyStore) -> None:
    wrongs: list[object] = [None, [], b"", {1: 2}]
    for wrong in wrongs:
        with pytest.raises(ProtocolError, match="standing: a map"):
            _check(store, wrong)


def test_a_standing_without_a_record_is_missing(store: KeyStore) -> None:
    made = registered(store)
    store.execute("DELETE FROM record_key")
    with pytest.raises(MissingError):
        _check(store, made.evidence(store))


def test_a_record_whose_keys_do_not_open_is_refused(store: KeyStore) -> None:
    made = registered(store)
    record = _check(store, made.evidence(store)).record
    keyring = store.keyring
    keyring._keys["kek", ""], keyring._usable = {}, {}
    with pytest.raises(RefusedError):
        open_record(store.names(), record)


def test_a_reviewer_is_who_the_agents_own_rows_say(store: KeyStore) -> None:
    for client, sector, state in (("vault", None, "active"), ("bound", SHOP, "active"), ("gone", None, "disabled")):
        mac = row_mac(store.keyring, "keys.reviewer", (client, sector, state))
        with writing(store.engine) as connection:
            row = {"client": client, "sector": sector, "state": state, "mac": mac}
            connection.execute(insert(tables.reviewer), row)
    vault, bound = reviewer_of(store.names(), "vault"), reviewer_of(store.names(), "bound")
    assert (vault, bound) == (Reviewer("vault", None), Reviewer("bound", SHOP))
    assert (vault.vault, bound.vault) == (True, False)
    assert (vault.may_review(BANK), bound.may_review(SHOP), bound.may_review(BANK)) == (True, True, False)
    for edit, client in (
        ("", "gone"), ("", "nobody"), ("UPDATE reviewer SET state = 'active' WHERE client = 'gone'", "gone"),
        ("UPDATE reviewer SET sector = NULL WHERE client = 'bound'", "bound"),
        ("UPDATE reviewer SET client = 'nobody' WHERE client = 'vault'", "nobody"),
    ):  # fmt: skip
        if edit:
            store.execute(edit)
        with pytest.raises(KeysError) as caught:
            reviewer_of(store.names(), client)
        assert caught.value.kind == "refused"


@pytest.mark.parametrize("state", ["bulk:", "bulk:many", "bulk:1000000", "bulk:-1"])
def test_a_row_that_another_hand_made_officers_word_for_many_is_refused(store: KeyStore, state: str) -> None:
    mac = row_mac(store.keyring, "keys.reviewer", ("bound", SHOP, "active"))
    with writing(store.engine) as connection:
        connection.execute(insert(tables.reviewer), {"client": "bound", "sector": SHOP, "state": state, "mac": mac})
    for bulk in (False, True):
        with pytest.raises(RefusedError):
            reviewer_of(store.names(), "bound", bulk=bulk)
