"""What an officer's machine remembers: its file byte for byte, and that with one fault it is not his."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from keys.errors import OfficerError
from keys.officers import Card, Officer
from keys.pins import SUFFIX, Pins
from keys.primitives import Ed25519Signer, HybridReceiver, Secret
from tests.keys.make_vectors import FOLDER

VECTOR: Final[dict[str, Any]] = json.loads((FOLDER / "pins.json").read_text())
_SIGNER, _RECEIVER = Ed25519Signer(Secret(bytes(range(32)))), HybridReceiver(Secret(bytes(range(96))))
MARIA: Final = Officer(Card("Maria", _SIGNER.public(), _RECEIVER.public()), _SIGNER, _RECEIVER)
PINS: Final = Pins(
    vault="https://vault.example", agent=bytes([9]) * 32, deployment=bytes(range(16)), version="0.1.0",
    code="ab" * 32, generation=7, record=b"record", sealed=b"share",
)  # fmt: skip


def test_what_is_written_is_that_of_the_specification_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "maria"
    assert Pins.read(path, MARIA.card) is None
    PINS.write(path, MARIA)
    assert path.with_name(f"maria{SUFFIX}").read_text() == VECTOR["file"]
    assert Pins.read(path, MARIA.card) == PINS


@pytest.mark.parametrize("fault", list(VECTOR["faults"]))
def test_with_one_fault_it_is_not_what_the_officer_wrote(tmp_path: Path, fault: str) -> None:
    (tmp_path / f"maria{SUFFIX}").write_text(VECTOR["faults"][fault])
    with pytest.raises(OfficerError, match="not what this officer wrote"):
        Pins.read(tmp_path / "maria", MARIA.card)


@pytest.mark.parametrize("number", ["1e999", "NaN", "-1e999"])
def test_a_number_without_end_is_not_what_the_officer_wrote(tmp_path: Path, number: str) -> None:
    whole = VECTOR["file"]
    altered = re.sub(r'("generation": )\d+', rf"\g<1>{number}", whole)
    assert altered != whole
    (tmp_path / f"maria{SUFFIX}").write_text(altered)
    with pytest.raises(OfficerError, match="not what this officer wrote"):
        Pins.read(tmp_path / "maria", MARIA.card)
