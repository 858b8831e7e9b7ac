"""Record rows: read only if their MAC holds, changed only if they still are what was read (attacks A1, A2, A4)."""

from dataclasses import replace

import pytest

from keys import audit, record_keys, records
from keys.engine import reading, writing
from keys.errors import ConflictError, MissingError, OpenError
from keys.fields import FieldValue, field_key, seal_field
from keys.frame import Place, Purpose, open_frame
from keys.primitives import Secret
from keys.record_keys import Opened
from keys.records import Assurance, Record, State
from keys.rows import checked, row_mac
from tests.keys import reference
from tests.keys.stores import NOW, SHOP, KeyStore

PID = bytes(range(16))
COLUMNS = ("wrapped", "uid", "origin", "mac")


def _added(store: KeyStore) -> tuple[Opened, bytes]:
    opened, uid = record_keys.draw(store.keyring, SHOP, PID, {"legal_name": 1, "phone": 1}, NOW // 60)
    with writing(store.engine) as connection:
        records.add(connection, store.keyring, opened.record)
    return opened, uid


def _load(store: KeyStore, rid: bytes) -> Record:
    with reading(store.engine) as connection:
        return records.load(connection, store.keyring, rid)


def test_a_record_reads_back_with_its_keys_person_and_origin(store: KeyStore) -> None:
    opened, uid = _added(store)
    record = _load(store, opened.record.rid)
    assert (record.state, record.assurance, record.pending) == (State.CREATING, Assurance.NONE, None)
    assert record.revisions == {"legal_name": 1, "phone": 1}
    again = record_keys.unwrap(store.keyring, record)
    assert (again.record_key, again.commitment_key) == (opened.record_key, opened.commitment_key)
    assert records.uid_of(store.keyring, record) == uid
    assert records.origin_of(store.keyring, record) == (SHOP, PID, None)


def test_an_unknown_record_is_missing(store: KeyStore) -> None:
    with pytest.raises(MissingError, match="no such record"):
        _load(store, bytes(16))


@pytest.mark.parametrize("column", COLUMNS)
def test_a4_every_flipped_bit_of_a_record_row_is_refused(store: KeyStore, column: str) -> None:
    opened, _ = _added(store)
    value = getattr(_load(store, opened.record.rid), column)
    for bit in range(0, 8 * len(value), 5):
        changed = bytearray(value)
        changed[bit // 8] ^= 1 << bit % 8
        store.execute(f"UPDATE record_key SET {column} = :v", v=bytes(changed))  # noqa: S608
        with pytest.raises(OpenError):
            _load(store, opened.record.rid)


@pytest.mark.parametrize(
    "edit",
    ["state = 'verified'", "assurance = 'vault'",
     pytest.param("kek_version = 2", marks=pytest.mark.sqlite),  # PostgreSQL has no partition for such a row
     "created = created + 1", "origin = NULL",
     "pending = revisions", "revisions = x'80'"],
)  # fmt: skip
def test_a4_an_edited_column_is_refused(store: KeyStore, edit: str) -> None:
    opened, _ = _added(store)
    store.execute(f"UPDATE record_key SET {edit}")  # noqa: S608
    with pytest.raises(OpenError):
        _load(store, opened.record.rid)


def test_a1_the_columns_of_one_record_in_the_row_of_another_are_refused(store: KeyStore) -> None:
    one, other = _added(store)[0].record.rid, _added(store)[0].record.rid
    for name in COLUMNS:
        value = f"(SELECT {name} FROM record_key WHERE rid = :one)"  # noqa: S608
        store.execute(f"UPDATE record_key SET {name} = {value} WHERE rid = :other", one=one, other=other)  # noqa: S608
    with pytest.raises(OpenError):
        _load(store, other)
    assert _load(store, one).rid == one


def test_a2_sealed_columns_open_in_their_own_row_and_column_alone(store: KeyStore) -> None:
    """Even with a MAC that holds, as only the agent can make it, nothing moved opens."""
    one, other = _added(store)[0].record, _added(store)[0].record
    column = records.place_of(store.keyring, one.rid, "commitment_key")
    elsewhere = store.keyring.current("kek").seal(Purpose.WRAP, column, bytes(64))
    for moved in (
        replace(one, wrapped=other.wrapped), replace(one, wrapped=elsewhere),
        replace(one, wrapped=one.wrapped[:-1] + bytes((one.wrapped[-1] ^ 1,))),
    ):  # fmt: skip
        with pytest.raises(OpenError):
            record_keys.unwrap(store.keyring, moved)
    for moved in (replace(one, uid=other.uid), replace(one, uid=one.origin or b"")):
        with pytest.raises(OpenError):
            records.uid_of(store.keyring, moved)
    for moved in (replace(one, origin=other.origin), replace(one, origin=one.uid), replace(one, origin=None)):
        with pytest.raises(OpenError):
            records.origin_of(store.keyring, moved)


def test_a_record_whose_key_encryption_key_is_gone_is_missing_it(store: KeyStore) -> None:
    opened, _ = _added(store)
    keyring = store.opened()
    keyring._keys["kek", ""] = {}
    with pytest.raises(MissingError):
        record_keys.unwrap(keyring, opened.record)


def test_with_two_keys_present_an_old_record_opens_and_a_new_one_is_under_the_new(store: KeyStore) -> None:
    old, uid = _added(store)
    store.add_version("kek")
    keyring = store.opened()
    assert record_keys.unwrap(keyring, _load(store, old.record.rid)).record_key == old.record_key
    fresh, _ = record_keys.draw(keyring, SHOP, PID, {"phone": 1}, 0)
    assert (old.record.kek_version, fresh.record.kek_version) == (1, 2)
    assert records.uid_of(keyring, old.record) == uid


def test_a_change_is_written_once_over_the_row_that_was_read(store: KeyStore) -> None:
    record = _load(store, _added(store)[0].record.rid)
    with writing(store.engine) as connection:
        changed = records.change(connection, store.keyring, record, state=State.IN_REVIEW, pending={"phone": 2})
    assert _load(store, record.rid) == changed
    assert changed.pending == {"phone": 2}
    with writing(store.engine) as connection:
        with pytest.raises(ConflictError):
            records.change(connection, store.keyring, record, state=State.REJECTED)
        with pytest.raises(ConflictError):
            records.remove(connection, record)
        records.remove(connection, changed)
    with pytest.raises(MissingError):
        _load(store, record.rid)


def test_fields_open_at_the_revisions_of_the_record(store: KeyStore) -> None:
    opened, _ = _added(store)
    rid, deployment = opened.record.rid, store.keyring.deployment
    keys = opened.field_keys({"legal_name": 1, "phone": 1})
    sealed = {
        name: seal_field(Secret(key), deployment, rid, name, 1, FieldValue(name.encode())) for name, key in keys.items()
    }
    assert opened.open_fields(deployment, sealed)["phone"] == FieldValue(b"phone")
    swapped = {"legal_name": sealed["phone"], "phone": sealed["legal_name"]}
    for wrong in (swapped, {"phone": sealed["phone"]}, {**sealed, "email": sealed["phone"]}, {}):
        with pytest.raises(OpenError):
            opened.open_fields(deployment, wrong)
    with pytest.raises(OpenError):
        opened.open_fields(deployment, sealed, {"legal_name": 2, "phone": 1})
    with pytest.raises(OpenError):
        opened.open_fields(bytes(16), sealed)
    assert Secret(keys["phone"]) == field_key(opened.record_key, "phone", 1)


def test_an_audit_row_is_sealed_under_the_commitment_key_at_its_own_id(store: KeyStore) -> None:
    opened, _ = _added(store)
    with writing(store.engine) as connection:
        audit.write(connection, store.keyring.deployment, opened, "review.opened", 7, {"reviewer": "cli_r"})
    row = store.rows("audit_outbox")[0]
    assert (row.type, row.minute, row.address) == ("review.opened", 7, opened.record.rid)
    assert b"cli_r" not in row.detail
    info = b"idvault/v1/audit" + row.id
    key = Secret(reference.hkdf_expand("sha256", opened.commitment_key.expose_cleartext(), info, 32))
    place = Place(store.keyring.deployment, "keys.audit_outbox", row.id, "detail")
    assert open_frame(key, Purpose.AUDIT, place, row.detail) == b"\x81\xa8reviewer\xa5cli_r"


def test_a_row_mac_is_that_of_the_specification_and_binds_every_value(store: KeyStore) -> None:
    values = ("prov", None, 3, b"x")
    key = reference.hkdf_expand(
        "sha256", store.keyring.current("map").secret.expose_cleartext(), b"idvault/v1/rows", 32
    )
    message = reference.lp(b"keys.reviewer", b"\xa4prov", b"\xc0", b"\x03", b"\xc4\x01x")
    mac = row_mac(store.keyring, "keys.reviewer", values)
    assert mac == reference.hmac256(key, message)
    assert checked(store.keyring, "keys.reviewer", (*values, mac)) == values
    for table, other in (
        ("keys.evidence_key", values), ("keys.reviewer", ("prov", "", 3, b"x")), ("keys.reviewer", values[:-1]),
        ("keys.reviewer", ("prov", None, "3", b"x")), ("keys.reviewer", ("prov", None, 3, "x")),
    ):  # fmt: skip
        with pytest.raises(OpenError):
            checked(store.keyring, table, (*other, mac))
