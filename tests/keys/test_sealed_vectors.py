"""Recorded vectors of what is sealed to a person or to a start of the agent: each opens, with one fault none does."""

import json
from typing import Any, Final

import pytest

from keys import disclosures
from keys.errors import MessageError, OfficerError
from keys.messages import answered, heard
from keys.officers import Card
from tests.keys.make_sealed_vectors import ANNA, BOOT_KEY, FOLDER, IDENTITY, MARIA

VECTORS: Final[dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))
}
FAULTS: Final = [(name, fault) for name, vector in VECTORS.items() for fault in vector["faults"]]


def _card(key: str) -> Card:
    if key != ANNA.card.key_id:
        raise MessageError
    return ANNA.card


def opened(name: str, raw: str) -> dict[str, Any]:
    vector = VECTORS[name]
    if name == "message":
        said = heard(raw.encode(), BOOT_KEY, IDENTITY.public(), bytes.fromhex(vector["boot"]), _card)
        return {"do": said.do, "args": dict(said.args)}
    if name == "answer":
        return {"ok": answered(raw.encode(), ANNA, IDENTITY.public(), bytes.fromhex(vector["digest"]))}
    found = disclosures.open_package(raw.encode(), MARIA)
    return {"said": {part: found[part] for part in ("made", "state", "assurance", "fields")}}


def test_each_opens_to_what_was_recorded() -> None:
    assert set(VECTORS) == {"message", "answer", "package"}
    for name, vector in VECTORS.items():
        found = opened(name, vector[name])
        assert found == {part: vector[part] for part in found}


@pytest.mark.parametrize(("name", "fault"), FAULTS)
def test_none_opens_with_one_fault(name: str, fault: str) -> None:
    with pytest.raises((MessageError, OfficerError)):
        opened(name, VECTORS[name]["faults"][fault])
