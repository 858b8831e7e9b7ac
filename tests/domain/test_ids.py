"""Ids: ten kinds, one spelling each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.domain import ids
from vault.domain.errors import DomainError, InvalidFieldError
from vault.domain.ids import Identifier

KINDS: dict[str, type[Identifier]] = {
    "reg_": ids.RegistrationId,
    "acc_": ids.AccountId,
    "rep_": ids.ReportId,
    "san_": ids.SanctionId,
    "apl_": ids.AppealId,
    "dis_": ids.DisclosureId,
    "op_": ids.OperatorId,
    "evt_": ids.EventId,
    "cnd_": ids.CandidateId,
    "cli_": ids.ClientId,
}
_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@pytest.mark.parametrize("prefix", KINDS)
def test_each_kind_has_its_prefix_and_reads_itself_alone(prefix: str) -> None:
    text = str(KINDS[prefix].new())
    assert text.startswith(prefix)
    assert len(text) == len(prefix) + 22
    assert str(KINDS[prefix].parse(text)) == text
    for other in set(KINDS) - {prefix}:
        with pytest.raises(InvalidFieldError):
            KINDS[other].parse(text)


@given(st.sampled_from(sorted(KINDS)), st.text(_ALPHABET, min_size=22, max_size=22))
def test_of_the_texts_for_one_id_one_alone_is_read(prefix: str, body: str) -> None:
    kind = KINDS[prefix]
    try:
        found = kind.parse(prefix + body)
    except InvalidFieldError:
        assert body[-1] not in "AQgw"
    else:
        assert str(found) == prefix + body
        assert body[-1] in "AQgw"


@pytest.mark.parametrize("body", ["!" * 22, "+" * 22, "/" * 22, "A" * 21 + "=", "\u00e9" * 22, "A" * 21 + "\n", ""])
def test_other_characters_are_refused_without_being_repeated(body: str) -> None:
    with pytest.raises(DomainError) as caught:
        ids.AccountId.parse(f"acc_{body}", pointer="/account")
    assert str(caught.value) == "/account: not an id of the form acc_\u2026"
    assert caught.value.__cause__ is None


def test_an_id_takes_no_other_attribute_and_is_no_id_of_another_kind() -> None:
    raw = bytes(16)
    assert not hasattr(ids.AccountId(raw), "__dict__")
    of_each_kind: set[Identifier] = {kind(raw) for kind in KINDS.values()}
    assert len(of_each_kind) == len(KINDS)
    assert ids.AccountId(raw) in of_each_kind
