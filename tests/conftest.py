"""Fixtures: one served vault a session for what does not disturb it, fresh ones for what does."""

import os
import random
import resource
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, settings

from tests import serving
from tests.databases import Cluster
from tests.serving import Server
from vault.config import load
from vault.wiring import Vault, build

# A machine under load is slow, and not wrong.
settings.register_profile("shared machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --full (sweeps whole and samples large, `make test-full`) and --database."""
    parser.addoption("--database", choices=["sqlite", "postgresql"], default="sqlite", help="where the stores are")
    parser.addoption("--full", action="store_true", help="run the sweeps whole and with large samples")


def pytest_configure(config: pytest.Config) -> None:
    """Name the markers of tests that run with an option alone."""
    if config.getoption("--database") == "postgresql":
        # Each slot of work keeps a connection (keys.driver) until it ends; the slots of a test end when it does.
        config.addinivalue_line("filterwarnings", "ignore:.*was deleted while still open:ResourceWarning")
    config.addinivalue_line("markers", "full_only: runs with --full alone")
    config.addinivalue_line(
        "markers", "sqlite: looks into the files of the stores, or uses SQLite's triggers and locks"
    )
    config.addinivalue_line("markers", "once: has no store, or its own on each database; runs with SQLite alone")
    config.addinivalue_line(
        "markers", f"sampled: says of one database what it says of the other; with PostgreSQL one in {ONE_IN} runs"
    )
    config.addinivalue_line("markers", f"costly: takes long, and there are many alike: one in {ALIKE} runs of each")
    config.addinivalue_line("markers", "postgresql: needs what only PostgreSQL has; runs with --database postgresql")


_LIMITS: Final = (resource.RLIMIT_NOFILE, resource.RLIMIT_CORE, resource.RLIMIT_AS, resource.RLIMIT_FSIZE)
ONE_IN: Final = 6
"""How many tests there are of those that hang on no database for each that a run of all with PostgreSQL draws."""
ALIKE: Final = 3
"""How many cases there are of each test that takes long for each that a run of all draws."""
_LONG: Final = (
    "tests/model/", "tests/http/test_crash_sweep.py", "tests/http/test_imports.py", "tests/http/test_processes.py",
    "tests/http/test_postgresql_faults.py", "tests/keys/test_seals_served.py", "tests/keys/test_officers_served.py",
    "tests/http/test_backups.py", "tests/http/test_indistinguishable.py", "tests/http/test_schemathesis.py",
    "tests/http/test_colluding.py", "tests/http/test_exchange.py", "tests/http/test_attacks_tampering.py",
    "tests/http/test_backups_of_keys.py", "tests/http/test_officers.py", "tests/http/test_backups_killed.py",
    "tests/http/test_restores", "tests/http/test_deepening.py", "tests/http/test_disclosures.py",
    "tests/cli/test_commands.py", "tests/http/test_full_disks.py", "tests/http/test_store_faults.py",
    "tests/http/test_rotation.py", "tests/http/test_crashes.py", "tests/http/test_people.py",
    "tests/http/test_matrix.py",
)  # fmt: skip


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the longest first, so that no process ends long after the others; take what the database has."""
    items.sort(key=_turn)
    drawn = _drawn(config, items)
    why = [_why_not(config, item, drawn) for item in items]
    config.hook.pytest_deselected(items=[item for item, reason in zip(items, why, strict=True) if reason])
    items[:] = [item for item, reason in zip(items, why, strict=True) if not reason]
    config.stash[_LEFT_OUT] = left_out = dict(Counter(filter(None, why)))
    if hasattr(config, "workeroutput"):
        config.workeroutput["left_out"] = left_out


def _turn(item: pytest.Item) -> int:
    """Return the place of a test's file among the longest, the longest first; the others come after them."""
    return next((at for at, name in enumerate(_LONG) if item.nodeid.startswith(name)), len(_LONG))


def _drawn(config: pytest.Config, items: Sequence[pytest.Item]) -> frozenset[str]:
    """Return the tests that run of those that are sampled or costly: all with --full, and of what was named."""
    sampled = sorted(item.nodeid for item in items if item.get_closest_marker("sampled"))
    costly = sorted(item.nodeid for item in items if item.get_closest_marker("costly"))
    if config.getoption("--full") or config.args != config.getini("testpaths"):
        return frozenset(sampled + costly)
    # The seed is that of the order: it is shown, the same for each process, and may be given again (--randomly-seed).
    by = random.Random(config.getoption("randomly_seed", 0))  # noqa: S311 - which tests, not keys
    found = by.sample(sampled, -(-len(sampled) // ONE_IN))
    for _, alike in groupby(costly, lambda nodeid: nodeid.partition("[")[0]):
        cases = [*alike]
        found += by.sample(cases, -(-len(cases) // ALIKE))
    return frozenset(found)


def _why_not(config: pytest.Config, item: pytest.Item, drawn: frozenset[str]) -> str:
    """Return why a test does not run with the options given, nothing where it does."""
    marked = {mark.name for mark in item.iter_markers()}
    if "full_only" in marked and not config.getoption("--full"):
        return "run with --full"
    if "costly" in marked and item.nodeid not in drawn:
        return "take long, and others of their kind were drawn"
    if config.getoption("--database") == "sqlite":
        return "need PostgreSQL" if "postgresql" in marked else ""
    if "postgresql" in marked:
        return ""
    if "sqlite" in marked:
        return "need SQLite"
    stored = isinstance(item, pytest.Function) and _has_stores(item.module.__name__)
    if not stored or "once" in marked:
        return "have no store that --database names"
    return "hang on no database, and others were drawn" if "sampled" in marked and item.nodeid not in drawn else ""


_LEFT_OUT = pytest.StashKey[dict[str, int]]()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Hear from a process of the tests, each of which collects the same, what it left out."""
    node.config.stash[_LEFT_OUT] = getattr(node, "workeroutput", {}).get("left_out", {})


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how many tests were left out, and why."""
    for reason, count in sorted(config.stash.get(_LEFT_OUT, {}).items()):
        terminalreporter.write_line(f"{count} tests left out: they {reason}")


_MAKERS = frozenset({"tests.serving", "tests.fresh"})
"""Modules that make a vault or a store."""
_known: dict[str, bool] = {}


def _has_stores(name: str) -> bool:
    """Tell whether a module of tests has anything of those that make stores, itself or by what it has of others."""
    if name in _known:
        return _known[name]
    seen, left = set[str](), {name}
    while left:
        seen |= left
        values = [value for module in left for value in vars(sys.modules[module]).values()]
        others = {str(getattr(value, "__module__", "")) for value in values}
        left = {other for other in others if other.startswith("tests.")} - seen
    _known[name] = bool(seen & _MAKERS)
    return _known[name]


@pytest.fixture(scope="session", autouse=True)
def _database(request: pytest.FixtureRequest) -> None:
    Server.forks_agent = True
    if request.config.getoption("--database") == "postgresql":
        serving.cluster = request.getfixturevalue("cluster")


@pytest.fixture(autouse=True)
def _databases(_database: None) -> Iterator[None]:
    with nullcontext() if serving.cluster is None else serving.cluster.passing():
        yield


def _process() -> dict[str, object]:
    mask = os.umask(0o077)
    os.umask(mask)
    variables = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
    return {
        "folder": Path.cwd(), "mask": mask, "variables": variables, "path": list(sys.path),
        "switch interval": sys.getswitchinterval(), "niceness": os.nice(0), "policy": os.sched_getscheduler(0),
        "user": os.geteuid(), "limits": [resource.getrlimit(one) for one in _LIMITS],
        "signals": [signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGHUP)],
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _leaves_the_process_as_it_was() -> Iterator[None]:
    """Fail the test that changes what later tests stand on, rather than one of those, by chance of their order."""
    before = _process()
    yield
    after = _process()
    changed = [name for name, value in before.items() if after[name] != value]
    assert not changed, f"this test leaves the process of the tests another {', '.join(changed)}"


@pytest.fixture(scope="session")
def full(request: pytest.FixtureRequest) -> bool:
    """Whether the sweeps run whole."""
    return bool(request.config.getoption("--full"))


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A served vault that tests share: each enrols its own providers."""
    served = Server(tmp_path_factory.mktemp("vault") / "home").start()
    yield served
    assert served.stop() == 0


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A PostgreSQL that tests share: each vault has databases of its own."""
    # Not in pytest's folder: each new run closes that one to the user that the server runs as.
    with tempfile.TemporaryDirectory(prefix="idvault-postgresql-", ignore_cleanup_errors=True) as folder:
        made = Cluster(Path(folder))
        yield made
        made.stop()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Server]:
    """A served vault of the test's own."""
    served = Server(tmp_path / "home").start()
    yield served
    served.stop()


@pytest.fixture
def vault(fresh: Server) -> Iterator[Vault]:
    """The services of a worker, in this process, on the stores and the agent of the served vault."""
    built = build(load(fresh.environment))
    yield built
    built.close()


@pytest.fixture
def drawn() -> random.Random:
    """What a test samples by; its seed is shown with a failure."""
    seed = int.from_bytes(os.urandom(4))
    print("seed of the points:", seed)  # noqa: T201 - pytest shows it with a failure
    return random.Random(seed)  # noqa: S311 - points, not keys
