"""What officers and the agent say through a relay: nobody else reads, changes, repeats or redirects it (A69)."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from keys.errors import MessageError, RefusedError, SetupError
from keys.identity import FILE_NAME, Statement, code_hash, open_identity, words
from keys.messages import Said, answer, answered, heard, message
from keys.officers import Card
from keys.primitives import Ed25519Signer, HybridReceiver, Secret, seal_to
from tests.keys.test_chain import PEOPLE

if TYPE_CHECKING:
    from collections.abc import Callable

AGENT: Final = Ed25519Signer(Secret(bytes([77]) * 32))
BOOT_KEY: Final = HybridReceiver(Secret(bytes([78]) * 96))
BOOT: Final = bytes(range(16))
STATED: Final = Statement(
    AGENT.public(), BOOT, BOOT_KEY.public(), bytes(16), "0.1.0", "ab" * 32, "sealed", 1, "cd" * 32, "ef" * 32
)
MARIA: Final = PEOPLE[0]


def card_of(key: str) -> Card:
    found = [one.card for one in PEOPLE[:4] if one.card.key_id == key]
    if not found:
        raise MessageError
    return found[0]


def hear(raw: bytes, *, agent: bytes = AGENT.public(), boot: bytes = BOOT, receiver: HybridReceiver = BOOT_KEY) -> Said:
    return heard(raw, receiver, agent, boot, card_of)


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(["look", "unseal"]), st.dictionaries(st.text(max_size=9), st.text(max_size=99), max_size=4))
def test_what_an_officer_says_is_heard_and_what_is_answered_is_read(do: str, args: dict[str, Any]) -> None:
    raw, digest = message(MARIA, STATED, do, args)
    said = hear(raw)
    assert (said.card, said.do, dict(said.args), said.digest) == (MARIA.card, do, args, digest)
    assert answered(answer(said, AGENT, {"ok": args}), MARIA, AGENT.public(), digest) == args


def test_a_relay_reads_neither_who_speaks_nor_what_is_said() -> None:
    raw, _ = message(MARIA, STATED, "unseal", {"share": "canary words"})
    body = base64.b64decode(json.loads(raw)["sealed"])
    for hidden in (b"canary", b"unseal", MARIA.card.key_id.encode(), MARIA.card.signs):
        assert hidden not in raw
        assert hidden not in body


def test_no_byte_of_a_message_can_be_changed_cut_or_added() -> None:
    raw, _ = message(MARIA, STATED, "look", {})
    outer = json.loads(raw)
    body = base64.b64decode(outer["sealed"])
    for place in range(0, len(body), 7):
        altered = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        with pytest.raises(MessageError):
            hear(rfc8785.dumps(outer | {"sealed": base64.b64encode(altered).decode()}))
    for wrong in (raw[:-1], raw + b" ", b"", b"{}", b"[]", b"\xff", json.dumps(outer, indent=1).encode()):
        with pytest.raises(MessageError):
            hear(wrong)


@pytest.mark.parametrize(
    "other",
    [
        {"agent": Ed25519Signer(Secret(bytes([5]) * 32)).public()},
        {"boot": bytes(16)},
        {"receiver": HybridReceiver(Secret(bytes([6]) * 96))},
    ],
    ids=["another vault's agent", "an earlier start", "another boot key"],
)
def test_a69_a_message_is_to_one_start_of_one_agent(other: dict[str, Any]) -> None:
    raw, _ = message(MARIA, STATED, "look", {})
    with pytest.raises(MessageError):
        hear(raw, **other)


def test_a_message_sealed_anew_to_another_start_by_who_could_open_it_is_not_heard_there() -> None:
    """The start that it is to is signed too: a taken-over agent cannot pass an officer's words on."""
    raw, _ = message(MARIA, STATED, "unseal", {"share": "x"})
    signed = BOOT_KEY.open(base64.b64decode(json.loads(raw)["sealed"]), _info(AGENT.public(), BOOT))
    later = bytes(reversed(BOOT))
    sealed = seal_to(BOOT_KEY.public(), signed, _info(AGENT.public(), later))
    passed_on = rfc8785.dumps({"v": 1, "boot": later.hex(), "sealed": base64.b64encode(sealed).decode()})
    with pytest.raises(MessageError):
        hear(passed_on, boot=later)


def _info(agent: bytes, boot: bytes) -> bytes:
    return b"".join(len(part).to_bytes(4, "big") + part for part in (b"idvault/v1/message", agent, boot))


def test_who_is_no_officer_and_who_signs_with_another_key_is_not_heard() -> None:
    with pytest.raises(MessageError):
        hear(message(PEOPLE[5], STATED, "look", {})[0])
    impostor = replace(MARIA, signer=PEOPLE[1].signer)
    with pytest.raises(MessageError):
        hear(message(impostor, STATED, "look", {})[0])


def test_an_answer_is_this_agents_to_this_message_and_this_officer() -> None:
    raw, digest = message(MARIA, STATED, "look", {})
    said = hear(raw)
    given = answer(said, AGENT, {"ok": {"names": "sealed"}})
    other = Ed25519Signer(Secret(bytes([9]) * 32))
    reads: list[Callable[[], object]] = [
        lambda: answered(given, MARIA, AGENT.public(), bytes(32)),
        lambda: answered(given, PEOPLE[1], AGENT.public(), digest),
        lambda: answered(given, MARIA, other.public(), digest),
        lambda: answered(answer(said, other, {"ok": {}}), MARIA, AGENT.public(), digest),
        lambda: answered(given[:-1], MARIA, AGENT.public(), digest),
        lambda: answered(answer(said, AGENT, {"nothing": 1}), MARIA, AGENT.public(), digest),
    ]
    for read in reads:
        with pytest.raises(MessageError):
            read()
    with pytest.raises(RefusedError, match="not now"):
        answered(answer(said, AGENT, {"error": "refused", "message": "not now"}), MARIA, AGENT.public(), digest)


def test_a_statement_is_read_back_and_no_member_of_it_can_be_changed() -> None:
    raw, signature = bytes(STATED), STATED.signed(AGENT)
    assert Statement.parse(raw, signature) == STATED
    changes: dict[str, Any] = {
        "agent": MARIA.card.signs, "boot": bytes(16), "key": bytes(1216), "deployment": b"", "version": "0.2.0",
        "code": "00" * 32, "names": "open", "generation": 2, "ceremony": "", "head": "", "nonce": bytes(16),
    }  # fmt: skip
    assert changes.keys() | {"v"} == json.loads(raw).keys()
    for name, value in changes.items():
        with pytest.raises(MessageError):
            Statement.parse(bytes(replace(STATED, **{name: value})), signature)
    for wrong in (raw[:-1], raw + b" ", b"{}", b"[]", b"\xff", json.dumps(json.loads(raw)).encode()):
        with pytest.raises(MessageError):
            Statement.parse(wrong, signature)


def test_an_identity_is_made_once_for_its_owner_alone_and_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / FILE_NAME
    first = open_identity(path).public()
    assert path.stat().st_mode & 0o777 == 0o600
    assert open_identity(path).public() == first
    assert len(words(first)) == 10
    assert words(first) != words(AGENT.public())
    path.chmod(0o640)
    with pytest.raises(SetupError, match="0600"):
        open_identity(path)
    path.chmod(0o600)
    for content in (b"", b"{}", b'{"v":1,"identity":"AAAA"}', b"[]"):
        path.write_bytes(content)
        with pytest.raises(SetupError):
            open_identity(path)


def test_a_symbolic_link_is_no_identity(tmp_path: Path) -> None:
    open_identity(tmp_path / "real")
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "real")
    with pytest.raises(SetupError):
        open_identity(tmp_path / FILE_NAME)


def test_the_hash_of_the_code_is_the_same_each_time() -> None:
    assert code_hash() == code_hash()
    assert len(code_hash()) == 64


VECTOR: Final[dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "statement.json").read_text())


def test_the_golden_statement_is_read_and_made_again() -> None:
    raw, signature = VECTOR["statement"].encode(), bytes.fromhex(VECTOR["signature"])
    found = Statement.parse(raw, signature)
    assert (bytes(found), found.names, found.generation) == (raw, "sealed", 7)
    assert found.signed(Ed25519Signer(Secret(bytes([9]) * 32))) == signature


@pytest.mark.parametrize("fault", list(VECTOR["faults"]))
def test_a_statement_with_one_fault_is_refused(fault: str) -> None:
    raw, signature = VECTOR["faults"][fault]
    with pytest.raises(MessageError):
        Statement.parse(raw.encode(), bytes.fromhex(signature))
