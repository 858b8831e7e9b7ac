"""The development seal: one file, mode 0600, never overwritten, never followed through a link (attack A53)."""

import base64
import json
import os
from pathlib import Path

import pytest

from keys import setup
from keys.errors import SetupError
from keys.seals import development
from tests.keys.stores import NOW, migrated

UNREADABLE = "the seal cannot be read; restore it from a backup"


@pytest.fixture
def seal(tmp_path: Path) -> Path:
    return tmp_path / development.FILE_NAME


def test_a_seal_is_made_for_its_owner_alone_whatever_the_umask_and_reads_back(seal: Path) -> None:
    before = os.umask(0)
    try:
        root_id, root = development.create(seal)
    finally:
        os.umask(before)
    assert seal.stat().st_mode & 0o777 == 0o600
    assert development.open_seal(seal) == (root_id, root)
    assert (len(root_id), len(root)) == (16, 32)
    content = json.loads(seal.read_text())
    assert content == {
        "seal": "development",
        "root_id": base64.b64encode(root_id).decode(),
        "root": base64.b64encode(root.expose_cleartext()).decode(),
    }


def test_a_seal_is_never_overwritten(seal: Path) -> None:
    development.create(seal)
    before = seal.read_bytes()
    with pytest.raises(FileExistsError):
        development.create(seal)
    assert seal.read_bytes() == before


def test_a_key_store_is_not_set_up_where_there_is_a_seal(tmp_path: Path, seal: Path) -> None:
    development.create(seal)
    engine = migrated(tmp_path)
    with pytest.raises(FileExistsError):
        setup.create_development(engine, seal, NOW)
    engine.dispose()


def test_no_seal_is_written_or_read_through_a_link(tmp_path: Path, seal: Path) -> None:
    target = tmp_path / "elsewhere"
    seal.symlink_to(target)
    with pytest.raises(FileExistsError):
        development.create(seal)
    assert not target.exists()
    development.create(target)
    with pytest.raises(SetupError, match=UNREADABLE):
        development.open_seal(seal)


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o660, 0o602, 0o601, 0o777])
def test_a_seal_that_others_may_touch_is_refused(seal: Path, mode: int) -> None:
    development.create(seal)
    seal.chmod(mode)
    with pytest.raises(SetupError, match="the seal is readable for others; make it 0600"):
        development.open_seal(seal)


def test_a_missing_seal_says_so(seal: Path) -> None:
    with pytest.raises(SetupError, match="there is no seal; restore it from a backup"):
        development.open_seal(seal)


GOOD = {
    "seal": "development", "root_id": base64.b64encode(bytes(16)).decode(), "root": base64.b64encode(bytes(32)).decode()
}  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b'"text"', b"null", b"{}", b"\xff\xfe", json.dumps(GOOD).encode()[:-1],
        *(json.dumps({**GOOD, **change}).encode() for change in (
            {"seal": "shamir"}, {"root": "AAAA"}, {"root": "no base64"}, {"root": None}, {"root_id": "AAAA"},
            {"root_id": 7}, {"root": base64.b64encode(bytes(33)).decode()},
        )),
        *(json.dumps({name: value for name, value in GOOD.items() if name != gone}).encode() for gone in GOOD),
    ],
)  # fmt: skip
def test_what_is_no_seal_is_refused_with_one_message_that_holds_no_value(seal: Path, content: bytes) -> None:
    seal.write_bytes(content)
    seal.chmod(0o600)
    with pytest.raises(SetupError) as caught:
        development.open_seal(seal)
    assert str(caught.value) == UNREADABLE
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
