"""Handles that look alike have one skeleton (Unicode UTS #39); those that do not, have not."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vault.domain.confusables import prototype, prototypes
from vault.domain.handles import skeleton

BY_PROTOTYPE: dict[str, list[str]] = {}
for _source, _text in prototypes().items():
    BY_PROTOTYPE.setdefault(_text, []).append(_source)
handles = st.text(st.characters(categories=("L", "N")), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("paypal", "\u0440\u0430\u0443\u0440\u0430l"), ("paypal", "PayPaI"), ("anna_l", "anna_1"), ("anna_l", "anna_I"),
        ("modern", "rnodern"), ("goog1e", "googIe"), ("b0b", "bob"), ("Anna", "anna"),
        ("scope", "s\u0441\u043e\u0440\u0435"), ("\u0412ob", "bob"),
        ("file", "\ufb01le"), ("caf\u00e9", "cafe\u0301"), ("abc", "\uff41\uff42\uff43"),
    ],
)  # fmt: skip
def test_known_look_alikes_have_one_skeleton(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(("one", "other"), [("anna", "hanna"), ("mail", "mall"), ("bob", "bop"), ("张伟", "张玮")])
def test_what_differs_to_the_eye_differs(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@given(handles, st.data())
def test_a_letter_in_the_place_of_its_look_alike_changes_no_skeleton(handle: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(handle) - 1))
    shown = prototype(handle[at])
    twin = data.draw(st.sampled_from([*BY_PROTOTYPE.get(shown, []), shown]))
    fake = handle[:at] + twin + handle[at + 1 :]
    # What stands beside it may compose with it: then it is not the letter that was put there.
    if unicodedata.normalize("NFD", fake) == fake and unicodedata.normalize("NFD", handle) == handle:
        assert skeleton(fake) == skeleton(handle)


@given(handles)
def test_a_skeleton_is_its_own_skeleton(handle: str) -> None:
    assert skeleton(skeleton(handle)) == skeleton(handle)


def test_the_map_leads_each_character_to_one_that_leads_nowhere_else() -> None:
    assert len(prototypes()) > 6000
    for source, text in prototypes().items():
        assert len(source) == 1
        assert prototype(text) == text
    assert (prototypes()["m"], prototypes()["1"], prototypes()["\u0430"]) == ("rn", "l", "a")
    assert "a" not in prototypes()
