"""Links and tags: bound to their row, equal where they must be, of no use elsewhere. And the account MAC."""

from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.accounts import account_holds, account_mac
from keys.errors import OpenError
from keys.fields import FieldValue
from keys.links import Links
from keys.primitives import Secret
from keys.tags import DOCUMENT, DOCUMENT_BIRTH, NAME_BIRTH, Tag, fingerprints, local_tags
from tests.keys import reference

ONE, TWO, HASH = Secret(bytes(range(64))), Secret(bytes(range(64, 128))), Secret(bytes(range(32)))
SHOP = Links("shop.example", {1: ONE})
RID, PID, UID = bytes(range(16)), bytes(range(16, 32)), bytes(range(32, 48))
ANNA = {
    "legal_name": FieldValue(b"", (b"ANNA ERIKSSON",)),
    "names": FieldValue(b"", (b"ANNA ERIKSSON", b"A ERIKSSON")),
    "birth_date": FieldValue(b"", (b"1974-08-12",)),
    "document": FieldValue(b"", (b"passport", b"UTO", b"L898902C3")),
}


def _kinds(tags: Iterable[Tag]) -> list[str]:
    return [tag.kind for tag in tags]


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
@settings(deadline=None)
def test_a_link_leads_from_its_own_row_to_its_record(rid: bytes, pid: bytes) -> None:
    assert SHOP.rid(SHOP.link(rid, pid), pid) == rid


def test_a_link_moved_to_another_row_or_sector_or_altered_leads_nowhere() -> None:
    link = SHOP.link(RID, PID)
    assert len(link) == 33
    for links, given_link, pid in (
        (SHOP, link, UID), (Links("bank.example", {1: ONE}), link, PID), (SHOP, b"", PID), (SHOP, link[:-1], PID),
        (SHOP, link[-1:], PID), (SHOP, SHOP.tag(RID), PID), (SHOP, link[:-1] + b"\x02", PID),
    ):  # fmt: skip
        with pytest.raises(OpenError):
            links.rid(given_link, pid)
    for bit in range(8 * len(link)):
        changed = bytearray(link)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(OpenError):
            SHOP.rid(bytes(changed), PID)


def test_a_person_tag_is_equal_in_one_sector_and_differs_in_another() -> None:
    assert SHOP.tag(UID) == SHOP.tag(UID)
    assert SHOP.tag(UID) != SHOP.tag(RID)
    assert SHOP.tag(UID) != Links("bank.example", {1: ONE}).tag(UID)


def test_with_two_versions_an_old_link_still_leads_and_new_ones_are_of_the_new_key() -> None:
    both, new = Links("shop.example", {1: ONE, 2: TWO}), Links("shop.example", {2: TWO})
    assert both.rid(SHOP.link(RID, PID), PID) == RID
    assert both.link(RID, PID) == new.link(RID, PID)
    assert both.tag(UID) == new.tag(UID) != SHOP.tag(UID)
    with pytest.raises(OpenError):
        new.rid(SHOP.link(RID, PID), PID)


def test_a_person_has_a_tag_for_each_way_to_know_him_and_names_are_never_vault_wide() -> None:
    assert _kinds(fingerprints(HASH, 1, ANNA)) == [DOCUMENT_BIRTH, DOCUMENT]
    # One name written in two fields is one tag.
    assert _kinds(local_tags(HASH, 1, "s", ANNA)) == [DOCUMENT_BIRTH, DOCUMENT, NAME_BIRTH, NAME_BIRTH]


@pytest.mark.parametrize(
    ("given_fields", "kinds"),
    [
        ((), []),
        (("legal_name",), []),
        (("birth_date",), []),
        (("document",), [DOCUMENT]),
        (("legal_name", "birth_date"), [NAME_BIRTH]),
        (("document", "birth_date"), [DOCUMENT_BIRTH, DOCUMENT]),
        (("document", "legal_name"), [DOCUMENT]),
    ],
)
def test_tags_are_made_of_what_there_is(given_fields: tuple[str, ...], kinds: list[str]) -> None:
    person = {name: ANNA[name] for name in given_fields}
    assert _kinds(local_tags(HASH, 1, "s", person)) == kinds
    assert _kinds(fingerprints(HASH, 1, person)) == [kind for kind in kinds if kind != NAME_BIRTH]


def test_a_field_without_a_match_form_makes_no_tag() -> None:
    person = {**ANNA, "document": FieldValue(b"x"), "birth_date": FieldValue(b"x")}
    assert local_tags(HASH, 1, "s", person) == []


def test_tags_differ_by_sector_scope_version_and_key() -> None:
    values = [
        {tag.value for tag in tags}
        for tags in (
            local_tags(HASH, 1, "a", ANNA), local_tags(HASH, 1, "b", ANNA), local_tags(HASH, 2, "a", ANNA),
            local_tags(Secret(bytes(32)), 1, "a", ANNA), fingerprints(HASH, 1, ANNA),
        )
    ]  # fmt: skip
    assert len(set().union(*values)) == sum(len(each) for each in values)


def test_match_forms_cut_differently_are_different_values() -> None:
    one = {"document": FieldValue(b"", (b"ab", b"c"))}
    other = {"document": FieldValue(b"", (b"a", b"bc"))}
    assert fingerprints(HASH, 1, one) != fingerprints(HASH, 1, other)


def test_an_account_mac_is_that_of_the_specification_and_binds_every_part() -> None:
    parts = (bytes(16), "prov", "anna", PID, RID)
    mac = account_mac(HASH, *parts)
    message = reference.lp(bytes(16), b"prov", b"anna", PID, RID)
    assert mac == reference.hmac256(bytes(range(32)), message)
    assert account_holds(HASH, *parts, mac)
    assert not account_holds(HASH, bytes(15) + b"\x01", *parts[1:], mac)
    assert not account_holds(HASH, bytes(16), "prova", "nna", PID, RID, mac)
    assert not account_holds(HASH, bytes(16), "prov", "bob", PID, RID, mac)
    assert not account_holds(HASH, bytes(16), "prov", "anna", UID, RID, mac)
    assert not account_holds(HASH, bytes(16), "prov", "anna", PID, UID, mac)
    assert not account_holds(HASH, *parts, mac[:-1])


def test_a24_one_identifier_has_one_tag_in_a_deployment_and_others_in_each_other_for_each_kind_and_purpose() -> None:
    other = Secret(bytes(range(32, 64)))
    here, there = fingerprints(HASH, 1, ANNA), fingerprints(other, 1, ANNA)
    assert here == fingerprints(HASH, 1, ANNA)
    assert not {tag.value for tag in here} & {tag.value for tag in there}, "another deployment has another key"
    number = {"document": FieldValue(b"", (b"974812",)), "registration": FieldValue(b"", (b"974812",))}
    assert len({tag.value for tag in fingerprints(HASH, 1, number)}) == 2, "equal text of another kind is another tag"
    local = [local_tags(HASH, 1, sector, ANNA) for sector in ("shop.example", "bank.example")]
    values = [tag.value for tags in (here, *local) for tag in tags]
    assert len(set(values)) == len(values), "what a tag is for is part of it"
