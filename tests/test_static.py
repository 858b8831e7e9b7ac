"""What no line of the code may do, found without running it (A8): the build fails on it.

Most of it is ruff's: this file holds that those rules are on, and find what they are for. What ruff has no rule for,
secrets compared in a time that depends on them, and secrets in the arguments or the environment of a child, is here.
"""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.serving import BIN

ROOT: Final = Path(__file__).parents[1]
CODE: Final = [
    path for folder in ("keys", "vault") for path in sorted((ROOT / folder).rglob("*.py"))
    if "migrations" not in path.parts
]  # fmt: skip
SECRET: Final = re.compile(
    r"(secret|mac|hash|digest|signature|token|passphrase|commitment|fingerprint|share|tag)s?$", re.ASCII
)
"""How names of values end that a guesser would like to learn bit by bit."""
PUBLIC: Final = frozenset(
    {
        # Digests of what everybody may read, and of what stands in the same store.
        ("keys/agent/acts/reviewing.py", "shown != digest(_shown(matchings))"),
        ("keys/agent/acts/verifying.py", "hashlib.sha256(row.said).digest() != row.digest"),
        ("keys/agent/desk.py", "self._seen[0] != head.digest"),
        ("keys/carrying.py", "one.digest != other.digest"),
        ("keys/chain.py", "digests[head.number] != head.digest"),
        ("keys/chains.py", "found[number].digest != digest"),
        ("keys/pins.py", "hashlib.sha256(self.next_record).hexdigest() != stated.ceremony"),
        ("keys/agent/acts/disclosing.py", "again.digest != held.digest"),
        ("keys/requests.py", "hashlib.sha256(self.said).digest() == self.digest"),
        # Whether a row is still the one that was read: both values are of the store.
        ("keys/agent/acts/exchanging.py", "macs.get(item.record.rid) != item.record.mac"),
        # Conditions of statements, which the database evaluates.
        ("keys/disclosures.py", "_ROW.mac == made.values(keyring)['mac']"),
        ("keys/records.py", "store.record_key.c.mac == bindparam('read_mac')"),
        ("keys/records.py", "store.record_key.c.mac == _leaving.c.read"),
        ("keys/records.py", "store.record_key.c.mac == bindparam('read')"),
        ("keys/records.py", "store.record_key.c.mac == bindparam('new_read_mac')"),
        ("keys/records.py", "store.record_key.c.mac == _lists.c.read_mac"),
        ("keys/records.py", "table.c.mac == record.mac"),
        ("keys/requests.py", "_REQUEST.digest == digest"),
        ("keys/requests.py", "_APPROVAL.digest == digest"),
        ("keys/rewrapping.py", "_RECORD.mac == bindparam('new_read_mac')"),
        ("vault/stores/standings.py", "account.c.external_hash == handles.short_hash(owner, external_id)"),
        ("keys/rewrapping.py", "_RECORD.mac == _lists.c.read_mac"),
        ("keys/rewrapping.py", "_EVIDENCE.mac == row.mac"),
        ("keys/uses.py", "_USE.mac == _UNSIGNED"),
        ("vault/stores/standings.py", "local_tag.c.tag == tag"),
        ("vault/stores/standings.py", "local_tag.c.tag == row.tag"),
        ("vault/stores/standings.py", "person_tag.c.tag == old"),
        ("vault/stores/tags.py", "person_tag.c.tag == tag"),
        # The demo shows that two tokens differ.
        ("vault/demo/story.py", "anna['token'] != erika['token']"),
        ("vault/demo/story.py", "own == erika['token']"),
        ("vault/demo/story.py", "after['token'] == anna['token']"),
    }
)
"""Comparisons by == and != that were looked at, and are of nothing secret."""
CHILDREN: Final = frozenset(
    {f"subprocess.{name}" for name in ("Popen", "run", "call", "check_call", "check_output")}
    | {f"os.{name}" for name in ("execv", "execve", "spawnv", "spawnve", "posix_spawn", "system")}
)
RULES: Final = {
    "S101": "assert x\n",
    "S301": "import pickle\npickle.loads(x)\n",
    "S506": "import yaml\nyaml.load(x)\n",
    "S307": "eval(x)\n",
    "S602": "import subprocess\nsubprocess.run(x, shell=True)\n",
    "S608": 'connection.execute(f"SELECT a FROM b WHERE c = {x}")\n',
    "S110": "try:\n    f()\nexcept Exception:\n    pass\n",
    "E722": "try:\n    f()\nexcept:\n    g()\n",
    "S311": "import random\nrandom.random()\n",
    "S324": "import hashlib\nhashlib.md5(x)\n",
    "S501": "import requests\nrequests.get(x, verify=False, timeout=1)\n",
}


def _name(node: ast.expr) -> str:
    """Return the last name of what is compared: of a variable, an attribute, a call, or a member."""
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
        case ast.Call(func=called):
            return _name(called)
        case ast.Subscript(slice=ast.Constant(value=str(member))):
            return member
        case ast.Subscript(slice=ast.Constant(value=int()) | ast.UnaryOp()):
            return ""  # one byte, such as the version of a tag's key
        case ast.Subscript(value=held):
            return _name(held)
        case _:
            return ""


def compared(source: str) -> Iterator[str]:
    """Yield comparisons by == and != of what has a secret's name."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare) or not any(isinstance(op, (ast.Eq, ast.NotEq)) for op in node.ops):
            continue
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Constant) for side in sides):
            continue
        if any(SECRET.search(_name(side)) for side in sides):
            yield ast.unparse(node)


def handed_on(source: str) -> Iterator[str]:
    """Yield calls that give a child an argument or an environment which has a secret's name."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or ast.unparse(node.func) not in CHILDREN:
            continue
        given = [*node.args, *(one.value for one in node.keywords if one.arg in {"args", "env"})]
        names = {_name(inner) for one in given for inner in ast.walk(one) if isinstance(inner, ast.expr)}
        if any(SECRET.search(name) for name in names):
            yield ast.unparse(node)


def test_a8_no_secret_is_compared_in_a_time_that_depends_on_it() -> None:
    found = {(str(path.relative_to(ROOT)), said) for path in CODE for said in compared(path.read_text())}
    assert found - PUBLIC == set(), "compare by keys.primitives.equal, or say why it is public"
    assert PUBLIC - found == set(), "what is no more is taken from the list"


@pytest.mark.parametrize(
    "source", ["mac == other", "row.mac != made", "given['secret'] == held", "digest(a) == b", "a == self.root_hash"]
)
def test_the_search_for_comparisons_finds_them(source: str) -> None:
    assert list(compared(f"if {source}:\n    pass\n"))


def test_a8_no_child_is_given_a_secret_as_an_argument_or_in_its_environment() -> None:
    assert [(path.name, said) for path in CODE for said in handed_on(path.read_text())] == []
    assert list(handed_on("subprocess.run([program, '--pin', passphrase])"))
    assert list(handed_on("subprocess.Popen(command, env={'TOKEN': token})"))


@pytest.mark.parametrize("rule", RULES)
def test_a8_the_build_fails_on_what_ruff_knows(tmp_path: Path, rule: str) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]
    assert settings["select"] == ["ALL"]
    assert rule not in settings["ignore"]
    (tmp_path / "bad.py").write_text(RULES[rule])
    found = subprocess.run(
        [BIN / "ruff", "check", "--config", ROOT / "pyproject.toml", "--output-format", "concise", tmp_path / "bad.py"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert found.returncode == 1
    assert f" {rule} " in found.stdout, found.stdout
