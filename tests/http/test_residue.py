"""What is left of keys: after `seal` none in any process, environment, core or file of the vault (A19, promise 4).

Files are those of the home folder with their logs and free pages, those for the moment, and what PostgreSQL writes.
"""

import mmap
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import pytest

from keys import record_keys, records
from keys.engine import open_engine, reading
from keys.keyring import Keyring
from keys.seals.passphrase import Passphrase
from keys.seals.sealed import read
from tests import serving
from tests.http.test_officers import citizen
from tests.http.test_processes import eventually, holders, is_ready
from tests.http.test_rotation import keys
from tests.http.test_seals import secret
from tests.serving import Server
from vault import config

pytestmark = pytest.mark.sampled

WORDS: Final = "correct horse battery staple of seven drawn words"


def all_keys(server: Server) -> dict[str, bytes]:
    """Return every key of a vault that a passphrase opens, by its name: the keyring's, and a record's own."""
    sealed = read(server.home / "seal.json")
    assert sealed is not None
    root = sealed.open(Passphrase(WORDS))
    engine = open_engine(config.load(server.environment).store_url("keys"))
    ring = Keyring.under_root(engine, sealed.root_id, root)
    found = {"root": root.expose_cleartext(), "passphrase": WORDS.encode()}
    for (purpose, scope), versions in ring._keys.items():
        for version, key in versions.items():
            found[f"{purpose} {scope} {version}"] = key.secret.expose_cleartext()
    with reading(engine) as connection:
        rows = connection.exec_driver_sql("SELECT rid FROM record_key").scalars().all()
        record = records.load(connection, ring, bytes(rows[0]))
    found["commitment key"] = record_keys.commitment_key(ring, record).expose_cleartext()
    engine.dispose()
    return found


def memory(pid: int) -> Iterator[bytes]:
    """Yield what a process has in memory, region by region."""
    with Path(f"/proc/{pid}/mem").open("rb") as mem:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            place, rights, *_ = line.split()
            first, last = (int(end, 16) for end in place.split("-"))
            if "r" not in rights or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            try:
                mem.seek(first)
                yield mem.read(last - first)
            except (OSError, ValueError):
                continue


def found_in(server: Server, wanted: Mapping[str, bytes]) -> set[str]:
    """Return `where what` of each key that a process of the vault, its environment or a file of it holds."""
    found = set()
    for pid in server.processes():
        try:
            for region in (*memory(pid), Path(f"/proc/{pid}/environ").read_bytes()):
                found |= {f"process {name}" for name, key in wanted.items() if key in region}
        except FileNotFoundError:
            continue
    paths = [*server.home.rglob("*"), *Path(server.environment["TMPDIR"]).rglob("*"), server.log]
    if serving.cluster is not None:
        paths += [path for url in server.databases.values() for path in serving.cluster.files(url, log=True)]
    for path in paths:
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                found |= {f"{path.name} {name}" for name, key in wanted.items() if content.find(key) >= 0}
    return found


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The agent is a program of its own: its memory and environment are what they are in production."""
    monkeypatch.setattr(Server, "forks_agent", False)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))


@pytest.fixture
def passed(fresh: Server, tmp_path: Path) -> Server:
    """A served vault of a passphrase that was worked with."""
    words = secret(tmp_path, WORDS)
    keys(fresh, "migrate-seal", "passphrase", "--passphrase-file", words)
    keys(fresh, "unseal", "--passphrase-file", words)
    assert eventually(lambda: is_ready(fresh))
    fresh.provider("chat").registered(citizen(1), "anna_1")
    return fresh


def test_a19_after_seal_no_key_is_left_in_any_process_or_file(passed: Server) -> None:
    chat, rita = passed.provider("bank"), passed.reviewer("rita")
    made = chat.registered(citizen(2), "maria_2")
    rita.reveal(made["id"])
    wanted = all_keys(passed)
    before = found_in(passed, wanted)
    assert {"process root", "process kek  1", "process token bank.example 1"} <= before, (
        "the search finds what is there"
    )
    assert not [where for where in before if not where.startswith("process ")], "no file holds a key in the clear"
    keys(passed, "seal")
    assert eventually(lambda: not found_in(passed, wanted))


def test_a19_a_holder_that_crashes_leaves_no_core_and_no_key_of_its_own(passed: Server) -> None:
    passed.provider("bank").registered(citizen(2), "maria_2")
    wanted, names = all_keys(passed), holders(passed)["names"]
    folder = Path(f"/proc/{names}/cwd").readlink()
    before = set(folder.iterdir())
    os.kill(names, signal.SIGSEGV)
    assert eventually(lambda: holders(passed).get("names") not in {None, names}, 10), "another one has its place"
    assert not set(folder.iterdir()) - before, "no core"
    found = found_in(passed, wanted)
    assert not [where for where in found if not where.startswith("process ")]
    assert not found & {"process root", "process passphrase", "process kek  1", "process commitment key"}
