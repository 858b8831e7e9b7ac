import copy
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from tests.web.stub import REGISTRATION
from vault.errors import Kind
from vault.web.refusals import MAX_ERRORS, refusal
from vault.web.schemas import Decision, Registration, Resubmission, Reveal

MARK = "Zq7markedvalue"


def faults(model: type[BaseModel], members: object) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(members)
    error = refusal(caught.value)
    assert error.kind is Kind.VALIDATION
    assert MARK not in repr(error.errors)
    return dict(error.errors)


def with_member(path: str, value: object, base: dict[str, Any] = REGISTRATION) -> dict[str, Any]:
    members = copy.deepcopy(base)
    at = members
    *parents, last = path.split(".")
    for step in parents:
        at = at.setdefault(step, {})
    at[last] = value
    return members


def test_the_smallest_registration_passes_and_only_what_was_sent_goes_on() -> None:
    assert Registration.model_validate(REGISTRATION).members() == REGISTRATION


def test_a_whole_registration_passes() -> None:
    identity = {
        "legal_name": "ANNA",
        "names": [{"value": "安娜", "script": "Hans"}],
        "birth_date": "1974-08-12",
        "document": {"type": "passport", "country": "UTO", "number": "L898902C3", "expires": "2031-04-15"},
        "phone": "+46700000000",
        "email": "anna@example.org",
    }
    members = REGISTRATION | {"external_id": "u-83121", "identity": identity}
    assert Registration.model_validate(members).members() == members


def test_an_account_stands_in_place_of_handle_and_kind() -> None:
    members = {"account": "acc_1", "terms_version": "2026-01", "identity": {"legal_name": "A"}}
    assert Registration.model_validate(members).members() == members
    assert faults(Registration, members | {"handle": "a"}) == {"/account": "stands in place of handle and kind"}


def test_what_is_missing_is_named() -> None:
    assert faults(Registration, {"identity": {"legal_name": "A"}}) == {
        "/handle": "is required", "/kind": "is required", "/accepts": "is required",
    }  # fmt: skip
    assert faults(Registration, with_member("identity.document", {"type": "passport"})) == {
        "/identity/document/country": "is required", "/identity/document/number": "is required",
    }  # fmt: skip


def test_a_resubmission_needs_the_identity_alone() -> None:
    assert Resubmission.model_validate({"identity": {"legal_name": "A"}}).members() == {"identity": {"legal_name": "A"}}
    assert Resubmission.model_validate(REGISTRATION).members() == REGISTRATION


@pytest.mark.parametrize(
    ("path", "value", "pointer"),
    [
        (MARK, 1, ""),
        (f"identity.{MARK}", MARK, "/identity"),
        ("accepts.id", MARK, "/accepts"),
        ("handle", MARK * 10, "/handle"),
        ("handle", "", "/handle"),
        ("handle", f"{MARK}\x00", "/handle"),
        ("handle", f"{MARK}\n", "/handle"),
        ("handle", 7, "/handle"),
        ("handle", None, "/handle"),
        ("external_id", None, "/external_id"),
        ("external_id", MARK * 20, "/external_id"),
        ("kind", MARK, "/kind"),
        ("accepts", [MARK], "/accepts"),
        ("accepts.truthful", False, "/accepts/truthful"),
        ("accepts.truthful", 1, "/accepts/truthful"),
        ("accepts.truthful", "true", "/accepts/truthful"),
        ("identity", MARK, "/identity"),
        ("identity.legal_name", MARK * 50, "/identity/legal_name"),
        ("identity.names", [], "/identity/names"),
        ("identity.names", [{"value": "a", "script": "Latn"}] * 9, "/identity/names"),
        ("identity.names", [{"value": "a", "script": MARK}], "/identity/names/0/script"),
        ("identity.document", MARK, "/identity/document"),
        ("identity.document", {"type": MARK, "country": "UTO", "number": "1"}, "/identity/document/type"),
        ("identity.document", {"type": "passport", "mrz": [MARK]}, "/identity/document/mrz"),
        ("identity.document", {"type": "passport", "mrz": [MARK, 1]}, "/identity/document/mrz/1"),
        ("identity.document", {"type": "passport", "mrz": ["a", "b"], "number": MARK}, "/identity/document"),
    ],
)
def test_a_fault_is_named_by_its_place_and_never_by_its_value(path: str, value: object, pointer: str) -> None:
    assert list(faults(Registration, with_member(path, value))) == [pointer]


def test_thousands_of_faults_make_a_short_list() -> None:
    members = REGISTRATION | {f"{MARK}{number}": number for number in range(5000)}
    assert faults(Registration, members) == {"": "has a member that is not known here"}
    names = [{"value": number} for number in range(8)]
    assert len(faults(Registration, with_member("identity.names", names))) <= MAX_ERRORS


def test_reveal_and_decision_take_what_the_interface_lists() -> None:
    Reveal.model_validate({"purpose": "review", "fields": ["legal_name"]})
    assert faults(Reveal, {"purpose": MARK, "fields": []}).keys() == {"/purpose", "/fields"}
    members = {
        "decision": "approved",
        "method": "document_checked",
        "reason": "document_checked",
        "fix": [],
        "candidates": [{"id": "cnd_1", "verdict": "same_person"}],
        "shown": "0" * 64,
    }
    assert Decision.model_validate(members).members() == members
    assert faults(Decision, members | {"shown": MARK, "method": MARK, "decision": MARK}).keys() == {
        "/shown", "/method", "/decision",
    }  # fmt: skip


def test_what_a_model_shows_of_itself_is_its_type_alone() -> None:
    body = Registration.model_validate(with_member("handle", MARK))
    assert repr(body) == str(body) == "<Registration>"
